//! Error lines that are not UTF-8: which there could be, and that none of them reaches a connection.

use std::time::Duration;

use raptor_core::{ErrorKind, Key, RedisClient, Reply, Script};
use raptor_testkit::{Proxy, Server, redis};

use crate::desync::{Stray, shifting_front};
use crate::fixture::{self, slack, until};

/// A client of each protocol, and the proxy that counts its connections.
async fn clients(server: &Server) -> Vec<(RedisClient, Proxy)> {
    let mut clients = Vec::new();
    for protocol in [2, 3] {
        let proxy = Proxy::start(server.addr()).await.expect("a proxy starts");
        let url = format!("{}?protocol={protocol}", proxy.url());
        clients.push((fixture::client(&url).await, proxy));
    }
    clients
}

/// The engines quote the half of a character at which they stop: `unexpected symbol near '\xc3'`.
#[tokio::test]
async fn a_script_that_does_not_compile_is_a_typed_error_and_costs_no_connection() {
    let server = Server::start().await.expect("a server starts");
    for (client, proxy) in clients(&server).await {
        let key = Key::raw("n");
        for source in [
            "return é",
            "local é = 1",
            "return \"é\n\"",
            "return 'é' 'é'",
            "return [[é",
            "--[[ é",
            "return x.é",
            "goto é",
            "#!lua flags=é\nreturn 1",
            "#!lué\nreturn 1",
            "return 1 \u{10ffff}",
        ] {
            let script = Script::new("test.broken", source);
            let error = client.script(&script).run::<Reply>().await.expect_err(source);
            assert_eq!(error.kind(), ErrorKind::Server, "{source}: {error:?}");
            // Where it is the first of its kind in a pipeline, it travels whole.
            let mut pipeline = client.pipeline();
            pipeline.push(client.script(&script));
            pipeline.push(client.command("INCR").key(&key));
            let results = pipeline.execute().await.expect("each for itself");
            let kinds = results.iter().map(|result| result.as_ref().err().map(|e| e.kind()));
            assert_eq!(kinds.collect::<Vec<_>>(), [Some(ErrorKind::Server), None], "{source}");
        }
        assert_eq!(proxy.connections(), 1, "no connection was replaced");
    }
}

#[tokio::test]
async fn an_error_of_any_bytes_is_a_typed_error_and_costs_no_connection() {
    let server = Server::start().await.expect("a server starts");
    for (client, proxy) in clients(&server).await {
        for source in [
            "error('\\255')",
            "error({err = 'ERR \\255'})",
            "return redis.error_reply('ERR \\255')",
            "return {err = '\\255'}",
            "return redis.call('OBJECT', '\\255')",
            "return redis.call('\\255')",
        ] {
            let script = Script::new("test.raise", source);
            let error = client.script(&script).run::<Reply>().await.expect_err(source);
            assert_eq!(error.kind(), ErrorKind::Server, "{source}: {error:?}");
        }
        for (command, words) in [
            ("OBJECT", vec![&b"\xff"[..], b"k"]),
            ("XGROUP", vec![b"\xff"]),
            ("XPENDING", vec![b"\xff", b"\xff"]),
            ("NONESUCH", vec![b"\xff"]),
            ("SET", vec![b"\xff", b"v", b"\xff"]),
            ("ECHO", vec![b"\xff", b"\xff"]),
        ] {
            let error = client.command(command).args(words.clone()).run::<Reply>().await;
            let error = error.expect_err(command);
            assert_eq!(error.kind(), ErrorKind::Server, "{command}: {error:?}");
            let mut atomic = client.pipeline().atomic();
            atomic.push(client.command(command).args(words));
            let results = atomic.execute().await.expect("each for itself");
            let error = results[0].as_ref().expect_err(command);
            assert_eq!(error.kind(), ErrorKind::Server, "{command}: {error:?}");
        }
        assert_eq!(proxy.connections(), 1, "no connection was replaced");
    }
}

#[tokio::test]
async fn sources_beyond_ascii_mean_what_they_meant() {
    let (server, client) = fixture::server().await;
    for source in [
        "return 'é'",
        "return \"\\é\\\"é1\"",
        "return 'a\\\r\né\\\n'",
        "return [[é]] .. [==[\r\n\\é\"\r\n]] ']==]",
        "--[[ é\n ]] -- é ]]\nreturn 'é' --[==[ é ]] ]==] .. 'é'",
        "return #'é' .. '\u{10ffff}1\u{80}\\0019'",
        "local t = {['é'] = 'ü'} return t.x or t[ [[é]] ]",
        "local function f(x) return x end return f[[é]] .. f'é' .. f\"é\"",
        "return '--é' -- '\n .. 'é[[' .. ']]'",
        "return [[\n\né]] .. debug",
    ] {
        let mut eval = redis::cmd("EVAL");
        let meant = server.query::<Vec<u8>>(eval.arg(source).arg(0)).await;
        let script = Script::new("test.beyond", source);
        match (meant, client.script(&script).run::<Vec<u8>>().await) {
            (Ok(meant), Ok(got)) => assert_eq!(got, meant, "{source}"),
            // The line of the error is the last number before its words.
            (Err(_), Err(error)) => assert!(error.to_string().contains(":3:"), "{error:?}"),
            (meant, got) => panic!("{source}: {meant:?}, {got:?}"),
        }
    }
}

/// Should one come all the same: calls end in time with typed errors, and a fresh connection serves.
///
/// fred passes over such an error line in RESP2, so that each reply goes to the caller behind; the
/// supervisor's PING tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_no_text_ends_its_connection_and_wedges_nobody() {
    let server = Server::start().await.expect("a server starts");
    for protocol in [2, 3] {
        for line in [&b"-ERR \xff\r\n"[..], b"+\xff\r\n"] {
            let front = shifting_front(server.addr(), line.to_vec(), Stray::InPlaceOfAReply).await;
            let client = fixture::client(&format!("redis://{front}?protocol={protocol}")).await;
            let incr = async || client.command("INCR").key(&Key::raw("n")).run::<i64>().await;
            let error = loop {
                if let Err(error) = incr().await {
                    break error;
                }
            };
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::OutcomeUnknown | ErrorKind::Codec), "{error:?}");
            let back = async || incr().await.is_ok();
            until(slack(Duration::from_secs(3)), "a fresh connection", back).await.expect("back");
        }
    }
}
