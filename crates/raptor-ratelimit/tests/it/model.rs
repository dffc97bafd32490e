//! Plain references: the bucketed window without packing, and the exact record of what was admitted.

use std::collections::BTreeMap;

/// What the script must answer: allowed, remaining, retry_us (`None`: never), reset_us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Denied { retry_us: u64 },
    Never,
}

/// The strict window: a map from bucket index to what it holds.
#[derive(Default)]
pub(crate) struct Buckets {
    window_us: u64,
    held: BTreeMap<u64, u64>,
}

impl Buckets {
    pub(crate) fn acquire(
        &mut self,
        now: u64,
        limit: u64,
        window_us: u64,
        cost: u64,
    ) -> (Verdict, u64, u64) {
        self.follow(now, window_us);
        let cur = now / width(window_us);
        let mut live: BTreeMap<u64, u64> = self.held.clone();
        live.retain(|&bucket, _| now < leaves_at(bucket, window_us));
        let sum: u64 = live.values().sum();
        let reset = |live: &BTreeMap<u64, u64>| {
            live.keys().next_back().map_or(0, |&last| leaves_at(last, window_us) - now)
        };
        if cost > limit {
            return (Verdict::Never, limit.saturating_sub(sum), reset(&live));
        }
        if sum + cost <= limit {
            *live.entry(cur).or_default() += cost;
            self.held = live;
            return (Verdict::Allowed, limit - sum - cost, reset(&self.held));
        }
        let mut left = sum;
        let frees = live.iter().find(|&(_, held)| {
            left -= held;
            left + cost <= limit
        });
        let retry_us = leaves_at(*frees.unwrap().0, window_us) - now;
        (Verdict::Denied { retry_us }, limit.saturating_sub(sum), reset(&live))
    }

    /// After a backward clock or a change of the window all counts as taken now.
    fn follow(&mut self, now: u64, window_us: u64) {
        let Some((&head, _)) = self.held.last_key_value() else {
            self.window_us = window_us;
            return;
        };
        let old = width(self.window_us);
        let back = head > now / old;
        if !back {
            // What may lie in the window that is asked for.
            self.held.retain(|&bucket, _| {
                now < (bucket + 1) * old + window_us || self.window_us == window_us
            });
        }
        if back || self.window_us != window_us {
            let sum: u64 = self.held.values().sum();
            self.held.clear();
            if sum > 0 {
                self.held.insert(now / width(window_us), sum);
            }
            self.window_us = window_us;
        }
    }
}

pub(crate) fn width(window_us: u64) -> u64 {
    window_us / 60
}

/// When a bucket's last moment has left the window.
fn leaves_at(bucket: u64, window_us: u64) -> u64 {
    (bucket + 1) * width(window_us) + window_us
}

/// Every unit admitted, for the one promise that matters.
#[derive(Default)]
pub(crate) struct Record {
    admitted: Vec<(u64, u64)>,
}

impl Record {
    pub(crate) fn admit(&mut self, now: u64, cost: u64) {
        self.admitted.push((now, cost));
    }

    /// The most units in any window `(t - window, t]`; times must not run backwards.
    pub(crate) fn busiest(&self, window_us: u64) -> u64 {
        let (mut oldest, mut sum, mut most) = (0, 0, 0);
        for &(now, cost) in &self.admitted {
            sum += cost;
            while self.admitted[oldest].0 + window_us <= now {
                sum -= self.admitted[oldest].1;
                oldest += 1;
            }
            most = most.max(sum);
        }
        most
    }
}
