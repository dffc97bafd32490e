//! What was denied a moment ago is denied again without asking, until the moment that the answer
//! named, and for at most a second: so a hammering caller costs the server nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// How often something of the shard was forgotten; changed under its lock.
    forgotten: [AtomicU64; SHARDS],
}

/// When a call asked, and what had been forgotten by then.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    at: Instant,
    forgotten: u64,
}

struct Denial {
    subject: Subject,
    limits: Vec<Limit>,
    cost: u64,
    /// What the results are told by.
    answered: Instant,
    until: Instant,
    results: Vec<RateLimitResult>,
}

impl Default for Denials {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            forgotten: std::array::from_fn(|_| AtomicU64::new(0)),
        }
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
            let passed = now.saturating_duration_since(denial.answered);
            let mut results = denial.results.clone();
            for result in &mut results {
                result.reset_after = result.reset_after.saturating_sub(passed);
                let left = |after: Duration| after.saturating_sub(passed).max(INSTANT);
                result.retry_after = result.retry_after.map(left);
            }
            Decision::new(results)
        })
    }

    /// Of a call that is about to ask at `at`.
    pub(crate) fn asked(&self, subject: &Subject, at: Instant) -> Asked {
        let forgotten = &self.forgotten[self.index_of(subject.user())];
        Asked { at, forgotten: forgotten.load(Ordering::Acquire) }
    }

    /// Remembers what was denied to a call that `asked` ahead of the decision and was `answered` after it,
    /// unless something was forgotten since: then it may be what made the denial untrue. It stands up to
    /// its time counted from the question, and names a time counted from the answer: it is never too late
    /// and never too early.
    pub(crate) fn remember(
        &self,
        subject: &Subject,
        limits: &[Limit],
        cost: u64,
        asked: Asked,
        answered: Instant,
        decision: &Decision,
    ) {
        let stands = match decision.outcome {
            Outcome::Allowed => return,
            Outcome::Denied { retry_after } => retry_after.min(MOST_AGE),
            Outcome::Never => MOST_AGE,
        };
        let at = self.hasher.hash_one((subject, limits, cost));
        let mut shard = self.shard(subject);
        if self.asked(subject, asked.at).forgotten != asked.forgotten {
            return;
        }
        if shard.len() >= MOST / SHARDS {
            shard.retain(|_, denial| denial.until > asked.at);
            if shard.len() >= MOST / SHARDS {
                return;
            }
        }
        let denial = Denial {
            subject: subject.clone(),
            limits: limits.to_vec(),
            cost,
            answered,
            until: asked.at + stands,
            results: decision.results.clone(),
        };
        shard.insert(at, denial);
    }

    /// Once the guard is dropped something of this user's may be allowed again: also when nobody waited
    /// for the answer that says so.
    pub(crate) fn forget_after<'d>(&'d self, user: &'d [u8]) -> Forgets<'d> {
        Forgets { denials: self, user }
    }

    fn forget(&self, user: &[u8]) {
        let mut shard = self.shard_of(user);
        self.forgotten[self.index_of(user)].fetch_add(1, Ordering::Release);
        shard.retain(|_, denial| denial.subject.user() != user);
    }

    fn shard(&self, subject: &Subject) -> std::sync::MutexGuard<'_, HashMap<u64, Denial>> {
        self.shard_of(subject.user())
    }

    fn shard_of(&self, user: &[u8]) -> std::sync::MutexGuard<'_, HashMap<u64, Denial>> {
        self.shards[self.index_of(user)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_of(&self, user: &[u8]) -> usize {
        self.hasher.hash_one(user) as usize % SHARDS
    }
}

/// See [`Denials::forget_after`].
pub(crate) struct Forgets<'d> {
    denials: &'d Denials,
    user: &'d [u8],
}

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.denials.forget(self.user);
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LATE: Duration = Duration::from_millis(100);

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
            let asked = denials.asked(&subject(n), start);
            denials.remember(&subject(n), &limits, 1, asked, start + LATE, &denied(retry_after));
        }
        // The server decided at some time up to its answer: what it named counts from there.
        let left = find(0, SECOND / 4).unwrap().outcome;
        assert_eq!(left, Outcome::Denied { retry_after: SECOND / 4 + LATE });
        assert!(find(0, SECOND / 2).is_none());
        assert!(find(1, SECOND - Duration::from_micros(1)).is_some() && find(1, SECOND).is_none());
        assert!(denials.find(&subject(1), &limits, 2, start).is_none(), "another cost");
        denials.forget(b"u1");
        assert!(find(1, Duration::ZERO).is_none() && find(0, Duration::ZERO).is_some());
    }

    #[test]
    fn what_was_asked_before_something_was_forgotten_is_not_remembered() {
        let (denials, start) = (Denials::default(), Instant::now());
        let subject = Subject::new("u", "e").unwrap();
        let limits = [Limit::strict(1, SECOND * 60).unwrap()];
        let before = denials.asked(&subject, start);
        denials.forget(b"u");
        denials.remember(&subject, &limits, 1, before, start, &denied(SECOND));
        assert!(denials.find(&subject, &limits, 1, start).is_none());
        let after = denials.asked(&subject, start);
        denials.remember(&subject, &limits, 1, after, start, &denied(SECOND));
        assert!(denials.find(&subject, &limits, 1, start).is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_has_passed_makes_room() {
        let (denials, start) = (Denials::default(), Instant::now());
        let limits = [Limit::strict(1, SECOND * 60).unwrap()];
        let fill = |from: usize, at| {
            for n in from..from + 2 * MOST {
                let subject = Subject::new(format!("u{n}"), "e").unwrap();
                let asked = denials.asked(&subject, at);
                denials.remember(&subject, &limits, 1, asked, at, &denied(SECOND));
            }
            denials.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>()
        };
        assert!(fill(0, start) <= MOST);
        fill(2 * MOST, start + SECOND);
        let late = Subject::new(format!("u{}", 2 * MOST), "e").unwrap();
        assert!(denials.find(&late, &limits, 1, start + SECOND).is_some());
    }
}
