//! Leased tokens: this process takes a handful of units at once and hands them out itself, so that a
//! very hot limit costs a round trip a handful.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use raptor_core::{Error, Result};
use tokio::runtime::Handle;

use crate::decision::Outcome;
use crate::limit::Limit;
use crate::options::AcquireOptions;
use crate::receipt::Receipt;
use crate::service::RateLimitService;
use crate::subject::Subject;
use crate::telemetry;

/// Units are handed out for so long after they were leased; what is left is given back.
pub const LEASE_LIFE: Duration = Duration::from_secs(1);

/// A process' hold on one limit, made by [`leased`](RateLimitService::leased). Share it by reference
/// or in an `Arc`; dropping it gives back what is left, in the background.
pub struct Leased {
    service: RateLimitService,
    subject: Subject,
    limits: [Limit; 1],
    size: u64,
    epoch: Instant,
    /// Units left, in the low half, and, in the high half, the tick at which they were leased. Both at
    /// once, so that no unit outlives its lease.
    left: AtomicU64,
    /// Denied until then, in µs since `epoch`.
    denied_until_us: AtomicU64,
    /// Who fetches the next lease, one at a time, and the receipt of the one in use.
    fetching: tokio::sync::Mutex<()>,
    in_use: Mutex<Option<Receipt>>,
    runtime: Option<Handle>,
}

/// The resolution of a lease's end.
const TICK: Duration = Duration::from_millis(1);

impl RateLimitService {
    /// A hold on `limit` for `subject` that leases up to `size` units at a time. Sends nothing yet.
    ///
    /// Guaranteed: units are charged before they are handed out, so over all processes never more
    /// are *charged* in a window than the limit. A leased unit is used up to [`LEASE_LIFE`] after it
    /// was charged, so in a trailing window at most `processes × size` more can be *used*. A process
    /// that dies takes at most `size` units with it, until their window has passed.
    ///
    /// Not guaranteed: fairness. What one process has leased another cannot use for that long.
    ///
    /// `size` is 1 to 2^32 − 1 and at most the limit's [capacity](Limit::capacity); a hundredth of what
    /// a process uses in a second is plenty to save 99 of 100 round trips.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for another size, or a limit with a
    /// window shorter than [`LEASE_LIFE`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use raptor_ratelimit::{Limit, RateLimitService, Subject};
    /// # async fn run(service: RateLimitService) -> raptor_core::Result<()> {
    /// let all = Subject::new("everybody", "POST /chat")?;
    /// let limit = Limit::strict(1_000_000, Duration::from_secs(60))?;
    /// let leased = service.leased(&all, &limit, 200)?;
    /// if leased.acquire().await?.is_allowed() { /* serve */ }
    /// # Ok(())
    /// # }
    /// ```
    pub fn leased(&self, subject: &Subject, limit: &Limit, size: u64) -> Result<Leased> {
        let most = limit.capacity().min(u64::from(u32::MAX));
        if !(1..=most).contains(&size) {
            let why = format!("a lease of {size} units is out of range: 1 to {most} of this limit");
            return Err(Error::invalid(why));
        }
        if limit.window() < LEASE_LIFE {
            return Err(Error::invalid(format!(
                "the window {:?} is shorter than a lease lives ({LEASE_LIFE:?}); acquire instead",
                limit.window()
            )));
        }
        Ok(Leased {
            service: self.clone(),
            subject: subject.clone(),
            limits: [limit.clone()],
            size,
            epoch: Instant::now(),
            left: AtomicU64::new(0),
            denied_until_us: AtomicU64::new(0),
            fetching: tokio::sync::Mutex::new(()),
            in_use: Mutex::new(None),
            runtime: Handle::try_current().ok(),
        })
    }
}

impl Leased {
    /// Takes one unit: out of the lease, or else out of a new one, for which concurrent callers wait
    /// together.
    ///
    /// While the limit is exhausted it denies by itself, until the time that the server named and for
    /// at most a second. Cost: one round trip a lease, which takes fewer units than its size where
    /// fewer are free (then two).
    ///
    /// Cancel-safe: a unit is taken when the future is ready, or not at all. Dropped while it asks for
    /// a lease, it may leave one charged that nobody uses.
    ///
    /// # Errors
    /// As of [`acquire`](RateLimitService::acquire), of which a lease is one; where the limit has an
    /// [`Outage`](crate::Outage) policy, that decides.
    pub async fn acquire(&self) -> Result<Outcome> {
        if let Some(outcome) = self.try_acquire() {
            return Ok(outcome);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(outcome) = self.try_acquire() {
            return Ok(outcome);
        }
        self.give_back();
        self.fetch().await
    }

    /// The same without waiting: `None` when the server must be asked.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Outcome> {
        let now = self.epoch.elapsed();
        let tick = ticks(now);
        let take = |state: u64| (lives(state >> 32, tick) && state << 32 != 0).then(|| state - 1);
        if self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
            return Some(Outcome::Allowed);
        }
        let denied_until = Duration::from_micros(self.denied_until_us.load(Ordering::Acquire));
        let retry_after = denied_until.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(Outcome::Denied { retry_after })
    }

    async fn fetch(&self) -> Result<Outcome> {
        let mut size = self.size;
        loop {
            let asked = self.epoch.elapsed();
            let options = AcquireOptions::default().cost(size)?;
            // A denial out of memory would be remembered here for a second more.
            let asks = self.service.acquire_anew(&self.subject, &self.limits, &options);
            let mut decision = asks.await?;
            let remaining = decision.results[0].remaining;
            match decision.outcome {
                Outcome::Allowed => {
                    *self.in_use() = decision.receipt.take();
                    self.left.store(ticks(asked) << 32 | (size - 1), Ordering::Release);
                    telemetry::leased(size);
                    return Ok(Outcome::Allowed);
                }
                // Fewer are free: take those, or find out when one will be.
                Outcome::Denied { .. } | Outcome::Never if size > 1 => {
                    size = remaining.clamp(1, size - 1);
                }
                Outcome::Denied { retry_after } => {
                    let until = asked + retry_after.min(LEASE_LIFE);
                    let until_us = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
                    self.denied_until_us.store(until_us, Ordering::Release);
                    return Ok(decision.outcome);
                }
                Outcome::Never => return Ok(Outcome::Never),
            }
        }
    }

    /// What is left of the lease in use goes back, in the background.
    fn give_back(&self) {
        let unused = self.left.swap(0, Ordering::AcqRel) & u64::from(u32::MAX);
        let Some(receipt) = self.in_use().take().filter(|_| unused > 0) else { return };
        let service = self.service.clone();
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                // Best effort: else they come back with their window.
                let _ = service.refund_part(receipt, unused).await;
            });
        }
    }

    fn in_use(&self) -> std::sync::MutexGuard<'_, Option<Receipt>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl std::fmt::Debug for Leased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leased").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Ticks since the hold was made, as 32 bits: they begin anew after seven weeks.
fn ticks(since: Duration) -> u64 {
    (since.as_nanos() / TICK.as_nanos()) as u64 & u64::from(u32::MAX)
}

/// Whether units leased at one tick may be used at another.
fn lives(leased: u64, now: u64) -> bool {
    let age = (now as u32).wrapping_sub(leased as u32);
    u128::from(age) < LEASE_LIFE.as_nanos() / TICK.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_live_for_a_lease_across_the_end_of_the_ticks() {
        let at = |ms: u64| ticks(Duration::from_millis(ms));
        for start in [0, 5, u64::from(u32::MAX) - 500, u64::from(u32::MAX) + 1] {
            assert!(lives(at(start), at(start)) && lives(at(start), at(start + 999)), "{start}");
            assert!(!lives(at(start), at(start + 1_000)), "{start}");
            assert!(!lives(at(start), at(start + 3_000_000)), "{start}");
        }
    }
}
