//! Acceptance 7: a denied hot key costs the server next to nothing, and is allowed on time.

use std::time::{Duration, Instant};

use anyhow::Result;
use raptor_core::RedisClient;
use raptor_ratelimit::{
    AcquireOptions, Limit, Outcome, RateLimitOptions, RateLimitService, Subject,
};

use crate::rig::{Rig, config, subject};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acceptance_7_ten_thousand_denied_calls_take_two_round_trips_and_then_it_is_allowed()
-> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::log(5, Duration::from_secs(3))?;
    let all_of_it = AcquireOptions::default().cost(5)?;
    let limits = [limit.clone()];
    assert!(rig.service.acquire(&subject(), &limits, &all_of_it).await?.is_allowed());
    let Outcome::Denied { retry_after } = rig.one(&limit).await?.outcome else {
        panic!("none are left");
    };
    let due = Instant::now() + retry_after;
    let before = rig.script_calls().await?;
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (service, limits) = (rig.service.clone(), limits.clone());
            tokio::spawn(async move {
                for _ in 0..200 {
                    let options = AcquireOptions::default();
                    let decision = service.acquire(&subject(), &limits, &options).await?;
                    assert!(!decision.is_allowed() && decision.receipt.is_none());
                }
                Ok::<_, raptor_core::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    assert!(rig.script_calls().await? - before <= 2);
    assert!(Instant::now() < due, "the machine is too slow to tell anything");
    tokio::time::sleep_until(due.into()).await;
    assert!(rig.one(&limit).await?.is_allowed(), "on time");
    Ok(())
}

#[tokio::test]
async fn another_cost_limit_or_subject_asks_and_a_refund_here_is_seen_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(5, Duration::from_secs(600))?;
    let limits = [limit.clone()];
    let cost = |cost| AcquireOptions::default().cost(cost).unwrap();
    let who = subject();
    let mut first = rig.service.acquire(&who, &limits, &cost(3)).await?;
    assert!(!rig.service.acquire(&who, &limits, &cost(3)).await?.is_allowed());
    assert!(rig.service.acquire(&who, &limits, &cost(2)).await?.is_allowed(), "another cost");
    assert!(!rig.one(&limit).await?.is_allowed());
    let other = Subject::new("u", "other")?;
    assert!(rig.service.acquire(&other, &limits, &cost(1)).await?.is_allowed());
    let raised = Limit::strict(6, Duration::from_secs(600))?;
    assert!(rig.one(&raised).await?.is_allowed(), "another number");
    assert!(!rig.one(&limit).await?.is_allowed());
    rig.service.refund(first.receipt.take().unwrap()).await?;
    assert!(rig.one(&limit).await?.is_allowed(), "the refund is seen here");
    Ok(())
}

#[tokio::test]
async fn what_another_process_resets_is_allowed_within_a_second() -> Result<()> {
    let rig = Rig::start().await?;
    let other = rig.another_process().await?;
    let limit = Limit::strict(1, Duration::from_secs(600))?;
    assert!(rig.one(&limit).await?.is_allowed());
    assert!(!rig.one(&limit).await?.is_allowed());
    let reset = Instant::now();
    let limits = std::slice::from_ref(&limit);
    other.reset(&subject(), limits, &AcquireOptions::default()).await?;
    while !rig.one(&limit).await?.is_allowed() {
        assert!(reset.elapsed() < Duration::from_secs(5), "a second, with slack");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test]
async fn without_the_cache_each_call_asks() -> Result<()> {
    let rig = Rig::start().await?;
    let client = RedisClient::connect(config(rig.backend.url())?).await?;
    let options = RateLimitOptions::default().without_denial_cache();
    let service = RateLimitService::with_options(client, options);
    let limits = [Limit::strict(1, Duration::from_secs(600))?];
    let before = rig.script_calls().await?;
    for _ in 0..20 {
        let _ = service.acquire(&subject(), &limits, &AcquireOptions::default()).await?;
    }
    assert!(rig.script_calls().await? - before >= 20);
    Ok(())
}
