//! What one call may say beside its limits, and what holds for all calls of a service.

use std::time::Duration;

use time::OffsetDateTime;

use raptor_core::{Error, Result};

/// The latest `now` in microseconds, year 2112: with any window added it stays exact in a script.
const MAX_NOW_US: i128 = 1 << 52;

/// The cost of a call: one unit unless told otherwise.
///
/// ```
/// use raptor_ratelimit::AcquireOptions;
///
/// let options = AcquireOptions::default().cost(5)?;
/// assert!(AcquireOptions::default().cost(0).is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireOptions {
    cost: u64,
    now_us: Option<u64>,
}

impl Default for AcquireOptions {
    /// One unit, by the server's clock.
    fn default() -> Self {
        Self { cost: 1, now_us: None }
    }
}

impl AcquireOptions {
    /// Takes `cost` units of every limit. A cost above a limit is answered by
    /// [`Outcome::Never`](crate::Outcome::Never), however large.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) when it is 0: a call that
    /// takes nothing would be allowed under an exhausted limit.
    pub fn cost(mut self, cost: u64) -> Result<Self> {
        if cost == 0 {
            return Err(Error::invalid("a cost of 0 takes nothing; give at least 1"));
        }
        self.cost = cost;
        Ok(self)
    }

    /// Takes `now` for the server's clock: for tests and models, so that they need not sleep.
    ///
    /// Real calls leave it alone: the server's clock is one for all callers, theirs are not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) before 1970 or after 2112.
    pub fn now(mut self, now: OffsetDateTime) -> Result<Self> {
        let now_us = now.unix_timestamp_nanos().div_euclid(1_000);
        if !(0..=MAX_NOW_US).contains(&now_us) {
            return Err(Error::invalid(format!("the time {now} is out of range: 1970 to 2112")));
        }
        self.now_us = u64::try_from(now_us).ok();
        Ok(self)
    }

    /// The cost as the script takes it: anything above every limit is alike.
    pub(crate) fn script_cost(&self) -> u64 {
        self.cost.min(crate::limit::MAX_LIMIT + 1)
    }

    pub(crate) fn now_us(&self) -> Option<u64> {
        self.now_us
    }
}

/// What holds for all calls of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitOptions {
    deadline: Duration,
    remember_denials: bool,
}

impl Default for RateLimitOptions {
    /// A deadline of 50 ms; denials are remembered.
    fn default() -> Self {
        Self { deadline: Duration::from_millis(50), remember_denials: true }
    }
}

impl RateLimitOptions {
    /// How long a call waits for the server before its limits' [`Outage`](crate::Outage)s decide.
    /// Calls with a limit that fails on an outage wait for as long as the client does.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Asks the server for each call, even for one that it has just denied.
    #[must_use]
    pub fn without_denial_cache(mut self) -> Self {
        self.remember_denials = false;
        self
    }

    pub(crate) fn get_deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn remembers_denials(&self) -> bool {
        self.remember_denials
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_beyond_every_limit_stays_beyond_and_exact() {
        let options = AcquireOptions::default().cost(u64::MAX).unwrap();
        assert_eq!(options.script_cost(), 1 << 53);
    }

    #[test]
    fn a_clock_out_of_range_is_an_error() {
        let at = |s| OffsetDateTime::from_unix_timestamp(s).unwrap();
        assert!(AcquireOptions::default().now(at(-1)).is_err());
        assert!(AcquireOptions::default().now(at(250_000_000_000)).is_err());
        assert_eq!(AcquireOptions::default().now(at(5)).unwrap().now_us(), Some(5_000_000));
    }
}
