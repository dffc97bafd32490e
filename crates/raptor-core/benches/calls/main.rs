//! What a call costs: bare, pipelined, through Raptor one by one, and coalesced.
//!
//! The same scripts and keys on one private server, through one connection each.
#![allow(missing_docs)]

mod bare;
mod workload;

use std::sync::Arc;

use anyhow::Result;
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
    let client = RedisClient::connect(RedisConfig::from_url(server.url())?).await?;
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
) -> [Way; 4] {
    let (one, many) = (Arc::clone(bare), Arc::clone(bare));
    let single = (client.clone(), Arc::clone(rider));
    let together = single.clone();
    [
        Way::new("bare fred", callers, move |n| {
            let bare = Arc::clone(&one);
            async move { bare.one(workload, n).await }
        }),
        Way::new("bare fred, pipelined", 1, move |n| {
            let bare = Arc::clone(&many);
            async move { bare.many(workload, n, callers).await }
        })
        .operations(callers),
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
