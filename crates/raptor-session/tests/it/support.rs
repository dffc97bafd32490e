//! Servers of the test's own with a service on it, and what tests look at.

use std::collections::BTreeMap;
use std::time::Duration;

use raptor_core::{RedisClient, RedisConfig};
use raptor_session::{Metadata, Peppers, SessionOptions, SessionService, SessionToken};
use raptor_testkit::{Backend, redis};
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const NOW: OffsetDateTime = datetime!(2026-03-31 12:30:15 UTC);

pub(crate) struct Fixture {
    pub(crate) backend: Backend,
    pub(crate) client: RedisClient,
    /// Idle 30 minutes, absolute 12 hours, by the server's clock.
    pub(crate) sessions: SessionService,
}

pub(crate) fn peppers() -> Peppers {
    Peppers::parse("k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("peppers")
}

pub(crate) fn options(idle_ms: u64, absolute_ms: u64) -> SessionOptions {
    SessionOptions::new(peppers())
        .idle(Duration::from_millis(idle_ms))
        .absolute(Duration::from_millis(absolute_ms))
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
        let sessions =
            SessionService::new(client.clone(), SessionOptions::new(peppers())).expect("a service");
        Self { backend, client, sessions }
    }

    pub(crate) fn with(&self, options: SessionOptions) -> SessionService {
        SessionService::new(self.client.clone(), options).expect("a service")
    }

    pub(crate) async fn run(&self, command: &redis::Cmd) {
        let _: redis::Value = self.backend.query(command).await.expect("an answer");
    }

    pub(crate) async fn run_everywhere(&self, command: &redis::Cmd) {
        let _: Vec<redis::Value> = self.backend.query_all(command).await.expect("answers");
    }

    pub(crate) async fn int(&self, command: &redis::Cmd) -> i64 {
        self.backend.query(command).await.expect("an integer")
    }

    /// All keys that match, sorted.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.backend.keys(pattern).await.expect("keys");
        keys.sort();
        keys
    }

    /// Every key with what it holds: equal before and after means that nothing was written. A hash in the order of its
    /// fields, for the server changes the one in which it keeps them.
    pub(crate) async fn dump(&self) -> BTreeMap<String, Vec<u8>> {
        let mut dump = BTreeMap::new();
        for key in self.keys("*").await {
            let kind: String =
                self.backend.query(redis::cmd("TYPE").arg(&key)).await.expect("a type");
            let value = if kind == "hash" {
                let fields: BTreeMap<Vec<u8>, Vec<u8>> =
                    self.backend.query(redis::cmd("HGETALL").arg(&key)).await.expect("a hash");
                fields.into_iter().flat_map(|(name, value)| [name, value].concat()).collect()
            } else {
                self.backend.query(redis::cmd("DUMP").arg(&key)).await.expect("a value")
            };
            dump.insert(key, value);
        }
        dump
    }
}

/// Script calls that the servers have seen.
pub(crate) async fn script_calls(f: &Fixture) -> u64 {
    let info = redis::cmd("INFO").arg("commandstats").clone();
    let infos: Vec<String> = f.backend.query_all(&info).await.expect("infos");
    let count = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix("cmdstat_eval")?;
        let (_, rest) = rest.split_once(":calls=")?;
        rest.split_once(',')?.0.parse().ok()
    };
    infos.iter().flat_map(|info| info.lines()).filter_map(|line| count(line.trim())).sum()
}

pub(crate) async fn create(sessions: &SessionService, user: &str) -> SessionToken {
    sessions.create_session(user, "acme", &Metadata::new()).await.expect("a session")
}

pub(crate) async fn is_alive(sessions: &SessionService, token: &SessionToken) -> bool {
    sessions.get_session(token).await.expect("an answer").is_some()
}
