//! What a check costs: by algorithm, over many keys and on one, from memory and from a lease; beside the
//! same script called raw, one call a check. `bench/peers/ratelimit` has the rivals.
#![allow(missing_docs)]

mod memory;
mod raw;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use raptor_bench::{Bench, Way};
use raptor_core::{RedisClient, RedisConfig};
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit, RateLimitService, Subject};
use raptor_testkit::Server;

use crate::raw::Raw;

const CALLERS: [usize; 3] = [1, 64, 512];
const MINUTE: Duration = Duration::from_secs(60);

/// Decisions without a round trip are too quick to be timed one by one.
const AT_ONCE: usize = 1_000;

/// What is asked: an algorithm, over so many users.
const WORKLOADS: [(&str, Algorithm, u64, usize); 7] = [
    ("strict, 1,000 keys", Algorithm::Strict, 1_000_000_000, 1_000),
    ("strict, one key", Algorithm::Strict, 1_000_000_000, 1),
    ("bucket, 1,000 keys", Algorithm::Bucket, 1_000_000_000, 1_000),
    ("bucket, one key", Algorithm::Bucket, 1_000_000_000, 1),
    ("log, 1,000 keys", Algorithm::Log, 1_000, 1_000),
    ("fixed, 1,000 keys", Algorithm::Fixed, 1_000_000_000, 1_000),
    ("counter, 1,000 keys", Algorithm::Counter, 1_000_000_000, 1_000),
];

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let what = "a check by each algorithm, through Raptor and as a raw call of the same script";
    let Some(mut bench) = Bench::new("limits", what, &server) else { return Ok(()) };
    let client = RedisClient::connect(
        RedisConfig::builder().url(server.url()).driver(raptor_testkit::driver()?).build()?,
    )
    .await?;
    let service = RateLimitService::new(client);
    let raw = Arc::new(Raw::connect(server.port()).await?);
    for (name, algorithm, units, users) in WORKLOADS {
        if !bench.wants(name) {
            continue;
        }
        let limit = Limit::new(algorithm, units, MINUTE)?;
        for callers in CALLERS {
            let ways =
                [raw_calls(&raw, callers, users, &limit), checks(&service, callers, users, &limit)];
            bench.compare(name, callers, ways).await?;
        }
    }
    if bench.wants("no round trip") {
        let ways = [denied(&service).await?, leased(&service)?];
        bench.compare("no round trip", 1, ways).await?;
    }
    if bench.wants("memory") {
        memory::print(&server, &service).await?;
    }
    bench.finish()
}

fn subject(n: usize, users: usize) -> Subject {
    let user = format!("user-{}", n.wrapping_mul(7_919) % users);
    Subject::new(user, "POST /chat").expect("a short name")
}

fn checks(service: &RateLimitService, callers: usize, users: usize, limit: &Limit) -> Way {
    let (service, limits) = (service.clone(), Arc::new([limit.clone()]));
    Way::new("raptor", callers, move |n| {
        let (service, limits) = (service.clone(), Arc::clone(&limits));
        async move {
            let options = AcquireOptions::default();
            let _decision = service.acquire(&subject(n, users), &limits[..], &options).await?;
            Ok(())
        }
    })
}

fn raw_calls(raw: &Arc<Raw>, callers: usize, users: usize, limit: &Limit) -> Way {
    let (raw, request) = (Arc::clone(raw), raw::request(limit));
    Way::new("raw EVALSHA", callers, move |n| {
        let (raw, request) = (Arc::clone(&raw), request.clone());
        async move { raw.check(n.wrapping_mul(7_919) % users, &request).await }
    })
}

/// A key that was just denied.
async fn denied(service: &RateLimitService) -> Result<Way> {
    let limits = [Limit::strict(1, Duration::from_secs(3_600))?.named("denied")?];
    let (service, limits) = (service.clone(), Arc::new(limits));
    Ok(Way::new("denied a moment ago", 1, move |_| {
        let (service, limits) = (service.clone(), Arc::clone(&limits));
        async move {
            let (who, options) = (subject(0, 1), AcquireOptions::default());
            for _ in 0..AT_ONCE {
                let _decision = service.acquire(&who, &limits[..], &options).await?;
            }
            Ok(())
        }
    })
    .operations(AT_ONCE))
}

/// Units of a lease of a hundred thousand.
fn leased(service: &RateLimitService) -> Result<Way> {
    let limit = Limit::bucket(1_000_000_000, Duration::from_secs(1))?.named("leased")?;
    let leased = Arc::new(service.leased(&subject(0, 1), &limit, 100_000)?);
    Ok(Way::new("leased", 1, move |_| {
        let leased = Arc::clone(&leased);
        async move {
            for _ in 0..AT_ONCE {
                let _outcome = leased.acquire().await?;
            }
            Ok(())
        }
    })
    .operations(AT_ONCE))
}
