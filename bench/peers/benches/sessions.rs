//! Sessions of 1 KiB: tower-sessions-redis-store beside Raptor as a store of tower-sessions and as itself.
#![allow(missing_docs)]

use std::sync::Arc;

use anyhow::Result;
use raptor_bench::{Bench, Way};
use raptor_core::{RedisClient, RedisConfig};
use raptor_session::{
    Changes, Metadata, Peppers, RaptorStore, SessionOptions, SessionService, SessionToken,
};
use raptor_testkit::Server;
use their_core::SessionStore as _;
use time::{Duration, OffsetDateTime};
use tower_sessions_core::SessionStore as _;
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::clients::Client;
use tower_sessions_redis_store::fred::interfaces::ClientLike;
use tower_sessions_redis_store::fred::types::config;

const CALLERS: [usize; 2] = [1, 64];
const SESSIONS: usize = 1_000;
const BYTES: usize = 1_024;

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

/// The same sessions in each store.
struct Ground {
    rival: RedisStore<Client>,
    store: RaptorStore,
    service: SessionService,
    theirs: Vec<their_core::session::Record>,
    ours: Vec<tower_sessions_core::session::Record>,
    tokens: Vec<SessionToken>,
    fields: Metadata,
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let what = "sessions of 1 KiB, beside tower-sessions-redis-store";
    let Some(mut bench) = Bench::new("sessions-peers", what, &server) else { return Ok(()) };
    let ground = Arc::new(Ground::new(&server).await?);
    for callers in CALLERS {
        bench.compare("load", callers, ground.loads(callers)).await?;
        bench.compare("save", callers, ground.saves(callers)).await?;
        bench.compare("create", callers, ground.creates(callers)).await?;
    }
    bench.finish()
}

impl Ground {
    async fn new(server: &Server) -> Result<Self> {
        let at = config::Server::new("127.0.0.1", server.port());
        let at = config::ServerConfig::Centralized { server: at };
        let rival = Client::new(config::Config { server: at, ..Default::default() }, None, None, None);
        rival.init().await?;
        let client = RedisClient::connect(RedisConfig::from_url(&server.url())?).await?;
        let peppers = Peppers::parse("bench:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")?;
        let service = SessionService::new(client, SessionOptions::new(peppers))?;
        let fields = Metadata::new().with("data", &"x".repeat(BYTES))?;
        let mut ground = Self {
            rival: RedisStore::new(rival),
            store: RaptorStore::new(service.clone()),
            service,
            theirs: Vec::new(),
            ours: Vec::new(),
            tokens: Vec::new(),
            fields,
        };
        for _ in 0..SESSIONS {
            let (mut theirs, mut ours) = (their_record(), our_record());
            ground.rival.create(&mut theirs).await?;
            ground.store.create(&mut ours).await?;
            ground.theirs.push(theirs);
            ground.ours.push(ours);
            let user = format!("user {}", ground.tokens.len() / 10);
            let token = ground.service.create_session(&user, "bench", &ground.fields).await?;
            ground.tokens.push(token);
        }
        Ok(ground)
    }

    fn loads(self: &Arc<Self>, callers: usize) -> [Way; 3] {
        [
            self.way("tower-sessions-redis-store", callers, |ground, n| async move {
                let loaded = ground.rival.load(&ground.theirs[n % SESSIONS].id).await?;
                Ok(anyhow::ensure!(loaded.is_some(), "it lives"))
            }),
            self.way("raptor, its store", callers, |ground, n| async move {
                let loaded = ground.store.load(&ground.ours[n % SESSIONS].id).await?;
                Ok(anyhow::ensure!(loaded.is_some(), "it lives"))
            }),
            self.way("raptor, get_session", callers, |ground, n| async move {
                let loaded = ground.service.get_session(&ground.tokens[n % SESSIONS]).await?;
                Ok(anyhow::ensure!(loaded.is_some(), "it lives"))
            }),
        ]
    }

    fn saves(self: &Arc<Self>, callers: usize) -> [Way; 3] {
        [
            self.way("tower-sessions-redis-store", callers, |ground, n| async move {
                Ok(ground.rival.save(&ground.theirs[n % SESSIONS]).await?)
            }),
            self.way("raptor, its store", callers, |ground, n| async move {
                Ok(ground.store.save(&ground.ours[n % SESSIONS]).await?)
            }),
            self.way("raptor, update_session", callers, |ground, n| async move {
                let changes = Changes::from(&ground.fields);
                let token = &ground.tokens[n % SESSIONS];
                let updated = ground.service.update_session(token, changes).await?;
                Ok(anyhow::ensure!(updated.is_done(), "it lives"))
            }),
        ]
    }

    fn creates(self: &Arc<Self>, callers: usize) -> [Way; 3] {
        [
            self.way("tower-sessions-redis-store", callers, |ground, _| async move {
                Ok(ground.rival.create(&mut their_record()).await?)
            }),
            self.way("raptor, its store", callers, |ground, _| async move {
                Ok(ground.store.create(&mut our_record()).await?)
            }),
            self.way("raptor, create_session", callers, |ground, n| async move {
                let user = format!("new {}", n % 1_000);
                ground.service.create_session(&user, "bench", &ground.fields).await?;
                Ok(())
            }),
        ]
    }

    fn way<F>(
        self: &Arc<Self>,
        name: &'static str,
        callers: usize,
        call: impl Fn(Arc<Self>, usize) -> F + Send + Sync + 'static,
    ) -> Way
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let ground = Arc::clone(self);
        Way::new(name, callers, move |n| call(Arc::clone(&ground), n))
    }
}

fn their_record() -> their_core::session::Record {
    let data = [("data".to_owned(), "x".repeat(BYTES).into())].into_iter().collect();
    let expiry_date = OffsetDateTime::now_utc() + Duration::minutes(30);
    their_core::session::Record { id: Default::default(), data, expiry_date }
}

fn our_record() -> tower_sessions_core::session::Record {
    let data = [("data".to_owned(), "x".repeat(BYTES).into())].into_iter().collect();
    let expiry_date = OffsetDateTime::now_utc() + Duration::minutes(30);
    tower_sessions_core::session::Record { id: Default::default(), data, expiry_date }
}
