//! Acceptance 2: each algorithm decides as its plain reference does, over random arrivals, costs,
//! changed policies and clock steps; and what each promises of its own.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{Algorithm, Limit, MAX_COUNTER_LIMIT, MAX_LIMIT, Outcome};

use crate::model::{Record, Verdict};
use crate::references::{Bucket, Counter, Fixed, Log, Policy, Reference};
use crate::rig::{MINUTE, Random, Rig, START_US, instant, micros};

const SECOND: u64 = 1_000_000;

/// 40 seeds × 400 arrivals: outcome, remaining, retry_after and reset equal to the reference's.
async fn decides_as<R: Reference>(algorithm: Algorithm, limits: &[u64]) -> Result<()> {
    let rig = Rig::start().await?;
    for seed in 0..40 {
        let mut random = Random(seed);
        let name = format!("model-{seed}");
        let mut limit = scene(&mut random, algorithm, limits);
        let mut reference = R::default();
        let mut now = START_US + random.below(1_000_000_000);
        let steady = seed % 2 == 0; // the odd ones see clock steps and changed policies
        for arrival in 0..400 {
            let window_us = micros(limit.window());
            let pace = [2, 10, 60, 600][random.below(4) as usize];
            now += random.below(2 * window_us / pace);
            if !steady && random.below(40) == 0 {
                now -= random.below(3 * window_us);
            }
            if !steady && random.below(60) == 0 {
                limit = scene(&mut random, algorithm, limits);
            }
            let most = limit.capacity();
            let cost = match random.below(12) {
                0 => most + random.below(3),
                1 => 1 + random.below(most),
                _ => 1 + random.below(most.div_ceil(10)),
            };
            let policy =
                Policy { limit: limit.limit(), window_us: micros(limit.window()), burst: most };
            let decision = rig.at(now, &[limit.clone().named(&name)?], cost).await?;
            let (verdict, remaining, reset_us) = reference.acquire(now, policy, cost);
            let result = &decision.results[0];
            assert_eq!(
                (decision.outcome, result.remaining, result.reset_at),
                (outcome(verdict), remaining, instant(now + reset_us)),
                "seed {seed} arrival {arrival}: {cost} of {policy:?} at {now}"
            );
        }
    }
    Ok(())
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Allowed => Outcome::Allowed,
        Verdict::Denied { retry_us } => {
            Outcome::Denied { retry_after: Duration::from_micros(retry_us) }
        }
        Verdict::Never => Outcome::Never,
    }
}

/// A limit and a window; short, odd, long and huge ones among them.
fn scene(random: &mut Random, algorithm: Algorithm, limits: &[u64]) -> Limit {
    let window_us = match random.below(6) {
        0 => 1_000 + random.below(3_000),
        1 => SECOND,
        2 => 366 * 86_400 * SECOND,
        3 => 1_000 + random.below(10_000_000),
        _ => 60 * SECOND,
    };
    let units = limits[random.below(limits.len() as u64) as usize];
    let limit = Limit::new(algorithm, units, Duration::from_micros(window_us)).unwrap();
    let burst = [units, 1, units.div_ceil(3), units * 2][random.below(4) as usize];
    // What cannot be counted exactly keeps its own burst.
    limit.clone().burst(burst).unwrap_or(limit)
}

#[tokio::test]
async fn acceptance_2_the_log_decides_as_an_exact_deque() -> Result<()> {
    decides_as::<Log>(Algorithm::Log, &[1, 2, 7, 30, 100, 1_000]).await
}

#[tokio::test]
async fn acceptance_2_the_bucket_decides_as_a_rational_model() -> Result<()> {
    decides_as::<Bucket>(Algorithm::Bucket, &[1, 2, 7, 100, 999, 1_000_003, 90_000_000]).await
}

#[tokio::test]
async fn acceptance_2_the_fixed_window_decides_as_its_model() -> Result<()> {
    decides_as::<Fixed>(Algorithm::Fixed, &[1, 2, 7, 100, 1_000, MAX_LIMIT / 4]).await
}

#[tokio::test]
async fn acceptance_2_the_counter_decides_as_its_model() -> Result<()> {
    let most = MAX_COUNTER_LIMIT;
    decides_as::<Counter>(Algorithm::Counter, &[1, 2, 7, 100, 1_000, most]).await
}

#[tokio::test]
async fn acceptance_2_seven_in_sixty_seconds_drift_by_nothing_in_a_day() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::bucket(7, MINUTE)?];
    assert!(rig.at(START_US, &limits, 7).await?.is_allowed());
    let mut now = START_US;
    // Each at the very microsecond that the answer named: 7 a minute, to the end.
    for taken in 1..=700_u64 {
        let Outcome::Denied { retry_after } = rig.at(now, &limits, 1).await?.outcome else {
            panic!("the bucket is empty");
        };
        now += micros(retry_after);
        assert!(rig.at(now, &limits, 1).await?.is_allowed(), "{taken}");
        assert_eq!(now - START_US, (taken * 60 * SECOND).div_ceil(7), "{taken}");
    }
    Ok(())
}

#[tokio::test]
async fn acceptance_3_an_empty_bucket_of_ten_a_minute_is_denied_for_six_seconds() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::bucket(10, MINUTE)?];
    assert!(rig.at(START_US, &limits, 10).await?.is_allowed());
    let denied = rig.at(START_US, &limits, 1).await?;
    assert_eq!(denied.outcome, Outcome::Denied { retry_after: Duration::from_secs(6) });
    assert!(!rig.at(START_US + 6 * SECOND - 1, &limits, 1).await?.is_allowed());
    assert!(rig.at(START_US + 6 * SECOND, &limits, 1).await?.is_allowed());
    Ok(())
}

#[tokio::test]
async fn acceptance_6_the_server_s_clock_back_30_s_admits_nothing_extra_by_any_algorithm()
-> Result<()> {
    let rig = Rig::start().await?;
    use Algorithm::{Bucket, Counter, Fixed, Log, Strict};
    for algorithm in [Strict, Log, Bucket, Fixed, Counter] {
        let limits = [Limit::new(algorithm, 10, MINUTE)?];
        let start = START_US + 40 * SECOND;
        assert!(rig.at(start, &limits, 10).await?.is_allowed());
        let back = start - 30 * SECOND;
        let Outcome::Denied { retry_after } = rig.at(back, &limits, 1).await?.outcome else {
            panic!("{algorithm:?}: extra");
        };
        assert!(retry_after <= MINUTE + MINUTE / 60, "{algorithm:?}: {retry_after:?}");
        let due = back + micros(retry_after);
        assert!(!rig.at(due - 1, &limits, 1).await?.is_allowed(), "{algorithm:?}");
        assert!(rig.at(due, &limits, 1).await?.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_algorithm_admits_nothing_extra_and_locks_nobody_out() -> Result<()> {
    let rig = Rig::start().await?;
    use Algorithm::{Bucket, Counter, Fixed, Log, Strict};
    let all = [Strict, Log, Bucket, Fixed, Counter];
    for from in all {
        for to in all.into_iter().filter(|&to| to != from) {
            let name = format!("{from:?}-{to:?}");
            let old = [Limit::new(from, 10, MINUTE)?.named(&name)?];
            let new = [Limit::new(to, 10, MINUTE)?.named(&name)?];
            assert!(rig.at(START_US, &old, 10).await?.is_allowed());
            let Outcome::Denied { retry_after } = rig.at(START_US, &new, 1).await?.outcome else {
                panic!("{name}: extra");
            };
            assert!(retry_after <= MINUTE + MINUTE / 60, "{name}: {retry_after:?}");
            let due = START_US + micros(retry_after);
            assert!(rig.at(due, &new, 1).await?.is_allowed(), "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_log_returns_quota_exactly_a_window_later() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::log(100, MINUTE)?];
    let (mut random, mut record, mut now) = (Random(3), Record::default(), START_US);
    for _ in 0..2_000 {
        now += if random.below(4) == 0 { random.below(3_200_000) } else { random.below(1_000) };
        match rig.at(now, &limits, 1).await?.outcome {
            Outcome::Allowed => record.admit(now, 1),
            Outcome::Denied { retry_after } => assert!(retry_after <= MINUTE),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(record.busiest(micros(MINUTE)), 100);
    Ok(())
}

#[tokio::test]
async fn mixed_algorithms_in_one_call_are_all_or_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [
        Limit::strict(10, MINUTE)?,
        Limit::log(9, MINUTE)?,
        Limit::bucket(8, MINUTE)?,
        Limit::fixed(7, MINUTE)?,
        Limit::counter(3, MINUTE)?,
    ];
    for taken in 1..=5_u64 {
        let decision = rig.at(START_US, &limits, 1).await?;
        assert_eq!(decision.is_allowed(), taken <= 3, "{taken}");
        let left: Vec<u64> = decision.results.iter().map(|result| result.remaining).collect();
        let taken = taken.min(3);
        assert_eq!(left, [10 - taken, 9 - taken, 8 - taken, 7 - taken, 3 - taken]);
    }
    Ok(())
}

#[tokio::test]
async fn a_burst_apart_from_the_rate_is_the_bucket_s_size() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::bucket(60, MINUTE)?.burst(5)?];
    assert_eq!(rig.at(START_US, &limits, 6).await?.outcome, Outcome::Never);
    assert!(rig.at(START_US, &limits, 5).await?.is_allowed());
    let denied = rig.at(START_US, &limits, 2).await?.outcome;
    assert_eq!(denied, Outcome::Denied { retry_after: Duration::from_secs(2) });
    assert_eq!(rig.at(START_US + 99 * SECOND, &limits, 1).await?.results[0].remaining, 4);
    Ok(())
}
