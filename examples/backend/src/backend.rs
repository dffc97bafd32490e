//! The backend: what happens to one request. Start reading here.
//!
//! Three services of Raptor share one client. A request authenticates its session, passes its
//! user's rate limit, is "served", and records what it used. What is particular to a demo (its
//! clock is the trace's) is said where it stands; everything else is what a backend would do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use raptor::Raptor;
use raptor::core::{Error, Result};
use raptor::ops::usage::{
    ModelPrice, PriceBook, Recorded, Ulid, UsageEvent, UsageOptions, UsageService,
};
use raptor::ratelimit::{AcquireOptions, Limit, Outcome, RateLimitService, Subject};
use raptor::session::{
    AtCap, Changes, Metadata, Peppers, SessionOptions, SessionService, SessionToken,
};

use crate::models::MODELS;
use crate::tally::{Service, Tally};
use crate::trace::Arrival;

/// What is limited: each user at this endpoint.
pub(crate) const ENDPOINT: &str = "POST /v1/chat";

/// A server that does not serve for so long ends the run.
const PATIENCE: Duration = Duration::from_secs(30);

/// The services, and what the backend has decided about them.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) raptor: Raptor,
    pub(crate) sessions: SessionService,
    pub(crate) limits: RateLimitService,
    pub(crate) usage: UsageService,
    /// What each user may do.
    pub(crate) limit: Limit,
    /// Set when the run is to end: nobody waits for a server any longer.
    pub(crate) hurry: AtomicBool,
}

/// A request as it reaches the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Which one it is; never used twice.
    pub(crate) number: u64,
    pub(crate) arrival: Arrival,
    /// What the user's browser sends along.
    pub(crate) token: &'a SessionToken,
    pub(crate) model: &'static str,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 200: it was let in, its usage recorded.
    Served,
    /// 429: the user's limit is reached.
    Denied,
    /// 401: there is no such session.
    Unauthenticated,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// 500: this request failed, others may go on.
    #[error("{0} failed: {1}")]
    Failed(Service, Error),
    /// The server stayed away for longer than [`PATIENCE`].
    #[error("{0} had no luck for {PATIENCE:?}: {1}")]
    GaveUp(Service, Error),
}

impl Backend {
    /// The services over one client, with the options that this backend wants.
    pub(crate) fn new(raptor: Raptor, limit: Limit) -> anyhow::Result<Self> {
        // A backend in earnest reads its peppers by `Peppers::from_env`, so that its sessions
        // outlive a restart. These sessions end with the run.
        let sessions = raptor.sessions(
            SessionOptions::new(random_peppers()?)
                .idle(Duration::from_secs(12 * 60 * 60))
                .absolute(Duration::from_secs(7 * 24 * 60 * 60))
                // A phone, a laptop and a few browsers; at one more the oldest is logged out.
                .cap(5, AtCap::EvictOldest),
        )?;
        let mut prices = PriceBook::new();
        for model in MODELS {
            let (input, output) = model.dollars_per_million();
            prices = prices.with_price(model.name, ModelPrice::per_million(&input, &output)?);
        }
        let usage = raptor.usage(UsageOptions::new(prices))?;
        let limits = raptor.rate_limits();
        Ok(Self { raptor, sessions, limits, usage, limit, hurry: AtomicBool::new(false) })
    }

    /// A visitor looks around, and logs in: whatever was set before the login comes along, its token does not.
    pub(crate) async fn log_in(&self, user: &str, tenant: &str) -> anyhow::Result<SessionToken> {
        let before = Metadata::new().with("language", "en")?.with("flash", "welcome")?;
        let visit = || self.sessions.create_anonymous(&before);
        let visitor = self.insist(visit, |_| {}).await?;
        let metadata = Metadata::new().with("plan", "free")?;
        // A repeat may leave behind a session that nobody knows; it ends by its idle timeout.
        let login = || self.sessions.promote_session(&visitor, user, tenant, &metadata);
        let token = self.insist(login, |_| {}).await?;
        // The login has ended the visit, unless the server was away just then.
        self.insist(|| self.sessions.delete_session(&visitor), |_| {}).await?;

        // Said once. An answer that was lost is a greeting that was lost.
        let _ = self.sessions.take_flash::<String>(&token, "flash").await;
        // Compared with what was read, so that no other request's change is lost.
        let read = || self.sessions.get_session(&token);
        if let Some(session) = self.insist(read, |_| {}).await? {
            let logins = session.get::<u32>("logins")?.unwrap_or(0) + 1;
            let changes = Changes::new().set("logins", &logins)?;
            let _ =
                self.sessions.update_session(&token, changes).if_revision(session.revision).await;
        }
        Ok(token)
    }

    /// One request, from its arrival to its answer.
    pub(crate) async fn serve(
        &self,
        request: Request<'_>,
        tally: &mut Tally,
    ) -> Result<Answer, Failure> {
        // Who is it? `None` is nobody; an error says nothing about the session.
        let session = self
            .patiently(Service::Session, tally, || self.sessions.get_session(request.token))
            .await?;
        let Some(session) = session else {
            return Ok(Answer::Unauthenticated);
        };

        // May they? No answer to this (OutcomeUnknown) is no permission: the limit may have been
        // charged once for nothing, and nobody gets past it.
        let decision = self
            .patiently(Service::RateLimit, tally, || self.acquire(&session.user, request.arrival))
            .await;
        match decision {
            Ok(Outcome::Allowed) => {}
            Ok(_) => return Ok(Answer::Denied),
            Err(failure) if failure.is_outcome_unknown() => return Ok(Answer::Denied),
            Err(failure) => return Err(failure),
        }
        tally.admitted(request, &session.workspace, &session.user);

        // Here the model would answer. What it used is an event, made once: its id makes any
        // number of attempts to record it one charge, even after a lost reply.
        let event = UsageEvent::new(session.workspace, request.model)
            .with_id(id_of(request))
            .user(session.user)
            .input(request.arrival.context)
            .output(request.arrival.generated);
        // The event is as old as the trace, too old for the server's clock. A backend in earnest
        // leaves out `pinned_at`, and `with_id` too: the event then happens now.
        let usage = self.usage.pinned_at(request.arrival.at);
        let errors = tally.error_count();
        let recorded = self.patiently(Service::Usage, tally, || usage.record(&event)).await?;
        if recorded == Recorded::Duplicate && tally.error_count() == errors {
            // Nobody else can have recorded it: the first attempt of an id that is ours alone.
            tally.strange_duplicates += 1;
        }
        Ok(Answer::Served)
    }

    async fn acquire(&self, user: &str, arrival: Arrival) -> Result<Outcome> {
        let subject = Subject::new(user, ENDPOINT)?;
        // The trace's clock, so that a replay at any speed decides alike. Leave it to the server.
        let options = AcquireOptions::default().now(arrival.at)?;
        let limits = std::slice::from_ref(&self.limit);
        Ok(self.limits.acquire(&subject, limits, &options).await?.outcome)
    }

    /// Insists on a call of a request, and counts what it took.
    async fn patiently<T, F>(
        &self,
        service: Service,
        tally: &mut Tally,
        call: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        let outcome = self.insist(call, |error| tally.erred(service, error)).await;
        tally.took(service, started.elapsed());
        outcome.map_err(|error| match error.is_retryable() {
            true => Failure::GaveUp(service, error),
            false => Failure::Failed(service, error),
        })
    }

    /// Makes a call until it succeeds, as long as its errors say that a repeat is safe.
    pub(crate) async fn insist<T, F>(
        &self,
        call: impl Fn() -> F,
        mut erred: impl FnMut(&Error),
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            erred(&error);
            let hurry = self.hurry.load(Ordering::Relaxed);
            if !error.is_retryable() || hurry || started.elapsed() > PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

impl Failure {
    fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Failed(_, error) if error.kind() == raptor::core::ErrorKind::OutcomeUnknown)
    }
}

/// The id of the event that a request leaves: its time, and its number for what is random.
fn id_of(request: Request<'_>) -> Ulid {
    // Traces begin in 1970 at the earliest.
    let at_ms = request.arrival.at.unix_timestamp_nanos() / 1_000_000;
    Ulid::from_parts(at_ms as u64, u128::from(request.number))
}

/// Peppers of this run alone: 64 hex digits are base64 too, and hold 256 random bits.
fn random_peppers() -> anyhow::Result<Peppers> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Peppers::parse(&format!("demo:{hex}"))?)
}
