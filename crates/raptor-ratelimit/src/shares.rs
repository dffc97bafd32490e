//! Counts of this process alone, for limits that go on locally while the server is away.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use raptor_core::Key;
use time::OffsetDateTime;

use crate::breaker::PAUSE;
use crate::decision::{Decision, RateLimitResult};
use crate::limit::Limit;
use crate::outage::Outage;
use crate::receipt::LocalReceipt;

/// Limits that are counted; beyond that, new ones are denied until some share is free again.
const MOST: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    of: HashMap<Key, Count>,
    cleaned: Option<Instant>,
}

/// What this process may take of a limit: `units` each `every`, which is `times` a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    units: u64,
    times: u64,
    every: Duration,
}

/// What was taken of a share. Each `every` gives back `units`; never is nothing taken.
#[derive(Clone, Copy, Debug)]
struct Count {
    share: Share,
    since: Instant,
    taken: u64,
}

/// How a limit stands before the call.
enum Standing {
    Open,
    Closed,
    Counted(Count),
}

impl Shares {
    /// What the limits decide by themselves, all or nothing.
    pub(crate) fn decide(
        &self,
        keys: &[Key],
        limits: &[Limit],
        cost: u64,
        now: Instant,
    ) -> Decision {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clean(now);
        let pairs = keys.iter().zip(limits);
        let standings: Vec<Standing> =
            pairs.map(|(key, limit)| counts.standing(key, limit, now)).collect();
        let results = limits.iter().zip(&standings);
        let results = results.map(|(limit, standing)| standing.result(limit, cost, now)).collect();
        let mut decision = Decision::new(results);
        decision.degraded = true;
        if decision.is_allowed() {
            for ((key, standing), result) in keys.iter().zip(standings).zip(&mut decision.results) {
                if let Standing::Counted(mut count) = standing {
                    count.taken += cost;
                    result.remaining = count.left();
                    result.reset_after = count.falls_to(0, now);
                    result.reset_at = OffsetDateTime::now_utc() + result.reset_after;
                    counts.of.insert(key.clone(), count);
                }
            }
        }
        decision
    }

    /// Gives back what was taken, while all of it still counts: of a share that gave units back since,
    /// nobody knows whose they were.
    pub(crate) fn give_back(&self, receipt: &LocalReceipt, now: Instant) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in receipt.keys.iter().zip(&receipt.limits) {
            let Outage::Local { .. } = limit.outage() else { continue };
            let Some(count) = counts.of.get_mut(key) else { continue };
            // By the policy of now, which may not be the receipt's.
            *count = count.at(count.share, now);
            if count.since <= receipt.at {
                count.taken = count.taken.saturating_sub(receipt.cost);
            }
        }
    }
}

impl Counts {
    /// Forgets what is free again, when there is no more room. That walks over all, under the lock that
    /// every call needs, so not for each new user.
    fn clean(&mut self, now: Instant) {
        if self.of.len() < MOST || self.cleaned.is_some_and(|at| now < at + PAUSE) {
            return;
        }
        self.of.retain(|_, count| count.at(count.share, now).taken > 0);
        self.cleaned = Some(now);
    }

    fn standing(&self, key: &Key, limit: &Limit, now: Instant) -> Standing {
        match limit.outage() {
            Outage::Open => Standing::Open,
            Outage::Local { nodes } => {
                let share = Share::of(limit, nodes.get());
                match self.of.get(key) {
                    Some(count) => Standing::Counted(count.at(share, now)),
                    None if self.of.len() < MOST => {
                        Standing::Counted(Count { share, since: now, taken: 0 })
                    }
                    None => Standing::Closed,
                }
            }
            _ => Standing::Closed,
        }
    }
}

impl Standing {
    fn result(&self, limit: &Limit, cost: u64, now: Instant) -> RateLimitResult {
        let (remaining, retry_in, reset_in) = match self {
            Self::Open => (limit.capacity(), Duration::ZERO, Duration::ZERO),
            Self::Closed => (0, PAUSE, PAUSE),
            Self::Counted(count) => {
                // What is larger than the share waits for the whole of it; else it could never go on.
                let left = count.share.units.saturating_sub(cost);
                (count.left(), count.falls_to(left, now), count.falls_to(0, now))
            }
        };
        let never = cost > limit.capacity();
        let allowed = !never && retry_in.is_zero();
        RateLimitResult {
            allowed,
            limit: limit.limit(),
            remaining,
            reset_at: OffsetDateTime::now_utc() + reset_in,
            reset_after: reset_in,
            retry_after: (!allowed && !never).then_some(retry_in),
        }
    }
}

impl Share {
    /// At once no more than the limit has room for; in a window no more than comes back in one. So the
    /// share of a bucket with a small burst is a small one, several times a window.
    fn of(limit: &Limit, nodes: u32) -> Self {
        let of_one = |units: u64| (units / u64::from(nodes)).max(1);
        let units = of_one(limit.limit().min(limit.capacity()));
        let times = of_one(limit.limit()) / units;
        // Rounded up, so that no more than so many begin in a window.
        let every_ns = limit.window().as_nanos().div_ceil(u128::from(times));
        Self { units, times, every: from_nanos(every_ns) }
    }
}

impl Count {
    /// The same at `now`, under what may be another `share` meanwhile.
    fn at(&self, share: Share, now: Instant) -> Self {
        // After a change no more stays taken than comes back in one new window.
        let most = if share == self.share { u64::MAX } else { share.units * share.times };
        let passed = now.saturating_duration_since(self.since);
        let ended = passed.as_nanos() / share.every.as_nanos();
        let back = u64::try_from(ended).unwrap_or(u64::MAX).saturating_mul(share.units);
        let taken = self.taken.min(most).saturating_sub(back);
        let since = match (taken, ended) {
            (0, _) => now,
            (_, 0) => self.since,
            _ => now - from_nanos(passed.as_nanos() % share.every.as_nanos()),
        };
        Self { share, since, taken }
    }

    fn left(&self) -> u64 {
        self.share.units.saturating_sub(self.taken)
    }

    /// How long until no more than `units` are taken, if nobody takes any.
    fn falls_to(&self, units: u64, now: Instant) -> Duration {
        let ends = self.taken.saturating_sub(units).div_ceil(self.share.units);
        let passed = now.saturating_duration_since(self.since);
        let after_ns = u128::from(ends) * self.share.every.as_nanos();
        from_nanos(after_ns.saturating_sub(passed.as_nanos()))
    }
}

/// As far as a `u64` goes, 584 years.
fn from_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const MICRO: Duration = Duration::from_micros(1);

    fn limit(outage: Outage) -> Limit {
        Limit::strict(100, MINUTE).unwrap().on_outage(outage)
    }

    /// How many of `asked` calls, one unit each, are let in at `now`.
    fn let_in(shares: &Shares, limit: &Limit, asked: u32, now: Instant) -> u32 {
        let limit = std::slice::from_ref(limit);
        let one = || shares.decide(&[Key::raw("a")], limit, 1, now).is_allowed();
        (0..asked).map(|_| u32::from(one())).sum()
    }

    #[test]
    fn a_share_is_all_or_nothing_and_comes_back_with_its_window() {
        let (shares, now) = (Shares::default(), Instant::now());
        let keys = [Key::raw("a"), Key::raw("b")];
        let limits = [limit(Outage::local(4)), limit(Outage::local(50))];
        let one = |now| shares.decide(&keys, &limits, 1, now).is_allowed();
        assert_eq!([one(now), one(now), one(now)], [true, true, false]);
        let alone = |now, cost| shares.decide(&keys[..1], &limits[..1], cost, now).is_allowed();
        assert!(alone(now, 23) && !alone(now, 1), "the denied call took nothing");
        assert!(alone(now + MINUTE, 25) && !alone(now + MINUTE, 1));
    }

    #[test]
    fn what_is_given_back_may_be_taken_again_and_comes_back_once() {
        let (shares, now) = (Shares::default(), Instant::now());
        let (keys, limits) = (vec![Key::raw("a")], vec![limit(Outage::local(4))]);
        let take = |cost, at| {
            assert!(shares.decide(&keys, &limits, cost, at).is_allowed());
            LocalReceipt { keys: keys.clone(), limits: limits.clone(), cost, at }
        };
        let (first, second) = (take(20, now), take(5, now + MICRO));
        shares.give_back(&first, now + MICRO);
        assert_eq!(let_in(&shares, &limits[0], 30, now + MICRO), 20);
        // What the second took is back by itself, and these are others'.
        let later = now + MINUTE;
        assert_eq!(let_in(&shares, &limits[0], 30, later), 25);
        shares.give_back(&second, later);
        assert_eq!(let_in(&shares, &limits[0], 30, later), 0);
    }

    #[test]
    fn what_is_given_back_of_an_old_policy_counts_by_the_one_of_now() {
        let (shares, now) = (Shares::default(), Instant::now());
        let (old, keys) = (limit(Outage::local(1)), vec![Key::raw("a")]);
        let new = Limit::strict(1_000, MINUTE).unwrap().on_outage(Outage::local(1));
        assert!(shares.decide(&keys, std::slice::from_ref(&old), 10, now).is_allowed());
        let receipt = LocalReceipt { keys, limits: vec![old], cost: 10, at: now };
        assert_eq!(let_in(&shares, &new, 2_000, now + MICRO), 990);
        shares.give_back(&receipt, now + MICRO);
        assert_eq!(let_in(&shares, &new, 2_000, now + MICRO), 10);
    }

    #[test]
    fn open_allows_closed_denies_and_a_cost_above_the_limit_is_never() {
        let (shares, now, key) = (Shares::default(), Instant::now(), [Key::raw("a")]);
        let decide = |outage, cost| shares.decide(&key, &[limit(outage)], cost, now);
        for _ in 0..1_000 {
            assert!(decide(Outage::Open, 1).is_allowed());
        }
        let denied = decide(Outage::Closed, 1);
        assert!(!denied.is_allowed() && denied.degraded);
        assert_eq!(denied.results[0].retry_after, Some(PAUSE));
        for outage in [Outage::Open, Outage::Closed, Outage::local(4)] {
            assert_eq!(decide(outage, 101).outcome, crate::Outcome::Never);
        }
    }

    #[test]
    fn a_share_admits_no_more_at_once_than_its_part_of_the_burst() {
        for (limit, burst, nodes, at_once, a_window) in [
            (100, 20, 4, 5, 25),
            (100, 30, 4, 7, 21),
            (100, 2, 4, 1, 25),
            (100, 1_000, 4, 25, 25),
            (7, 1, 50, 1, 1),
        ] {
            let (shares, now) = (Shares::default(), Instant::now());
            let bucket = Limit::bucket(limit, MINUTE).unwrap().burst(burst).unwrap();
            let bucket = bucket.on_outage(Outage::local(nodes));
            assert_eq!(let_in(&shares, &bucket, 100, now), at_once, "{bucket:?}");
            let later = (1..60_000).step_by(5);
            let later: u32 =
                later.map(|ms| let_in(&shares, &bucket, 2, now + Duration::from_millis(ms))).sum();
            assert_eq!(at_once + later, a_window, "{bucket:?}");
            assert_eq!(let_in(&shares, &bucket, 100, now + 2 * MINUTE), at_once, "{bucket:?}");
        }
    }

    #[test]
    fn a_changed_policy_locks_nobody_out_for_longer_than_its_window_and_admits_nothing_extra() {
        let of = |limit, window| {
            Limit::strict(limit, window).unwrap().named("plan").unwrap().on_outage(Outage::local(4))
        };
        let hourly = of(100, 60 * MINUTE);
        let used_up = |now| {
            let shares = Shares::default();
            assert_eq!(let_in(&shares, &hourly, 30, now), 25);
            shares
        };
        let now = Instant::now();
        let shares = used_up(now);
        let minutely = of(100, MINUTE);
        assert_eq!(let_in(&shares, &minutely, 30, now + MINUTE - MICRO), 0);
        assert_eq!(let_in(&shares, &minutely, 30, now + MINUTE), 25, "a shorter window");
        let shares = used_up(now);
        let small = of(8, 60 * MINUTE);
        assert_eq!(let_in(&shares, &small, 30, now + 60 * MINUTE - MICRO), 0);
        assert_eq!(let_in(&shares, &small, 30, now + 60 * MINUTE), 2, "a smaller limit");
        let shares = used_up(now);
        let daily = of(100, 24 * 60 * MINUTE);
        assert_eq!(let_in(&shares, &daily, 30, now + 60 * MINUTE), 0, "a longer window");
        assert_eq!(let_in(&shares, &daily, 30, now + 24 * 60 * MINUTE), 25);
        let shares = used_up(now);
        assert_eq!(let_in(&shares, &of(200, 60 * MINUTE), 60, now), 25, "a larger limit");
        let shares = used_up(now);
        let smooth = Limit::bucket(100, 60 * MINUTE).unwrap().burst(20).unwrap();
        let smooth = smooth.named("plan").unwrap().on_outage(Outage::local(4));
        assert_eq!(let_in(&shares, &smooth, 30, now + 60 * MINUTE - MICRO), 0, "a burst");
        assert_eq!(let_in(&shares, &smooth, 30, now + 60 * MINUTE), 5);
    }

    #[test]
    fn a_cost_above_the_share_goes_on_when_it_is_whole_and_is_paid_back() {
        let (shares, now, key) = (Shares::default(), Instant::now(), [Key::raw("a")]);
        let limit = [limit(Outage::local(4))];
        let decide = |cost, now| shares.decide(&key, &limit, cost, now);
        assert!(decide(1, now).is_allowed());
        let denied = decide(80, now + MICRO);
        let retry = denied.results[0].retry_after.unwrap();
        assert_eq!(retry, MINUTE - MICRO, "when the share is whole");
        let due = now + MICRO + retry;
        assert!(!decide(80, due - MICRO).is_allowed());
        let allowed = decide(80, due);
        assert!(allowed.is_allowed());
        let result = &allowed.results[0];
        assert_eq!((result.remaining, result.reset_after), (0, 4 * MINUTE));
        // 55, 30 and 5 units stay taken at the ends of the windows that follow.
        let denied = decide(20, due + MINUTE);
        assert_eq!(denied.results[0].retry_after, Some(2 * MINUTE));
        assert!(!decide(20, due + 3 * MINUTE - MICRO).is_allowed());
        assert!(decide(20, due + 3 * MINUTE).is_allowed());
        assert!(!decide(1, due + 3 * MINUTE).is_allowed());
        assert!(decide(100, due + 4 * MINUTE).is_allowed(), "up to the limit itself");
    }

    #[test]
    fn the_largest_numbers_are_told_without_a_panic() {
        let (shares, now, key) = (Shares::default(), Instant::now(), [Key::raw("a")]);
        let huge = Limit::strict(crate::MAX_LIMIT, crate::MAX_WINDOW).unwrap();
        let huge = [huge.on_outage(Outage::local(u32::MAX))];
        assert!(shares.decide(&key, &huge, crate::MAX_LIMIT, now).is_allowed());
        let denied = shares.decide(&key, &huge, crate::MAX_LIMIT, now + MICRO);
        assert!(denied.results[0].retry_after.is_some());
        let tiny = Limit::bucket(90_000_000, crate::MIN_WINDOW).unwrap().burst(1).unwrap();
        let tiny = [tiny.on_outage(Outage::local(1))];
        assert!(!shares.decide(&key, &tiny, 1, now).is_allowed(), "a window is still taken");
        assert!(shares.decide(&key, &tiny, 1, now + MINUTE).is_allowed());
    }

    #[test]
    fn when_there_is_no_room_it_is_looked_for_once_a_second() {
        let (shares, start) = (Shares::default(), Instant::now());
        let brief = Limit::strict(1, Duration::from_millis(100)).unwrap();
        let brief = [brief.on_outage(Outage::local(1))];
        let one = |name: &str, now| {
            let decision = shares.decide(&[Key::raw(name.to_owned())], &brief, 1, now);
            decision.results[0].retry_after
        };
        for n in 0..MOST {
            assert_eq!(one(&n.to_string(), start), None);
        }
        assert_eq!(one("new", start), Some(PAUSE), "no room");
        let ended = start + Duration::from_millis(100);
        assert_eq!(one("new", ended), Some(PAUSE), "nobody looked again");
        assert_eq!(one("7", ended), None, "but who has a count goes on");
        assert_eq!(one("new", start + PAUSE), None);
        assert!(shares.0.lock().unwrap().of.len() <= 2);
    }
}
