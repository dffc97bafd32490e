//! Acceptance 8: leased tokens overshoot by a lease a node at most, and a dead node loses one at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use raptor_core::RedisClient;
use raptor_ratelimit::{AcquireOptions, Leased, Limit, Outcome, RateLimitService};
use raptor_testkit::eventually;

use crate::model::Record;
use crate::rig::{Rig, config, subject};

const HOUR: Duration = Duration::from_secs(3_600);

/// Nodes of their own: nothing is shared between them but the server.
async fn nodes(rig: &Rig, limit: &Limit) -> Result<Vec<Arc<Leased>>> {
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let client = RedisClient::connect(config(rig.backend.url())?).await?;
        nodes.push(Arc::new(RateLimitService::new(client).leased(&subject(), limit, 5)?));
    }
    Ok(nodes)
}

/// Takes units until the first denial.
async fn drain(leased: &Leased) -> Result<u64> {
    let mut used = 0;
    while leased.acquire().await?.is_allowed() {
        used += 1;
    }
    Ok(used)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acceptance_8_four_nodes_with_leases_of_5_use_at_most_120_in_any_window() -> Result<()> {
    let rig = Rig::start().await?;
    let window = Duration::from_secs(1);
    let start = Instant::now();
    let mut users = Vec::new();
    for node in nodes(&rig, &Limit::strict(100, window)?).await? {
        users.push(tokio::spawn(async move {
            let mut used = Vec::new();
            while start.elapsed() < 4 * window {
                if node.acquire().await?.is_allowed() {
                    used.push(u64::try_from(start.elapsed().as_micros()).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, raptor_core::Error>(used)
        }));
    }
    let mut used = Vec::new();
    for user in users {
        used.extend(user.await??);
    }
    used.sort_unstable();
    let mut record = Record::default();
    for &at in &used {
        record.admit(at, 1);
    }
    assert!(used.len() > 200, "{} in four windows", used.len());
    assert!(record.busiest(1_000_000) <= 120, "{}", record.busiest(1_000_000));
    Ok(())
}

#[tokio::test]
async fn acceptance_8_a_killed_node_loses_its_lease_at_most_and_a_dropped_one_nothing() -> Result<()>
{
    let rig = Rig::start().await?;
    for (name, killed) in [("killed", true), ("dropped", false)] {
        let limit = Limit::strict(100, HOUR)?.named(name)?;
        let mut nodes = nodes(&rig, &limit).await?;
        let gone = nodes.pop().unwrap();
        assert!(gone.acquire().await?.is_allowed());
        if killed {
            std::mem::forget(gone);
        } else {
            drop(gone);
            // What it gives back is on its way.
            eventually("the units to be back", Duration::from_secs(5), || async {
                let peeked = rig
                    .service
                    .peek(&subject(), std::slice::from_ref(&limit), &Default::default())
                    .await;
                match peeked.map(|peeked| peeked.results[0].remaining) {
                    Ok(99) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await?;
        }
        let mut used = 1;
        for node in &nodes {
            used += drain(node).await?;
        }
        let lost = 100 - used;
        assert!(if killed { lost <= 5 } else { lost == 0 }, "{name}: {lost} lost");
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_takes_what_is_left_and_denies_without_asking() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(12, HOUR)?;
    let leased = rig.service.leased(&subject(), &limit, 5)?;
    let before = rig.script_calls().await?;
    assert_eq!(drain(&leased).await?, 12, "5, 5 and 2");
    for _ in 0..1_000 {
        assert!(matches!(leased.acquire().await?, Outcome::Denied { .. }));
    }
    let calls = rig.script_calls().await? - before;
    assert!(calls <= 10, "{calls}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_used_in_time_goes_back() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(5, HOUR)?;
    let leased = rig.service.leased(&subject(), &limit, 5)?;
    assert!(leased.acquire().await?.is_allowed());
    assert!(!rig.one(&limit).await?.is_allowed(), "all five are leased");
    tokio::time::sleep(raptor_ratelimit::LEASE_LIFE + Duration::from_millis(20)).await;
    assert!(leased.try_acquire().is_none(), "its life is over");
    eventually("the other four", Duration::from_secs(5), || async {
        let _asks = leased.acquire().await;
        match leased.acquire().await {
            Ok(Outcome::Allowed) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn sizes_and_windows_out_of_range_are_typed_errors() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(5, HOUR)?;
    for size in [0, 6, u64::MAX] {
        assert!(rig.service.leased(&subject(), &limit, size).is_err(), "{size}");
    }
    let short = Limit::strict(5, Duration::from_millis(999))?;
    assert!(rig.service.leased(&subject(), &short, 1).is_err());
    Ok(())
}

/// A lease remembers a denial for a second itself: counted from the server's answer, not from what this process
/// remembered of an earlier one.
#[tokio::test]
async fn a_lease_is_not_denied_out_of_another_memory() -> Result<()> {
    let rig = Rig::start().await?;
    let client = RedisClient::connect(config(rig.backend.url())?).await?;
    let other = RateLimitService::new(client);
    let limit = Limit::strict(1, Duration::from_secs(600))?;
    assert!(rig.one(&limit).await?.is_allowed());
    assert!(!rig.one(&limit).await?.is_allowed());
    let limits = std::slice::from_ref(&limit);
    other.reset(&subject(), limits, &AcquireOptions::default()).await?;
    let hold = rig.service.leased(&subject(), &limit, 1)?;
    assert!(hold.acquire().await?.is_allowed());
    Ok(())
}
