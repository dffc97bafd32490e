//! A private cluster: forms, moves slots, fails over, comes back.

use std::time::{Duration, Instant};

use raptor_testkit::redis::cmd;
use raptor_testkit::{Cluster, Error, FailoverMode, eventually, slot_of};

async fn cluster(replicas: usize) -> Cluster {
    Cluster::builder().replicas_per_primary(replicas).start().await.expect("a cluster")
}

/// Asks a node, through the error if it answers with one.
async fn get(cluster: &Cluster, node: usize, key: &str) -> Result<Option<String>, String> {
    match cluster.node(node).query(cmd("GET").arg(key)).await {
        Ok(value) => Ok(value),
        Err(Error::Redis { source, .. }) => Err(source.code().unwrap_or("none").to_owned()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn forms_with_replicas_and_agrees_with_our_slots() {
    let cluster = Cluster::builder()
        .replicas_per_primary(1)
        .node_timeout(Duration::from_secs(2))
        .password("secret")
        .arg("maxmemory-policy", "noeviction")
        .start()
        .await
        .expect("a cluster");
    assert_eq!(cluster.nodes().len(), 6);
    assert!(cluster.url().starts_with("redis-cluster://:secret@127.0.0.1:"), "{}", cluster.url());
    for key in ["a", "{b}c", "", "ü{}"] {
        let slot: u16 =
            cluster.node(0).query(cmd("CLUSTER").arg("KEYSLOT").arg(key)).await.expect("slot");
        assert_eq!(slot, slot_of(key.as_bytes()), "{key}");
    }
    for primary in 0..3 {
        assert_eq!(cluster.replica_of(primary).await.expect("asked"), Some(primary + 3));
        assert_eq!(cluster.owner_of_slot(primary as u16 * 5461).await.expect("asked"), primary);
    }
    cluster.migrate_slot(0, 1).await.expect("an empty slot moves");
    cluster
        .node(0)
        .query::<()>(cmd("SET").arg("{06S}").arg(1))
        .await
        .expect_err("not its slot any more");
}

#[tokio::test]
async fn a_slot_moves_with_all_its_keys_step_by_step() {
    let cluster = cluster(0).await;
    let slot = slot_of(b"{t}");
    let from = cluster.owner_of_key(b"{t}").await.expect("owner");
    let to = (from + 1) % 3;
    for i in 0..250 {
        cluster
            .node(from)
            .query::<()>(cmd("SET").arg(format!("{{t}}{i}")).arg(i))
            .await
            .expect("SET");
    }
    cluster.begin_migration(slot, to).await.expect("begin");
    assert_eq!(get(&cluster, from, "{t}0").await, Ok(Some("0".to_owned())));
    assert_eq!(get(&cluster, from, "{t}new").await, Err("ASK".to_owned()));
    assert_eq!(get(&cluster, to, "{t}0").await, Err("MOVED".to_owned()));
    assert_eq!(cluster.move_keys(slot, to, 10).await.expect("move"), 10);
    let early = cluster.finish_migration(slot, to).await;
    assert!(matches!(early, Err(Error::KeysLeft { keys: 240, .. })), "{early:?}");
    cluster.migrate_slot(slot, to).await.expect("the rest");
    assert_eq!(cluster.owner_of_slot(slot).await.expect("owner"), to);
    for i in 0..250 {
        assert_eq!(get(&cluster, to, &format!("{{t}}{i}")).await, Ok(Some(i.to_string())));
    }
    assert_eq!(get(&cluster, from, "{t}0").await, Err("MOVED".to_owned()));
    cluster.wait_ok().await.expect("ok again");
}

#[tokio::test]
async fn a_slot_moves_in_one_piece_where_the_engine_can() {
    let cluster = cluster(0).await;
    let slot = slot_of(b"{t}");
    let from = cluster.owner_of_key(b"{t}").await.expect("owner");
    let to = (from + 1) % 3;
    for i in 0..250 {
        let mut set = cmd("SET");
        set.arg(format!("{{t}}{i}")).arg(i);
        cluster.node(from).query::<()>(&set).await.expect("SET");
    }
    let moved = cluster.migrate_slot_atomically(slot, to).await;
    if !cluster.node(0).engine().moves_slots_atomically() {
        let error = moved.expect_err("the engine does not know the command");
        assert!(matches!(error, Error::Redis { .. }), "{error}");
        return;
    }
    moved.expect("moves");
    for i in 0..250 {
        assert_eq!(get(&cluster, to, &format!("{{t}}{i}")).await, Ok(Some(i.to_string())));
    }
    assert_eq!(get(&cluster, from, "{t}0").await, Err("MOVED".to_owned()));
    cluster.migrate_slot_atomically(slot, to).await.expect("nothing to do");
    cluster.wait_ok().await.expect("ok again");
}

#[tokio::test]
async fn failover_in_each_mode() {
    let cluster = cluster(1).await;
    cluster.node(0).query::<()>(cmd("SET").arg("{06S}").arg("kept")).await.expect("SET in slot 0");
    for mode in [FailoverMode::Graceful, FailoverMode::Force, FailoverMode::Takeover] {
        let before = cluster.owner_of_slot(0).await.expect("owner");
        let begun = Instant::now();
        let after = cluster.failover(before, mode).await.expect("failover");
        assert_ne!(before, after);
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(cluster.owner_of_slot(0).await.expect("owner"), after);
        assert_eq!(cluster.replica_of(after).await.expect("asked"), Some(before));
        assert_eq!(get(&cluster, after, "{06S}").await, Ok(Some("kept".to_owned())));
    }
}

#[tokio::test]
async fn a_killed_primary_is_replaced_and_comes_back_as_replica() {
    let cluster = cluster(1).await;
    cluster.node(1).kill().expect("kill");
    let heir = cluster.failover(1, FailoverMode::Force).await.expect("failover of a dead primary");
    assert_eq!(heir, 4);
    cluster.wait_ok().await.expect("served by the others");
    cluster.node(1).restart().await.expect("restart");
    cluster.wait_ok().await.expect("whole again");
    eventually("the old primary to follow", Duration::from_secs(10), || async {
        let replica = cluster.replica_of(heir).await.expect("asked");
        if replica == Some(1) { Ok(()) } else { Err(format!("{replica:?}")) }
    })
    .await
    .expect("follows");
}

#[tokio::test]
async fn a_frozen_primary_is_replaced_by_the_servers_themselves() {
    let cluster = cluster(1).await;
    cluster.node(2).stop().expect("stop");
    let slot = 16_000;
    eventually("an election", Duration::from_secs(20), || async {
        let owner = cluster.owner_of_slot(slot).await.expect("asked");
        if owner == 5 { Ok(()) } else { Err(format!("node {owner}")) }
    })
    .await
    .expect("the replica is elected");
    cluster.node(2).cont().expect("cont");
    cluster.wait_ok().await.expect("whole again");
    assert_eq!(cluster.replica_of(5).await.expect("asked"), Some(2));
}
