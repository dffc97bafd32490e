//! Acceptance 6: clocks that differ, and a server's clock that steps back.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit, Outcome};
use raptor_testkit::redis;

use crate::model::{Record, width};
use crate::rig::{MINUTE, Random, Rig, START_US, instant, micros, subject};

const SECOND: u64 = 1_000_000;

#[tokio::test]
async fn acceptance_6_the_server_s_clock_back_30_s_admits_nothing_extra() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(10, MINUTE)?];
    for i in 0..10 {
        assert!(rig.at(START_US + i * 2 * SECOND, &limits, 1).await?.is_allowed());
    }
    let back = START_US + 18 * SECOND - 30 * SECOND;
    let decision = rig.at(back, &limits, 1).await?;
    assert_eq!(decision.results[0].remaining, 0);
    let Outcome::Denied { retry_after } = decision.outcome else { panic!("extra") };
    // All of it counts as taken at the step, seen again and again.
    assert!(retry_after <= MINUTE + Duration::from_secs(1), "{retry_after:?}");
    for passed in [0, 29, 30, 59] {
        assert!(!rig.at(back + passed * SECOND, &limits, 1).await?.is_allowed(), "{passed}");
    }
    let due = back + micros(retry_after);
    assert!(!rig.at(due - 1, &limits, 1).await?.is_allowed());
    assert_eq!(rig.at(due, &limits, 1).await?.results[0].remaining, 9);
    Ok(())
}

#[tokio::test]
async fn a_state_far_in_the_future_locks_nobody_out_longer_than_a_window() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(3, MINUTE)?];
    let future = START_US + 3_600_000 * SECOND;
    assert!(rig.at(future, &limits, 3).await?.is_allowed());
    assert!(!rig.at(START_US, &limits, 1).await?.is_allowed());
    let due = START_US + micros(MINUTE) + width(micros(MINUTE));
    assert!(!rig.at(due - 1, &limits, 1).await?.is_allowed());
    assert!(rig.at(due, &limits, 3).await?.is_allowed());
    Ok(())
}

#[tokio::test]
async fn a_step_back_with_room_left_counts_what_was_taken() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(10, MINUTE)?];
    assert!(rig.at(START_US, &limits, 4).await?.is_allowed());
    assert!(rig.at(START_US + 30 * SECOND, &limits, 2).await?.is_allowed());
    assert_eq!(rig.at(START_US - 30 * SECOND, &limits, 1).await?.results[0].remaining, 3);
    assert!(!rig.at(START_US + 30 * SECOND, &limits, 4).await?.is_allowed());
    assert!(rig.at(START_US + 31 * SECOND, &limits, 10).await?.is_allowed());
    Ok(())
}

/// Callers' clocks are never asked: the time is the server's.
#[tokio::test]
async fn acceptance_6_without_a_given_time_the_server_s_counts() -> Result<()> {
    let rig = Rig::start().await?;
    let decision = rig.one(&Limit::strict(1, MINUTE)?).await?;
    let (seconds, micros): (i64, i64) = rig.query(&mut redis::cmd("TIME")).await?;
    let server_ns = i128::from(seconds * 1_000_000 + micros) * 1_000;
    let until_reset = decision.results[0].reset_at.unix_timestamp_nanos() - server_ns;
    assert!((55_000_000_000..=61_000_000_000).contains(&until_reset), "{until_reset}");
    Ok(())
}

/// The promise holds in true time, whatever backward steps the server's clock makes.
#[tokio::test]
async fn acceptance_6_no_backward_step_ever_admits_more_in_true_time() -> Result<()> {
    let rig = Rig::start().await?;
    for seed in 0..20 {
        let mut random = Random(seed);
        let limits = [Limit::strict(20, MINUTE)?.named(format!("steps-{seed}"))?];
        let (mut passed, mut behind, mut record) = (0, 0, Record::default());
        for _ in 0..400 {
            passed += random.below(2 * SECOND);
            if random.below(30) == 0 {
                let most = [SECOND, 10 * SECOND, 100 * SECOND][random.below(3) as usize];
                behind += random.below(most);
            }
            let clock = START_US + passed - behind;
            if rig.at(clock, &limits, 1).await?.is_allowed() {
                record.admit(passed, 1);
            }
        }
        assert!(record.busiest(micros(MINUTE)) <= 20, "seed {seed}");
    }
    Ok(())
}

/// Also who only looks: `check_limit` denies until somebody charges, and nobody does who is denied.
#[tokio::test]
async fn a_look_after_a_step_back_names_a_time_at_which_a_look_finds_room() -> Result<()> {
    use Algorithm::{Bucket, Counter, Fixed, Log, Strict};
    let rig = Rig::start().await?;
    for algorithm in [Strict, Log, Bucket, Fixed, Counter] {
        let limits = [Limit::new(algorithm, 10, MINUTE)?];
        let look = async |us| {
            let options = AcquireOptions::default().now(instant(us))?;
            rig.service.peek(&subject(), &limits, &options).await
        };
        assert!(rig.at(START_US, &limits, 10).await?.is_allowed());
        let back = START_US - 3_600 * SECOND;
        let Outcome::Denied { retry_after } = look(back).await?.outcome else {
            panic!("{algorithm:?}: extra");
        };
        assert!(retry_after <= MINUTE + MINUTE / 60, "{algorithm:?}: {retry_after:?}");
        let due = back + micros(retry_after);
        assert!(!look(due - 1).await?.is_allowed(), "{algorithm:?}");
        assert!(look(due).await?.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}
