//! The coalescer's callers are strangers to each other: what one does, or leaves undone, is its own.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join_all, maybe_done};
use raptor_core::{BatchLimits, Coalescer, ErrorKind, Key};
use raptor_testkit::{Server, redis};

use crate::coalescing::{Incr, coalescer};
use crate::fixture;

const SOON: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_do_not_poll_hold_up_nobody() {
    let (_server, client) = fixture::server().await;
    let incr = coalescer(false);
    incr.submit(&client, Key::raw("warm")).await.expect("runs");
    // Each is alive and at some stage: waiting, about to leave, sent.
    let submit = |n| maybe_done(incr.submit(&client, Key::raw(format!("held:{n}"))));
    let mut held: Vec<_> = (0..8).map(|n| Box::pin(submit(n))).collect();
    for polls in 0..4 {
        for caller in held.iter_mut().skip(polls * 2) {
            let _ = caller.now_or_never();
        }
        let others = (0..50).map(|_| incr.submit(&client, Key::raw("n")));
        let others = tokio::time::timeout(SOON, join_all(others));
        others.await.expect("in time").into_iter().for_each(|one| assert!(one.is_ok(), "{one:?}"));
    }
    for mut caller in held {
        caller.as_mut().await;
        assert_eq!(caller.as_mut().take_output().expect("ended").expect("runs"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_in_a_runtime_that_stands_still_holds_up_nobody() {
    let (_server, client) = fixture::server().await;
    let incr = coalescer(true);
    let foreign = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let foreign = foreign.expect("a runtime");
    // Riders of a call that the foreign caller departs with, and then does not drive.
    let (theirs, ours) = (incr.clone(), client.clone());
    let stuck = std::thread::spawn(move || {
        foreign.block_on(async {
            let mut calls: Vec<_> =
                (0..20).map(|_| Box::pin(theirs.submit(&ours, Key::raw("foreign")))).collect();
            calls.iter_mut().for_each(|call| assert!(call.now_or_never().is_none()));
            tokio::task::yield_now().await;
            calls.iter_mut().for_each(|call| drop(call.now_or_never()));
            calls
        });
        foreign
    });
    let foreign = stuck.join().expect("ends");
    let others = (0..50).map(|_| incr.submit(&client, Key::raw("n")));
    let others = tokio::time::timeout(SOON, join_all(others));
    others.await.expect("in time").into_iter().for_each(|one| assert!(one.is_ok(), "{one:?}"));
    foreign.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_of_two_clients_never_ride_together() {
    let ((one, first), (other, second)) = (fixture::server().await, fixture::server().await);
    let incr = coalescer(true);
    let both = (0..200).map(|n| {
        let (incr, client) = (incr.clone(), if n % 2 == 0 { &first } else { &second }.clone());
        tokio::spawn(async move { incr.submit(&client, Key::raw("n")).await })
    });
    for call in both.collect::<Vec<_>>() {
        call.await.expect("ends").expect("runs");
    }
    assert_eq!((fixture::seen(&one, "n").await, fixture::seen(&other, "n").await), (100, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_withdrew_takes_no_room() {
    let (server, client) = fixture::server().await;
    let mut limits = BatchLimits::default();
    limits.waiting = 50;
    let incr = Coalescer::with_limits(Incr { slow: false }, limits);
    incr.submit(&client, Key::raw("warm")).await.expect("runs");
    server.stop().expect("stopped");
    let mut sent: Vec<_> =
        (0..4).map(|_| Box::pin(incr.submit(&client, Key::raw("sent")))).collect();
    for _ in 0..3 {
        sent.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        tokio::task::yield_now().await;
    }
    for _ in 0..10_000 {
        let gone = incr.submit(&client, Key::raw("gone")).now_or_never();
        assert!(gone.is_none(), "{gone:?}");
    }
    assert!(incr.waiting() <= 4, "{} wait", incr.waiting());
    server.cont().expect("continued");
    for one in sent {
        one.await.expect("runs");
    }
    assert_eq!(fixture::seen(&server, "gone").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_to_all_is_not_sent_in_parts() {
    let server = raptor_testkit::Server::builder()
        .acl_user("user app on >some-password ~* +@all -eval -evalsha")
        .start()
        .await
        .expect("starts");
    let url = format!("redis://app:some-password@127.0.0.1:{}", server.port());
    let client = fixture::client(&url).await;
    let incr = coalescer(false);
    let calls = (0..500).map(|_| incr.submit(&client, Key::raw("n")));
    for refused in join_all(calls).await {
        assert_eq!(refused.expect_err("no rights").kind(), ErrorKind::Auth);
    }
    let calls = refused_calls_of(&server).await;
    assert!((1..=40).contains(&calls), "500 operations were refused in {calls} calls");
}

async fn refused_calls_of(server: &Server) -> u64 {
    let info: String = server.query(redis::cmd("INFO").arg("commandstats")).await.expect("INFO");
    let refused = info.lines().filter(|line| line.starts_with("cmdstat_eval"));
    let calls =
        |line: &str| line.split("rejected_calls=").nth(1)?.split(',').next()?.parse::<u64>().ok();
    refused.filter_map(calls).sum()
}
