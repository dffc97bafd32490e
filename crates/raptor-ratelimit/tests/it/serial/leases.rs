//! Acceptance 8: leased tokens overshoot by a lease a node at most, and a dead node loses one at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use raptor_core::RedisClient;
use raptor_ratelimit::{
    AcquireOptions, Leased, Limit, Outage, Outcome, RateLimitOptions, RateLimitService,
};
use raptor_testkit::{Server, eventually};

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
async fn what_nobody_asks_for_any_more_goes_back_by_itself() -> Result<()> {
    let rig = Rig::start().await?;
    for (name, used) in [("first", 1), ("renewed", 6)] {
        let limit = Limit::strict(100, HOUR)?.named(name)?;
        let limits = std::slice::from_ref(&limit);
        let leased = rig.service.leased(&subject(), &limit, 5)?;
        for _ in 0..used {
            assert!(leased.acquire().await?.is_allowed());
        }
        let others = Instant::now();
        eventually("all but the used ones", Duration::from_secs(5), || async {
            let peeked = rig.service.peek(&subject(), limits, &AcquireOptions::default()).await;
            match peeked.map(|peeked| peeked.results[0].remaining) {
                Ok(left) if left == 100 - used => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        assert!(others.elapsed() > raptor_ratelimit::LEASE_LIFE / 2, "{name}: while it lived");
        assert!(leased.try_acquire().is_none(), "{name}: what went back is not handed out");
        assert!(leased.acquire().await?.is_allowed(), "{name}: the hold goes on");
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_that_is_denied_costs_two_round_trips_at_most_and_no_memory() -> Result<()> {
    let rig = Rig::start().await?;
    let now = AcquireOptions::default();
    for (name, taken, overridden, blocked, most, allowed) in [
        ("blocked", 1, None, true, 1, false),
        ("blocked, little left", 9_990, None, true, 2, false),
        ("blocked, nothing left", 10_000, None, true, 2, false),
        ("overridden", 1, Some(300), false, 2, true),
        ("overridden and blocked", 1, Some(300), true, 2, false),
        ("all taken", 10_000, None, false, 2, false),
    ] {
        let limit = Limit::strict(10_000, HOUR)?.named(name)?;
        let limits = std::slice::from_ref(&limit);
        let some = AcquireOptions::default().cost(taken)?;
        assert!(rig.service.acquire(&subject(), limits, &some).await?.is_allowed());
        if let Some(units) = overridden {
            rig.service.set_override(&subject(), &limit, units, HOUR, &now).await?;
        }
        if blocked {
            rig.service.block(&subject(), &limit, HOUR, &now).await?;
        }
        let leased = rig.service.leased(&subject(), &limit, 1_000)?;
        let before = rig.script_calls().await?;
        let outcome = leased.acquire().await?;
        let calls = rig.script_calls().await? - before;
        assert!(calls <= most, "{name}: {calls}");
        assert_eq!(outcome.is_allowed(), allowed, "{name}: {outcome:?}");
        if allowed {
            continue;
        }
        assert!(!leased.acquire().await?.is_allowed());
        assert_eq!(rig.script_calls().await? - before, calls, "{name}: denied from memory");
        let all = AcquireOptions::default().cost(1_000)?;
        assert!(!rig.service.acquire(&subject(), limits, &all).await?.is_allowed());
        assert_eq!(rig.script_calls().await? - before, calls + 1, "{name}: it left a denial");
    }
    Ok(())
}

/// A server of its own, and a hold on a limit there that a call has used.
async fn hold(outage: Outage, deadline: Duration) -> Result<(Server, RateLimitService, Limit)> {
    let server = Server::start().await?;
    let client = RedisClient::connect(config(server.url())?).await?;
    let options = RateLimitOptions::default().deadline(deadline);
    let limit = Limit::strict(100, HOUR)?.on_outage(outage);
    Ok((server, RateLimitService::with_options(client, options), limit))
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_once_a_lease() -> Result<()> {
    let deadline = Duration::from_millis(300);
    for (outage, allowed, leases) in [(Outage::Closed, 0, 1), (Outage::local(4), 25, 3)] {
        let (server, service, limit) = hold(outage, deadline).await?;
        let leased = service.leased(&subject(), &limit, 20)?;
        server.stop()?;
        let asked = Instant::now();
        let used = drain(&leased).await?;
        let took = asked.elapsed();
        server.cont()?;
        assert_eq!(used, allowed, "{outage:?}");
        // Of the share 20, then 5, then none.
        assert!(took < deadline * (leases + 1), "{outage:?}: {took:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_leased_of_a_local_share_goes_back_too() -> Result<()> {
    let (server, service, limit) = hold(Outage::local(4), Duration::from_millis(400)).await?;
    server.kill()?;
    let leased = service.leased(&subject(), &limit, 20)?;
    assert!(leased.acquire().await?.is_allowed());
    drop(leased);
    let large = service.leased(&subject(), &limit, 50)?;
    assert_eq!(drain(&large).await?, 24, "the rest of a quarter of 100");
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
    let other = rig.another_process().await?;
    let limit = Limit::strict(1, Duration::from_secs(600))?;
    assert!(rig.one(&limit).await?.is_allowed());
    assert!(!rig.one(&limit).await?.is_allowed());
    let limits = std::slice::from_ref(&limit);
    other.reset(&subject(), limits, &AcquireOptions::default()).await?;
    let hold = rig.service.leased(&subject(), &limit, 1)?;
    assert!(hold.acquire().await?.is_allowed());
    Ok(())
}

#[tokio::test]
async fn a_denial_out_of_the_hold_s_memory_names_the_time_that_the_server_named() -> Result<()> {
    let rig = Rig::start().await?;
    let leased = rig.service.leased(&subject(), &Limit::strict(2, HOUR)?, 1)?;
    assert_eq!(drain(&leased).await?, 2);
    let Outcome::Denied { retry_after } = leased.try_acquire().unwrap() else { panic!("denied") };
    assert!(retry_after > HOUR - Duration::from_secs(30), "{retry_after:?}");
    Ok(())
}
