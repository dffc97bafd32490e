//! What a call costs: bare, pipelined, through Raptor one by one, and coalesced.
//!
//! The same scripts and keys on one private server, through one connection each.
#![allow(missing_docs)]

mod bare;
mod workload;

use std::sync::Arc;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use raptor_bench::{Bench, Way};
use raptor_core::{RedisClient, RedisConfig};
use raptor_testkit::Server;

use crate::bare::Bare;
use crate::workload::{Rider, Workload};

const CALLERS: [usize; 4] = [1, 2, 64, 512];

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let what =
        "a call, bare and pipelined through fred alone, one by one and coalesced through Raptor";
    let Some(mut bench) = Bench::new("calls", what, &server) else { return Ok(()) };
    let client = RedisClient::connect(
        RedisConfig::builder().url(server.url()).driver(raptor_testkit::driver()?).build()?,
    )
    .await?;
    let bare = Arc::new(Bare::connect(server.port()).await?);
    for workload in Workload::ALL {
        if !bench.wants(workload.name()) {
            continue;
        }
        workload.prepare(&client, &bare).await?;
        let rider = Arc::new(Rider::new(workload));
        for callers in CALLERS {
            let ways = ways(workload, callers, &client, &bare, &rider);
            bench.compare(workload.name(), callers, ways).await?;
        }
    }
    bench.finish()
}

fn ways(
    workload: Workload,
    callers: usize,
    client: &RedisClient,
    bare: &Arc<Bare>,
    rider: &Arc<Rider>,
) -> Vec<Way> {
    let control = |name, callers, operations, call: fn(Arc<Bare>, Workload, usize, usize) -> _| {
        let bare = Arc::clone(bare);
        let call = move |n| -> BoxFuture<'static, Result<()>> {
            call(Arc::clone(&bare), workload, n, operations)
        };
        Way::new(name, callers, call).operations(operations)
    };
    let single = (client.clone(), Arc::clone(rider));
    let together = single.clone();
    vec![
        control("bare fred", callers, 1, |bare, workload, n, _| {
            async move { bare.one(workload, n).await }.boxed()
        }),
        control("bare fred, pipelined", 1, callers, |bare, workload, n, count| {
            async move { bare.many(workload, n, count).await }.boxed()
        }),
        control("bare redis-rs", callers, 1, |bare, workload, n, _| {
            async move { bare.one_by_redis(workload, n).await }.boxed()
        }),
        control("bare redis-rs, pipelined", 1, callers, |bare, workload, n, count| {
            async move { bare.many_by_redis(workload, n, count).await }.boxed()
        }),
        Way::new("raptor, single", callers, move |n| {
            let (client, rider) = single.clone();
            async move { rider.alone(&client, n).await }
        }),
        Way::new("raptor, coalesced", callers, move |n| {
            let (client, rider) = together.clone();
            async move { rider.together(&client, n).await }
        }),
    ]
}
