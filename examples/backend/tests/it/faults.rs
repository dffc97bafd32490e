//! Links that break and servers that go: the books stay exact, and nothing hangs.

use std::time::{Duration, Instant};

use raptor_testkit::{Proxy, Server, eventually, redis};
use tokio::process::Command;

use crate::rig::{end, keys_left, run, start};

#[tokio::test]
async fn links_that_break_again_and_again_cost_no_token() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let child = start(&proxy.url(), &["--requests", "600", "--speed", "40"]);
    first_request(&server).await;
    // A reply is lost on its way, and another: who waits cannot know what ran.
    for _ in 0..40 {
        proxy.drop_reply_to(b"EVALSHA");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let run = end(child).await;
    run.assert_books_ok();
    assert!(run.out.contains("errors: usage.record: connection, "), "{}", run.out);
    assert!(run.out.contains("errors: ratelimit.decide: outcome_unknown, "), "{}", run.out);
    assert_eq!(keys_left(&server).await, 0);
}

#[tokio::test]
async fn no_server_is_one_error() {
    let started = Instant::now();
    let run = run("redis://127.0.0.1:1", &[]).await;
    assert_eq!((run.code, run.err.lines().count()), (Some(1), 1), "{run:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn ctrl_c_ends_the_arrivals_and_the_books_of_what_arrived_balance() {
    let server = Server::start().await.unwrap();
    let child = start(&server.url(), &["--requests", "100000", "--speed", "1"]);
    first_request(&server).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let run = end(child).await;
    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.out.contains("interrupted") && run.out.contains("books: ok"), "{}", run.out);
    assert_eq!(keys_left(&server).await, 0);
}

/// Somebody's usage was recorded.
async fn first_request(server: &Server) {
    let probe = || async {
        let keys: Vec<String> =
            server.query(redis::cmd("KEYS").arg("*usage:*")).await.map_err(|e| e.to_string())?;
        if keys.is_empty() { Err("no usage yet".to_owned()) } else { Ok(()) }
    };
    eventually("the first request", Duration::from_secs(20), probe).await.unwrap();
}
