//! The strict window: its promise, and its decisions against the models.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{Limit, MAX_LIMIT, Outcome};

use crate::model::{Buckets, Record, Verdict, width};
use crate::rig::{MINUTE, Random, Rig, START_US, instant, micros};

#[tokio::test]
async fn acceptance_1_the_101st_is_denied_across_a_minute_s_edge() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(100, MINUTE)?];
    let at = |seconds: f64| START_US + (seconds * 1e6) as u64;
    for taken in 1..=100 {
        let decision = rig.at(at(59.9), &limits, 1).await?;
        assert!(decision.is_allowed());
        assert_eq!(decision.results[0].remaining, 100 - taken);
    }
    let decision = rig.at(at(60.1), &limits, 1).await?;
    // Taken in the second that ends at 60, back at 120 at the latest.
    assert_eq!(decision.outcome, Outcome::Denied { retry_after: Duration::from_millis(59_900) });
    assert!(!rig.at(at(119.9), &limits, 1).await?.is_allowed());
    assert!(rig.at(at(120.0), &limits, 1).await?.is_allowed());
    Ok(())
}

#[tokio::test]
async fn acceptance_1_no_trailing_window_above_100_in_10_000_random_arrivals() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(100, MINUTE)?];
    let (mut random, mut record, mut now) = (Random(1), Record::default(), START_US);
    for _ in 0..10_000 {
        // Bursts and lulls: 400 ms apart on average, so four of five are denied.
        now += if random.below(4) == 0 { random.below(3_200_000) } else { random.below(1_000) };
        if rig.at(now, &limits, 1).await?.is_allowed() {
            record.admit(now, 1);
        }
    }
    assert_eq!(record.busiest(micros(MINUTE)), 100, "never above, and not needlessly below");
    Ok(())
}

/// 40 seeds × 400 arrivals: decisions, remaining, retry_after and reset equal to the model's.
#[tokio::test]
async fn decisions_equal_the_model_s() -> Result<()> {
    let rig = Rig::start().await?;
    for seed in 0..40 {
        let mut random = Random(seed);
        let policy = format!("model-{seed}");
        let (mut limit, mut window_us) = scene(&mut random);
        let (mut model, mut record) = (Buckets::default(), Record::default());
        let mut now = START_US + random.below(1_000_000_000);
        let steady = seed % 2 == 0; // the odd ones see clock steps and changed policies
        for arrival in 0..400 {
            let pace = [2, 10, 60, 600][random.below(4) as usize];
            now += random.below(2 * window_us / pace);
            if !steady && random.below(40) == 0 {
                now -= random.below(3 * window_us);
            }
            if !steady && random.below(60) == 0 {
                (limit, window_us) = scene(&mut random);
            }
            let cost = match random.below(12) {
                0 => limit + random.below(3),
                1 => 1 + random.below(limit),
                _ => 1 + random.below(limit.div_ceil(10)),
            };
            let limits = [Limit::strict(limit, Duration::from_micros(window_us))?.named(&policy)?];
            let decision = rig.at(now, &limits, cost).await?;
            let (verdict, remaining, reset_us) = model.acquire(now, limit, window_us, cost);
            let verdict = match verdict {
                Verdict::Allowed => Outcome::Allowed,
                Verdict::Denied { retry_us } => {
                    Outcome::Denied { retry_after: Duration::from_micros(retry_us) }
                }
                Verdict::Never => Outcome::Never,
            };
            let result = &decision.results[0];
            assert_eq!(
                (decision.outcome, result.remaining, result.reset_at),
                (verdict, remaining, instant(now + reset_us)),
                "seed {seed} arrival {arrival}: {cost} of {limit} in {window_us} µs at {now}"
            );
            if decision.is_allowed() {
                record.admit(now, cost);
            }
        }
        assert!(!steady || record.busiest(window_us) <= limit, "seed {seed}");
    }
    Ok(())
}

/// A limit and a window; short, odd, long and huge ones among them.
fn scene(random: &mut Random) -> (u64, u64) {
    let window_us = match random.below(6) {
        0 => 1_000 + random.below(3_000),
        1 => 1_000_000,
        2 => 366 * 86_400_000_000,
        3 => 1_000 + random.below(10_000_000),
        _ => 60_000_000,
    };
    let limit = [1, 2, 7, 100, 1_000, MAX_LIMIT][random.below(6) as usize];
    (limit, window_us)
}

#[tokio::test]
async fn retry_after_is_exact_to_the_microsecond() -> Result<()> {
    let rig = Rig::start().await?;
    for (index, window) in
        [MINUTE, Duration::from_secs(1), Duration::from_micros(1_019)].into_iter().enumerate()
    {
        let limits = [Limit::strict(10, window)?.named(format!("exact-{index}"))?];
        let mut now = START_US + 12_345;
        for _ in 0..10 {
            assert!(rig.at(now, &limits, 1).await?.is_allowed());
            now += micros(window) / 20;
        }
        for cost in [1, 4, 10] {
            let Outcome::Denied { retry_after } = rig.at(now, &limits, cost).await?.outcome else {
                panic!("{cost} of 10 more in {window:?}");
            };
            let due = now + micros(retry_after);
            assert!(!rig.at(due - 1, &limits, cost).await?.is_allowed());
            if cost == 10 {
                assert!(rig.at(due, &limits, cost).await?.is_allowed());
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn quota_returns_after_the_window_and_at_most_a_sixtieth_late() -> Result<()> {
    let rig = Rig::start().await?;
    let mut random = Random(7);
    for round in 0..200 {
        let window_us = 1_000 + random.below(90_000_000);
        let policy = format!("late-{round}");
        let limits = [Limit::strict(1, Duration::from_micros(window_us))?.named(policy)?];
        let now = START_US + random.below(1_000_000_000);
        assert!(rig.at(now, &limits, 1).await?.is_allowed());
        let Outcome::Denied { retry_after } = rig.at(now, &limits, 1).await?.outcome else {
            panic!("two of one");
        };
        let late = micros(retry_after).checked_sub(window_us).unwrap();
        assert!((1..=width(window_us)).contains(&late), "{late} µs for {window_us} µs");
    }
    Ok(())
}

#[tokio::test]
async fn a_cost_above_the_limit_is_never_and_takes_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(5, MINUTE)?];
    for cost in [6, MAX_LIMIT, MAX_LIMIT + 1, u64::MAX] {
        let decision = rig.at(START_US, &limits, cost).await?;
        assert_eq!(decision.outcome, Outcome::Never);
        assert_eq!((decision.results[0].remaining, decision.results[0].retry_after), (5, None));
    }
    let decision = rig.at(START_US, &limits, 5).await?;
    assert!(decision.is_allowed());
    Ok(())
}

#[tokio::test]
async fn sums_are_exact_up_to_2_to_the_53() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(MAX_LIMIT, MINUTE)?];
    assert_eq!(rig.at(START_US, &limits, MAX_LIMIT - 1).await?.results[0].remaining, 1);
    assert!(!rig.at(START_US, &limits, 2).await?.is_allowed());
    assert_eq!(rig.at(START_US + 5_000_000, &limits, 1).await?.results[0].remaining, 0);
    // Sum and cost together exceed 2^53: the last unit returns 61 s after the 5th second began.
    let decision = rig.at(START_US + 6_000_000, &limits, MAX_LIMIT).await?;
    assert_eq!(decision.outcome, Outcome::Denied { retry_after: MINUTE });
    Ok(())
}
