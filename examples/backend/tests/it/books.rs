//! Books that do not balance end the run with exit code 1 and what differs.

use std::time::Duration;

use raptor_testkit::{Server, eventually, redis};

use crate::rig::{end, keys_left, start};

#[tokio::test]
async fn a_single_token_too_many_is_found() {
    let server = Server::start().await.unwrap();
    let child = start(&server.url(), &["--requests", "300", "--speed", "20"]);
    let pattern = redis::cmd("KEYS").arg("*:usage:{tenant-01}:2026-01").to_owned();
    let key = eventually("the first usage", Duration::from_secs(20), || async {
        let keys: Vec<String> = server.query(&pattern).await.unwrap();
        keys.into_iter().next().ok_or_else(|| "no key".to_owned())
    });
    let one_more = redis::cmd("HINCRBY").arg(key.await.unwrap()).arg("i").arg(1).to_owned();
    server.query::<i64>(&one_more).await.unwrap();

    let run = end(child).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.out.contains("books: WRONG in 1 places"), "{}", run.out);
    assert!(run.out.contains("tenant-01, months: context tokens are"), "{}", run.out);
    assert!(run.out.trim_end().ends_with(": 1 more"), "{}", run.out);
    assert_eq!(keys_left(&server).await, 0);
}
