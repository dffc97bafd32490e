//! Leased tokens: this process takes a handful of units at once and hands them out itself, so that a
//! very hot limit costs a round trip a handful.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use raptor_core::{Error, Result};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::decision::{Decision, Outcome};
use crate::limit::Limit;
use crate::options::AcquireOptions;
use crate::outage::Outage;
use crate::service::RateLimitService;
use crate::subject::Subject;
use crate::telemetry;

/// Units are handed out for so long after they were leased; what is left is given back then, whether
/// or not anybody asks.
pub const LEASE_LIFE: Duration = Duration::from_secs(1);

/// A process' hold on one limit, made by [`leased`](RateLimitService::leased). Share it by reference
/// or in an `Arc`; dropping it gives back what is left, in the background.
pub struct Leased(Arc<Hold>);

struct Hold {
    service: RateLimitService,
    subject: Subject,
    limits: [Limit; 1],
    size: u64,
    epoch: Instant,
    /// Units left, in the low half, and, in the high half, the tick at which they were leased. Both at
    /// once, so that no unit outlives its lease.
    left: AtomicU64,
    /// Denied without asking until then, in µs since `epoch`.
    denied_until_us: AtomicU64,
    /// When a unit will be free, by the last denial.
    due_us: AtomicU64,
    /// Who fetches the next lease, one at a time.
    fetching: tokio::sync::Mutex<()>,
    /// The lease that `left` is of; held while either is replaced.
    in_use: Mutex<InUse>,
}

#[derive(Default)]
struct InUse {
    lease: Option<Lease>,
    /// Who waits for its end.
    watch: Option<JoinHandle<()>>,
}

struct Lease {
    ends: Instant,
    /// By which it was taken: with the receipt for what is not used.
    decision: Decision,
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
    /// Of a limit that goes on [locally](Outage::Local) in an outage, a lease takes no more than the share
    /// of this process, with a server or without.
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
        let size = match limit.outage() {
            // A cost above the share would be let in whole, and be paid back by windows to come.
            Outage::Local { nodes } => {
                size.min(limit.limit().min(limit.capacity()) / u64::from(nodes.get())).max(1)
            }
            _ => size,
        };
        Ok(Leased(Arc::new(Hold {
            service: self.clone(),
            subject: subject.clone(),
            limits: [limit.clone()],
            size,
            epoch: Instant::now(),
            left: AtomicU64::new(0),
            denied_until_us: AtomicU64::new(0),
            due_us: AtomicU64::new(0),
            fetching: tokio::sync::Mutex::new(()),
            in_use: Mutex::default(),
        })))
    }
}

impl Leased {
    /// Takes one unit: out of the lease, or else out of a new one, for which concurrent callers wait
    /// together.
    ///
    /// While the limit is exhausted or blocked it denies by itself, until the time that the server named
    /// and for at most a second. Cost: one round trip a lease, which takes fewer units than its size
    /// where fewer are free (then two); a denial costs two at most.
    ///
    /// Cancel-safe: a unit is taken when the future is ready, or not at all. Dropped while it asks for
    /// a lease, it may leave one charged that nobody uses.
    ///
    /// # Errors
    /// As of [`acquire`](RateLimitService::acquire), of which a lease is one; where the limit has an
    /// [`Outage`] policy, that decides.
    pub async fn acquire(&self) -> Result<Outcome> {
        if let Some(outcome) = self.try_acquire() {
            return Ok(outcome);
        }
        let _fetching = self.0.fetching.lock().await;
        if let Some(outcome) = self.try_acquire() {
            return Ok(outcome);
        }
        self.0.give_back();
        self.fetch().await
    }

    /// The same without waiting: `None` when the server must be asked.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Outcome> {
        let hold = &*self.0;
        let now = hold.epoch.elapsed();
        let tick = ticks(now);
        let take = |state: u64| (lives(state >> 32, tick) && state << 32 != 0).then(|| state - 1);
        if hold.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
            return Some(Outcome::Allowed);
        }
        let denied_until = Duration::from_micros(hold.denied_until_us.load(Ordering::Acquire));
        let left = denied_until.checked_sub(now).filter(|left| !left.is_zero())?;
        let due = Duration::from_micros(hold.due_us.load(Ordering::Acquire));
        Some(Outcome::Denied { retry_after: due.saturating_sub(now).max(left) })
    }

    async fn fetch(&self) -> Result<Outcome> {
        let hold = &*self.0;
        let mut asked = Instant::now();
        let mut size = hold.size;
        let options = AcquireOptions::default().cost(size)?;
        // Neither denial is remembered for other callers: the hold has its own memory.
        let mut decision = hold.service.decide(&hold.subject, &hold.limits, &options).await?;
        // Fewer may be free: take those, or find out when one will be. Where enough are free and it was
        // denied all the same, as by a block, fewer would be denied too.
        let fewer = decision.results[0].remaining.max(1);
        if !decision.is_allowed() && fewer < size {
            let options = AcquireOptions::default().cost(fewer)?;
            (asked, size) = (Instant::now(), fewer);
            decision = if decision.degraded {
                // The server was waited for already.
                hold.service.decide_alone(&hold.subject, &hold.limits, &options)?
            } else {
                hold.service.decide(&hold.subject, &hold.limits, &options).await?
            };
        }
        let outcome = decision.outcome;
        match outcome {
            Outcome::Allowed => self.hand_out(asked, size, decision),
            Outcome::Denied { retry_after } => {
                // From the answer on: the time that it names is never too early.
                let now = hold.epoch.elapsed();
                let micros = |after: Duration| {
                    u64::try_from(now.saturating_add(after).as_micros()).unwrap_or(u64::MAX)
                };
                hold.due_us.store(micros(retry_after), Ordering::Release);
                hold.denied_until_us.store(micros(retry_after.min(LEASE_LIFE)), Ordering::Release);
            }
            Outcome::Never => {}
        }
        Ok(outcome)
    }

    /// Begins to hand out the `size` units of `decision`, the first to who fetched them.
    fn hand_out(&self, asked: Instant, size: u64, decision: Decision) {
        let hold = &*self.0;
        let (ends, runtime) = (asked + LEASE_LIFE, Handle::try_current().ok());
        let mut in_use = hold.in_use();
        // One task for all leases that follow each other.
        if in_use.watch.as_ref().is_none_or(JoinHandle::is_finished) {
            let watch = watch(Arc::downgrade(&self.0), ends);
            in_use.watch = runtime.as_ref().map(|runtime| runtime.spawn(watch));
        }
        in_use.lease = Some(Lease { ends, decision, runtime });
        let leased_at = ticks(asked.duration_since(hold.epoch));
        hold.left.store(leased_at << 32 | (size - 1), Ordering::Release);
        telemetry::leased(size);
    }
}

/// Gives back what is left of a lease at its end, though nobody asks for units any more.
async fn watch(hold: Weak<Hold>, mut ends: Instant) {
    loop {
        tokio::time::sleep_until(ends.into()).await;
        let Some(hold) = hold.upgrade() else { return };
        let mut in_use = hold.in_use();
        match &in_use.lease {
            // Another one by now.
            Some(next) if next.ends != ends => ends = next.ends,
            _ => {
                in_use.watch = None;
                return hold.end(&mut in_use);
            }
        }
    }
}

impl Hold {
    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self) {
        self.end(&mut self.in_use());
    }

    /// What is left of the lease goes back, in the background.
    fn end(&self, in_use: &mut InUse) {
        let unused = self.left.swap(0, Ordering::AcqRel) & u64::from(u32::MAX);
        let Some(lease) = in_use.lease.take().filter(|_| unused > 0) else { return };
        let Decision { receipt, local, .. } = lease.decision;
        if let Some(mut local) = local {
            local.cost = unused;
            self.service.give_back_locally(&local);
        }
        // Here, if there is a runtime: the lease's own may have ended.
        let runtime = Handle::try_current().ok().or(lease.runtime);
        if let (Some(receipt), Some(runtime)) = (receipt, runtime) {
            let service = self.service.clone();
            runtime.spawn(async move {
                // Best effort: else they come back with their window.
                let _ = service.refund_part(receipt, unused).await;
            });
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_back();
        if let Some(watch) = self.in_use().watch.take() {
            watch.abort();
        }
    }
}

impl std::fmt::Debug for Leased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leased").field("size", &self.0.size).finish_non_exhaustive()
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
