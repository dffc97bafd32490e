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

/// Limits that are counted; beyond that, new ones are denied until some window ends.
const MOST: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<HashMap<Key, Share>>);

#[derive(Debug)]
struct Share {
    ends: Instant,
    taken: u64,
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
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() + keys.len() > MOST {
            shares.retain(|_, share| now < share.ends);
        }
        let full = shares.len() + keys.len() > MOST;
        let results = keys
            .iter()
            .zip(limits)
            .map(|(key, limit)| {
                let open = shares.get(key).filter(|share| now < share.ends);
                let (left, back_in) = match (limit.outage(), open) {
                    (Outage::Open, _) => (limit.capacity(), Duration::ZERO),
                    (Outage::Local { nodes }, Some(share)) => {
                        let share_of = share_of(limit, nodes.get());
                        (share_of.saturating_sub(share.taken), share.ends - now)
                    }
                    (Outage::Local { nodes }, None) if !full => {
                        (share_of(limit, nodes.get()), limit.window())
                    }
                    _ => (0, PAUSE),
                };
                result(limit, cost, left, back_in)
            })
            .collect();
        let mut decision = Decision::new(results);
        decision.degraded = true;
        if decision.is_allowed() {
            let pairs = keys.iter().zip(limits).zip(&mut decision.results);
            for ((key, limit), result) in pairs {
                if let Outage::Local { .. } = limit.outage() {
                    take(&mut shares, key, limit, cost, now);
                    result.remaining -= cost;
                }
            }
        }
        decision
    }
}

fn take(shares: &mut HashMap<Key, Share>, key: &Key, limit: &Limit, cost: u64, now: Instant) {
    let fresh = || Share { ends: now + limit.window(), taken: 0 };
    let share = shares.entry(key.clone()).or_insert_with(fresh);
    if share.ends <= now {
        *share = fresh();
    }
    share.taken += cost;
}

fn share_of(limit: &Limit, nodes: u32) -> u64 {
    (limit.limit() / u64::from(nodes)).max(1)
}

fn result(limit: &Limit, cost: u64, left: u64, back_in: Duration) -> RateLimitResult {
    let allowed = cost <= left;
    let never = cost > limit.capacity();
    RateLimitResult {
        allowed,
        limit: limit.limit(),
        remaining: left,
        reset_at: OffsetDateTime::now_utc() + back_in,
        reset_after: back_in,
        retry_after: (!allowed && !never).then_some(back_in),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limit(outage: Outage) -> Limit {
        Limit::strict(100, MINUTE).unwrap().on_outage(outage)
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
    fn open_allows_closed_denies_and_a_cost_above_the_limit_is_never() {
        let (shares, now, key) = (Shares::default(), Instant::now(), [Key::raw("a")]);
        let decide = |outage, cost| shares.decide(&key, &[limit(outage)], cost, now);
        for _ in 0..1_000 {
            assert!(decide(Outage::Open, 1).is_allowed());
        }
        let denied = decide(Outage::Closed, 1);
        assert!(!denied.is_allowed() && denied.degraded);
        assert_eq!(denied.results[0].retry_after, Some(PAUSE));
        assert_eq!(decide(Outage::Open, 101).outcome, crate::Outcome::Never);
    }
}
