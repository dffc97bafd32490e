//! The service: limits in, a decision out.

use std::sync::Arc;
use std::time::Instant;

use raptor_core::{Coalescer, Error, ErrorKind, Family, Key, RedisClient, Result};

use crate::breaker::Breaker;
use crate::decision::{Decision, marks};
use crate::denied::Denials;
use crate::limit::Limit;
use crate::options::{AcquireOptions, RateLimitOptions};
use crate::outage::Outage;
use crate::policies::Policies;
use crate::receipt::{LocalReceipt, Receipt, Refund};
use crate::script::{Answer, Decide, Mode, Request};
use crate::shares::Shares;
use crate::subject::Subject;
use crate::telemetry;

/// The most limits that one call may check.
pub const MAX_LIMITS: usize = 16;

/// Rate limits on one Redis. Cheap to clone; concurrent calls of all clones ride together.
#[derive(Clone)]
pub struct RateLimitService {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: RedisClient,
    pub(crate) denials: Denials,
    pub(crate) policies: arc_swap::ArcSwap<Policies>,
    deciding: Coalescer<Decide>,
    breaker: Breaker,
    shares: Shares,
    options: RateLimitOptions,
}

impl std::fmt::Debug for RateLimitService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimitService").finish_non_exhaustive()
    }
}

impl RateLimitService {
    /// Rate limits on the server of `client`, under its key prefix. Sends nothing.
    #[must_use]
    pub fn new(client: RedisClient) -> Self {
        Self::with_options(client, RateLimitOptions::default())
    }

    /// The same with `options`.
    #[must_use]
    pub fn with_options(client: RedisClient, options: RateLimitOptions) -> Self {
        let shared = Shared {
            client,
            denials: Denials::default(),
            policies: arc_swap::ArcSwap::default(),
            deciding: Coalescer::new(Decide),
            breaker: Breaker::default(),
            shares: Shares::default(),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes the cost (one unit by default) of each of 1 to [`MAX_LIMITS`] limits, or of none.
    ///
    /// Guaranteed: checks and takes in one atomic step, so concurrent callers never exceed a
    /// limit together; a denied call takes nothing of any limit; time is the server's, so callers'
    /// clocks do not matter; after a backward step of the server's clock nothing extra is admitted
    /// and nobody waits longer than one window and its sixtieth, counted from the first call after
    /// the step. See [`Algorithm`](crate::Algorithm) for what each promises and [`Limit`] for changed
    /// limits.
    ///
    /// What was denied is denied again without asking the server until it is due, or for a second:
    /// so a call may be denied for up to a second after another process reset, refunded or raised
    /// the limit. Calls with a [`now`](AcquireOptions::now) always ask.
    ///
    /// Not guaranteed: that counts survive a server that loses data (a restart without
    /// persistence, a failover ahead of replication, eviction), or a forward step of its clock,
    /// which looks like time that passed.
    ///
    /// Cost: one round trip or, for what was just denied, none; at most one script call, for
    /// concurrent calls ride together; O(limits) in the common case; a bucket that leaves its
    /// window is parsed once, a denial walks up to 64 of them; an exact log is read as a whole.
    ///
    /// Cancel-safe for everybody else. Dropped before it was sent it takes nothing; dropped later
    /// it may have taken its cost.
    ///
    /// # Errors
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no limits, more than [`MAX_LIMITS`], or two that
    ///   count under the same endpoint and policy.
    /// - [`WrongType`](ErrorKind::WrongType) or [`Codec`](ErrorKind::Codec): another program's value,
    ///   a damaged one, or one of a newer Raptor stands at a limit's key. Nothing was taken.
    /// - [`OutcomeUnknown`](ErrorKind::OutcomeUnknown): no answer came, the cost may have been
    ///   taken. It is not sent again.
    /// - [`Capacity`](ErrorKind::Capacity): more calls wait than are held; nothing was taken.
    /// - Others as of every call: nothing was taken.
    ///
    /// Where every limit has an [`Outage`] other than [`Fail`](Outage::Fail), these decide instead of
    /// an error that says that the server is away, full or too slow.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use raptor_ratelimit::{AcquireOptions, Limit, RateLimitService, Subject};
    /// # async fn run(service: RateLimitService) -> raptor_core::Result<()> {
    /// let subject = Subject::new("user-7", "POST /chat")?;
    /// let tokens = Limit::strict(20_000, Duration::from_secs(60))?.named("tokens")?;
    /// let decision = service
    ///     .acquire(&subject, &[tokens], &AcquireOptions::default().cost(812)?)
    ///     .await?;
    /// println!("{} of {} left", decision.results[0].remaining, decision.results[0].limit);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(
        &self,
        subject: &Subject,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<Decision> {
        let (asked, cost) = (Instant::now(), options.script_cost());
        let remembers = self.shared.options.remembers_denials() && options.now_us().is_none();
        if remembers && let Some(denied) = self.shared.denials.find(subject, limits, cost, asked) {
            telemetry::decided_locally("denied", denied.outcome);
            return Ok(denied);
        }
        let question = self.shared.denials.asked(subject, asked);
        let decision = self.decide(subject, limits, options).await?;
        if remembers && !decision.is_allowed() && !decision.degraded {
            let answered = Instant::now();
            self.shared.denials.remember(subject, limits, cost, question, answered, &decision);
        }
        Ok(decision)
    }

    /// The same with no memory of denials.
    pub(crate) async fn decide(
        &self,
        subject: &Subject,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<Decision> {
        let asked = Instant::now();
        let keys = self.keys_of(subject, limits)?;
        let Some(answer) = self.guarded(&keys, limits, options).await? else {
            return self.decide_alone(subject, limits, options);
        };
        let mut decision = Decision::of(&answer, limits)?;
        telemetry::decided(decision.outcome, asked.elapsed());
        if decision.is_allowed() {
            let (limits, marks) = (limits.to_vec(), marks(&answer, limits));
            let (cost, now_us) = (options.script_cost(), options.now_us());
            decision.receipt = Some(Receipt { keys, limits, marks, cost, now_us });
        }
        Ok(decision)
    }

    /// What the limits' outage policies decide without the server.
    pub(crate) fn decide_alone(
        &self,
        subject: &Subject,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<Decision> {
        let keys = self.keys_of(subject, limits)?;
        let (cost, at) = (options.script_cost(), Instant::now());
        let mut decision = self.shared.shares.decide(&keys, limits, cost, at);
        telemetry::decided_locally("degraded", decision.outcome);
        if decision.is_allowed() {
            decision.local = Some(LocalReceipt { keys, limits: limits.to_vec(), cost, at });
        }
        Ok(decision)
    }

    /// Gives back what was taken of shares in this process, as far as it still counts.
    pub(crate) fn give_back_locally(&self, receipt: &LocalReceipt) {
        self.shared.shares.give_back(receipt, Instant::now());
    }

    /// What [`acquire`](Self::acquire) would say now, without taking anything; there is no receipt.
    /// Never answered from memory. Like a denied `acquire` it writes down what a backward step of the clock
    /// moved, so that its time holds; what a changed policy would move it leaves to those who take.
    ///
    /// By the time that the answer arrives others may have taken what it saw: to decide, acquire.
    ///
    /// Cost: one round trip, shared with concurrent calls.
    ///
    /// # Errors
    /// As of `acquire`; a lost answer is a retryable [`Timeout`](ErrorKind::Timeout), since a repeat
    /// does no harm.
    pub async fn peek(
        &self,
        subject: &Subject,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<Decision> {
        let keys = self.keys_of(subject, limits)?;
        let answer = self.ask(Mode::Peek, keys, limits, options).await.map_err(harmless)?;
        Decision::of(&answer, limits)
    }

    /// Takes as much of the cost as still fits of each limit by itself, up to all of it, whether or
    /// not the call would have been allowed: for what happened already.
    ///
    /// A count never exceeds its limit: what does not fit is forgotten. The decision says what
    /// `acquire` would have said, its results what remains now; there is no receipt.
    ///
    /// Cost: one round trip, shared with concurrent calls.
    ///
    /// # Errors
    /// As of [`acquire`](Self::acquire).
    pub async fn charge(
        &self,
        subject: &Subject,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<Decision> {
        let keys = self.keys_of(subject, limits)?;
        let answer = self.ask(Mode::Charge, keys, limits, options).await?;
        Decision::of(&answer, limits)
    }

    /// Gives back what an admission took, where it was charged: the work was not done after all.
    ///
    /// Once per receipt, which is used up. Nothing comes back ([`Refund::is_void`]) of what would be
    /// back by now anyway: it left its window, or drained from its bucket; nor of what was
    /// forgotten by a [`reset`](Self::reset) or moved by a changed policy or a step of the clock.
    /// Of a bucket, a unit that is draining counts as one and comes back as far as it is there; and
    /// the refund of any but its newest charge moves the others, whose receipts are void then.
    /// So a refund never lets more in than if the admission had not been.
    ///
    /// Not guaranteed: that another process sees it within less than a second, see `acquire`.
    ///
    /// Cost: one round trip, shared with concurrent calls.
    ///
    /// # Errors
    /// As of [`acquire`](Self::acquire). The receipt is gone then, and its units may be back.
    pub async fn refund(&self, receipt: Receipt) -> Result<Refund> {
        let cost = receipt.cost;
        self.refund_part(receipt, cost).await
    }

    /// Gives back `cost` of the units that it took.
    pub(crate) async fn refund_part(&self, receipt: Receipt, cost: u64) -> Result<Refund> {
        let Receipt { keys, limits, marks, now_us, .. } = receipt;
        let parsed = keys.first().and_then(|key| self.shared.client.keys().parse(key.as_bytes()));
        let denials = &self.shared.denials;
        let forgets = parsed.as_ref().map(|parsed| denials.forget_after(&parsed.tag));
        let request = Request::give_back(keys, &limits, &marks, cost, now_us);
        let replies = self.shared.deciding.submit(&self.shared.client, request).await;
        drop(forgets);
        let verdicts = replies?.read(&limits, now_us)?.verdicts;
        Ok(Refund { units: verdicts.iter().map(|verdict| verdict.retry_us).collect() })
    }

    /// The script's answer; `None` when the limits are to decide without it.
    async fn guarded(
        &self,
        keys: &[Key],
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<Option<Answer>> {
        let ask = self.ask(Mode::Acquire, keys.to_vec(), limits, options);
        if limits.iter().any(|limit| limit.outage() == Outage::Fail) {
            return ask.await.map(Some);
        }
        let breaker = &self.shared.breaker;
        if !breaker.admits(Instant::now()) {
            return Ok(None);
        }
        match tokio::time::timeout(self.shared.options.get_deadline(), ask).await {
            Ok(Err(error)) if !is_outage(&error) => {
                breaker.succeeded();
                Err(error)
            }
            Ok(Ok(answer)) => {
                breaker.succeeded();
                Ok(Some(answer))
            }
            Ok(Err(_)) | Err(_) => {
                breaker.failed(Instant::now());
                Ok(None)
            }
        }
    }

    async fn ask(
        &self,
        mode: Mode,
        keys: Vec<Key>,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<Answer> {
        let request = Request::new(mode, keys, limits, options);
        let replies = self.shared.deciding.submit(&self.shared.client, request).await?;
        replies.read(limits, options.now_us())
    }

    /// One key a limit, all different and, by the user's hash tag, in one slot.
    fn keys_of(&self, subject: &Subject, limits: &[Limit]) -> Result<Vec<Key>> {
        if !(1..=MAX_LIMITS).contains(&limits.len()) {
            return Err(Error::invalid(format!(
                "a call checks 1 to {MAX_LIMITS} limits, got {}",
                limits.len()
            )));
        }
        let mut keys: Vec<Key> = Vec::with_capacity(limits.len());
        for limit in limits {
            let key = self.key_of(subject, limit)?;
            if keys.contains(&key) {
                return Err(Error::invalid(format!(
                    "two limits of a call count under the same endpoint and policy ({}); \
                     give one of them a name",
                    limit.policy().escape_ascii()
                )));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// Where `limit` counts for `subject`.
    pub(crate) fn key_of(&self, subject: &Subject, limit: &Limit) -> Result<Key> {
        let endpoint = limit.endpoint().unwrap_or(subject.endpoint());
        let parts = [endpoint, limit.policy()];
        self.shared.client.keys().key(&Family::RATE, subject.user(), &parts)
    }
}

/// Whether the server is at fault, and not the call or the data.
fn is_outage(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::OutcomeUnknown
            | ErrorKind::Timeout
            | ErrorKind::Connection
            | ErrorKind::TryAgain
            | ErrorKind::Capacity
            | ErrorKind::Protocol
            | ErrorKind::Server
    )
}

/// A lost answer to what changes nothing.
pub(crate) fn harmless(error: Error) -> Error {
    match error.kind() {
        ErrorKind::OutcomeUnknown => {
            Error::new(ErrorKind::Timeout, "no answer; it takes nothing, so a repeat is harmless")
                .with_source(error)
        }
        _ => error,
    }
}
