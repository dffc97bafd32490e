//! A private server with a service on it, and a clock that tests set.

use std::time::Duration;

use anyhow::Result;
use raptor_core::{RedisClient, RedisConfig};
use raptor_ratelimit::{AcquireOptions, Decision, Limit, RateLimitService, Subject};
use raptor_testkit::{Backend, redis};
use time::OffsetDateTime;

/// Some whole minute of 2025, in microseconds.
pub(crate) const START_US: u64 = 1_760_000_040_000_000;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) backend: Backend,
    pub(crate) service: RateLimitService,
}

/// Settings on the driver that the test run chose.
pub(crate) fn config(url: impl Into<String>) -> Result<RedisConfig> {
    Ok(RedisConfig::builder().url(url).driver(raptor_testkit::driver()?).build()?)
}

impl Rig {
    pub(crate) async fn start() -> Result<Self> {
        let backend = Backend::start().await?;
        let client = RedisClient::connect(config(backend.url())?).await?;
        Ok(Self { backend, service: RateLimitService::new(client) })
    }

    /// A service over the same server that shares nothing else with this one.
    pub(crate) async fn another_process(&self) -> Result<RateLimitService> {
        let client = RedisClient::connect(config(self.backend.url())?).await?;
        Ok(RateLimitService::new(client))
    }

    /// `cost` of `limits` for user `u` at endpoint `e`, at `now_us`.
    pub(crate) async fn at(&self, now_us: u64, limits: &[Limit], cost: u64) -> Result<Decision> {
        let options = AcquireOptions::default().cost(cost)?.now(instant(now_us))?;
        Ok(self.service.acquire(&subject(), limits, &options).await?)
    }

    /// One unit by the server's clock.
    pub(crate) async fn one(&self, limit: &Limit) -> raptor_core::Result<Decision> {
        let limits = std::slice::from_ref(limit);
        self.service.acquire(&subject(), limits, &AcquireOptions::default()).await
    }

    /// Script calls that came in so far; what a front or a driver sends besides is none.
    pub(crate) async fn script_calls(&self) -> Result<u64> {
        let infos: Vec<String> =
            self.backend.query_all(redis::cmd("INFO").arg("commandstats")).await?;
        let calls = infos.iter().flat_map(|info| info.lines()).filter_map(|line| {
            let stats = ["cmdstat_evalsha:calls=", "cmdstat_eval:calls="];
            let rest = stats.iter().find_map(|name| line.strip_prefix(name))?;
            rest.split(',').next()?.parse::<u64>().ok()
        });
        Ok(calls.sum())
    }

    pub(crate) async fn query<T>(&self, command: &mut redis::Cmd) -> Result<T>
    where
        T: redis::FromRedisValue + Send + 'static,
    {
        Ok(self.backend.query(command).await?)
    }
}

pub(crate) fn subject() -> Subject {
    Subject::new("u", "e").unwrap()
}

/// The key of [`subject`]'s count under `policy`.
pub(crate) fn key(policy: &str) -> String {
    format!("raptorflow:rate:{{u}}:e:{policy}")
}

pub(crate) fn instant(us: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000).unwrap()
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

/// A small reproducible random source (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}
