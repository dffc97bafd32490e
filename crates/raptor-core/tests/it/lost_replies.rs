//! A reply that is lost: the call ran once, is never sent again, and its caller learns the truth.

use std::time::Duration;

use raptor_core::{ErrorKind, Key, Script};
use raptor_testkit::Fault;

use crate::fixture::{self, until};

#[tokio::test]
async fn a_lost_reply_is_never_executed_twice_and_its_outcome_is_unknown() {
    let (server, proxy, client) = fixture::proxied().await;
    let key = Key::raw("n");
    let incr = Script::new("test.incr", "return redis.call('INCR', KEYS[1])");
    client.script(&incr).key(&key).run::<i64>().await.expect("runs");
    let mut executed = 1;
    for needle in ["INCR", "EVALSHA"] {
        proxy.drop_reply_to(needle.as_bytes());
        let error = match needle {
            "INCR" => client.command("INCR").key(&key).run::<i64>().await,
            _ => client.script(&incr).key(&key).run::<i64>().await,
        }
        .expect_err("its reply is lost");
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
        assert!(!error.is_retryable());
        executed += 1;
        // The client is usable again, and the lost call was not sent a second time.
        fixture::reconnected(&client).await;
        assert_eq!(fixture::seen(&server, "n").await, executed, "{needle}");
    }
}

#[tokio::test]
async fn a_lost_reply_to_a_read_may_be_asked_for_again() {
    let (_server, proxy, client) = fixture::proxied().await;
    proxy.drop_reply_to(b"GET");
    let error = client.command("GET").key(&Key::raw("n")).run::<()>().await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.is_retryable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_under_sixty_four_callers_execute_nothing_twice() {
    let (server, proxy, client) = fixture::proxied().await;
    let incr = Script::new("test.incr", "return redis.call('INCR', KEYS[1])");
    let incr = std::sync::Arc::new(incr);
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let (client, incr) = (client.clone(), incr.clone());
            tokio::spawn(async move {
                let key = Key::raw(format!("n:{caller}"));
                let (mut done, mut unknown) = (0, 0);
                for _ in 0..100 {
                    let outcome = if caller % 2 == 0 {
                        client.command("INCR").key(&key).run::<i64>().await
                    } else {
                        client.script(&incr).key(&key).run::<i64>().await
                    };
                    match outcome {
                        Ok(_) => done += 1,
                        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => unknown += 1,
                        Err(error) => assert!(error.is_retryable(), "{error:?}"),
                    }
                }
                (caller, done, unknown)
            })
        })
        .collect();
    for _ in 0..5 {
        let answered = proxy.count_requests(b"INCR");
        until(Duration::from_secs(5), "traffic", async || answered.get() > 50)
            .await
            .expect("traffic");
        proxy.cut();
    }
    for caller in callers {
        let (caller, done, unknown) = caller.await.expect("ends");
        let executed = fixture::seen(&server, &format!("n:{caller}")).await;
        assert!(
            (done..=done + unknown).contains(&executed),
            "caller {caller}: {executed} executed, {done} done, {unknown} unknown"
        );
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_to_be_sent_again() {
    let (server, proxy, client) = fixture::proxied().await;
    let key = Key::raw("n");
    proxy.set(Fault::SwallowReplies);
    let seen = proxy.count_requests(b"INCR");
    let dropped = client.command("INCR").key(&key).run::<i64>();
    tokio::select! {
        biased;
        outcome = dropped => panic!("no reply can come: {outcome:?}"),
        reached = until(Duration::from_secs(5), "the request", async || seen.get() == 1) => {
            reached.expect("the request reached the server");
        }
    }
    proxy.set(Fault::Pass);
    proxy.cut();
    fixture::reconnected(&client).await;
    assert_eq!(fixture::seen(&server, "n").await, 1);
}

/// More calls than one connection carries at a time, and the link drops under them, again and
/// again: fred's own bounded buffer would end the client for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_under_a_full_queue_leaves_the_client_alive() {
    let (_server, proxy, client) = fixture::proxied().await;
    for _ in 0..3 {
        let calls: Vec<_> = (0..10_000)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    client.command("INCR").key(&Key::raw(format!("n:{n}"))).run::<i64>().await
                })
            })
            .collect();
        let seen = proxy.count_requests(b"INCR");
        until(Duration::from_secs(10), "traffic", async || seen.get() > 100)
            .await
            .expect("traffic");
        proxy.cut();
        for call in calls {
            if let Err(error) = call.await.expect("ends") {
                let kind = error.kind();
                assert!(error.is_retryable() || kind == ErrorKind::OutcomeUnknown, "{error:?}");
            }
        }
        fixture::reconnected(&client).await;
    }
}
