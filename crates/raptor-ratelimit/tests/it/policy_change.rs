//! A policy that changes under its name: nothing extra, and nobody locked out.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit, Outcome};

use crate::model::width;
use crate::rig::{MINUTE, Random, Rig, START_US, instant, micros, subject};

const SECOND: u64 = 1_000_000;

#[tokio::test]
async fn a_new_number_applies_at_once_to_what_is_counted() -> Result<()> {
    let rig = Rig::start().await?;
    assert!(rig.at(START_US, &[Limit::strict(10, MINUTE)?], 8).await?.is_allowed());
    let raised = rig.at(START_US + SECOND, &[Limit::strict(12, MINUTE)?], 4).await?;
    assert_eq!((raised.is_allowed(), raised.results[0].remaining), (true, 0));
    let lowered = rig.at(START_US + 2 * SECOND, &[Limit::strict(5, MINUTE)?], 1).await?;
    assert_eq!((lowered.is_allowed(), lowered.results[0].remaining), (false, 0));
    // The eight have left; four of the second second are still there.
    let at = START_US + 61 * SECOND;
    assert_eq!(rig.at(at, &[Limit::strict(5, MINUTE)?], 1).await?.results[0].remaining, 0);
    Ok(())
}

#[tokio::test]
async fn a_new_window_counts_what_is_there_as_taken_now() -> Result<()> {
    let rig = Rig::start().await?;
    for (name, new_window) in [("up", Duration::from_secs(600)), ("down", Duration::from_secs(30))]
    {
        let old = [Limit::strict(10, MINUTE)?.named(name)?];
        let new = [Limit::strict(10, new_window)?.named(name)?];
        for i in 0..10 {
            assert!(rig.at(START_US + i * SECOND, &old, 1).await?.is_allowed());
        }
        let change = START_US + 10 * SECOND;
        assert!(!rig.at(change, &new, 1).await?.is_allowed(), "{name}: nothing extra");
        let due = change + micros(new_window) + width(micros(new_window));
        assert!(!rig.at(change + micros(new_window) - 1, &new, 1).await?.is_allowed(), "{name}");
        assert!(rig.at(due, &new, 10).await?.is_allowed(), "{name}: within a window");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_lie_in_the_new_window_is_forgotten() -> Result<()> {
    let rig = Rig::start().await?;
    let old = [Limit::strict(10, MINUTE)?.named("p")?];
    let new = [Limit::strict(10, Duration::from_secs(10))?.named("p")?];
    assert!(rig.at(START_US, &old, 6).await?.is_allowed());
    assert!(rig.at(START_US + 30 * SECOND, &old, 3).await?.is_allowed());
    assert_eq!(rig.at(START_US + 31 * SECOND, &new, 1).await?.results[0].remaining, 6);
    Ok(())
}

#[tokio::test]
async fn two_windows_in_turn_under_one_name_admit_no_more_than_the_stricter() -> Result<()> {
    let rig = Rig::start().await?;
    let mut admitted = 0;
    for i in 0..60 {
        let window = if i % 2 == 0 { MINUTE } else { Duration::from_secs(90) };
        let limits = [Limit::strict(10, window)?.named("flapping")?];
        let decision = rig.at(START_US + i * SECOND / 2, &limits, 1).await?;
        admitted += u32::from(decision.is_allowed());
    }
    assert_eq!(admitted, 10);
    Ok(())
}

const ALL: [Algorithm; 5] =
    [Algorithm::Strict, Algorithm::Log, Algorithm::Bucket, Algorithm::Fixed, Algorithm::Counter];

#[tokio::test]
async fn two_versions_in_turn_at_one_instant_admit_no_more_than_the_larger() -> Result<()> {
    let rig = Rig::start().await?;
    let half = MINUTE / 2;
    let mut pairs = vec![(Limit::bucket(10, MINUTE)?, Limit::bucket(10, MINUTE)?.burst(20)?)];
    for old in ALL {
        for new in ALL {
            pairs.push((Limit::new(old, 10, MINUTE)?, Limit::new(new, 20, MINUTE)?));
            pairs.push((Limit::new(old, 10, half)?, Limit::new(new, 20, MINUTE)?));
            pairs.push((Limit::new(old, 10, MINUTE)?, Limit::new(new, 20, half)?));
        }
    }
    for (n, (small, large)) in pairs.into_iter().enumerate() {
        let name = format!("p{n}");
        let pair = [small.clone().named(&name)?, large.clone().named(&name)?];
        let mut admitted = 0;
        for i in 0..80 {
            let limit = std::slice::from_ref(&pair[i % 2]);
            admitted += u32::from(rig.at(START_US, limit, 1).await?.is_allowed());
        }
        assert!((10..=20).contains(&admitted), "{small:?} {large:?}: {admitted}");
    }
    Ok(())
}

#[tokio::test]
async fn a_tightening_for_a_while_erases_nothing_and_locks_nobody_out() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let wide = [Limit::new(algorithm, 100, MINUTE)?.named(algorithm.as_str())?];
        let half = MINUTE / 2;
        let tight = [Limit::new(algorithm, 1, half)?.named(algorithm.as_str())?];
        assert!(rig.at(START_US, &wide, 100).await?.is_allowed());
        assert!(!rig.at(START_US + SECOND, &tight, 1).await?.is_allowed(), "{algorithm:?}");
        assert!(!rig.at(START_US + 2 * SECOND, &wide, 90).await?.is_allowed(), "{algorithm:?}");
        let change = START_US + 3 * SECOND;
        let denied = rig.at(change, &tight, 1).await?;
        let Outcome::Denied { retry_after } = denied.outcome else { panic!("{denied:?}") };
        assert!(retry_after <= half + half / 60, "{algorithm:?} {retry_after:?}");
        let due = change + micros(retry_after);
        assert!(!rig.at(due - 1, &tight, 1).await?.is_allowed(), "{algorithm:?}");
        assert!(rig.at(due, &tight, 1).await?.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_override_that_was_lower_for_a_while_erases_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limits = [Limit::new(algorithm, 100, MINUTE)?];
        assert!(rig.at(START_US, &limits, 100).await?.is_allowed());
        let now = AcquireOptions::default().now(instant(START_US + SECOND))?;
        let two = Duration::from_secs(2);
        rig.service.set_override(&subject(), &limits[0], 1, two, &now).await?;
        assert!(!rig.at(START_US + SECOND * 3 / 2, &limits, 1).await?.is_allowed());
        let after = rig.at(START_US + 3 * SECOND, &limits, 90).await?;
        assert!(!after.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}

/// Whatever steps and changes came before, and however often: from the last one on even the whole limit is
/// back within a window (and its sixtieth, where it is strict).
#[tokio::test]
async fn after_steps_of_the_clock_and_changes_nobody_waits_longer_than_a_window() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        for seed in 0..30 {
            let mut random = Random(seed);
            let name = format!("{algorithm:?}-{seed}");
            let mut now = START_US;
            let windows = [Duration::from_millis(50), MINUTE, MINUTE * 60 * 24];
            for _ in 0..12 {
                let units = [1, 10, 100, 1_000][random.below(4) as usize];
                let window = windows[random.below(3) as usize];
                let algorithm = ALL[random.below(5) as usize];
                let limits = [Limit::new(algorithm, units, window)?.named(&name)?];
                let _ = rig.at(now, &limits, 1 + random.below(units)).await?;
                for forward in [true, false] {
                    let window_us = micros(windows[random.below(3) as usize]);
                    let step = random.below(2 * window_us);
                    now = if forward { now + step } else { now - step };
                }
            }
            // The last change; nothing is taken from here on.
            let window = windows[random.below(3) as usize] + Duration::from_micros(60);
            let limits = [Limit::new(algorithm, 10, window)?.named(&name)?];
            if rig.at(now, &limits, 11).await?.results[0].remaining == 10 {
                continue;
            }
            for cost in [1, 5, 10] {
                let outcome = rig.at(now, &limits, cost).await?.outcome;
                if let Outcome::Denied { retry_after } = outcome {
                    let longest = match algorithm {
                        Algorithm::Strict => window + window / 60,
                        _ => window,
                    };
                    assert!(retry_after <= longest, "{name} {cost} {window:?}: {retry_after:?}");
                } else {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// A slow rollout: two versions of one policy in turn, and then one of them alone.
#[tokio::test]
async fn when_two_windows_no_longer_alternate_all_is_back_within_the_one_that_stays() -> Result<()>
{
    let rig = Rig::start().await?;
    let (short, long) = (Duration::from_millis(50), MINUTE * 60);
    for algorithm in ALL {
        for seed in 0..20 {
            let mut random = Random(seed);
            let name = format!("{algorithm:?}-{seed}");
            let versions = [short, long]
                .map(|window| Limit::new(algorithm, 10, window).unwrap().named(&name).unwrap());
            let stays = &versions[seed as usize % 2];
            let mut now = START_US + random.below(3_600 * SECOND);
            for turn in 0..40 {
                let limits = std::slice::from_ref(&versions[turn % 2]);
                let _ = rig.at(now, limits, 1 + random.below(10)).await?;
                now += random.below(micros(short) / 2);
            }
            // The change to it, which takes nothing.
            let limits = std::slice::from_ref(stays);
            assert_eq!(rig.at(now, limits, 11).await?.outcome, Outcome::Never);
            let stopped = now;
            while let Outcome::Denied { retry_after } = rig.at(now, limits, 10).await?.outcome {
                now += micros(retry_after);
            }
            let window = stays.window();
            let waited = Duration::from_micros(now - stopped);
            // A counter's own units count in their window and in the next.
            let own = if algorithm == Algorithm::Counter { window } else { window / 60 };
            assert!(waited <= window + own, "{name} {window:?}: {waited:?}");
        }
    }
    Ok(())
}

/// A dashboard with yesterday's file looks, and changes nothing for those who count.
#[tokio::test]
async fn who_only_looks_by_another_policy_keeps_nobody_out() -> Result<()> {
    let rig = Rig::start().await?;
    let at = |second: u64| instant(START_US + second * SECOND);
    for algorithm in
        [Algorithm::Strict, Algorithm::Log, Algorithm::Bucket, Algorithm::Fixed, Algorithm::Counter]
    {
        let limits = |name: &str, window| -> Result<[Limit; 1]> {
            Ok([Limit::new(algorithm, 10, window)?.named(format!("{algorithm:?}-{name}"))?])
        };
        let longer = MINUTE + Duration::from_secs(1);
        let (here, there) = (limits("looks", MINUTE)?, limits("looks", longer)?);
        assert!(rig.at(START_US, &here, 10).await?.is_allowed());
        for second in (5..=115).step_by(5) {
            let now = AcquireOptions::default().now(at(second))?;
            let _seen = rig.service.peek(&subject(), &there, &now).await?;
        }
        assert!(rig.at(START_US + 121 * SECOND, &here, 10).await?.is_allowed(), "{algorithm:?}");

        let (here, there) = (limits("refund", MINUTE)?, limits("refund", longer)?);
        let receipt = rig.at(START_US, &here, 10).await?.receipt.take().unwrap();
        let now = AcquireOptions::default().now(at(5))?;
        let _seen = rig.service.peek(&subject(), &there, &now).await?;
        assert!(!rig.service.refund(receipt.at(at(5))?).await?.is_void(), "{algorithm:?}");
    }
    Ok(())
}
