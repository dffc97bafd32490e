//! Limits of several users in one decision.

use std::time::Duration;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::{AcquireOptions, Ask, Limit, Outcome, Subject};
use raptor_testkit::{eventually, redis};

use crate::rig::{MINUTE, Rig, START_US, instant};

fn ask(user: &str, limit: u64) -> Ask {
    let subject = Subject::new(user, "e").unwrap();
    Ask { subject, limits: vec![Limit::strict(limit, MINUTE).unwrap()] }
}

async fn remaining(rig: &Rig, ask: &Ask, options: &AcquireOptions) -> Result<u64> {
    Ok(rig.service.peek(&ask.subject, &ask.limits, options).await?.results[0].remaining)
}

#[tokio::test]
async fn all_users_limits_or_none() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default().now(instant(START_US))?;
    // Different slots: on a cluster different nodes.
    let asks = [ask("ann", 10), ask("acme", 3), ask("region-7", 100)];
    for taken in 1..=5 {
        let (outcome, decisions) = rig.service.acquire_across(&asks, &options).await?;
        assert_eq!(outcome.is_allowed(), taken <= 3, "{taken}");
        assert_eq!(decisions.len(), 3);
        let with_receipt = decisions.iter().filter(|decision| decision.receipt.is_some()).count();
        assert_eq!(with_receipt, if taken <= 3 { 3 } else { 0 });
    }
    for (ask, left) in asks.iter().zip([7, 0, 97]) {
        assert_eq!(remaining(&rig, ask, &options).await?, left, "what was granted is back");
    }
    Ok(())
}

#[tokio::test]
async fn a_part_that_fails_gives_back_the_others() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default().now(instant(START_US))?;
    let asks = [ask("ann", 10), ask("acme", 3)];
    rig.query::<()>(redis::cmd("SET").arg("raptorflow:rate:{acme}:e:60s").arg("theirs")).await?;
    let error = rig.service.acquire_across(&asks, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    assert_eq!(remaining(&rig, &asks[0], &options).await?, 10);
    Ok(())
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_half_taken() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default().now(instant(START_US))?;
    let asks = [ask("ann", 10), ask("acme", 1)];
    assert!(rig.service.acquire_across(&asks, &options).await?.0.is_allowed());
    for _ in 0..20 {
        let call = rig.service.acquire_across(&asks, &options);
        let _dropped = tokio::time::timeout(Duration::from_micros(50), call).await;
    }
    eventually("what was granted to be back", Duration::from_secs(5), || async {
        match remaining(&rig, &asks[0], &options).await {
            Ok(9) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_callers_never_exceed_any_limit() -> Result<()> {
    let rig = Rig::start().await?;
    let mut callers = Vec::new();
    for n in 0..30 {
        let service = rig.service.clone();
        let asks = [ask(&format!("user-{}", n % 3), 8), ask("acme", 20)];
        callers.push(tokio::spawn(async move {
            let options = AcquireOptions::default().now(instant(START_US))?;
            Ok::<_, raptor_core::Error>(service.acquire_across(&asks, &options).await?.0)
        }));
    }
    let mut allowed = 0;
    for caller in callers {
        allowed += u64::from(caller.await??.is_allowed());
    }
    let options = AcquireOptions::default().now(instant(START_US))?;
    assert!(allowed <= 20, "{allowed}");
    assert_eq!(remaining(&rig, &ask("acme", 20), &options).await?, 20 - allowed);
    Ok(())
}

#[tokio::test]
async fn no_parts_too_many_and_a_user_twice_are_typed_errors() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default();
    let many: Vec<Ask> = (0..17).map(|n| ask(&format!("u{n}"), 1)).collect();
    for asks in [&[][..], &many[..], &[ask("a", 1), ask("a", 1)][..]] {
        let error = rig.service.acquire_across(asks, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert!(matches!(rig.service.acquire_across(&many[..16], &options).await?.0, Outcome::Allowed));
    Ok(())
}
