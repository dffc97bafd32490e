//! Several limits in one call: all or nothing.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{Limit, MAX_LIMITS, Outcome};

use crate::rig::{MINUTE, Rig, START_US, key};
use raptor_testkit::redis;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn acceptance_5_ten_a_minute_and_three_an_hour() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(10, MINUTE)?, Limit::strict(3, HOUR)?];
    let mut allowed = 0;
    let mut last = None;
    for _ in 0..5 {
        let decision = rig.at(START_US, &limits, 1).await?;
        allowed += u32::from(decision.is_allowed());
        last = Some(decision);
    }
    let last = last.unwrap();
    assert_eq!(allowed, 3);
    assert_eq!((last.results[0].allowed, last.results[0].remaining), (true, 7));
    assert_eq!((last.results[1].allowed, last.results[1].remaining), (false, 0));
    // Taken in the minute that just began, which leaves the hour's window as a whole.
    assert_eq!(last.outcome, Outcome::Denied { retry_after: HOUR + MINUTE });
    Ok(())
}

#[tokio::test]
async fn the_denial_waits_for_the_slowest_and_then_holds() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(1, MINUTE)?, Limit::strict(1, HOUR)?];
    assert!(rig.at(START_US, &limits, 1).await?.is_allowed());
    let Outcome::Denied { retry_after } = rig.at(START_US + 1, &limits, 1).await?.outcome else {
        panic!("one of each is gone");
    };
    let due = START_US + 1 + u64::try_from(retry_after.as_micros())?;
    assert!(!rig.at(due - 1, &limits, 1).await?.is_allowed());
    assert!(rig.at(due, &limits, 1).await?.is_allowed());
    Ok(())
}

#[tokio::test]
async fn one_bad_value_fails_the_call_and_takes_nothing_of_the_others() -> Result<()> {
    let rig = Rig::start().await?;
    rig.query::<i64>(redis::cmd("LPUSH").arg(key("3600s")).arg("x")).await?;
    let limits = [Limit::strict(2, MINUTE)?, Limit::strict(2, HOUR)?];
    assert!(rig.at(START_US, &limits, 1).await.is_err());
    assert!(!rig.query::<bool>(redis::cmd("EXISTS").arg(key("60s"))).await?);
    Ok(())
}

#[tokio::test]
async fn as_many_as_documented_and_no_two_under_one_name() -> Result<()> {
    let rig = Rig::start().await?;
    let many = |n: usize| -> raptor_core::Result<Vec<Limit>> {
        (0..n).map(|i| Limit::strict(2, MINUTE)?.named(format!("p{i}"))).collect()
    };
    assert_eq!(rig.at(START_US, &many(MAX_LIMITS)?, 1).await?.results.len(), MAX_LIMITS);
    assert!(rig.at(START_US, &many(MAX_LIMITS + 1)?, 1).await.is_err());
    assert!(rig.at(START_US, &[], 1).await.is_err());
    let twice = [Limit::strict(2, MINUTE)?, Limit::strict(9, MINUTE)?];
    let error = rig.at(START_US, &twice, 1).await.unwrap_err();
    assert!(error.to_string().contains("(60s)"), "{error}");
    Ok(())
}

#[tokio::test]
async fn endpoints_count_apart_and_a_shared_limit_together() -> Result<()> {
    use raptor_ratelimit::{AcquireOptions, Subject};
    let rig = Rig::start().await?;
    let limits = [Limit::strict(1, MINUTE)?, Limit::strict(2, MINUTE)?.shared_at("*")?];
    for (endpoint, allowed) in [("a", true), ("a", false), ("b", true), ("c", false)] {
        let subject = Subject::new("u", endpoint)?;
        let decision = rig.service.acquire(&subject, &limits, &AcquireOptions::default()).await?;
        assert_eq!(decision.is_allowed(), allowed, "{endpoint}");
    }
    Ok(())
}
