//! The faults: each on servers of its own, under a steady caller.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use raptor_bench::{Outage, Steady};
use raptor_core::config::Driver;
use raptor_core::{Key, RedisClient, RedisConfig};
use raptor_testkit::{Cluster, Engine, Proxy, Sentinel, Server, redis};

/// Longer than any of them may last.
const LIMIT: Duration = Duration::from_secs(60);
/// How often is looked whether the servers themselves are through.
const LOOK: Duration = Duration::from_millis(2);
/// Keys of the slot that moves.
const KEYS: usize = 200;

/// What happens to the servers, or on the way to them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Cut,
    BlackHole,
    Restart,
    SentinelFailover,
    SlotMigration,
    AtomicSlotMigration,
    DeadPrimary,
}

impl Fault {
    pub(crate) const ALL: [Self; 7] = [
        Self::Cut,
        Self::BlackHole,
        Self::Restart,
        Self::SentinelFailover,
        Self::SlotMigration,
        Self::AtomicSlotMigration,
        Self::DeadPrimary,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::BlackHole => "black hole",
            Self::Restart => "server restart",
            Self::SentinelFailover => "sentinel failover",
            Self::SlotMigration => "slot migration",
            Self::AtomicSlotMigration => "atomic slot migration",
            Self::DeadPrimary => "dead primary",
        }
    }

    /// From when recovery counts.
    pub(crate) fn since(self) -> &'static str {
        match self {
            Self::Cut => "the cut",
            Self::BlackHole => "the connection went silent; new ones are well",
            Self::Restart => "the server was back",
            Self::SentinelFailover => "most sentinels named the new master",
            Self::SlotMigration | Self::AtomicSlotMigration => "the slot had moved",
            Self::DeadPrimary => "the replica took writes",
        }
    }

    pub(crate) fn is_known_to(self, engine: &Engine) -> bool {
        !matches!(self, Self::AtomicSlotMigration) || engine.moves_slots_atomically()
    }
}

/// When a fault began, and from when recovery counts.
type Times = (Instant, Instant);

/// One round of one fault.
pub(crate) async fn measure(fault: Fault, driver: Driver) -> Result<Outage> {
    match fault {
        Fault::Cut | Fault::BlackHole => {
            let server = Server::start().await?;
            let proxy = Proxy::start(server.addr()).await?;
            let steady = caller(proxy.url(), driver).await?;
            let began = Instant::now();
            if matches!(fault, Fault::Cut) {
                proxy.cut();
            } else {
                proxy.set(raptor_testkit::Fault::BlackHole);
                // What was open lets nothing through from now on, once it has swallowed something.
                tokio::time::sleep(Duration::from_millis(50)).await;
                proxy.set(raptor_testkit::Fault::Pass);
            }
            steady.outage(began, began, LIMIT).await
        }
        Fault::Restart => {
            let server = Server::start().await?;
            let steady = caller(server.url(), driver).await?;
            let began = Instant::now();
            server.restart().await?;
            steady.outage(began, Instant::now(), LIMIT).await
        }
        Fault::SentinelFailover => {
            let sentinel = Sentinel::builder().start().await?;
            let steady = caller(sentinel.url(), driver).await?;
            let (began, since) = lost_master(&sentinel).await?;
            steady.outage(began, since, LIMIT).await
        }
        Fault::SlotMigration | Fault::AtomicSlotMigration => {
            let cluster = Cluster::builder().start().await?;
            let steady = caller(cluster.url(), driver).await?;
            let slot = Cluster::slot_of(KEY.as_bytes());
            let (began, since) = moved(&cluster, slot, fault).await?;
            steady.outage(began, since, LIMIT).await
        }
        Fault::DeadPrimary => {
            let cluster = Cluster::builder().replicas_per_primary(1).start().await?;
            let steady = caller(cluster.url(), driver).await?;
            let (began, since) = lost_primary(&cluster).await?;
            steady.outage(began, since, LIMIT).await
        }
    }
}

const KEY: &str = "{recovery}counter";

async fn caller(url: String, driver: Driver) -> Result<Steady> {
    let config = RedisConfig::builder().url(url).driver(driver).build()?;
    let client = RedisClient::connect(config).await?;
    Steady::start(move || {
        let client = client.clone();
        async move { client.command("INCR").key(&Key::raw(KEY)).run::<i64>().await.map(drop) }
    })
    .await
}

async fn lost_master(sentinel: &Sentinel) -> Result<Times> {
    let old = sentinel.master().await?;
    let began = Instant::now();
    sentinel.kill_master().await?;
    let named = async |old: SocketAddr| sentinel.master().await.is_ok_and(|now| now != old);
    while !named(old).await {
        anyhow::ensure!(began.elapsed() < LIMIT, "the sentinels name nobody else");
        tokio::time::sleep(LOOK).await;
    }
    Ok((began, Instant::now()))
}

/// One slot with some hundred keys goes to the next primary, key by key or at once.
async fn moved(cluster: &Cluster, slot: u16, fault: Fault) -> Result<Times> {
    let from = cluster.owner_of_slot(slot).await?;
    for n in 0..KEYS {
        let mut set = redis::cmd("SET");
        set.arg(format!("{{recovery}}{n}")).arg("x".repeat(100));
        cluster.node(from).query::<()>(&set).await?;
    }
    let (began, to) = (Instant::now(), (from + 1) % 3);
    if matches!(fault, Fault::AtomicSlotMigration) {
        cluster.migrate_slot_atomically(slot, to).await?;
    } else {
        cluster.begin_migration(slot, to).await?;
        while cluster.move_keys(slot, to, 1).await? > 0 {}
        cluster.finish_migration(slot, to).await?;
    }
    Ok((began, Instant::now()))
}

async fn lost_primary(cluster: &Cluster) -> Result<Times> {
    let victim = cluster.owner_of_key(KEY.as_bytes()).await?;
    let heir = cluster.replica_of(victim).await?.context("a replica")?;
    let began = Instant::now();
    cluster.node(victim).kill()?;
    let mut set = redis::cmd("SET");
    set.arg("{recovery}probe").arg(1);
    while cluster.node(heir).query::<()>(&set).await.is_err() {
        anyhow::ensure!(began.elapsed() < LIMIT, "the replica takes no writes");
        tokio::time::sleep(LOOK).await;
    }
    Ok((began, Instant::now()))
}
