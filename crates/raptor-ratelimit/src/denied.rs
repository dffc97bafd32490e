//! What was denied a moment ago is denied again without asking, until the moment that the answer
//! named, and for at most a second: so a hammering caller costs the server nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::decision::{Decision, Outcome, RateLimitResult};
use crate::limit::Limit;
use crate::subject::Subject;

/// After so long the server is asked again: what came back by a refund, a reset or an override
/// elsewhere is seen by then.
const MOST_AGE: Duration = Duration::from_secs(1);

/// Of several limits one may be due already; the slowest is not.
const INSTANT: Duration = Duration::from_micros(1);

/// Denials that are remembered, over all shards.
const MOST: usize = 16_384;
const SHARDS: usize = 16;

pub(crate) struct Denials {
    hasher: RandomState,
    /// By user, so that what a user's refund makes untrue is in one of them.
    shards: [Mutex<HashMap<u64, Denial>>; SHARDS],
}

struct Denial {
    subject: Subject,
    limits: Vec<Limit>,
    cost: u64,
    asked: Instant,
    until: Instant,
    results: Vec<RateLimitResult>,
}

impl Default for Denials {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Denials {
    /// The denial of the same call, if one stands.
    pub(crate) fn find(
        &self,
        subject: &Subject,
        limits: &[Limit],
        cost: u64,
        now: Instant,
    ) -> Option<Decision> {
        let at = self.hasher.hash_one((subject, limits, cost));
        let shard = self.shard(subject);
        let denial = shard.get(&at).filter(|denial| denial.until > now)?;
        let same = denial.cost == cost && denial.subject == *subject && denial.limits == limits;
        same.then(|| {
            let passed = now.saturating_duration_since(denial.asked);
            let mut results = denial.results.clone();
            for result in &mut results {
                result.reset_after = result.reset_after.saturating_sub(passed);
                let left = |after: Duration| after.saturating_sub(passed).max(INSTANT);
                result.retry_after = result.retry_after.map(left);
            }
            Decision::new(results)
        })
    }

    /// Remembers what was denied to a call made at `asked`, ahead of the decision.
    pub(crate) fn remember(
        &self,
        subject: &Subject,
        limits: &[Limit],
        cost: u64,
        asked: Instant,
        decision: &Decision,
    ) {
        let stands = match decision.outcome {
            Outcome::Allowed => return,
            Outcome::Denied { retry_after } => retry_after.min(MOST_AGE),
            Outcome::Never => MOST_AGE,
        };
        let at = self.hasher.hash_one((subject, limits, cost));
        let mut shard = self.shard(subject);
        if shard.len() >= MOST / SHARDS {
            shard.retain(|_, denial| denial.until > asked);
            if shard.len() >= MOST / SHARDS {
                return;
            }
        }
        let denial = Denial {
            subject: subject.clone(),
            limits: limits.to_vec(),
            cost,
            asked,
            until: asked + stands,
            results: decision.results.clone(),
        };
        shard.insert(at, denial);
    }

    /// Something of this user's may be allowed again.
    pub(crate) fn forget(&self, user: &[u8]) {
        self.shard_of(user).retain(|_, denial| denial.subject.user() != user);
    }

    fn shard(&self, subject: &Subject) -> std::sync::MutexGuard<'_, HashMap<u64, Denial>> {
        self.shard_of(subject.user())
    }

    fn shard_of(&self, user: &[u8]) -> std::sync::MutexGuard<'_, HashMap<u64, Denial>> {
        let index = self.hasher.hash_one(user) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn denied(retry_after: Duration) -> Decision {
        let reset_at = OffsetDateTime::UNIX_EPOCH;
        let retry_after = Some(retry_after);
        let reset_after = Duration::ZERO;
        let (allowed, limit, remaining) = (false, 1, 0);
        let result =
            RateLimitResult { allowed, limit, remaining, reset_at, reset_after, retry_after };
        Decision::new(vec![result])
    }

    #[test]
    fn a_denial_stands_until_it_is_due_and_no_longer_than_a_second() {
        let (denials, start) = (Denials::default(), Instant::now());
        let subject = |n: usize| Subject::new(format!("u{n}"), "e").unwrap();
        let limits = [Limit::strict(1, SECOND * 60).unwrap()];
        let find = |n, after| denials.find(&subject(n), &limits, 1, start + after);
        for (n, retry_after) in [(0, SECOND / 2), (1, SECOND * 30)] {
            denials.remember(&subject(n), &limits, 1, start, &denied(retry_after));
        }
        let left = find(0, SECOND / 4).unwrap().outcome;
        assert_eq!(left, Outcome::Denied { retry_after: SECOND / 4 });
        assert!(find(0, SECOND / 2).is_none());
        assert!(find(1, SECOND - Duration::from_micros(1)).is_some() && find(1, SECOND).is_none());
        assert!(denials.find(&subject(1), &limits, 2, start).is_none(), "another cost");
        denials.forget(b"u1");
        assert!(find(1, Duration::ZERO).is_none() && find(0, Duration::ZERO).is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_has_passed_makes_room() {
        let (denials, start) = (Denials::default(), Instant::now());
        let limits = [Limit::strict(1, SECOND * 60).unwrap()];
        let fill = |from: usize, at| {
            for n in from..from + 2 * MOST {
                let subject = Subject::new(format!("u{n}"), "e").unwrap();
                denials.remember(&subject, &limits, 1, at, &denied(SECOND));
            }
            denials.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>()
        };
        assert!(fill(0, start) <= MOST);
        fill(2 * MOST, start + SECOND);
        let late = Subject::new(format!("u{}", 2 * MOST), "e").unwrap();
        assert!(denials.find(&late, &limits, 1, start + SECOND).is_some());
    }
}
