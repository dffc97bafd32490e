//! Limits of several users in one decision.

use std::time::Duration;

use anyhow::Result;
use raptor_core::{ErrorKind, RedisClient};
use raptor_ratelimit::{AcquireOptions, Ask, Limit, Outage, Outcome, RateLimitService, Subject};
use raptor_testkit::{Server, eventually, redis};

use crate::rig::{MINUTE, Rig, START_US, config, instant};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_logs_of_users_and_of_their_organisation_sum_up_after_a_storm() -> Result<()> {
    let rig = Rig::start().await?;
    let of = |user: &str, limit| {
        let subject = Subject::new(user, "e").unwrap();
        Ask { subject, limits: vec![Limit::log(limit, MINUTE).unwrap()] }
    };
    // One clock: all the charges are of one microsecond.
    let pinned = AcquireOptions::default().now(instant(START_US))?;
    let mut calls = Vec::new();
    for n in 0..160_u64 {
        let (user, cost) = (n % 8, 1 + n % 5);
        let service = rig.service.clone();
        let (asks, options) =
            ([of(&format!("user-{user}"), 40), of("acme", 60)], pinned.clone().cost(cost)?);
        calls.push(tokio::spawn(async move {
            let outcome = service.acquire_across(&asks, &options).await?.0;
            Ok::<_, raptor_core::Error>((user, cost * u64::from(outcome.is_allowed())))
        }));
    }
    let mut taken = [0; 8];
    for call in calls {
        let (user, cost) = call.await??;
        taken[usize::try_from(user)?] += cost;
    }
    for (user, taken) in taken.iter().enumerate() {
        let left = remaining(&rig, &of(&format!("user-{user}"), 40), &pinned).await?;
        assert_eq!(left, 40 - taken, "user {user}");
    }
    let left = remaining(&rig, &of("acme", 60), &pinned).await?;
    assert_eq!(left, 60 - taken.iter().sum::<u64>());
    Ok(())
}

#[tokio::test]
async fn in_an_outage_a_denial_gives_back_the_shares_of_the_others() -> Result<()> {
    let server = Server::start().await?;
    let service = RateLimitService::new(RedisClient::connect(config(server.url())?).await?);
    let options = AcquireOptions::default();
    server.kill()?;
    let part = |user: &str, outage| {
        let mut ask = ask(user, 100);
        ask.limits[0] = ask.limits[0].clone().on_outage(outage);
        ask
    };
    let ann = part("ann", Outage::local(4));
    for other in [Outage::Closed, Outage::Fail] {
        for _ in 0..30 {
            let asks = [ann.clone(), part("acme", other)];
            let decided = service.acquire_across(&asks, &options).await;
            assert_eq!(decided.is_err(), other == Outage::Fail, "{decided:?}");
            assert!(!decided.is_ok_and(|(outcome, _)| outcome.is_allowed()));
            if other == Outage::Fail {
                break; // each waits for the client's own time
            }
        }
    }
    let all = options.clone().cost(25)?;
    let decision = service.acquire(&ann.subject, &ann.limits, &all).await?;
    assert!(decision.degraded && decision.is_allowed(), "{decision:?}");
    // And what both admit stays taken.
    let asks = [part("bob", Outage::local(4)), part("acme", Outage::Open)];
    assert!(service.acquire_across(&asks, &options).await?.0.is_allowed());
    assert!(!service.acquire(&asks[0].subject, &asks[0].limits, &all).await?.is_allowed());
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
