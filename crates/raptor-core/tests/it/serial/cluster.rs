//! The cluster under change: split keys, failover, a dead and a frozen primary, flushed scripts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use raptor_core::{ErrorKind, Key, RedisClient, Script};
use raptor_testkit::{Cluster, FailoverMode, redis};

use super::load::{Load, stored_at};
use crate::fixture::{self, slack, until};

/// In the middle of a migration the old owner redirects for this once (ASK), and only an asking
/// call is served by the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_have_moved_ahead_of_their_slot_are_asked_for() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let client = fixture::client(&cluster.url()).await;
    let (stored, fresh) = (Key::raw("{asked}stored"), Key::raw("{asked}fresh"));
    client.command("SET").key(&stored).arg(41).run::<()>().await.expect("SET");
    let to = (cluster.owner_of_slot(stored.slot()).await.expect("an owner") + 1) % 3;
    cluster.begin_migration(stored.slot(), to).await.expect("begins");
    cluster.move_keys(stored.slot(), to, 100).await.expect("moves");
    let incr = Script::new("test.incr", "return redis.call('INCR', KEYS[1])");
    for expected in [42, 43] {
        let n: i64 = client.command("INCR").key(&stored).run().await.expect("asked for");
        assert_eq!(n, expected);
    }
    let n: i64 = client.script(&incr).key(&fresh).run().await.expect("made at the new owner");
    assert_eq!(n, 1);
    cluster.finish_migration(stored.slot(), to).await.expect("finishes");
    assert_eq!(
        (stored_at(&client, "{asked}stored").await, stored_at(&client, "{asked}fresh").await),
        (43, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_on_split_keys_retries_tryagain_until_its_deadline() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let client = fixture::client(&cluster.url()).await;
    let (one, two) = (Key::raw("{split}1"), Key::raw("{split}2"));
    for key in [&one, &two] {
        client.command("SET").key(key).arg(0).run::<()>().await.expect("SET");
    }
    let both =
        Script::new("test.both", "redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])");
    let owner = cluster.owner_of_slot(one.slot()).await.expect("an owner");
    let to = (owner + 1) % 3;
    cluster.begin_migration(one.slot(), to).await.expect("begins");
    cluster.move_keys(one.slot(), to, 1).await.expect("moves");
    // One key here, one there: nobody can run it.
    let stuck = client.script(&both).key(&one).key(&two).timeout(Duration::from_millis(300));
    let error = stuck.run::<i64>().await.expect_err("split");
    assert_eq!(error.kind(), ErrorKind::TryAgain, "{error:?}");
    assert!(error.is_retryable());
    // A call that waits while the migration ends is served by the new owner.
    let waiting = client.script(&both).key(&one).key(&two).timeout(slack(Duration::from_secs(2)));
    let (outcome, ()) = tokio::join!(waiting.run::<i64>(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.move_keys(one.slot(), to, 10).await.expect("moves");
        cluster.finish_migration(one.slot(), to).await.expect("finishes");
    });
    assert_eq!(outcome.expect("served"), 1, "executed once");
}

/// Calls on keys of every other primary, their slowest answer, and errors.
async fn others(client: RedisClient, keys: Vec<Key>, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for key in &keys {
            let started = Instant::now();
            client.command("INCR").key(key).run::<i64>().await.expect("other slots see no error");
            took.push(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort();
    took
}

async fn a_lost_primary(frozen: bool) {
    let cluster =
        Cluster::builder().replicas_per_primary(1).start().await.expect("a cluster starts");
    let client = fixture::client(&cluster.url()).await;
    let mut of_primary: BTreeMap<usize, Key> = BTreeMap::new();
    for n in 0.. {
        let key = Key::raw(format!("k{n}"));
        let owner = cluster.owner_of_slot(key.slot()).await.expect("an owner");
        of_primary.entry(owner).or_insert(key);
        if of_primary.len() == 3 {
            break;
        }
    }
    let (victim, lost) = of_primary.pop_first().expect("three");
    let alive: Vec<Key> = of_primary.into_values().collect();
    for key in alive.iter().chain([&lost]) {
        client.command("INCR").key(key).run::<i64>().await.expect("all is well");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let quiet = tokio::spawn(others(client.clone(), alive.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let control = quiet.await.expect("ends");

    let stop = Arc::new(AtomicBool::new(false));
    let watched = tokio::spawn(others(client.clone(), alive, stop.clone()));
    // Callers of the lost slots keep trying.
    let hammers: Vec<_> = (0..16)
        .map(|_| {
            let (client, lost, stop) = (client.clone(), lost.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = client.command("INCR").key(&lost).run::<i64>().await {
                        let kind = error.kind();
                        assert!(
                            error.is_retryable() || kind == ErrorKind::OutcomeUnknown,
                            "{error:?}"
                        );
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    let replica = cluster.replica_of(victim).await.expect("asked").expect("a replica");
    let node = cluster.node(victim);
    if frozen { node.stop() } else { node.kill() }.expect("lost");
    // The cluster's own recovery, as the promoted replica sees it.
    let promoted = async || {
        let mut get = redis::cmd("SET");
        get.arg(lost.as_bytes()).arg(1);
        cluster.node(replica).query::<()>(&get).await.is_ok()
    };
    until(Duration::from_secs(60), "the cluster to fail over", promoted).await.expect("fails over");
    let theirs = Instant::now();
    let back = async || client.command("INCR").key(&lost).run::<i64>().await.is_ok();
    until(slack(Duration::from_secs(1)), "service to be back", back).await.expect("back");
    let ours = theirs.elapsed();
    stop.store(true, Ordering::Relaxed);
    for hammer in hammers {
        hammer.await.expect("typed errors only");
    }
    let took = watched.await.expect("other slots see no error");
    let p99 = |sorted: &[Duration]| sorted[sorted.len() * 99 / 100];
    println!(
        "frozen: {frozen}; back {ours:?} after the cluster; other slots p99 {:?}, before {:?}",
        p99(&took),
        p99(&control)
    );
    let bound = slack(p99(&control)).max(Duration::from_millis(50));
    assert!(p99(&took) < bound, "other slots are unharmed: {:?} against {bound:?}", p99(&took));
    if frozen {
        node.cont().expect("continued");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_leaves_other_slots_unharmed_and_is_replaced() {
    a_lost_primary(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_leaves_other_slots_unharmed_and_is_replaced() {
    a_lost_primary(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn script_flush_each_fifty_ms_during_a_failover_reaches_no_caller() {
    let cluster =
        Cluster::builder().replicas_per_primary(1).start().await.expect("a cluster starts");
    let client = fixture::client(&cluster.url()).await;
    let load = Load::start(&client, 64, |caller| format!("flushed:{caller}"));
    let flush = async |rounds: usize| {
        for _ in 0..rounds {
            for node in cluster.nodes() {
                let _ = node.query::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    flush(40).await;
    let (promoted, ()) = tokio::join!(cluster.failover(0, FailoverMode::Graceful), flush(40));
    promoted.expect("fails over");
    flush(20).await;
    let mut errors = BTreeMap::new();
    for (key, tally) in load.end().await {
        let executed = stored_at(&client, &key).await;
        assert!(
            (tally.done..=tally.done + tally.unknown).contains(&executed),
            "{key}: {executed} executed, {tally:?}"
        );
        for (error, n) in tally.errors {
            *errors.entry(error).or_insert(0) += n;
        }
    }
    println!("errors within the failover's window: {errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_nobody_serves_is_a_typed_refusal() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let client = fixture::client(&cluster.url()).await;
    let key = Key::raw("orphan");
    for node in cluster.nodes() {
        let mut drop = redis::cmd("CLUSTER");
        drop.arg("DELSLOTS").arg(key.slot());
        let _ = node.query::<()>(&drop).await;
    }
    let call = client.command("INCR").key(&key).timeout(Duration::from_millis(500));
    let error = call.run::<i64>().await.expect_err("nobody serves it");
    assert!(error.is_retryable(), "it did not run: {error:?}");
    let mut add = redis::cmd("CLUSTER");
    cluster.node(0).query::<()>(add.arg("ADDSLOTS").arg(key.slot())).await.expect("ADDSLOTS");
    let served = async || client.command("INCR").key(&key).run::<i64>().await.is_ok();
    until(slack(Duration::from_secs(2)), "the slot to be served", served).await.expect("served");
}
