//! What a call costs: bare, pipelined, through Raptor one by one, and coalesced.
//!
//! The same scripts and keys on one private server, through one connection each. Every cell is the
//! median of rounds in which the ways take turns, so that a machine's moods hit all alike. Prints a
//! table and a plot; writes JSON beside cargo's other output.
#![allow(missing_docs, clippy::print_stdout)]

mod bare;
mod load;
mod report;
mod workload;

use std::sync::Arc;

use anyhow::Result;
use raptor_core::{RedisClient, RedisConfig};
use raptor_testkit::Server;

use crate::bare::Bare;
use crate::load::{Cell, Meter, measure};
use crate::workload::{KEYS, Rider, Workload};

const CALLERS: [usize; 4] = [1, 2, 64, 512];
const ROUNDS: usize = 3;

/// How an operation reaches the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// fred alone, each caller awaits its own call.
    Bare,
    /// fred alone, one caller sends as many calls at once as there are callers.
    Pipelined,
    /// Raptor, each caller awaits its own call.
    Single,
    /// Raptor, concurrent calls ride together.
    Coalesced,
}

impl Way {
    const ALL: [Self; 4] = [Self::Bare, Self::Pipelined, Self::Single, Self::Coalesced];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare fred",
            Self::Pipelined => "bare fred, pipelined",
            Self::Single => "raptor, single",
            Self::Coalesced => "raptor, coalesced",
        }
    }
}

fn main() -> Result<()> {
    // `cargo test --benches` and `cargo bench` both run this; only the latter measures.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(filter.as_deref()))
}

async fn run(filter: Option<&str>) -> Result<()> {
    let server = Server::start().await?;
    let client = RedisClient::connect(RedisConfig::from_url(server.url())?).await?;
    let bare = Arc::new(Bare::connect(server.port()).await?);
    let meter = Meter::new(&server);
    println!("{}, {KEYS} keys, {ROUNDS} rounds", server.engine());
    let mut cells = Vec::new();
    for workload in Workload::ALL {
        if filter.is_some_and(|filter| !workload.name().contains(filter)) {
            continue;
        }
        workload.prepare(&client, &bare).await?;
        let rider = Arc::new(Rider::new(workload));
        for callers in CALLERS {
            let mut rounds: Vec<(Way, Vec<Cell>)> =
                Way::ALL.iter().map(|way| (*way, Vec::new())).collect();
            for _ in 0..ROUNDS {
                for (way, cells) in &mut rounds {
                    let cell = match way {
                        Way::Bare => {
                            let bare = Arc::clone(&bare);
                            let one = move |n| {
                                let bare = Arc::clone(&bare);
                                async move { bare.one(workload, n).await }
                            };
                            measure(&meter, callers, 1, one).await?
                        }
                        Way::Pipelined => {
                            let bare = Arc::clone(&bare);
                            let many = move |n| {
                                let bare = Arc::clone(&bare);
                                async move { bare.many(workload, n, callers).await }
                            };
                            measure(&meter, 1, callers, many).await?
                        }
                        Way::Single => {
                            let (client, rider) = (client.clone(), Arc::clone(&rider));
                            let one = move |n| {
                                let (client, rider) = (client.clone(), Arc::clone(&rider));
                                async move { rider.alone(&client, n).await }
                            };
                            measure(&meter, callers, 1, one).await?
                        }
                        Way::Coalesced => {
                            let (client, rider) = (client.clone(), Arc::clone(&rider));
                            let one = move |n| {
                                let (client, rider) = (client.clone(), Arc::clone(&rider));
                                async move { rider.together(&client, n).await }
                            };
                            measure(&meter, callers, 1, one).await?
                        }
                    };
                    cells.push(cell);
                }
            }
            for (way, rounds) in rounds {
                cells.push(report::Row::new(workload.name(), way.name(), callers, rounds));
            }
        }
    }
    report::print(&cells);
    report::save(&cells)
}
