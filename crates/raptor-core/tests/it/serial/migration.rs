//! Slots that move under load, key by key and at once: no caller sees it, and nothing runs twice.

use std::time::{Duration, Instant};

use raptor_testkit::{Cluster, redis};

use super::load::{Load, stored_at};
use crate::fixture;

/// How long slots are moved: what the issue on the drivers asks for.
const MOVING: Duration = Duration::from_secs(60);
const CALLERS: usize = 64;
/// Tags, and so slots, that move; each has callers, so that every slot has traffic as it moves.
const SLOTS: usize = 8;

/// Moves each of the slots in turn, from owner to owner, under sixty-four callers.
async fn moving(cluster: &Cluster, mut step: impl AsyncFnMut(u16, usize)) {
    let client = fixture::client(&cluster.url()).await;
    let name = |caller: usize| format!("{{migrating-{}}}:{caller}", caller % SLOTS);
    let load = Load::start(&client, CALLERS, name);
    let started = Instant::now();
    let mut migrations = 0;
    while started.elapsed() < MOVING {
        for tag in 0..SLOTS {
            let slot = Cluster::slot_of(format!("{{migrating-{tag}}}").as_bytes());
            let owner = cluster.owner_of_slot(slot).await.expect("an owner");
            step(slot, (owner + 1) % 3).await;
            migrations += 1;
        }
    }
    let tallies = load.end().await;
    let mut calls = 0;
    for (key, tally) in &tallies {
        assert!(tally.errors.is_empty(), "single-key calls see no error: {tally:?}");
        assert_eq!(stored_at(&client, key).await, tally.done, "{key} executed once each");
        calls += tally.done;
    }
    for node in cluster.nodes() {
        let clients: String =
            node.query(redis::cmd("CLIENT").arg("LIST")).await.expect("CLIENT LIST");
        let ours = clients.lines().filter(|line| line.contains("addr=127.0.0.1")).count();
        assert!(ours < 10, "redirections open no connection each: {ours}\n{clients}");
    }
    println!("{migrations} slots moved under {calls} calls, no error, none twice");
    assert!(migrations >= SLOTS && calls > 1_000, "{migrations} migrations, {calls} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_slot_migration_for_sixty_seconds_under_sixty_four_callers() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    moving(&cluster, async |slot, to| {
        cluster.begin_migration(slot, to).await.expect("begins");
        // Keys move one at a time, with traffic on those that moved and those that did not.
        while cluster.move_keys(slot, to, 1).await.expect("moves") > 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        cluster.finish_migration(slot, to).await.expect("finishes");
    })
    .await;
}

/// Valkey 9 copies the slot behind the callers' backs, holds them for the last of it, and hands it over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atomic_slot_migration_for_sixty_seconds_under_sixty_four_callers() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let engine = cluster.node(0).engine();
    if !engine.moves_slots_atomically() {
        // Not passed over on the word of a version: the engine itself does not know the command.
        let error = cluster.migrate_slot_atomically(0, 1).await.expect_err("unknown there");
        let unknown = matches!(&error, raptor_testkit::Error::Redis { source, .. }
            if source.to_string().contains("unknown subcommand"));
        assert!(unknown, "{engine}: {error}");
        println!("not run: {} {:?} moves slots key by key only", engine.name, engine.version);
        return;
    }
    moving(&cluster, async |slot, to| {
        cluster.migrate_slot_atomically(slot, to).await.expect("moves");
    })
    .await;
}
