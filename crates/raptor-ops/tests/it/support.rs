//! Servers of the test's own with a service on it, and what tests look at.

use std::collections::BTreeMap;

use raptor_core::{RedisClient, RedisConfig};
use raptor_ops::usage::{
    Dimension, Line, ModelPrice, Period, PeriodRule, PriceBook, Ulid, UsageEvent, UsageOptions,
    UsageReport, UsageService,
};
use raptor_testkit::{Backend, redis};
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const NOW: OffsetDateTime = datetime!(2026-03-31 12:30:15 UTC);

pub(crate) struct Fixture {
    pub(crate) backend: Backend,
    pub(crate) client: RedisClient,
    /// Days and months, `$0.15`/`$0.60` per million for `mini`, pinned at [`NOW`].
    pub(crate) usage: UsageService,
}

pub(crate) fn prices() -> PriceBook {
    let price = |input, output, cached| {
        ModelPrice::per_million(input, output).and_then(|p| p.with_cached(cached)).expect("a price")
    };
    PriceBook::new()
        .with_price("mini", price("0.15", "0.60", "0.075"))
        .with_price("maxi", price("2.500001", "10", "1.25"))
        .with_price("free", ModelPrice::FREE)
}

/// Settings on the driver that the test run chose.
pub(crate) fn config(url: impl Into<String>) -> RedisConfig {
    let driver = raptor_testkit::driver().expect("a driver");
    RedisConfig::builder().url(url).driver(driver).build().expect("a config")
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let backend = Backend::start().await.expect("servers");
        let client = RedisClient::connect(config(backend.url())).await.expect("a connection");
        let usage = UsageService::new(client.clone(), UsageOptions::new(prices()))
            .expect("a service")
            .pinned_at(NOW);
        Self { backend, client, usage }
    }

    pub(crate) async fn report(&self, workspace: &str, rule: PeriodRule) -> UsageReport {
        self.usage.report(workspace, &period(rule, NOW)).await.expect("a report")
    }

    /// Every key with its DUMP: equal before and after means that nothing was written.
    pub(crate) async fn dump(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let keys: Vec<Vec<u8>> = self.backend.keys("*").await.expect("keys");
        let mut dump = BTreeMap::new();
        for key in keys {
            let value: Vec<u8> =
                self.backend.query(redis::cmd("DUMP").arg(&key)).await.expect("a value");
            dump.insert(key, value);
        }
        dump
    }

    pub(crate) async fn run(&self, command: &redis::Cmd) {
        let _: redis::Value = self.backend.query(command).await.expect("an answer");
    }

    pub(crate) async fn run_everywhere(&self, command: &redis::Cmd) {
        let _: Vec<redis::Value> = self.backend.query_all(command).await.expect("answers");
    }

    /// Script calls that came in so far; what a front or a driver sends besides is none.
    pub(crate) async fn script_calls(&self) -> u64 {
        let infos: Vec<String> = self
            .backend
            .query_all(redis::cmd("INFO").arg("commandstats"))
            .await
            .expect("statistics");
        let calls = infos.iter().flat_map(|info| info.lines()).filter_map(|line| {
            let stats = ["cmdstat_evalsha:calls=", "cmdstat_eval:calls="];
            let rest = stats.iter().find_map(|name| line.strip_prefix(name))?;
            rest.split(',').next()?.parse::<u64>().ok()
        });
        calls.sum()
    }

    /// All names of a dimension, by pages of `limit`.
    pub(crate) async fn walk(
        &self,
        workspace: &str,
        rule: PeriodRule,
        dimension: Dimension,
        limit: usize,
    ) -> Vec<Line> {
        let (period, mut lines, mut cursor) = (period(rule, NOW), Vec::new(), None);
        loop {
            let page = self
                .usage
                .breakdown(workspace, &period, dimension, cursor.as_ref(), limit)
                .await
                .expect("a page");
            lines.extend(page.lines);
            cursor = page.next;
            if cursor.is_none() {
                return lines;
            }
        }
    }
}

pub(crate) fn period(rule: PeriodRule, at: OffsetDateTime) -> Period {
    rule.period_at(at).expect("a period")
}

/// An id of that time, different for each `n`.
pub(crate) fn id_at(at: OffsetDateTime, n: u128) -> Ulid {
    Ulid::from_parts((at.unix_timestamp_nanos() / 1_000_000) as u64, n)
}

pub(crate) fn event(n: u128) -> UsageEvent {
    UsageEvent::new("acme", "mini").with_id(id_at(NOW, n))
}
