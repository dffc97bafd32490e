//! A reply that is lost: the same event recorded again is charged once.

use raptor_core::{ErrorKind, RedisClient};
use raptor_ops::usage::{PeriodRule, Recorded, UsageEvent, UsageOptions, UsageService};
use raptor_testkit::{Proxy, Server};

use crate::support::{NOW, config, event, id_at, period, prices};

#[tokio::test]
async fn a_repeat_after_a_lost_reply_charges_once() {
    let server = Server::start().await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
    let usage = UsageService::new(client, UsageOptions::new(prices())).expect("a service");
    let usage = usage.pinned_at(NOW);
    // So that the server knows the script, and the call whose reply is lost has run.
    let _ = usage.record(&event(1).user("ann").input(5)).await.expect("charged");

    proxy.drop_reply_to(b"EVALSHA");
    let calls = proxy.count_requests(b"EVALSHA");
    let lost = event(2).user("ann").input(1_000_000);
    let error = usage.record(&lost).await.expect_err("no answer");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error}");
    assert_eq!((calls.get(), proxy.is_armed()), (1, false), "not sent again by itself");
    for _ in 0..2 {
        assert_eq!(usage.record(&lost).await.expect("an answer"), Recorded::Duplicate);
    }
    for rule in [PeriodRule::DAY, PeriodRule::MONTH] {
        let report = usage.report("acme", &period(rule, NOW)).await.expect("a report");
        let counts = report.totals.counts;
        assert_eq!((counts.requests, counts.input), (2, 1_000_005));
        assert_eq!(report.by_user.lines[0].usage, report.totals);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_batch_is_charged_once_whoever_rode_records_again() {
    const CALLERS: u64 = 256;
    // The first call of all, and one in which many ride.
    for (needle, least) in [(&b"EVALSHA"[..], 1), (b"{w-200}", 2)] {
        let server = Server::start().await.expect("a server");
        let proxy = Proxy::start(server.addr()).await.expect("a proxy");
        let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
        let usage = UsageService::new(client, UsageOptions::new(prices())).expect("a service");
        let usage = usage.pinned_at(NOW);
        let _ = usage.record(&event(1_000)).await.expect("charged");
        proxy.drop_reply_to(needle);
        let nth = |n: u64| {
            let event = UsageEvent::new(format!("w-{n}"), "mini").input(1 + n);
            event.with_id(id_at(NOW, n.into()))
        };
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let usage = usage.clone();
                tokio::spawn(async move { usage.record(&nth(n)).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for caller in callers {
            outcomes.push(caller.await.expect("ends"));
        }
        let (mut lost, mut duplicates) = (0, 0);
        for (n, mut outcome) in (0_u64..).zip(outcomes) {
            while let Err(error) = outcome {
                assert!(error.is_retryable(), "{n}: {error:?}");
                lost += u64::from(error.kind() != ErrorKind::Unavailable);
                outcome = usage.record(&nth(n)).await;
            }
            duplicates += u64::from(outcome.is_ok_and(|outcome| outcome == Recorded::Duplicate));
            // Where nothing was lost, this may still meet the connection that is ending.
            let (workspace, day) = (format!("w-{n}"), period(PeriodRule::DAY, NOW));
            let report = loop {
                match usage.report(&workspace, &day).await {
                    Err(error) if error.is_retryable() => {}
                    outcome => break outcome.expect("a report"),
                }
            };
            let counts = report.totals.counts;
            assert_eq!((counts.requests, counts.input), (1, 1 + n), "{n}");
        }
        assert!(!proxy.is_armed());
        assert!(lost >= duplicates && duplicates >= least, "{lost} lost, {duplicates} had run");
    }
}
