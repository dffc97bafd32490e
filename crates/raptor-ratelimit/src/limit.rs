//! How much is allowed in which window, checked once.

use std::time::Duration;

use raptor_core::{Error, Result};

use crate::subject::checked_name;

/// The largest limit: 2^53 − 1, so that every sum is exact in a script's numbers.
pub const MAX_LIMIT: u64 = (1 << 53) - 1;

/// The shortest window.
pub const MIN_WINDOW: Duration = Duration::from_millis(1);

/// The longest window: 366 days.
pub const MAX_WINDOW: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How a limit counts. More will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Never more than the limit in *any* trailing window, at the price that quota returns up to a
    /// sixtieth of the window late. The sliding-window counter of 60 buckets, each counted whole.
    Strict,
}

/// So many units in such a window, under a policy's name.
///
/// A limit counts under `(user, endpoint, policy)`. Without [`named`](Self::named) the policy is
/// named after its window (`60s`), so `{10 a minute, 100 an hour}` are two counts, and a changed
/// number applies at once to what is already counted. With a name the window may change too: what
/// was counted under the old window then counts as taken at the moment of the change, so nothing
/// extra is admitted and nobody waits longer than one new window (and its sixtieth).
///
/// ```
/// use std::time::Duration;
/// use raptor_ratelimit::Limit;
///
/// let minute = Limit::strict(100, Duration::from_secs(60))?;
/// assert_eq!(minute.policy(), b"60s");
/// let monthly = Limit::strict(1_000_000, Duration::from_secs(30 * 86_400))?.named("plan")?;
/// assert_eq!(monthly.policy(), b"plan");
/// assert!(Limit::strict(0, Duration::from_secs(60)).is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    algorithm: Algorithm,
    limit: u64,
    window_us: u64,
    policy: Vec<u8>,
    endpoint: Option<Vec<u8>>,
}

impl Limit {
    /// At most `limit` units in any trailing `window`, half-open: units taken at `t` are back in
    /// time for `t + window + window / 60`, and never before `t + window`.
    ///
    /// `limit` is 1 to [`MAX_LIMIT`], `window` [`MIN_WINDOW`] to [`MAX_WINDOW`] in whole
    /// microseconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) outside of these ranges.
    pub fn strict(limit: u64, window: Duration) -> Result<Self> {
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Error::invalid(format!(
                "the limit {limit} is out of range: 1 to {MAX_LIMIT} units a window"
            )));
        }
        let window_us = checked_window(window)?;
        Ok(Self {
            algorithm: Algorithm::Strict,
            limit,
            window_us,
            policy: window_name(window_us).into_bytes(),
            endpoint: None,
        })
    }

    /// The same limit counted under the policy `name`, which outlives changes of its window.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) when the name is empty or
    /// longer than 512 bytes.
    pub fn named(mut self, name: impl AsRef<[u8]>) -> Result<Self> {
        self.policy = checked_name("policy", name.as_ref())?;
        Ok(self)
    }

    /// The same limit counted at `endpoint` instead of the subject's own: a limit that several
    /// endpoints share, such as one over all calls of a user.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) when it is empty or longer
    /// than 512 bytes.
    pub fn shared_at(mut self, endpoint: impl AsRef<[u8]>) -> Result<Self> {
        self.endpoint = Some(checked_name("endpoint", endpoint.as_ref())?);
        Ok(self)
    }

    /// How it counts.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Units a window.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The window.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_micros(self.window_us)
    }

    /// The policy's name.
    #[must_use]
    pub fn policy(&self) -> &[u8] {
        &self.policy
    }

    pub(crate) fn endpoint(&self) -> Option<&[u8]> {
        self.endpoint.as_deref()
    }

    pub(crate) fn window_us(&self) -> u64 {
        self.window_us
    }
}

fn checked_window(window: Duration) -> Result<u64> {
    if !(MIN_WINDOW..=MAX_WINDOW).contains(&window) {
        return Err(Error::invalid(format!(
            "the window {window:?} is out of range: {MIN_WINDOW:?} to {MAX_WINDOW:?}"
        )));
    }
    if !window.subsec_nanos().is_multiple_of(1_000) {
        return Err(Error::invalid(format!("the window {window:?} is not in whole microseconds")));
    }
    u64::try_from(window.as_micros()).map_err(|_| Error::invalid("the window is out of range"))
}

/// The window in the largest unit that fits, up to seconds: one name for each window.
fn window_name(window_us: u64) -> String {
    match window_us {
        us if us.is_multiple_of(1_000_000) => format!("{}s", us / 1_000_000),
        us if us.is_multiple_of(1_000) => format!("{}ms", us / 1_000),
        us => format!("{us}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_beyond_them_is_an_error() {
        let minute = Duration::from_secs(60);
        for limit in [1, MAX_LIMIT] {
            assert_eq!(Limit::strict(limit, minute).unwrap().limit(), limit);
        }
        for limit in [0, MAX_LIMIT + 1, u64::MAX] {
            assert!(Limit::strict(limit, minute).is_err(), "{limit}");
        }
        for window in [MIN_WINDOW, MAX_WINDOW, Duration::from_micros(1_001)] {
            assert_eq!(Limit::strict(1, window).unwrap().window(), window);
        }
        let beyond = MAX_WINDOW + Duration::from_micros(1);
        for window in [Duration::ZERO, Duration::from_micros(999), beyond, Duration::MAX] {
            assert!(Limit::strict(1, window).is_err(), "{window:?}");
        }
        assert!(Limit::strict(1, Duration::from_nanos(1_000_001)).is_err());
    }

    #[test]
    fn a_window_names_its_policy_and_no_other() {
        for (us, name) in [(60_000_000, "60s"), (1_500_000, "1500ms"), (1_001, "1001us")] {
            assert_eq!(window_name(us), name);
        }
    }
}
