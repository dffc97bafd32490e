//! Events recorded at the same time ride in one script call, and each gets what is its own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::Poll;

use raptor_core::{ErrorKind, Result};
use raptor_ops::usage::{
    OutOfWindow, PeriodRule, Recorded, UsageEvent, UsageOptions, UsageService,
};
use raptor_testkit::redis;
use tokio::task::JoinHandle;

use crate::support::{Fixture, NOW, event, id_at, prices};

/// Script calls that many events at the same moment take at most: the first few, and those behind.
const FEW: u64 = 5;

/// Events that are recorded at the same moment: all have been before the first is looked at again,
/// so they gather.
async fn at_once(
    calls: impl IntoIterator<Item = (UsageService, UsageEvent)>,
) -> Vec<Result<Recorded>> {
    let mut calls: Vec<_> = calls
        .into_iter()
        .map(|(usage, event)| (Box::pin(async move { usage.record(&event).await }), None))
        .collect();
    poll_fn(|context| {
        for (call, outcome) in calls.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            if let Poll::Ready(done) = call.as_mut().poll(context) {
                *outcome = Some(done);
            }
        }
        match calls.iter().all(|(_, outcome)| outcome.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn one_event_twice_in_a_batch_is_charged_once_and_a_duplicate_to_the_other() {
    let f = Fixture::start().await;
    let _ = f.usage.record(&event(0).input(1)).await.expect("charged");
    let before = f.script_calls().await;
    let calls = (0..64).map(|n| (f.usage.clone(), event(2 + n / 2).user("ann").input(1)));
    let outcomes: Vec<_> =
        at_once(calls).await.into_iter().map(|outcome| outcome.expect("an answer")).collect();
    assert!(f.script_calls().await - before <= FEW, "they rode together");
    for pair in outcomes.chunks(2) {
        let again = pair.iter().filter(|outcome| **outcome == Recorded::Duplicate).count();
        assert_eq!(again, 1, "{pair:?}");
    }
    let report = f.report("acme", PeriodRule::DAY).await;
    assert_eq!((report.totals.counts.input, report.totals.counts.requests), (33, 33));
    assert_eq!(report.by_user.lines.len(), 2);
}

/// Each event is held against the window of the service that records it.
#[tokio::test]
async fn riders_of_services_with_other_options_keep_their_own_window() {
    let f = Fixture::start().await;
    let hour = std::time::Duration::from_secs(3_600);
    let strict = UsageOptions::new(prices()).accept_late(hour);
    let strict = f.usage.with_options(strict).expect("good options");
    let ago = NOW - time::Duration::hours(2);
    let calls = (0..64).map(|n| {
        let usage = if n % 2 == 0 { &f.usage } else { &strict };
        (usage.clone(), UsageEvent::new("acme", "mini").with_id(id_at(ago, n)).input(1))
    });
    // So that the server knows the script.
    let _ = f.usage.record(&event(1)).await.expect("charged");
    let before = f.script_calls().await;
    for (n, outcome) in at_once(calls).await.into_iter().enumerate() {
        match outcome {
            Ok(outcome) => assert!(n % 2 == 0 && outcome != Recorded::Duplicate, "{n}"),
            Err(error) => {
                assert_eq!(n % 2, 1, "{error}");
                assert!(matches!(OutOfWindow::of(&error), Some(OutOfWindow::TooLate { .. })));
            }
        }
    }
    assert!(f.script_calls().await - before <= FEW, "they rode together");
}

#[tokio::test]
async fn riders_keep_their_own_workspace_clock_and_failure() {
    let f = Fixture::start().await;
    f.run(redis::cmd("SET").arg("raptorflow:usage:{w3}:2026-03").arg("foreign")).await;
    f.run(redis::cmd("HSET").arg("raptorflow:usage:{w4}:2026-03").arg("i").arg("-5")).await;
    let late = f.usage.pinned_at(NOW + time::Duration::days(20));
    let early = f.usage.pinned_at(NOW - time::Duration::days(20));
    let calls = (0..160_u64).map(|n| {
        let event = UsageEvent::new(format!("w{}", n % 8), "mini").input(1 + n);
        let usage = match n % 8 {
            5 => &late,
            6 => &early,
            _ => &f.usage,
        };
        (usage.clone(), event.with_id(id_at(NOW, n.into())))
    });
    for (n, outcome) in at_once(calls).await.into_iter().enumerate() {
        match (n % 8, outcome) {
            (3, Err(error)) => assert_eq!(error.kind(), ErrorKind::WrongType),
            (4, Err(error)) => assert_eq!(error.kind(), ErrorKind::Codec),
            (5, Err(error)) => assert!(error.to_string().contains("old"), "{error}"),
            (6, Err(error)) => assert!(error.to_string().contains("ahead"), "{error}"),
            (_, outcome) => {
                assert!(matches!(outcome, Ok(Recorded::Charged(_))), "{n}: {outcome:?}")
            }
        }
    }
    for w in [0, 1, 2, 7] {
        let counts = f.report(&format!("w{w}"), PeriodRule::MONTH).await.totals.counts;
        assert_eq!(counts.input, (w..160).step_by(8).map(|n| n + 1).sum::<u64>(), "w{w}");
        assert_eq!(counts.requests, 20);
    }
    for w in [5, 6] {
        let counts = f.report(&format!("w{w}"), PeriodRule::MONTH).await.totals.counts;
        assert_eq!(counts.requests, 0);
    }
}

/// Acceptance 1 of the coalescer, through the service. In waves: what all wait for together is work
/// of the server, whose time counts against everybody's deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_events_one_percent_on_a_wrong_type_half_of_the_callers_dropped() {
    const EVENTS: u64 = 10_000;
    const WAVE: u64 = 1_000;
    let f = Fixture::start().await;
    f.run(redis::cmd("SET").arg("raptorflow:usage:{bad}:2026-03").arg("foreign")).await;
    let workspace = |n: u64| match n % 100 {
        0 => "bad".to_owned(),
        _ => format!("w{}", n % 20),
    };
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % bound
    };
    let mut waited: HashMap<String, (u64, u64)> = HashMap::new();
    for first in (0..EVENTS).step_by(WAVE as usize) {
        let mut callers: Vec<(u64, JoinHandle<Result<Recorded>>)> = Vec::new();
        for n in first..first + WAVE {
            let event = UsageEvent::new(workspace(n), "mini").user(format!("u{}", n % 500));
            let (usage, event) = (f.usage.clone(), event.input(n).with_id(id_at(NOW, n.into())));
            callers.push((n, tokio::spawn(async move { usage.record(&event).await })));
            // Some before they are polled, some while they wait, some in flight, some answered.
            if below(2) == 0 {
                let (_, victim) = callers.swap_remove(below(callers.len() as u64) as usize);
                victim.abort();
            }
            if below(50) == 0 {
                tokio::task::yield_now().await;
            }
        }
        for (n, caller) in callers {
            match caller.await.expect("ends") {
                Err(error) if n % 100 == 0 => assert_eq!(error.kind(), ErrorKind::WrongType, "{n}"),
                outcome => {
                    assert!(n % 100 != 0, "{n}: {outcome:?}");
                    assert!(matches!(outcome, Ok(Recorded::Charged(_))), "{n}: {outcome:?}");
                    let (requests, input) = waited.entry(workspace(n)).or_default();
                    (*requests, *input) = (*requests + 1, *input + n);
                }
            }
        }
    }
    for (workspace, (requests, input)) in waited {
        let report = f.report(&workspace, PeriodRule::MONTH).await;
        let counts = report.totals.counts;
        assert!((requests..=500).contains(&counts.requests) && counts.input >= input, "{counts:?}");
        // Whole or not at all, the dropped ones too.
        let by_user: u64 = report.by_user.lines.iter().map(|line| line.usage.counts.input).sum();
        assert_eq!(by_user, counts.input);
    }
    // Whoever comes now is served, and rides together as at the start.
    for round in 0.. {
        let before = f.script_calls().await;
        let first = u128::from(EVENTS) + 64 * round;
        for outcome in at_once((first..first + 64).map(|n| (f.usage.clone(), event(n)))).await {
            assert!(matches!(outcome, Ok(Recorded::Charged(_))), "{outcome:?}");
        }
        // What dropped callers had sent may still have been on its way.
        if f.script_calls().await - before <= FEW {
            break;
        }
        assert!(round < 100, "something stays in flight or waiting");
    }
}
