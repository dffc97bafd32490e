//! A reply that is lost: the same event recorded again is charged once.

use raptor_core::{ErrorKind, RedisClient, RedisConfig};
use raptor_ops::usage::{PeriodRule, Recorded, UsageOptions, UsageService};
use raptor_testkit::{Proxy, Server};

use crate::support::{NOW, event, period, prices};

#[tokio::test]
async fn a_repeat_after_a_lost_reply_charges_once() {
    let server = Server::start().await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let config = RedisConfig::from_url(proxy.url()).expect("a config");
    let client = RedisClient::connect(config).await.expect("a connection");
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
