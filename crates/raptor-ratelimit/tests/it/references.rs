//! Plain references of the other algorithms: a deque, a rational, counts of windows. Each keeps what was
//! last written, and looks at a copy: a look changes nothing.

use std::collections::VecDeque;

use crate::model::Verdict;

/// What holds for one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) limit: u64,
    pub(crate) window_us: u64,
    /// Of a bucket.
    pub(crate) burst: u64,
}

/// Verdict, remaining, reset_us.
pub(crate) type Answer = (Verdict, u64, u64);

pub(crate) trait Reference: Default {
    fn acquire(&mut self, now: u64, policy: Policy, cost: u64) -> Answer;
}

fn judged(cost: u64, limit: u64, sum: u64, retry_us: impl FnOnce() -> u64) -> Verdict {
    if cost > limit {
        Verdict::Never
    } else if sum + cost <= limit {
        Verdict::Allowed
    } else {
        Verdict::Denied { retry_us: retry_us() }
    }
}

/// The exact log: each call with its time.
#[derive(Clone, Default)]
pub(crate) struct Log {
    calls: VecDeque<(u64, u64)>,
}

impl Log {
    fn sum(&self) -> u64 {
        self.calls.iter().map(|&(_, cost)| cost).sum()
    }
}

impl Reference for Log {
    fn acquire(&mut self, now: u64, policy: Policy, cost: u64) -> Answer {
        let leaves = |&(at, _): &(u64, u64)| at + policy.window_us;
        let mut log = self.clone();
        if log.calls.back().is_some_and(|&(newest, _)| now < newest) {
            log.calls = VecDeque::from([(now, log.sum())]);
            *self = log.clone();
        }
        log.calls.retain(|call| now < leaves(call));
        let sum = log.sum();
        let verdict = judged(cost, policy.limit, sum, || {
            let mut left = sum;
            let frees = log.calls.iter().find(|&&(_, held)| {
                left -= held;
                left + cost <= policy.limit
            });
            leaves(frees.unwrap()) - now
        });
        if verdict == Verdict::Allowed {
            log.calls.push_back((now, cost));
            *self = log.clone();
        }
        let reset_us = log.calls.back().map_or(0, |newest| leaves(newest) - now);
        (verdict, policy.limit.saturating_sub(log.sum()), reset_us)
    }
}

/// The token bucket in rational numbers: when it is whole, in `1 / limit` µs.
#[derive(Clone, Default)]
pub(crate) struct Bucket {
    limit: i128,
    window: i128,
    last: i128,
    whole_at: i128,
}

impl Reference for Bucket {
    fn acquire(&mut self, now: u64, policy: Policy, cost: u64) -> Answer {
        let [now, limit, window, burst, cost] =
            [now, policy.limit, policy.window_us, policy.burst, cost].map(i128::from);
        let ceil = |a: i128, b: i128| a.div_euclid(b) + i128::from(a.rem_euclid(b) != 0);
        let mut bucket = self.clone();
        let mut moved = false;
        if bucket.limit > 0 && now < bucket.last {
            bucket.whole_at += (now - bucket.last) * bucket.limit;
            bucket.last = now;
            moved = true;
        }
        if bucket.limit == 0 || bucket.whole_at <= now * bucket.limit {
            moved = false;
            bucket = Self { limit, window, last: now, whole_at: now * limit };
        }
        if (bucket.limit, bucket.window) != (limit, window) {
            let parts = limit / gcd(limit, window);
            let exact = ((1 << 53) - 1) / parts;
            let exact = exact.min(1_000_000_000_000_000 / (window / limit + 1)).max(burst);
            let used = ceil(bucket.whole_at - now * bucket.limit, bucket.window).min(exact);
            bucket = Self { limit, window, last: now, whole_at: now * limit + used * window };
            moved = true;
        }
        let filled = bucket.last + ceil(burst * window, limit) - now;
        if bucket.whole_at - bucket.last * limit > burst * window && filled <= 0 {
            moved = false;
            bucket = Self { limit, window, last: now, whole_at: now * limit };
        }
        let filled = bucket.last + ceil(burst * window, limit) - now;
        let free = burst * window - (bucket.whole_at - now * limit);
        let verdict = if cost > burst {
            Verdict::Never
        } else if cost * window <= free {
            bucket.whole_at += cost * window;
            bucket.last = now;
            Verdict::Allowed
        } else {
            Verdict::Denied { retry_us: ceil(cost * window - free, limit).min(filled) as u64 }
        };
        if moved || verdict == Verdict::Allowed {
            *self = bucket.clone();
        }
        let left = burst * window - (bucket.whole_at - now * limit);
        let filled = bucket.last + ceil(burst * window, limit) - now;
        let reset_us = ceil(bucket.whole_at - now * limit, limit).min(filled);
        (verdict, left.div_euclid(window).max(0) as u64, reset_us as u64)
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The fixed window.
#[derive(Clone, Default)]
pub(crate) struct Fixed {
    window_us: u64,
    start: u64,
    count: u64,
}

impl Reference for Fixed {
    fn acquire(&mut self, now: u64, policy: Policy, cost: u64) -> Answer {
        let window_us = policy.window_us;
        let mut fixed = self.clone();
        if now >= fixed.start + fixed.window_us {
            fixed = Self { window_us, start: now - now % window_us, count: 0 };
        } else if now < fixed.start || fixed.window_us != window_us {
            fixed = Self { window_us, start: now, count: fixed.count };
            *self = fixed.clone();
        }
        let left_us = fixed.start + window_us - now;
        let verdict = judged(cost, policy.limit, fixed.count, || left_us);
        if verdict == Verdict::Allowed {
            fixed.count += cost;
            *self = fixed.clone();
        }
        let reset_us = if fixed.count > 0 { left_us } else { 0 };
        (verdict, policy.limit.saturating_sub(fixed.count), reset_us)
    }
}

/// The two-window counter. When something fits again is searched, not computed.
#[derive(Clone, Default)]
pub(crate) struct Counter {
    window_us: u64,
    start: u64,
    previous: u64,
    current: u64,
}

impl Counter {
    /// As it stands at `now`, without anything taken in between.
    fn at(&self, now: u64) -> Self {
        let mut counter = self.clone();
        if now >= self.start + 2 * self.window_us {
            counter =
                Self { start: now - now % self.window_us, previous: 0, current: 0, ..counter };
        } else if now >= self.start + self.window_us {
            counter.start += self.window_us;
            (counter.previous, counter.current) = (self.current, 0);
        }
        counter
    }

    fn sum(&self, now: u64) -> u64 {
        let step = self.window_us.div_ceil(10_000);
        let steps = self.window_us.div_ceil(step);
        let left = (self.start + self.window_us - now).div_ceil(step);
        let fades = (u128::from(self.previous) * u128::from(left)).div_ceil(u128::from(steps));
        self.current + u64::try_from(fades).unwrap()
    }
}

impl Reference for Counter {
    fn acquire(&mut self, now: u64, policy: Policy, cost: u64) -> Answer {
        let Policy { limit, window_us, .. } = policy;
        let anchored = |sum: u64| {
            let previous = sum.min(((1 << 53) - 1) / 10_000);
            Self { window_us, start: now, previous, current: 0 }
        };
        if self.window_us == 0 {
            *self = Self { window_us, start: now - now % window_us, previous: 0, current: 0 };
        }
        let over = now >= self.start + 2 * self.window_us;
        let mut counter = self.clone();
        if now < self.start {
            counter = anchored(self.previous + self.current);
            *self = counter.clone();
        } else if over {
            counter = Self { window_us, start: now - now % window_us, previous: 0, current: 0 };
        } else if self.window_us != window_us {
            counter = anchored(self.at(now).sum(now));
            *self = counter.clone();
        } else {
            counter = counter.at(now);
        }
        let sum = counter.sum(now);
        let verdict = judged(cost, limit, sum, || {
            let fits = |after: u64| counter.at(now + after).sum(now + after) + cost <= limit;
            let (mut denied, mut fitting) = (0, 2 * window_us);
            while fitting - denied > 1 {
                let middle = denied + (fitting - denied) / 2;
                if fits(middle) { fitting = middle } else { denied = middle }
            }
            fitting
        });
        if verdict == Verdict::Allowed {
            counter.current += cost;
            *self = counter.clone();
        }
        let reset_us = match (counter.current, counter.previous) {
            _ if counter.sum(now) == 0 => 0,
            (0, _) => counter.start + window_us - now,
            _ => counter.start + 2 * window_us - now,
        };
        (verdict, limit.saturating_sub(counter.sum(now)), reset_us)
    }
}
