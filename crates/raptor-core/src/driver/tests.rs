//! The contract, held against every driver that is compiled in.

use futures_util::FutureExt;
use futures_util::future::join_all;
use raptor_testkit::{Server, redis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::Secret;

const PATIENCE: Duration = Duration::from_secs(20);

fn drivers() -> impl Iterator<Item = Driver> {
    [Driver::Fred, Driver::Redis].into_iter().filter(|driver| driver.is_compiled())
}

fn target(driver: Driver, port: u16) -> Target {
    Target {
        endpoint: Endpoint::Tcp { host: "127.0.0.1".into(), port },
        credentials: Credentials::default(),
        tls: None,
        database: 0,
        protocol: Protocol::Resp3,
        connect_timeout: PATIENCE,
        driver,
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// A connection of each driver in each protocol.
async fn connections(port: u16) -> Vec<Arc<dyn Connection>> {
    let mut connections = Vec::new();
    for driver in drivers() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let target = Target { protocol, ..target(driver, port) };
            connections.push(connect(&target).await.expect("connects"));
        }
    }
    connections
}

fn request(words: &str) -> Request {
    let mut words = words.split(' ').map(str::to_owned);
    let name = words.next().expect("a name");
    words.fold(Request::new(name), Request::arg)
}

async fn send(connection: &Arc<dyn Connection>, words: &str) -> Answer {
    let batch = [request(words)];
    in_time(connection.send(&batch)).await.expect("an answer").pop().expect("one")
}

async fn int(connection: &Arc<dyn Connection>, words: &str) -> i64 {
    send(connection, words).await.expect("no error").decode().expect("an integer")
}

fn text(text: &'static str) -> Reply {
    Reply::Bytes(text.into())
}

/// A server that answers CANNED with `reply`, and everything else with OK.
async fn canned(reply: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while let Ok(n @ 1..) = client.read(&mut request).await {
                    let wanted = request[..n].windows(6).any(|window| window == b"CANNED");
                    let answer = if wanted { reply } else { b"+OK\r\n" };
                    if client.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

async fn answer_to(driver: Driver, reply: &'static [u8]) -> Answer {
    let target = Target { protocol: Protocol::Resp2, ..target(driver, canned(reply).await) };
    send(&connect(&target).await.expect("connects"), "CANNED").await
}

#[tokio::test]
async fn an_error_is_the_very_line_that_the_server_sent() {
    for (sent, line) in [
        (&b"-ERR wrong\r\n"[..], "ERR wrong"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "MOVED 3999 127.0.0.1:6381"),
        (b"-ASK 3999 [::1]:6381\r\n", "ASK 3999 [::1]:6381"),
        (b"-NOSCRIPT No matching script.\r\n", "NOSCRIPT No matching script."),
        (b"-CROSSSLOT Keys\r\n", "CROSSSLOT Keys"),
        (b"-LOADING x\r\n", "LOADING x"),
        (b"-READONLY  two  spaces \r\n", "READONLY  two  spaces "),
        (b"-WRONGTYPE x\r\n", "WRONGTYPE x"),
        (b"-OURS: a word: of our own\r\n", "OURS: a word: of our own"),
        (b"-ALONE\r\n", "ALONE"),
        (b"-ERR\r\n", "ERR"),
        (b"-ERR \r\n", "ERR "),
        (b"-\r\n", ""),
        (b"!21\r\nSYNTAX invalid syntax\r\n", "SYNTAX invalid syntax"),
        ("-ERR größer\r\n".as_bytes(), "ERR größer"),
    ] {
        for driver in drivers() {
            let refused = answer_to(driver, sent).await.expect_err("an error");
            assert_eq!(refused.0, line, "{driver}");
        }
    }
}

#[tokio::test]
async fn a_reply_of_every_type_is_read_alike() {
    let array = |items: &[Reply]| Reply::Array(items.to_vec());
    for (sent, reply) in [
        (&b"+OK\r\n"[..], text("OK")),
        (b"+\r\n", text("")),
        (b"$3\r\na\r\n\r\n", text("a\r\n")),
        (b"$2\r\n\xff\x00\r\n", Reply::Bytes(Bytes::from_static(b"\xff\x00"))),
        (b":-7\r\n", Reply::Int(-7)),
        (b"$-1\r\n", Reply::Nil),
        (b"*-1\r\n", Reply::Nil),
        (b"_\r\n", Reply::Nil),
        (b"#t\r\n", Reply::Int(1)),
        (b"#f\r\n", Reply::Int(0)),
        (b",1.5\r\n", Reply::Double(1.5)),
        (b",-inf\r\n", Reply::Double(f64::NEG_INFINITY)),
        (b"(-12345678901234567890123\r\n", text("-12345678901234567890123")),
        (b"=7\r\ntxt:abc\r\n", text("abc")),
        (b"*0\r\n", array(&[])),
        (b"*2\r\n*1\r\n:1\r\n$-1\r\n", array(&[array(&[Reply::Int(1)]), Reply::Nil])),
        // Of one: a set has no order, and fred keeps none.
        (b"~1\r\n:1\r\n", array(&[Reply::Int(1)])),
        (b"%1\r\n+a\r\n:1\r\n", array(&[text("a"), Reply::Int(1)])),
        (b"|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", text("v")),
        (b"*2\r\n-MOVED 1 h:1\r\n+OK\r\n", array(&[text("MOVED 1 h:1"), text("OK")])),
        (b"*1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n", {
            array(&[array(&[text("message"), text("a"), text("b")])])
        }),
    ] {
        for driver in drivers() {
            let got = answer_to(driver, sent).await.expect("no error");
            assert_eq!(got, reply, "{driver} of {}", sent.escape_ascii());
        }
    }
}

#[tokio::test]
async fn answers_stand_in_the_order_of_their_requests_errors_too() {
    let server = Server::start().await.expect("a server");
    for connection in connections(server.port()).await {
        let batch = ["SET list x", "LPUSH list y", "GET list", "NOSUCH a", "PING", "DEL list"];
        let batch = batch.map(request);
        let answers = in_time(connection.send(&batch)).await.expect("answers");
        let words = |answer: &Answer| match answer {
            Ok(Reply::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Ok(other) => format!("{other:?}"),
            Err(refused) => refused.word().to_owned(),
        };
        let got: Vec<String> = answers.iter().map(words).collect();
        assert_eq!(got, ["OK", "WRONGTYPE", "x", "ERR", "PONG", "int 1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_stay_in_one_piece_under_many_callers() {
    let server = Server::start().await.expect("a server");
    for connection in connections(server.port()).await {
        let callers = (0..64).map(|caller| {
            let connection = Arc::clone(&connection);
            tokio::spawn(async move {
                let batch: Vec<_> = (0..3 + caller % 5).map(|_| request("INCR n")).collect();
                for _ in 0..20 {
                    let answers = in_time(connection.send(&batch)).await.expect("answers");
                    let counted = answers.into_iter().map(|answer| answer.expect("no error"));
                    let counted: Vec<i64> = counted.map(|n| n.decode().expect("n")).collect();
                    assert!(counted.windows(2).all(|pair| pair[1] == pair[0] + 1), "{counted:?}");
                }
            })
        });
        for caller in join_all(callers).await {
            caller.expect("in one piece");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_before_the_first_poll_and_all_of_it_at_that() {
    let server = Server::start().await.expect("a server");
    for connection in connections(server.port()).await {
        let (unsent, sent) = ([request("INCR unsent")], [request("INCR sent")]);
        drop(connection.send(&unsent));
        let first_poll = connection.send(&sent).now_or_never();
        assert!(first_poll.is_none());
        // Whether or not its future still lives, what was queued goes out ahead of what follows.
        let sent = int(&connection, "INCR sent").await;
        assert!((1..=2).contains(&sent), "{sent}");
        assert_eq!(int(&connection, "EXISTS unsent").await, 0);
        send(&connection, "FLUSHALL").await.expect("flushes");
    }
}

#[tokio::test]
async fn what_is_in_flight_when_it_is_closed_is_lost_and_nothing_follows() {
    let server = Server::start().await.expect("a server");
    for connection in connections(server.port()).await {
        let (block, incr) = ([request("BLPOP nothing 0")], [request("INCR n")]);
        let mut blocked = connection.send(&block);
        assert!((&mut blocked).now_or_never().is_none());
        connection.close();
        assert!(matches!(in_time(blocked).await, Err(SendError::Lost(_))));
        assert!(matches!(in_time(connection.send(&incr)).await, Err(SendError::NotSent(_))));
        in_time(connection.closed()).await;
    }
    let n: Option<i64> = server.query(redis::cmd("GET").arg("n")).await.expect("GET");
    assert_eq!(n, None);
}

/// A connection waits as long as the server does: what may block has one of its own, and deadlines are the caller's.
#[tokio::test]
async fn a_command_that_blocks_is_answered_when_the_server_answers() {
    let server = Server::start().await.expect("a server");
    for blocking in connections(server.port()).await {
        let other = connections(server.port()).await.remove(0);
        let popped = send(&blocking, "BLPOP queue 0");
        let pushed = async {
            until_blocked(&other).await;
            send(&other, "RPUSH queue x").await
        };
        let (popped, pushed) = in_time(futures_util::future::join(popped, pushed)).await;
        assert_eq!(pushed.expect("pushed"), Reply::Int(1));
        assert_eq!(popped.expect("popped"), Reply::Array(vec![text("queue"), text("x")]));
        assert_eq!(in_time(send(&blocking, "BLPOP queue 0.01")).await.expect("nil"), Reply::Nil);
    }
}

async fn until_blocked(connection: &Arc<dyn Connection>) {
    loop {
        let info = send(connection, "INFO clients").await.expect("INFO");
        let Reply::Bytes(info) = info else { panic!("{info:?}") };
        if String::from_utf8_lossy(&info).contains("blocked_clients:1") {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_known_without_being_asked_for() {
    let server = Server::start().await.expect("a server");
    for connection in connections(server.port()).await {
        let id = int(&connection, "CLIENT ID").await;
        let (block, incr) = ([request("BLPOP nothing 0")], [request("INCR n")]);
        let mut blocked = connection.send(&block);
        assert!((&mut blocked).now_or_never().is_none());
        let mut kill = redis::cmd("CLIENT");
        server.query::<()>(kill.arg("KILL").arg("ID").arg(id)).await.expect("killed");
        in_time(connection.closed()).await;
        assert!(matches!(in_time(blocked).await, Err(SendError::Lost(_))));
        assert!(matches!(in_time(connection.send(&incr)).await, Err(SendError::NotSent(_))));
    }
}

/// fred hands them out as replies; we ask for none.
#[cfg(feature = "driver-redis")]
#[tokio::test]
async fn pushes_disturb_no_reply() {
    let server = Server::start().await.expect("a server");
    let connection = connect(&target(Driver::Redis, server.port())).await.expect("connects");
    send(&connection, "CLIENT TRACKING ON BCAST").await.expect("tracks");
    for n in 1..=200 {
        let set = redis::cmd("SET").arg("other").arg(n).to_owned();
        let (set, counted) = tokio::join!(server.query::<()>(&set), int(&connection, "INCR n"));
        set.expect("SET");
        assert_eq!(counted, n);
    }
}

#[tokio::test]
async fn a_refused_login_tells_the_servers_words_and_no_password() {
    let server = Server::builder().password("right").start().await.expect("a server");
    for driver in drivers() {
        let password = Some(Secret::new("wrong \"pass\r\nword"));
        let credentials = Credentials::new(Some("default".into()), password);
        let target = Target { credentials, ..target(driver, server.port()) };
        let command = connect(&target).await.err().expect("refused");
        let subscriber = connect_subscriber(&target, vec!["c".into()]).await;
        for error in [command, subscriber.err().expect("refused")] {
            let refused = error.refused.as_ref().expect("a refusal").0.as_str();
            let wanted = "WRONGPASS invalid username-password pair or user is disabled.";
            assert_eq!(refused, wanted, "{driver}");
            assert!(!format!("{error:?} {error}").contains("pass\r"), "{driver}");
        }
        let credentials = Credentials::new(None, Some(Secret::new("right")));
        let target = Target { credentials, database: 99, ..target };
        let error = connect(&target).await.err().expect("refused");
        assert_eq!(error.refused.expect("a refusal").word(), "ERR", "{driver}: {}", error.message);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_ends_the_attempt_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("an address").port();
    for driver in drivers() {
        let connect_timeout = Duration::from_millis(200);
        let target = Target { connect_timeout, ..target(driver, port) };
        assert!(in_time(connect(&target)).await.err().expect("none").refused.is_none());
        let subscriber = in_time(connect_subscriber(&target, vec!["c".into()])).await;
        assert!(subscriber.err().expect("none").refused.is_none(), "{driver}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_from_whom_nobody_takes_keeps_some_and_says_that_it_lost_others() {
    const PUBLISHED: i64 = 20_000;
    let server = Server::start().await.expect("a server");
    for driver in drivers() {
        let target = target(driver, server.port());
        let subscriber = connect_subscriber(&target, vec!["c".into()]).await;
        let mut subscriber = subscriber.expect("subscribes");
        let flood = "for n = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', 'c', n) end";
        let mut flood = redis::cmd("EVAL").arg(flood).arg(0).arg(PUBLISHED).to_owned();
        server.query::<()>(&flood).await.expect("publishes");
        // Answered behind all of it, so that all of it was read.
        for _ in 0..2 {
            in_time(subscriber.ping()).await.expect("a sign of life");
        }
        let (mut kept, mut lagged) = (0, 0);
        while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), subscriber.next()).await
        {
            match event.expect("alive") {
                Event::Message { channel, .. } => kept += i64::from(channel == "c"),
                Event::Lagged => lagged += 1,
            }
        }
        assert_eq!((kept, lagged), (2_048, 1), "{driver}");
        flood = redis::cmd("PUBLISH").arg("c").arg("again").to_owned();
        server.query::<()>(&flood).await.expect("publishes");
        let next = in_time(subscriber.next()).await.expect("alive");
        assert!(matches!(next, Event::Message { payload, .. } if &payload[..] == b"again"));
    }
}

#[tokio::test]
async fn a_subscriber_ends_with_its_connection() {
    let server = Server::start().await.expect("a server");
    for driver in drivers() {
        let target = target(driver, server.port());
        let subscriber = connect_subscriber(&target, vec!["c".into(), "d".into()]).await;
        let mut subscriber = subscriber.expect("subscribes");
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("pubsub");
        let killed: i64 = server.query(&kill).await.expect("killed");
        assert_eq!(killed, 1, "{driver}");
        assert!(in_time(subscriber.next()).await.is_none(), "{driver}");
        assert!(in_time(subscriber.ping()).await.is_err(), "{driver}");
    }
}

/// Only shard channels are taken away by servers, and we use none. fred does not tell of it.
#[cfg(feature = "driver-redis")]
#[tokio::test]
async fn a_subscriber_that_the_server_unsubscribes_has_ended() {
    for away in ["unsubscribe", "sunsubscribe"] {
        let said = format!(
            "*3\r\n$9\r\nsubscribe\r\n$6\r\nCANNED\r\n:1\r\n*3\r\n${}\r\n{away}\r\n$6\r\nCANNED\r\n:0\r\n",
            away.len()
        );
        let port = canned(said.leak().as_bytes()).await;
        let target = Target { protocol: Protocol::Resp2, ..target(Driver::Redis, port) };
        let subscriber = connect_subscriber(&target, vec!["CANNED".into()]).await;
        let mut subscriber = subscriber.expect("subscribes");
        assert!(in_time(subscriber.next()).await.is_none(), "{away}");
    }
}
