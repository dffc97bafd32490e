//! Totals beyond 2⁵³ are exact, and what would pass the limit is refused whole.

use raptor_core::ErrorKind;
use raptor_ops::usage::{
    MAX_COUNT, ModelPrice, PeriodRule, UsageEvent, UsageOptions, UsageService,
};
use raptor_testkit::redis;

use crate::support::{Fixture, NOW, event, id_at, prices};

#[tokio::test]
async fn totals_past_2_to_the_53_stay_exact() {
    let f = Fixture::start().await;
    let mut expected = 0_u64;
    for n in 0..40 {
        let tokens = MAX_COUNT - n as u64;
        expected += tokens;
        let _ = f.usage.record(&event(n).input(tokens)).await.expect("charged");
    }
    assert!(expected > 1 << 53 && expected.is_multiple_of(2));
    let _ = f.usage.record(&event(100).input(1)).await.expect("charged");
    let totals = f.report("acme", PeriodRule::DAY).await.totals;
    assert_eq!(totals.counts.input, expected + 1);
    assert_eq!(totals.cost.pico(), u128::from(expected + 1) * 150_000);
}

#[tokio::test]
async fn a_total_that_would_pass_10_to_the_18_is_refused_whole() {
    let f = Fixture::start().await;
    let _ = f.usage.record(&event(1).user("ann").input(5)).await.expect("charged");
    let month = "raptorflow:usage~by:{acme}:2026-03:user";
    f.run(redis::cmd("HSET").arg(month).arg("i:ann").arg("1000000000000000000")).await;
    let before = f.dump().await;
    let error = f.usage.record(&event(2).user("ann").input(5)).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(f.dump().await, before);
    let _ = f.usage.record(&event(2).user("bob").input(5)).await.expect("others are not hurt");
}

#[tokio::test]
async fn a_cost_that_would_overflow_is_refused_before_it_is_sent() {
    let f = Fixture::start().await;
    let dear =
        prices().with_price("dear", ModelPrice::per_million("1000000", "0").expect("a price"));
    let usage = UsageService::new(f.client.clone(), UsageOptions::new(dear)).expect("a service");
    let huge = UsageEvent::new("acme", "dear").with_id(id_at(NOW, 1)).input(MAX_COUNT);
    let error = usage.pinned_at(NOW).record(&huge).await.expect_err("too dear");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(f.dump().await.is_empty());
}
