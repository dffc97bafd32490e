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

/// Below 2^53 the script adds up, from there on the server; each step of one is seen, each field by itself.
#[tokio::test]
async fn each_step_across_2_to_the_53_is_exact() {
    const EDGE: u64 = 1 << 53;
    let f = Fixture::start().await;
    let (totals, users) =
        ("raptorflow:usage:{acme}:2026-03-31", "raptorflow:usage~by:{acme}:2026-03-31:user");
    let _ = f.usage.record(&event(0).user("ann").input(1)).await.expect("charged");
    for (n, start) in (0..).zip([EDGE - 3, EDGE - 2, EDGE - 1, EDGE, EDGE + 1]) {
        f.run(redis::cmd("HSET").arg(totals).arg("i").arg(start).arg("u").arg(start)).await;
        f.run(redis::cmd("HSET").arg(users).arg("i:ann").arg(start).arg("o:ann").arg(7)).await;
        // The carry of 999,999 and 150,000 pico-dollars is one micro-dollar.
        f.run(redis::cmd("HSET").arg(totals).arg("p").arg(999_999).arg("o").arg(EDGE - 1)).await;
        for step in 1..=5 {
            let next = event(10 * (n + 1) + u128::from(step)).user("ann").input(1).output(2);
            let _ = f.usage.record(&next).await.expect("charged");
            let report = f.report("acme", PeriodRule::DAY).await;
            let (all, ann) = (report.totals, &report.by_user.lines[0].usage);
            assert_eq!(all.counts.input, start + step, "{start} + {step}");
            assert_eq!(all.counts.output, EDGE - 1 + 2 * step, "{start} + {step}");
            assert_eq!((ann.counts.input, ann.counts.output), (start + step, 7 + 2 * step));
            // $0.15 and $0.60 a million: 150,000 + 2 * 600,000 pico-dollars an event.
            let pico = u128::from(start) * 1_000_000 + 999_999 + u128::from(step) * 1_350_000;
            assert_eq!(all.cost.pico(), pico, "{start} + {step}");
        }
    }
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
