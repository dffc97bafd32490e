//! Calls over every kind of connection: TCP, unix socket, TLS, ACL user, both protocols.

use std::time::Duration;

use raptor_core::config::Protocol;
use raptor_core::{ErrorKind, Key, RedisClient, Reply, Script};
use raptor_testkit::{Server, TlsFront, UpstashFront};

use crate::fixture;

async fn set_and_get(client: &RedisClient) {
    let key = client.keys().key(&raptor_core::Family::RATE, "calls", &["x"]).expect("a key");
    client.command("SET").key(&key).arg("v").run::<()>().await.expect("SET");
    let got: Option<String> = client.command("get").key(&key).run().await.expect("GET");
    assert_eq!(got.as_deref(), Some("v"));
    let echo = Script::new("test.echo", "return {'a', ARGV[1], KEYS[1], #ARGV}");
    let reply: (String, i64, String, i64) =
        client.script(&echo).key(&key).arg(7).run().await.expect("EVALSHA");
    assert_eq!(reply, ("a".into(), 7, String::from_utf8_lossy(key.as_bytes()).into_owned(), 1));
}

#[tokio::test]
async fn tcp_and_unix_socket_and_both_protocols() {
    let server = Server::start().await.expect("a server starts");
    for url in [
        server.url(),
        server.unix_url(),
        format!("{}?protocol=2", server.url()),
        format!("{}/3", server.url()),
    ] {
        set_and_get(&fixture::client(&url).await).await;
    }
    let size: i64 = server.query(&raptor_testkit::redis::cmd("DBSIZE")).await.expect("DBSIZE");
    assert_eq!(size, 1, "the client of database 3 left database 0 alone");
}

#[tokio::test]
async fn password_and_acl_user() {
    let server = Server::builder()
        .password("p%w 1")
        .acl_user("user app on >s3cr:et@x ~* &* +@all")
        .start()
        .await
        .expect("a server starts");
    let at = format!("127.0.0.1:{}", server.port());
    for protocol in ["2", "3"] {
        let url = format!("redis://:p%25w%201@{at}?protocol={protocol}");
        set_and_get(&fixture::client(&url).await).await;
        let url = format!("redis://app:s3cr%3Aet%40x@{at}?protocol={protocol}");
        set_and_get(&fixture::client(&url).await).await;
        for bad in ["redis://:wrong-pw@", "redis://app:wrong-pw@", "redis://"] {
            let config = fixture::config(format!("{bad}{at}?protocol={protocol}"));
            let error = match RedisClient::connect(config).await {
                Err(error) => error,
                // Without credentials RESP2 connects, and the first call is refused.
                Ok(client) => client
                    .command("GET")
                    .key(&Key::raw("x"))
                    .run::<()>()
                    .await
                    .expect_err("refused"),
            };
            assert_eq!(error.kind(), ErrorKind::Auth, "{bad} {protocol}: {error:?}");
            assert!(!format!("{error:?} {error}").contains("wrong-pw"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn tls_with_a_custom_ca() {
    let server = Server::start().await.expect("a server starts");
    let front = TlsFront::start(server.addr()).await.expect("a TLS front starts");
    let config = fixture::settings(front.url()).ca_file(front.ca_file());
    let client = RedisClient::connect(config.build().expect("good settings")).await;
    set_and_get(&client.expect("connects")).await;
    // Our connector names its crypto provider: none was installed for the process, and two of them
    // in one build cannot make it panic.
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    let untrusting = fixture::config(front.url());
    let error = RedisClient::connect(untrusting).await.expect_err("an unknown CA is refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn upstash_by_url_and_token() {
    let server = Server::start().await.expect("a server starts");
    let front = UpstashFront::start_tls(server.addr(), "t0ken-of-upstash").await.expect("starts");
    let config = fixture::settings(front.url())
        .token("t0ken-of-upstash")
        .ca_file(front.ca_file().expect("behind TLS"))
        .build()
        .expect("good settings");
    set_and_get(&RedisClient::connect(config).await.expect("connects")).await;
}

#[tokio::test]
async fn arrays_arrive_whole_and_alike_on_both_protocols() {
    let server = Server::start().await.expect("a server starts");
    for protocol in [2, 3] {
        let client = fixture::client(&format!("{}?protocol={protocol}", server.url())).await;
        let hash = Key::raw("h");
        client
            .command("HSET")
            .key(&hash)
            .args(["f", "1", "g", "2"])
            .run::<()>()
            .await
            .expect("HSET");
        let all: Vec<String> = client.command("HGETALL").key(&hash).run().await.expect("HGETALL");
        assert_eq!(all, ["f", "1", "g", "2"]);
        let some: Vec<Option<String>> = client
            .command("HMGET")
            .key(&hash)
            .args(["nope", "g", "nope"])
            .run()
            .await
            .expect("HMGET");
        assert_eq!(some, [None, Some("2".into()), None]);
        let set = Key::raw("z");
        client.command("ZADD").key(&set).args(["1.5", "m"]).run::<()>().await.expect("ZADD");
        let score: f64 = client.command("ZSCORE").key(&set).arg("m").run().await.expect("ZSCORE");
        assert_eq!(score, 1.5);
        let info: String = client.command("INFO").arg("server").run().await.expect("INFO");
        assert!(info.contains("redis_version"));
        let none: Reply = client
            .command("LRANGE")
            .key(&Key::raw("no"))
            .arg(0)
            .arg(-1)
            .run()
            .await
            .expect("LRANGE");
        assert_eq!(none, Reply::Array(vec![]));
    }
}

#[tokio::test]
async fn errors_are_typed() {
    let (server, client) = fixture::server().await;
    let list = Key::raw("list");
    client.command("RPUSH").key(&list).arg("x").run::<()>().await.expect("RPUSH");
    let wrong = client.command("INCR").key(&list).run::<i64>().await.expect_err("wrong type");
    assert_eq!(wrong.kind(), ErrorKind::WrongType);
    let get = Script::new("test.get", "return redis.call('GET', KEYS[1])");
    let wrong = client.script(&get).key(&list).run::<Reply>().await.expect_err("wrong type");
    assert_eq!(wrong.kind(), ErrorKind::WrongType, "{wrong:?}");
    let own = Script::new("test.own", "return redis.error_reply('MOVED 1 127.0.0.1:1')");
    let own = client.script(&own).run::<Reply>().await.expect_err("an error of the script's own");
    assert!(own.to_string().contains("MOVED"), "{own:?}");
    let shape = client.command("GET").key(&Key::raw("none")).run::<i64>().await.expect_err("nil");
    assert_eq!(shape.kind(), ErrorKind::Codec);
    let two = client.command("MGET").key(&Key::raw("{a}1")).key(&Key::raw("{b}1"));
    assert_eq!(two.run::<Reply>().await.expect_err("two slots").kind(), ErrorKind::InvalidInput);
    for name in [
        "SUBSCRIBE",
        "PSUBSCRIBE",
        "SSUBSCRIBE",
        "UNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "CLIENT",
        "HELLO",
        "MONITOR",
        "RESET",
        "QUIT",
        "BLPOP",
        "MULTI",
        "EVAL",
        "CONFIG",
    ] {
        let refused = client.command(name).arg("x").run::<Reply>().await.expect_err(name);
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{name}");
    }
    let block = client.command("XREAD").args(["BLOCK", "0", "STREAMS", "s", "$"]);
    assert_eq!(block.run::<Reply>().await.expect_err("BLOCK").kind(), ErrorKind::InvalidInput);
    server
        .query::<()>(raptor_testkit::redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1"))
        .await
        .expect("CONFIG");
    let full =
        client.command("SET").key(&Key::raw("k")).arg("v").run::<()>().await.expect_err("full");
    assert_eq!(full.kind(), ErrorKind::Capacity, "{full:?}");
    let set = Script::new("test.set", "return redis.call('SET', KEYS[1], 'v')");
    let full = client.script(&set).key(&Key::raw("k")).run::<Reply>().await.expect_err("full");
    assert_eq!(full.kind(), ErrorKind::Capacity, "{full:?}");
}

/// A master that lost its replicas refuses writes: to a command, and to a script.
#[tokio::test]
async fn writes_that_are_refused_for_want_of_replicas_are_an_outage() {
    let (server, client) = fixture::server().await;
    let wanted = raptor_testkit::redis::cmd("CONFIG")
        .arg("SET")
        .arg("min-replicas-to-write")
        .arg("1")
        .clone();
    server.query::<()>(&wanted).await.expect("CONFIG");
    let key = Key::raw("k");
    let set = client.command("SET").key(&key).arg("v").run::<()>().await.expect_err("refused");
    assert_eq!((set.kind(), set.is_retryable()), (ErrorKind::TryAgain, true), "{set:?}");
    let script = Script::new("test.set", "return redis.call('SET', KEYS[1], 'v')");
    let set = client.script(&script).key(&key).run::<Reply>().await.expect_err("refused");
    assert_eq!((set.kind(), set.is_retryable()), (ErrorKind::TryAgain, false), "{set:?}");
    assert!(client.get(&key).await.expect("reads go on").is_none());
}

/// What an error says is the script's; that it ran stays true whatever it says.
#[tokio::test]
async fn an_error_from_inside_a_script_is_no_refusal_to_run_it() {
    let (server, client) = fixture::server().await;
    let key = Key::raw("n");
    let mut executed = 0;
    for word in
        ["NOSCRIPT", "TRYAGAIN", "LOADING", "MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "READONLY"]
    {
        for how in ["error({err = ARGV[1]})", "error(ARGV[1])", "return redis.error_reply(ARGV[1])"]
        {
            let script = Script::new("test.raise", &format!("redis.call('INCR', KEYS[1]) {how}"));
            let call = client.script(&script).key(&key).arg(word);
            let error =
                call.timeout(Duration::from_millis(500)).run::<Reply>().await.expect_err(how);
            executed += 1;
            assert!(error.to_string().contains(word), "{error:?}");
            assert!(!error.is_retryable(), "it has written: {error:?}");
            assert_eq!(fixture::seen(&server, "n").await, executed, "{word} by {how}");
        }
    }
}

/// A server that takes no writes for a while (a failover behind its name): writes wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_refused_by_a_replica_are_sent_again_scripts_too() {
    let (server, client) = fixture::server().await;
    let key = Key::raw("set");
    client.command("SADD").key(&key).args(["a", "b"]).run::<()>().await.expect("SADD");
    let incr = Script::new("test.incr", "return redis.call('INCR', KEYS[1])");
    let role = async |to: [&str; 2]| {
        let mut replicaof = raptor_testkit::redis::cmd("REPLICAOF");
        server.query::<()>(replicaof.arg(&to)).await.expect("REPLICAOF");
    };
    role(["127.0.0.1", "1"]).await;
    let n = Key::raw("n");
    let (command, script, framed, ()) = tokio::join!(
        client.command("INCR").key(&n).run::<i64>(),
        client.script(&incr).key(&n).run::<i64>(),
        client.command("SPOP").key(&key).arg(1).run::<Vec<String>>(),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            role(["NO", "ONE"]).await;
        }
    );
    let (one, two) = (command.expect("waited for"), script.expect("waited for"));
    assert_eq!(one.min(two) + one.max(two), 3, "each ran once: {one} {two}");
    assert_eq!(framed.expect("waited for").len(), 1);
}

#[tokio::test]
async fn a_kept_reply_keeps_no_read_buffer_alive() {
    let (_server, client) = fixture::server().await;
    let key = Key::raw("k");
    client.command("SET").key(&key).arg("v").run::<()>().await.expect("SET");
    let kept: bytes::Bytes = client.command("GET").key(&key).run().await.expect("GET");
    assert!(kept.is_unique(), "a slice of a shared buffer");
}

#[tokio::test]
async fn a_set_that_was_not_done_is_not_reported_as_done() {
    let (_server, client) = fixture::server().await;
    let key = Key::raw("k");
    for expected in [Some("OK".to_owned()), None] {
        let done: Option<String> =
            client.command("SET").key(&key).arg("v").arg("NX").run().await.expect("SET NX");
        assert_eq!(done, expected);
    }
}

#[tokio::test]
async fn a_password_of_any_bytes_is_a_password() {
    // As one line of text, the second word would be an argument, and the second line a command.
    let password = "two words\r\nFLUSHALL x";
    let server = Server::start().await.expect("a server starts");
    let mut set = raptor_testkit::redis::cmd("CONFIG");
    set.arg("SET").arg("requirepass").arg(password);
    server.query::<()>(&set).await.expect("CONFIG");
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let config = fixture::settings(server.url()).token(password).protocol(protocol);
        let client = RedisClient::connect(config.build().expect("good settings")).await;
        set_and_get(&client.expect("connects")).await;
    }
}

#[tokio::test]
async fn a_large_value_travels_apart() {
    let (server, client) = fixture::server().await;
    let value = vec![7u8; 16 << 20];
    client.command("SET").key(&Key::raw("big")).arg(value.clone()).run::<()>().await.expect("SET");
    let got: Vec<u8> =
        client.command("GET").key(&Key::raw("big")).large().run().await.expect("GET");
    assert!(got == value);
    let clients: String =
        server.query(raptor_testkit::redis::cmd("CLIENT").arg("LIST")).await.expect("CLIENT LIST");
    let big = clients.lines().filter(|line| line.contains("cmd=get") || line.contains("cmd=set"));
    assert_eq!(
        big.count(),
        1,
        "one connection carried both, none of it the small lane:\n{clients}"
    );
}

#[tokio::test]
async fn a_call_dropped_before_its_first_poll_sends_nothing() {
    let (server, client) = fixture::server().await;
    let key = Key::raw("n");
    drop(client.command("INCR").key(&key).run::<i64>());
    client.command("PING").run::<()>().await.expect("PING");
    assert_eq!(fixture::seen(&server, "n").await, 0);
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let (_server, client) = fixture::server().await;
    client.clone().close();
    for size in [1, 1 << 20] {
        let call = client.command("ECHO").arg(vec![b'x'; size]).timeout(Duration::MAX);
        assert_eq!(call.run::<()>().await.expect_err("closed").kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_single_server_is_no_cluster() {
    let server = Server::start().await.expect("a server starts");
    let url = format!("redis-cluster://127.0.0.1:{}", server.port());
    let error = RedisClient::connect(fixture::config(url)).await.expect_err("not a cluster");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().contains("redis://"), "{error}");
}
