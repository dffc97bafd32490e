//! Calls made at the same time ride in one script call, and each gets what is its own.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::{AcquireOptions, Decision, Limit, RateLimitService, Subject};
use raptor_testkit::redis;
use tokio::task::{JoinHandle, JoinSet};

use crate::rig::{MINUTE, Random, Rig, START_US, instant, subject};

/// Script calls that many requests at the same moment take at most: the first few, and those behind.
const FEW: u64 = 5;

/// Calls that are made at the same moment: all have been made before the first is looked at again,
/// so they gather.
async fn at_once<F>(calls: impl IntoIterator<Item = F>) -> Vec<raptor_core::Result<Decision>>
where
    F: Future<Output = raptor_core::Result<Decision>>,
{
    let mut calls: Vec<_> = calls.into_iter().map(|call| (Box::pin(call), None)).collect();
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

fn acquire(
    service: &RateLimitService,
    subject: Subject,
    limits: &[Limit],
    options: AcquireOptions,
) -> impl Future<Output = raptor_core::Result<Decision>> + Send + use<> {
    let (service, limits) = (service.clone(), limits.to_vec());
    async move { service.acquire(&subject, &limits, &options).await }
}

#[tokio::test]
async fn one_hot_key_in_batches_admits_exactly_its_limit() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(100, Duration::from_secs(600))?];
    let options = AcquireOptions::default;
    // So that the server knows the script.
    assert!(rig.service.acquire(&subject(), &limits, &options()).await?.is_allowed());
    let before = rig.script_calls().await?;
    let calls = (0..64).map(|_| acquire(&rig.service, subject(), &limits, options()));
    let mut left = Vec::new();
    for decision in at_once(calls).await {
        left.push(decision?.results[0].remaining);
    }
    left.sort_unstable();
    assert!(left.into_iter().eq(100 - 65..100 - 1), "each saw those before it");
    assert!(rig.script_calls().await? - before <= FEW, "they rode together");
    let calls = (0..64).map(|_| acquire(&rig.service, subject(), &limits, options()));
    let decisions = at_once(calls).await.into_iter().collect::<raptor_core::Result<Vec<_>>>()?;
    assert_eq!(decisions.iter().filter(|decision| decision.is_allowed()).count(), 100 - 65);
    Ok(())
}

#[tokio::test]
async fn riders_keep_their_own_clock_cost_and_limits() -> Result<()> {
    let rig = Rig::start().await?;
    let window = Duration::from_secs(60);
    let by_server = rig.one(&Limit::strict(1, window)?.named("real")?).await?;
    let before = rig.script_calls().await?;
    let calls = (0..40_u64).map(|n| {
        // Each limit its own, all of one user and so of one slot.
        let limit = Limit::strict(1_000 + n, window).unwrap().named(format!("p{n}")).unwrap();
        let options = AcquireOptions::default().cost(1 + n).unwrap();
        let options = match n % 3 {
            0 => options,
            _ => options.now(instant(START_US + n * 1_000_000 + n)).unwrap(),
        };
        acquire(&rig.service, subject(), &[limit], options)
    });
    for (n, decision) in (0_u64..).zip(at_once(calls).await) {
        let decision = decision?;
        let result = &decision.results[0];
        assert_eq!((result.limit, result.remaining), (1_000 + n, 999), "{n}");
        let reset_at = match n % 3 {
            0 => by_server.results[0].reset_at,
            // Buckets of a second: the one of its own now ends, and a window later it is back.
            _ => instant(START_US + (n + 1 + 60) * 1_000_000),
        };
        let apart = (result.reset_at - reset_at).abs();
        let slack = if n % 3 == 0 { time::Duration::seconds(30) } else { time::Duration::ZERO };
        assert!(apart <= slack, "{n}: {apart}");
    }
    assert!(rig.script_calls().await? - before <= FEW, "they rode together");
    Ok(())
}

#[tokio::test]
async fn one_rider_s_wrong_type_or_damage_is_its_alone() -> Result<()> {
    let rig = Rig::start().await?;
    let limits: Vec<Limit> = (0..30)
        .map(|n| Limit::strict(5, MINUTE)?.named(format!("p{n}")))
        .collect::<Result<_, _>>()?;
    rig.query::<i64>(redis::cmd("LPUSH").arg(crate::rig::key("p10")).arg("theirs")).await?;
    rig.query::<()>(redis::cmd("SET").arg(crate::rig::key("p20")).arg("theirs")).await?;
    let options = AcquireOptions::default;
    let calls = limits.chunks(1).map(|limit| acquire(&rig.service, subject(), limit, options()));
    for (n, outcome) in at_once(calls).await.into_iter().enumerate() {
        match (n, outcome) {
            (10, Err(error)) => assert_eq!(error.kind(), ErrorKind::WrongType),
            (20, Err(error)) => assert_eq!(error.kind(), ErrorKind::Codec),
            (_, outcome) => assert_eq!(outcome?.results[0].remaining, 4, "{n}"),
        }
    }
    Ok(())
}

/// Acceptance 1 of the coalescer, through the service. In waves: what all wait for together is work
/// of the server, whose time counts against everybody's deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_one_percent_on_a_wrong_type_half_of_the_callers_dropped() -> Result<()>
{
    const USERS: usize = 500;
    const WAVE: usize = 1_000;
    let rig = Rig::start().await?;
    let limit = Limit::strict(1_000, Duration::from_secs(3_600))?;
    for n in (0..10_000).step_by(100) {
        let key = format!("raptorflow:rate:{{bad-{n}}}:e:3600s");
        rig.query::<i64>(redis::cmd("LPUSH").arg(key).arg("theirs")).await?;
    }
    let who = |n: usize| match n % 100 {
        0 => Subject::new(format!("bad-{n}"), "e"),
        _ => Subject::new(format!("user-{}", n % USERS), "e"),
    };
    let mut random = Random(7);
    let (mut dropped, mut waited) = (0, [0_u64; USERS]);
    for first in (0..10_000).step_by(WAVE) {
        let mut callers: Vec<(usize, JoinHandle<raptor_core::Result<Decision>>)> = Vec::new();
        for n in first..first + WAVE {
            let limits = [limit.clone()];
            let call = acquire(&rig.service, who(n)?, &limits, AcquireOptions::default());
            callers.push((n, tokio::spawn(call)));
            // Some before they are polled, some while they wait, some in flight, some answered.
            if random.below(2) == 0 {
                let at = random.below(callers.len() as u64) as usize;
                callers.swap_remove(at).1.abort();
                dropped += 1;
            }
            if random.below(50) == 0 {
                tokio::task::yield_now().await;
            }
        }
        for (n, caller) in callers {
            match caller.await? {
                Err(error) if n % 100 == 0 => assert_eq!(error.kind(), ErrorKind::WrongType, "{n}"),
                outcome => {
                    assert!(n % 100 != 0 && outcome?.is_allowed(), "{n}");
                    waited[n % USERS] += 1;
                }
            }
        }
    }
    assert!((4_500..5_500).contains(&dropped));
    for (user, &waited) in waited.iter().enumerate().filter(|(user, _)| user % 100 != 0) {
        let limits = [limit.clone()];
        let next = rig.service.acquire(&who(user)?, &limits, &AcquireOptions::default()).await?;
        let taken = 999 - next.results[0].remaining;
        assert!((waited..=20).contains(&taken), "{user}: {taken} taken, {waited} waited");
    }
    nothing_is_under_way(&rig).await
}

/// Whoever comes now is served, and rides together as at the start.
async fn nothing_is_under_way(rig: &Rig) -> Result<()> {
    let limits = [Limit::strict(1_000_000, MINUTE)?];
    let call = || acquire(&rig.service, subject(), &limits, AcquireOptions::default());
    for _ in 0..100 {
        let before = rig.script_calls().await?;
        for decision in at_once((0..64).map(|_| call())).await {
            assert!(decision?.is_allowed());
        }
        // What dropped callers had sent may still have been on its way.
        if rig.script_calls().await? - before <= FEW {
            return Ok(());
        }
    }
    anyhow::bail!("something stays in flight or waiting")
}

#[tokio::test]
async fn calls_of_all_clones_ride_together() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(1_000, MINUTE)?];
    let mut calls = JoinSet::new();
    let before = rig.script_calls().await?;
    for _ in 0..200 {
        let service = rig.service.clone();
        calls.spawn(acquire(&service, subject(), &limits, AcquireOptions::default()));
    }
    for decision in calls.join_all().await {
        assert!(decision?.is_allowed());
    }
    let calls = rig.script_calls().await? - before;
    assert!(calls <= 20, "200 calls of 200 clones in {calls} script calls");
    Ok(())
}
