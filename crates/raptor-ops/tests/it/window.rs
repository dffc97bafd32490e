//! Late events go to their own period; too late and ahead are typed, and nothing is charged.

use std::time::Duration;

use raptor_core::{ErrorKind, RedisClient};
use raptor_ops::usage::{
    OutOfWindow, PeriodRule, Recorded, UsageEvent, UsageOptions, UsageService,
};

use crate::support::{Fixture, NOW, config, id_at, period, prices};

fn event_at(at: time::OffsetDateTime) -> UsageEvent {
    UsageEvent::new("acme", "mini").with_id(id_at(at, 1)).input(1)
}

#[tokio::test]
async fn a_late_event_is_charged_to_its_own_period() {
    let f = Fixture::start().await;
    // A month's first minutes, the event from the month before.
    let now = time::macros::datetime!(2026-04-01 00:10 UTC);
    let usage = f.usage.pinned_at(now);
    let _ = usage.record(&event_at(NOW)).await.expect("charged");
    assert_eq!(f.report("acme", PeriodRule::MONTH).await.totals.counts.input, 1);
    for rule in [PeriodRule::DAY, PeriodRule::MONTH] {
        let report = usage.report("acme", &period(rule, now)).await.expect("a report");
        assert_eq!(report.totals.counts.input, 0);
    }
}

#[tokio::test]
async fn the_window_is_exact_at_both_ends() {
    let f = Fixture::start().await;
    let (late, ahead) = (time::Duration::hours(24), time::Duration::seconds(60));
    let ms = time::Duration::MILLISECOND;
    let error = f.usage.record(&event_at(NOW - late - ms)).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        OutOfWindow::of(&error),
        Some(OutOfWindow::TooLate { age: Duration::from_millis(86_400_001) })
    );
    let error = f.usage.record(&event_at(NOW + ahead + ms)).await.expect_err("ahead");
    assert_eq!(
        OutOfWindow::of(&error),
        Some(OutOfWindow::Ahead { by: Duration::from_millis(60_001) })
    );
    assert!(f.dump().await.is_empty());
    for at in [NOW - late, NOW + ahead] {
        let outcome = f.usage.record(&event_at(at)).await.expect("an answer");
        assert!(matches!(outcome, Recorded::Charged(_)), "{at}");
    }
}

#[tokio::test]
async fn without_a_pinned_time_the_servers_clock_decides() {
    let f = Fixture::start().await;
    let client = RedisClient::connect(config(f.backend.url())).await.expect("a connection");
    let usage = UsageService::new(client, UsageOptions::new(prices())).expect("a service");
    let _ = usage.record(&UsageEvent::new("acme", "mini").input(1)).await.expect("charged");
    let error =
        usage.record(&event_at(NOW - time::Duration::days(365 * 20))).await.expect_err("late");
    assert!(matches!(OutOfWindow::of(&error), Some(OutOfWindow::TooLate { .. })));
}

#[tokio::test]
async fn contradictory_options_are_refused() {
    let f = Fixture::start().await;
    let options = || UsageOptions::new(prices());
    for bad in [
        options().periods([]),
        options().periods([PeriodRule::DAY, PeriodRule::DAY]),
        options().periods([PeriodRule::MINUTE]).accept_late(Duration::from_secs(3 * 24 * 3_600)),
        options().accept_ahead(Duration::from_secs(2 * 3_600)),
        options().accept_late(Duration::MAX),
    ] {
        let error = UsageService::new(f.client.clone(), bad).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
