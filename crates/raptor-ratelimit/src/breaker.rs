//! A breaker: after several failures in a row the server is left alone for a while, and then one call
//! tries it again. Pure; the caller says what time it is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 5;

/// How long it stays open before the next try.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Open until then; whoever comes afterwards tries, and moves it.
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may try the server.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        self.with(|state| match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now + PAUSE);
                true
            }
        })
    }

    /// The server answered.
    pub(crate) fn succeeded(&self) {
        self.with(|state| *state = State::default());
    }

    /// It did not.
    pub(crate) fn failed(&self, now: Instant) {
        self.with(|state| {
            state.failures = state.failures.saturating_add(1);
            if state.failures >= FAILURES {
                state.open_until = Some(now + PAUSE);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_try() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES {
            breaker.failed(start);
        }
        breaker.succeeded();
        for _ in 0..FAILURES {
            assert!(breaker.admits(start));
            breaker.failed(start);
        }
        assert!(!breaker.admits(start + PAUSE - Duration::from_millis(1)));
        assert!(breaker.admits(start + PAUSE), "one tries");
        assert!(!breaker.admits(start + PAUSE), "and no other");
        breaker.failed(start + PAUSE);
        assert!(!breaker.admits(start + PAUSE * 2 - Duration::from_millis(1)));
        assert!(breaker.admits(start + PAUSE * 2));
        breaker.succeeded();
        assert!(breaker.admits(start + PAUSE * 2) && breaker.admits(start + PAUSE * 2));
    }
}
