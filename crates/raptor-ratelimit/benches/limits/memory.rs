//! What one limit takes of the server's memory, by algorithm, as `MEMORY USAGE` tells.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit, RateLimitService, Subject};
use raptor_testkit::{Server, redis};
use time::OffsetDateTime;

const MINUTE: Duration = Duration::from_secs(60);
const START: i64 = 1_760_000_040;

/// After one call, and after 100 that are spread over the window.
#[expect(clippy::print_stdout, reason = "a bench speaks by printing")]
pub(crate) async fn print(server: &Server, service: &RateLimitService) -> Result<()> {
    println!("bytes a key, by MEMORY USAGE: after one call, after 100 spread over the window");
    use Algorithm::{Bucket, Counter, Fixed, Log, Strict};
    for algorithm in [Strict, Log, Bucket, Fixed, Counter] {
        let limits = [Limit::new(algorithm, 1_000, MINUTE)?];
        let who = Subject::new(format!("memory-{}", algorithm.as_str()), "e")?;
        let mut bytes = Vec::new();
        for n in 0..100_i64 {
            let now = OffsetDateTime::from_unix_timestamp_nanos(
                i128::from(START) * 1_000_000_000 + i128::from(n) * 590_123_000,
            )?;
            let options = AcquireOptions::default().now(now)?;
            let _decision = service.acquire(&who, &limits, &options).await?;
            if n == 0 || n == 99 {
                let policy = std::str::from_utf8(limits[0].policy())?;
                let name = algorithm.as_str();
                let key = format!("raptorflow:rate:{{memory-{name}}}:e:{policy}");
                let mut usage = redis::cmd("MEMORY");
                bytes.push(server.query::<u64>(usage.arg("USAGE").arg(key)).await?);
            }
        }
        println!("{:>8}: {:?}", algorithm.as_str(), bytes);
    }
    Ok(())
}
