//! A policy that changes under its name: nothing extra, and nobody locked out.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::Limit;

use crate::model::width;
use crate::rig::{MINUTE, Rig, START_US, micros};

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
