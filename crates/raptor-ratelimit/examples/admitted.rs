//! Draws what each algorithm admits of a flood, for docs/guides/rate-limits.md. On a private server, by
//! a given clock, so it takes no time:
//!
//! ```sh
//! cargo run -p raptor-ratelimit --example admitted
//! ```

use std::time::Duration;

use raptor_core::{RedisClient, RedisConfig};
use raptor_ratelimit::{AcquireOptions, Limit, RateLimitService, Subject};
use raptor_testkit::Server;
use time::OffsetDateTime;

/// A whole minute.
const START: i64 = 1_760_000_040;

/// From a quarter before the minute's end, four requests a second.
const FLOOD: std::ops::Range<i64> = 45..200;
const A_SECOND: i64 = 4;

/// Seconds in a column of the plot.
const COLUMN: i64 = 5;
const COLUMNS: usize = 40;

const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that draws speaks by printing")]
async fn main() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let client = RedisClient::connect(RedisConfig::builder().url(server.url()).build()?).await?;
    let service = RateLimitService::new(client);
    let minute = Duration::from_secs(60);
    let most = (A_SECOND * COLUMN) as usize;
    let offered = (0..COLUMNS as i64).map(|column| {
        let seconds = (column * COLUMN..(column + 1) * COLUMN).filter(|s| FLOOD.contains(s));
        seconds.count() * A_SECOND as usize
    });
    println!("second    0         50        100       150       200");
    println!("          |         |         |         |         |    in all, most in 60 s");
    println!("offered   {}", bars(offered, most));
    for (name, limit) in [
        ("strict", Limit::strict(60, minute)?),
        ("log", Limit::log(60, minute)?),
        ("bucket", Limit::bucket(60, minute)?),
        ("burst 10", Limit::bucket(60, minute)?.burst(10)?.named("burst")?),
        ("fixed", Limit::fixed(60, minute)?),
        ("counter", Limit::counter(60, minute)?),
    ] {
        let admitted = admitted(&service, limit).await?;
        let mut columns = [0; COLUMNS];
        for at_ms in &admitted {
            columns[(at_ms / 1_000 / COLUMN) as usize] += 1;
        }
        let busiest = admitted
            .iter()
            .map(|from| admitted.iter().filter(|at| (*from..from + 60_000).contains(at)).count());
        let busiest = busiest.max().unwrap_or_default();
        println!("{name:<9} {}  {:>4} {busiest:>4}", bars(columns, most), admitted.len());
    }
    Ok(())
}

/// When the admitted ones of the flood came, in ms.
async fn admitted(service: &RateLimitService, limit: Limit) -> anyhow::Result<Vec<i64>> {
    let (subject, limits) = (Subject::new("flood", "e")?, [limit]);
    let mut admitted = Vec::new();
    for n in 0..(FLOOD.end - FLOOD.start) * A_SECOND {
        let at_ms = FLOOD.start * 1_000 + n * 1_000 / A_SECOND;
        let now_ms = i128::from(START) * 1_000 + i128::from(at_ms);
        let now = OffsetDateTime::from_unix_timestamp_nanos(now_ms * 1_000_000)?;
        let options = AcquireOptions::default().now(now)?;
        if service.acquire(&subject, &limits, &options).await?.is_allowed() {
            admitted.push(at_ms);
        }
    }
    Ok(admitted)
}

fn bars(columns: impl IntoIterator<Item = usize>, most: usize) -> String {
    columns.into_iter().map(|count| BARS[(count * 8).div_ceil(most)]).collect()
}
