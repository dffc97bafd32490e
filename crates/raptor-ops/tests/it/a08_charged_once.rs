//! Acceptance 8: the same event 100 × at once → charged once; 1 M calls of 1 token at $0.15/M → exactly $0.150000.

use raptor_ops::usage::{Cost, PeriodRule, Recorded, UsageOptions, UsageService};
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, NOW, event, prices};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_event_100_times_at_once_is_charged_once() {
    let f = Fixture::start().await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let usage = f.usage.clone();
        calls.spawn(async move { usage.record(&event(1).user("ann").input(1_000_000)).await });
    }
    let outcomes = calls.join_all().await;
    let charged =
        outcomes.iter().filter(|outcome| matches!(outcome, Ok(Recorded::Charged(_)))).count();
    let duplicate =
        outcomes.iter().filter(|outcome| matches!(outcome, Ok(Recorded::Duplicate))).count();
    assert_eq!((charged, duplicate), (1, 99));
    let report = f.report("acme", PeriodRule::MONTH).await;
    assert_eq!(report.totals.counts.input, 1_000_000);
    assert_eq!(report.totals.cost.to_string(), "$0.150000");
}

/// What a caller does who lost the reply: the same event again, later, elsewhere, at another price.
#[tokio::test]
async fn a_repeat_is_a_duplicate_whoever_sends_it_and_keeps_the_first_price() {
    let f = Fixture::start().await;
    let first = f.usage.record(&event(1).input(1_000_000)).await.expect("charged");
    assert_eq!(first, Recorded::Charged(Cost::from_parts(150_000, 0)));
    f.run_everywhere(redis::cmd("SCRIPT").arg("FLUSH")).await;
    let dearer = raptor_ops::usage::ModelPrice::per_million("99", "99").expect("a price");
    let other = UsageService::new(
        f.client.clone(),
        UsageOptions::new(prices().with_price("mini", dearer)).periods([PeriodRule::MONTH]),
    )
    .expect("a service");
    for after in [0, 60, 24 * 3_600, 25 * 3_600 - 60] {
        let other = other.pinned_at(NOW + time::Duration::seconds(after));
        let again = other.record(&event(1).input(1_000_000)).await.expect("an answer");
        assert_eq!(again, Recorded::Duplicate, "{after} s later");
    }
    let cost = f.report("acme", PeriodRule::MONTH).await.totals.cost;
    assert_eq!(cost.to_string(), "$0.150000");
}

/// The million itself is counted in the pure model (money.rs); here 20,000 real calls by 64 recorders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_token_carry_without_loss_under_64_recorders() {
    const CALLS: u128 = 20_000;
    let f = Fixture::start().await;
    let mut recorders = JoinSet::new();
    for recorder in 0..64 {
        let usage = f.usage.clone();
        recorders.spawn(async move {
            for n in (recorder..CALLS).step_by(64) {
                let outcome = usage.record(&event(n).user(format!("u{}", n % 10)).input(1)).await;
                assert_eq!(
                    outcome.expect("an answer"),
                    Recorded::Charged(Cost::from_pico(150_000))
                );
            }
        });
    }
    recorders.join_all().await;
    for rule in [PeriodRule::DAY, PeriodRule::MONTH] {
        let report = f.report("acme", rule).await;
        assert_eq!(report.totals.cost.to_string(), "$0.003000");
        assert_eq!(report.totals.counts.requests, 20_000);
        assert_eq!(report.by_user.lines.len(), 10);
        for line in report.by_user.lines {
            assert_eq!(line.usage.cost.to_string(), "$0.000300");
        }
    }
}
