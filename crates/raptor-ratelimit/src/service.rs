//! The service: limits in, a decision out.

use std::time::Instant;

use raptor_core::{Coalescer, Error, Family, Key, RedisClient, Result};

use crate::decision::Decision;
use crate::limit::Limit;
use crate::options::AcquireOptions;
use crate::script::{Acquire, Request};
use crate::subject::Subject;
use crate::telemetry;

/// The most limits that one call may check.
pub const MAX_LIMITS: usize = 16;

/// Rate limits on one Redis. Cheap to clone; concurrent calls of all clones ride together.
#[derive(Clone)]
pub struct RateLimitService {
    client: RedisClient,
    acquiring: Coalescer<Acquire>,
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
        Self { client, acquiring: Coalescer::new(Acquire) }
    }

    /// Takes the cost (one unit by default) of each of 1 to [`MAX_LIMITS`] limits, or of none.
    ///
    /// Guaranteed: checks and takes in one atomic step, so concurrent callers never exceed a
    /// limit together; a denied call takes nothing of any limit; time is the server's, so callers'
    /// clocks do not matter; after a backward step of the server's clock nothing extra is admitted
    /// and nobody waits longer than one window and its sixtieth, counted from the first call after
    /// the step. See [`Limit`] for what each algorithm promises and for changed limits.
    ///
    /// Not guaranteed: that counts survive a server that loses data (a restart without
    /// persistence, a failover ahead of replication, eviction), or a forward step of its clock,
    /// which looks like time that passed.
    ///
    /// Cost: one round trip, and at most one script call, for concurrent calls ride together;
    /// O(limits) in the common case; a bucket that leaves its window is parsed once, a denial
    /// walks up to 64 of them.
    ///
    /// Cancel-safe for everybody else. Dropped before it was sent it takes nothing; dropped later
    /// it may have taken its cost.
    ///
    /// # Errors
    /// - [`InvalidInput`](raptor_core::ErrorKind::InvalidInput): no limits, more than
    ///   [`MAX_LIMITS`], or two that count under the same endpoint and policy.
    /// - [`WrongType`](raptor_core::ErrorKind::WrongType) or
    ///   [`Codec`](raptor_core::ErrorKind::Codec): another program's value, a damaged one, or one
    ///   of a newer Raptor stands at a limit's key. Nothing was taken.
    /// - [`OutcomeUnknown`](raptor_core::ErrorKind::OutcomeUnknown): no answer came, the cost may
    ///   have been taken. It is not sent again.
    /// - [`Capacity`](raptor_core::ErrorKind::Capacity): more calls wait than are held; nothing was
    ///   taken.
    /// - Others as of every call: nothing was taken.
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
        let keys = self.keys_of(subject, limits)?;
        let started = Instant::now();
        let request = Request::new(keys, limits, options);
        let answer = self.acquiring.submit(&self.client, request).await?;
        let decision = answer.decide(limits, options)?;
        telemetry::decided(decision.outcome, started.elapsed());
        Ok(decision)
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
            let endpoint = limit.endpoint().unwrap_or(subject.endpoint());
            let key = self.client.keys().key(
                &Family::RATE,
                subject.user(),
                &[endpoint, limit.policy()],
            )?;
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
}
