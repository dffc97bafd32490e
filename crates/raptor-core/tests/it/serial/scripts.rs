//! The script cache is flushed under load: nobody notices.

use std::sync::Arc;
use std::time::Duration;

use raptor_core::{Key, Script};
use raptor_testkit::redis;

use crate::fixture;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn script_flush_each_fifty_ms_under_sixty_four_callers_reaches_no_caller() {
    let (server, client) = fixture::server().await;
    let incr = Arc::new(Script::new("test.incr", "return redis.call('INCR', KEYS[1])"));
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let (client, incr) = (client.clone(), incr.clone());
            tokio::spawn(async move {
                let key = Key::raw(format!("n:{caller}"));
                for n in 1..=200 {
                    let got: i64 = client.script(&incr).key(&key).run().await.expect("no error");
                    assert_eq!(got, n);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    let mut flushes = 0;
    while callers.iter().any(|caller| !caller.is_finished()) {
        server.query::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await.expect("flushes");
        flushes += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for caller in callers {
        caller.await.expect("no error");
    }
    assert!(flushes > 10, "{flushes}");
}
