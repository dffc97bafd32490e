//! What sessions cost the server: created, read and slid, updated, listed and revoked among 10², 10⁴ and 10⁶
//! others, beside the raw commands that a plain store would send over the same client.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use raptor_bench::{Bench, Way};
use raptor_core::{Key, RedisClient, RedisConfig};
use raptor_session::{Changes, Metadata, Peppers, SessionOptions, SessionService, SessionToken};
use raptor_testkit::Server;
use time::OffsetDateTime;

const POPULATIONS: [usize; 3] = [100, 10_000, 1_000_000];
const CALLERS: [usize; 2] = [1, 64];
/// Of each user.
const SESSIONS: usize = 10;
/// Of each session, in one field.
const BYTES: usize = 200;
const HALF_AN_HOUR_MS: u64 = 1_800_000;
/// Larger than what makes a slide worth a write.
const STEP_MS: u64 = 1_100;
/// Of the clock of what slides: longer than the bench takes, and shorter than a session lives unused.
const AHEAD: Duration = Duration::from_secs(900);

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

/// What the ways work on.
#[derive(Clone)]
struct Ground {
    client: RedisClient,
    sessions: SessionService,
    tokens: Arc<[SessionToken]>,
    fields: Metadata,
    started: OffsetDateTime,
    /// Reads that were to slide, so far among this population.
    turns: Arc<AtomicU64>,
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let what =
        "a session operation among others that live, beside raw commands over the same client";
    let Some(mut bench) = Bench::new("sessions", what, &server) else { return Ok(()) };
    let config = RedisConfig::builder().url(server.url()).driver(raptor_testkit::driver()?);
    let client = RedisClient::connect(config.build()?).await?;
    let peppers = Peppers::parse("bench:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")?;
    // So long that no pinned clock reaches it.
    let years = Duration::from_secs(9 * 365 * 86_400);
    let sessions =
        SessionService::new(client.clone(), SessionOptions::new(peppers).absolute(years))?;
    let fields = Metadata::new().with("data", &"x".repeat(BYTES))?;
    let started = OffsetDateTime::now_utc();
    let mut ground =
        Ground { client, sessions, tokens: Arc::new([]), fields, started, turns: Arc::default() };
    for population in POPULATIONS {
        let name = |operation: &str| format!("{operation}, {population} sessions");
        let operations = ["create", "get", "update", "list", "revoke"];
        if !operations.iter().any(|operation| bench.wants(&name(operation))) {
            continue;
        }
        ground.grow(population).await?;
        for callers in CALLERS {
            for operation in operations {
                if bench.wants(&name(operation)) {
                    let ways = ground.ways(operation, callers);
                    bench.compare(&name(operation), callers, ways).await?;
                }
            }
        }
    }
    bench.finish()
}

fn user(n: usize) -> String {
    format!("user {n}")
}

fn key(kind: &str, n: usize) -> Key {
    Key::raw(format!("bench:{kind}:{n}"))
}

/// Spreads numbers over a population, each as often.
fn spread(n: usize, len: usize) -> usize {
    n.wrapping_mul(7_919) % len
}

impl Ground {
    /// So many sessions, and as many strings.
    async fn grow(&mut self, population: usize) -> Result<()> {
        let mut tokens: Vec<SessionToken> = self.tokens.to_vec();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..64 {
            let (ground, range) = (self.clone(), tokens.len() + task..population);
            tasks.spawn(async move {
                let mut mine = Vec::new();
                for n in range.step_by(64) {
                    let set = ground.client.command("SET").key(&key("string", n));
                    let set = set.arg("x".repeat(BYTES)).arg("PX").arg(HALF_AN_HOUR_MS);
                    set.run::<()>().await?;
                    let user = user(n / SESSIONS);
                    let token =
                        ground.sessions.create_session(&user, "bench", &ground.fields).await?;
                    mine.push(token);
                }
                anyhow::Ok(mine)
            });
        }
        while let Some(mine) = tasks.join_next().await {
            tokens.extend(mine??);
        }
        self.tokens = tokens.into();
        // The last population's reads were pinned later than the clock of this one's logins.
        self.turns = Arc::default();
        Ok(())
    }

    fn token(&self, n: usize) -> &SessionToken {
        &self.tokens[spread(n, self.tokens.len())]
    }

    fn ways(&self, operation: &str, callers: usize) -> Vec<Way> {
        match operation {
            "create" => vec![
                self.way("raw SET", callers, |ground, n| async move {
                    let set = ground.client.command("SET").key(&key("new", n));
                    let set = set.arg("x".repeat(BYTES)).arg("PX").arg(2_000);
                    Ok(set.run::<()>().await?)
                }),
                self.way("create_session", callers, |ground, n| async move {
                    // Gone soon, so that the population stays what it is.
                    let user = format!("new {}", n % 1_000);
                    let token =
                        ground.sessions.create_session(&user, "bench", &ground.fields).await?;
                    drop(token);
                    Ok(())
                }),
            ],
            "get" => vec![
                self.way("raw GETEX", callers, |ground, n| async move {
                    let at = key("string", spread(n, ground.tokens.len()));
                    let get = ground.client.command("GETEX").key(&at);
                    get.arg("PX").arg(HALF_AN_HOUR_MS).run::<Option<bytes::Bytes>>().await?;
                    Ok(())
                }),
                self.way("get_session", callers, |ground, n| async move {
                    // Before each session's last use, so that none slides.
                    let at = ground.sessions.pinned_at(ground.started);
                    let session = at.get_session(ground.token(n)).await?;
                    anyhow::ensure!(session.is_some(), "it lives");
                    Ok(())
                }),
                self.way("get_session, each slides", callers, |ground, n| async move {
                    // Each round of the population is so much later, in every measurement anew.
                    let turns =
                        ground.turns.fetch_add(1, Ordering::Relaxed) + ground.tokens.len() as u64;
                    let ms = turns * STEP_MS / ground.tokens.len() as u64;
                    let at = ground.started + AHEAD + Duration::from_millis(ms);
                    let at = ground.sessions.pinned_at(at);
                    let session = at.get_session(ground.token(n)).await?;
                    anyhow::ensure!(session.is_some(), "it lives");
                    Ok(())
                }),
            ],
            "update" => vec![
                self.way("raw SET", callers, |ground, n| async move {
                    let at = key("string", spread(n, ground.tokens.len()));
                    let set = ground.client.command("SET").key(&at).arg("x".repeat(BYTES));
                    Ok(set.arg("PX").arg(HALF_AN_HOUR_MS).run::<()>().await?)
                }),
                self.way("update_session", callers, |ground, n| async move {
                    let changes = Changes::from(&ground.fields);
                    let updated = ground.sessions.update_session(ground.token(n), changes).await?;
                    anyhow::ensure!(updated.is_done(), "it lives");
                    Ok(())
                }),
            ],
            "list" => {
                vec![self.way("list_sessions, 10 of a user", callers, |ground, n| async move {
                    let user = user(spread(n, ground.tokens.len() / SESSIONS));
                    let page = ground.sessions.list_sessions(&user, "bench", 20, None).await?;
                    anyhow::ensure!(page.sessions.len() >= SESSIONS, "they live");
                    Ok(())
                })]
            }
            _ => vec![self.way("10 logins, then revoke_user", callers, |ground, n| async move {
                let user = format!("revoked {n}");
                for _ in 0..SESSIONS {
                    ground.sessions.create_session(&user, "bench", &ground.fields).await?;
                }
                let revoked = ground.sessions.revoke_user(&user, ["bench"]).await?;
                anyhow::ensure!(revoked == SESSIONS as u64, "all of them");
                Ok(())
            })],
        }
    }

    fn way<F>(
        &self,
        name: &'static str,
        callers: usize,
        call: impl Fn(Ground, usize) -> F + Send + Sync + 'static,
    ) -> Way
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let ground = self.clone();
        Way::new(name, callers, move |n| call(ground.clone(), n))
    }
}
