//! Tenants store what a client library could mistake: every reader still gets its own data.

use std::sync::Arc;

use raptor_core::{Key, RedisClient, Reply, Script};
use raptor_testkit::Cluster;

use crate::fixture;

/// What fred takes for pub/sub messages, and for redirections on a cluster.
const LISTS: &[&[&str]] = &[
    &["message", "a", "b"],
    &["pmessage", "p", "a", "b"],
    &["smessage", "a", "b"],
    &["subscribe", "a", "1"],
    &["unsubscribe", "a", "1"],
    &["punsubscribe", "a", "1"],
    &["pubsub", "message", "a", "b"],
    &["invalidate", "x"],
];
const VALUES: &[&str] = &[
    "ASK 100 127.0.0.1:1",
    "MOVED 100 127.0.0.1:1",
    "CLUSTERDOWN x",
    "-ERR x",
    "message",
    "QUEUED",
];

async fn store(client: &RedisClient) {
    for (n, items) in LISTS.iter().enumerate() {
        let key = Key::raw(format!("list:{n}"));
        client
            .command("RPUSH")
            .key(&key)
            .args(items.iter().copied())
            .run::<()>()
            .await
            .expect("RPUSH");
        let key = Key::raw(format!("hash:{n}"));
        let pairs = items.chunks_exact(2).flatten().copied();
        client.command("HSET").key(&key).args(pairs).run::<()>().await.expect("HSET");
    }
    for (n, value) in VALUES.iter().enumerate() {
        let key = Key::raw(format!("value:{n}"));
        client.command("SET").key(&key).arg(*value).run::<()>().await.expect("SET");
    }
}

async fn read(client: RedisClient, reader: usize) {
    let own = Key::raw(format!("own:{reader}"));
    client.command("SET").key(&own).arg(reader).run::<()>().await.expect("SET");
    let users = Script::new("test.users", "return {ARGV[1], ARGV[2], ARGV[3], ARGV[4]}");
    for round in 0..40 {
        let n = (reader + round) % LISTS.len();
        let list: Vec<String> = client
            .command("LRANGE")
            .key(&Key::raw(format!("list:{n}")))
            .arg(0)
            .arg(-1)
            .run()
            .await
            .expect("LRANGE");
        assert_eq!(list, LISTS[n]);
        let hash: Vec<String> = client
            .command("HGETALL")
            .key(&Key::raw(format!("hash:{n}")))
            .run()
            .await
            .expect("HGETALL");
        assert_eq!(hash[0], LISTS[n][0]);
        let script: Vec<String> = client
            .script(&users)
            .args(LISTS[n].iter().copied())
            .run()
            .await
            .expect("a user's script");
        assert_eq!(script, LISTS[n]);
        let n = (reader + round) % VALUES.len();
        let value: String =
            client.command("GET").key(&Key::raw(format!("value:{n}"))).run().await.expect("GET");
        assert_eq!(value, VALUES[n]);
        let mine: usize = client.command("GET").key(&own).run::<u64>().await.expect("GET") as usize;
        assert_eq!(mine, reader, "another caller's reply");
    }
}

async fn sixty_four_readers(url: &str) {
    let client = fixture::client(url).await;
    store(&client).await;
    let readers: Vec<_> =
        (0..64).map(|reader| tokio::spawn(read(client.clone(), reader))).collect();
    for reader in readers {
        reader.await.expect("every reader gets its own data");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_words_of_the_protocol_shift_no_reply_on_resp2() {
    let server = raptor_testkit::Server::start().await.expect("a server starts");
    sixty_four_readers(&format!("{}?protocol=2", server.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_words_of_the_protocol_shift_no_reply_on_resp3() {
    let server = raptor_testkit::Server::start().await.expect("a server starts");
    sixty_four_readers(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_words_of_the_protocol_shift_no_reply_on_the_cluster() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    sixty_four_readers(&cluster.url()).await;
}

/// What a script returns may be made of what a tenant stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_no_client_could_read_are_refused_and_harm_nobody() {
    let server = raptor_testkit::Server::start().await.expect("a server starts");
    let json = Script::new("test.json", "return cjson.decode(redis.call('GET', KEYS[1]))");
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    for protocol in [2, 3] {
        let client = fixture::client(&format!("{}?protocol={protocol}", server.url())).await;
        let bystander = tokio::spawn({
            let client = client.clone();
            async move {
                for n in 0..300 {
                    let echo: i64 = client.command("ECHO").arg(n).run().await.expect("unharmed");
                    assert_eq!(echo, n);
                }
            }
        });
        let key = Key::raw("stored");
        for stored in [
            &deep(200),
            &deep(900),
            r#"{"map":{"a":1}}"#,
            r#"[{"set":{"a":true}}]"#,
            r#"{"verbatim_string":{"format":"zzz","string":"x"}}"#,
            r#"{"big_number":"x"}"#,
        ] {
            client.command("SET").key(&key).arg(stored).run::<()>().await.expect("SET");
            let error = client.script(&json).key(&key).run::<Reply>().await.expect_err(stored);
            assert_eq!(error.kind(), raptor_core::ErrorKind::InvalidInput, "{error:?}");
        }
        for source in [
            "local t = {} t[1] = t return t",
            "local t = {} for _ = 1, 5000 do t = {t} end return t",
            "redis.setresp(3) return {map = {[{1, 2}] = 1}}",
            "return {1, {ok = '\\255'}}",
            "return {1, {err = 'ERR \\255'}}",
            "return redis.status_reply('\\255')",
            "return setmetatable({}, {__index = function() error({err = 'TRYAGAIN x'}) end})",
            "error(setmetatable({}, {__tostring = function() return 'x' end}))",
        ] {
            let script = Script::new("test.hostile", source);
            let error = client.script(&script).run::<Reply>().await.expect_err(source);
            assert!(!error.is_retryable(), "{error:?}");
            assert_eq!(error.kind(), raptor_core::ErrorKind::InvalidInput, "{source}: {error:?}");
        }
        let hidden = Script::new("test.tag", "return tostring(tag) .. tostring(raptor_tag)");
        let error = client.script(&hidden).run::<Reply>().await.expect_err("not in sight");
        assert_eq!(error.kind(), raptor_core::ErrorKind::Server, "{error:?}");
        let fine =
            Script::new("test.fine", &format!("return {}", "{".repeat(30) + &"}".repeat(30)));
        client.script(&fine).run::<Reply>().await.expect("thirty deep is fine");
        bystander.await.expect("the bystander got its own replies");
    }
}

/// Something on the way shifts replies by one: whoever is framed finds out, and nothing of it is
/// handed out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shifted_reply_closes_the_connection_and_is_never_handed_out() {
    let server = raptor_testkit::Server::start().await.expect("a server starts");
    let stray = b"*3\r\n$4\r\ntXYZ\r\n$1\r\nR\r\n$5\r\nother\r\n";
    let front = shifting_front(server.addr(), stray.to_vec(), Stray::BeforeAReply).await;
    let url = format!("redis://127.0.0.1:{}?protocol=2", front.port());
    let client = fixture::client(&url).await;
    let echo = Arc::new(Script::new("test.echo", "return ARGV[1]"));
    let mut shifted = 0;
    for round in 0..40 {
        match client.script(&echo).arg(round).run::<i64>().await {
            Ok(got) => assert_eq!(got, round, "a reply of another call was handed out"),
            Err(error) => {
                assert!(!error.is_retryable(), "{error:?}");
                shifted += 1;
            }
        }
    }
    assert!(shifted > 0, "the front shifted replies");
    let fine: Reply = client.script(&echo).arg("x").run().await.expect("a fresh connection");
    assert_eq!(fine, Reply::Bytes("x".into()));
}

/// Where a stray reply stands.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Stray {
    BeforeAReply,
    InPlaceOfAReply,
}

/// Forwards, and once, after the first few replies, injects a reply that nobody asked for.
pub(crate) async fn shifting_front(
    upstream: std::net::SocketAddr,
    stray: Vec<u8>,
    place: Stray,
) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(upstream).await.expect("connects");
            let stray = std::mem::take(&mut first).then(|| stray.clone());
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
            tokio::spawn(async move {
                let (mut buffer, mut replies) = (vec![0; 65_536], 0);
                while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                    replies += 1;
                    if replies == 12
                        && let Some(stray) = &stray
                    {
                        let _ = to_client.write_all(stray).await;
                        if place == Stray::InPlaceOfAReply {
                            continue;
                        }
                    }
                    if to_client.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}
