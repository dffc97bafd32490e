//! The command line: what it takes, and a help that teaches.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use raptor::ratelimit::{Limit, MAX_LIMIT};

/// More users than this would make creating their sessions the main job.
const MAX_USERS: u32 = 100_000;

/// A multi-tenant backend on Raptor, under an hour of LLM traffic.
///
/// Each request of a tenant's user authenticates a session, passes a rate limit and, if it is
/// admitted, records what it used. At the end a table says what happened and how fast, and the
/// books are checked: what the usage reports say must equal, to the token, what was admitted.
#[derive(Debug, Parser)]
#[command(version, after_long_help = LESSONS)]
pub(crate) struct Args {
    /// The server; without it the environment names one (UPSTASH_REDIS_URL or REDIS_URL).
    ///
    /// redis://HOST:PORT, rediss:// for TLS, redis-cluster://, redis-sentinel://, unix:///PATH.
    /// All keys stand under a fresh random prefix and are removed at the end.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Replay this CSV instead of generated traffic.
    ///
    /// Its first line is `TIMESTAMP,ContextTokens,GeneratedTokens`; a timestamp looks like
    /// `2023-11-16 18:15:46.6805900` and is UTC. It is read as it is replayed, whatever its size.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// How many requests: 5000 generated ones by default, all of a trace.
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,

    /// How many tenants; the first ones are the busiest.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) tenants: u32,

    /// How many users each tenant has; the first ones are the busiest.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) users_per_tenant: u32,

    /// Pace the requests by their own time, X times as fast; as fast as it goes without it.
    ///
    /// 1 is real time, 60 an hour a minute. The limits go by the requests' own time either way, so
    /// the speed changes no decision.
    #[arg(long, value_name = "X", value_parser = speed)]
    pub(crate) speed: Option<f64>,

    /// How many requests each user may make in any window of so many seconds.
    #[arg(long, value_name = "N/SECONDS or unlimited", default_value = "10/60", value_parser = limit)]
    pub(crate) limit: Limit,

    /// How many requests may be in flight at once; those of one user go one after the other.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) concurrency: u32,
}

const LESSONS: &str = "\
Examples:
  raptor-backend-example --url redis://127.0.0.1:6379
      5000 generated requests of 10 tenants with 20 users each
  raptor-backend-example --url redis://127.0.0.1:6379 --trace llm_trace_conv.csv
      an hour of real traffic, in seconds; the busiest users are denied some requests
  raptor-backend-example --url … --trace llm_trace_conv.csv --limit unlimited
      everybody is admitted: the usage is that of the whole trace
  raptor-backend-example --url … --trace llm_trace_conv.csv --speed 60
      the same hour in a minute

The same input makes the same decisions in each run, at any speed and concurrency.

Exit code: 0 when the books balance; 1 when they do not, or the server fails; 2 for a wrong
argument or a trace that cannot be read, with its file and line; 130 after Ctrl-C.

The request's path through the services stands in examples/backend/src/backend.rs.";

impl Args {
    /// What no single argument can tell.
    pub(crate) fn validate(&self) -> Result<()> {
        ensure!(
            self.users() <= MAX_USERS,
            "{} tenants with {} users each are {} users; at most {MAX_USERS} are taken",
            self.tenants,
            self.users_per_tenant,
            self.users()
        );
        Ok(())
    }

    fn users(&self) -> u32 {
        // Both are at most 10,000.
        self.tenants * self.users_per_tenant
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.001..=1e6).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.001 to 1000000; 1 is real time".to_owned()),
    }
}

/// `unlimited` is a limit that nobody reaches, so that the limiter has its share of the work.
fn limit(text: &str) -> Result<Limit, String> {
    if text == "unlimited" {
        return Limit::strict(MAX_LIMIT, Duration::from_secs(60)).map_err(|e| e.to_string());
    }
    let parsed = text
        .split_once('/')
        .and_then(|(units, seconds)| Some((units.parse().ok()?, seconds.parse().ok()?)));
    let (units, seconds) =
        parsed.ok_or("expected N/SECONDS, for example 10/60, or the word unlimited")?;
    Limit::strict(units, Duration::from_secs(seconds)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn limits_are_read_and_refused() {
        let ten = limit("10/60").unwrap();
        assert_eq!((ten.limit(), ten.window()), (10, Duration::from_secs(60)));
        assert_eq!(limit("unlimited").unwrap().limit(), MAX_LIMIT);
        for bad in ["", "10", "10/", "/60", "0/60", "10/0", "-1/60", "10/60s", "1/99999999999"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn speeds_are_positive_and_finite() {
        assert_eq!(speed("60"), Ok(60.0));
        for bad in ["0", "-1", "nan", "inf", "fast", "1e9"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
