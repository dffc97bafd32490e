//! How much is allowed in which window, checked once.

use std::time::Duration;

use bytes::Bytes;
use raptor_core::{Error, Result};

use crate::outage::Outage;
use crate::subject::checked_name;

/// The largest limit: 2^53 − 1, so that every sum is exact in a script's numbers.
pub const MAX_LIMIT: u64 = (1 << 53) - 1;

/// The largest limit of an exact log, which remembers each call.
pub const MAX_LOG_LIMIT: u64 = 1_000;

/// The largest limit of a two-window counter, whose weights fall in 10,000 steps.
pub const MAX_COUNTER_LIMIT: u64 = MAX_LIMIT / 10_000;

/// The shortest window.
pub const MIN_WINDOW: Duration = Duration::from_millis(1);

/// The longest window: 366 days.
pub const MAX_WINDOW: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How a limit counts. More may follow. `docs/guides/rate-limits.md` tells which one when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Never more than the limit in *any* trailing window, at the price that quota returns up to a
    /// sixtieth of the window late. The sliding-window counter of 60 buckets, each counted whole.
    Strict,
    /// Never more than the limit in any trailing window, and quota returns exactly a window after it
    /// was taken: the sliding log. Remembers each call, so its limit is at most [`MAX_LOG_LIMIT`].
    Log,
    /// The token bucket: a burst at once, then a steady rate. Kept as the theoretical arrival time of
    /// GCRA (ITU-T I.371), in integers, so 7 in 60 s stays exactly that. In one window it can admit
    /// the burst and the limit together.
    Bucket,
    /// A count that starts anew with each window of the clock. Across an edge it can admit twice the
    /// limit: for billing periods, and to agree with what other systems count.
    Fixed,
    /// The count of this window and, weighted by how much of it is still in sight, that of the one
    /// before. Assumes that the latter came evenly, so a burst can pass up to nearly twice the limit
    /// in a trailing window: for compatibility.
    Counter,
}

impl Algorithm {
    /// As the script calls it.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Strict => 'S',
            Self::Log => 'L',
            Self::Bucket => 'G',
            Self::Fixed => 'F',
            Self::Counter => 'C',
        }
    }

    /// Its name in configuration files, and in the names of unnamed policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Log => "log",
            Self::Bucket => "bucket",
            Self::Fixed => "fixed",
            Self::Counter => "counter",
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::Strict | Self::Bucket | Self::Fixed => MAX_LIMIT,
            Self::Log => MAX_LOG_LIMIT,
            Self::Counter => MAX_COUNTER_LIMIT,
        }
    }
}

/// So many units in such a window, under a policy's name.
///
/// A limit counts under `(user, endpoint, policy)`. Without [`named`](Self::named) the policy is
/// named after its window (`60s`; of another algorithm than strict `60s-bucket`), so
/// `{10 a minute, 100 an hour}` are two counts, and a changed number applies at once to what is
/// already counted. With a name the window and the algorithm may change too: what was counted before
/// then counts as taken at the moment of the change (an exact log keeps its times), so nothing extra
/// is admitted and nobody waits for it longer than one new window (and its sixtieth, where it is
/// strict; of a bucket, than it takes to fill).
///
/// ```
/// use std::time::Duration;
/// use raptor_ratelimit::Limit;
///
/// let minute = Limit::strict(100, Duration::from_secs(60))?;
/// assert_eq!(minute.policy(), b"60s");
/// let monthly = Limit::fixed(1_000_000, Duration::from_secs(30 * 86_400))?.named("plan")?;
/// assert_eq!(monthly.policy(), b"plan");
/// let smooth = Limit::bucket(7, Duration::from_secs(60))?.burst(2)?;
/// assert_eq!(smooth.policy(), b"60s-bucket");
/// assert!(Limit::strict(0, Duration::from_secs(60)).is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    algorithm: Algorithm,
    limit: u64,
    window_us: u64,
    /// Of a bucket, where it is not the limit.
    burst: Option<u64>,
    policy: Bytes,
    endpoint: Option<Bytes>,
    outage: Outage,
}

impl Limit {
    /// At most `limit` units in any trailing `window`, half-open: units taken at `t` are back in
    /// time for `t + window + window / 60`, and never before `t + window`.
    ///
    /// `limit` is 1 to [`MAX_LIMIT`], `window` [`MIN_WINDOW`] to [`MAX_WINDOW`] in whole
    /// microseconds. Its state has 30 to 300 bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) outside of these ranges.
    pub fn strict(limit: u64, window: Duration) -> Result<Self> {
        Self::new(Algorithm::Strict, limit, window)
    }

    /// At most `limit` units in any trailing `window`, half-open: units taken at `t` are back at
    /// `t + window` exactly.
    ///
    /// `limit` is 1 to [`MAX_LOG_LIMIT`], `window` as of [`strict`](Self::strict). Each call that
    /// counts takes about 8 bytes of its state, and a check reads them all: O(calls in the window).
    ///
    /// # Errors
    /// As of [`strict`](Self::strict).
    pub fn log(limit: u64, window: Duration) -> Result<Self> {
        Self::new(Algorithm::Log, limit, window)
    }

    /// A bucket of `limit` units that fills by `limit` units a `window`, evenly and exactly. Units
    /// taken come back one by one; a full bucket may be emptied at once. [`burst`](Self::burst) makes
    /// it larger or smaller.
    ///
    /// `limit` is 1 to [`MAX_LIMIT`], `window` as of [`strict`](Self::strict). Its state has about 60
    /// bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) outside of these ranges; and
    /// when it cannot be counted exactly: `burst × limit / gcd(limit, window in µs)` must stay below
    /// 2^53. Every limit below 94 million is fine, and larger round ones (10^9 in 60 s).
    pub fn bucket(limit: u64, window: Duration) -> Result<Self> {
        Self::new(Algorithm::Bucket, limit, window)?.exact()
    }

    /// At most `limit` units in each window of the clock: from midnight UTC for a window of a day,
    /// else from whole multiples of the window since 1970.
    ///
    /// `limit` and `window` as of [`strict`](Self::strict). Its state has about 35 bytes.
    ///
    /// # Errors
    /// As of [`strict`](Self::strict).
    pub fn fixed(limit: u64, window: Duration) -> Result<Self> {
        Self::new(Algorithm::Fixed, limit, window)
    }

    /// At most `limit` units in this window of the clock and the share of the one before that is
    /// still in sight, as though that had come evenly. So the whole limit is back two windows later; what a
    /// step of the clock or a changed policy moved, one window later.
    ///
    /// `limit` is 1 to [`MAX_COUNTER_LIMIT`], `window` as of [`strict`](Self::strict). The share falls
    /// in 10,000 steps. Its state has about 40 bytes.
    ///
    /// # Errors
    /// As of [`strict`](Self::strict).
    pub fn counter(limit: u64, window: Duration) -> Result<Self> {
        Self::new(Algorithm::Counter, limit, window)
    }

    /// The limit of `algorithm`, as its own constructor makes it.
    ///
    /// # Errors
    /// As of that constructor.
    pub fn new(algorithm: Algorithm, limit: u64, window: Duration) -> Result<Self> {
        let most = algorithm.most();
        if !(1..=most).contains(&limit) {
            let name = algorithm.as_str();
            return Err(Error::invalid(format!(
                "the limit {limit} is out of range: a {name} limit has 1 to {most} units a window"
            )));
        }
        let window_us = checked_window(window)?;
        let made = Self {
            algorithm,
            limit,
            window_us,
            burst: None,
            policy: window_name(algorithm, window_us).into(),
            endpoint: None,
            outage: Outage::Fail,
        };
        if algorithm == Algorithm::Bucket { made.exact() } else { Ok(made) }
    }

    /// The same bucket with room for `burst` units, more or fewer than come back in a window.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) when it is no bucket, when
    /// `burst` is 0, when it takes longer than [`MAX_WINDOW`] to fill, or when it cannot be counted
    /// exactly (see [`bucket`](Self::bucket)).
    pub fn burst(mut self, burst: u64) -> Result<Self> {
        if self.algorithm != Algorithm::Bucket {
            let name = self.algorithm.as_str();
            return Err(Error::invalid(format!("a {name} limit has no burst; use a bucket")));
        }
        if burst == 0 {
            return Err(Error::invalid("a burst of 0 admits nothing; give at least 1"));
        }
        self.burst = (burst != self.limit).then_some(burst);
        self.exact()
    }

    /// The same limit counted under the policy `name`, which outlives changes of its window.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) when the name is empty or
    /// longer than 512 bytes.
    pub fn named(mut self, name: impl AsRef<[u8]>) -> Result<Self> {
        self.policy = checked_name("policy", name.as_ref())?.into();
        Ok(self)
    }

    /// The same limit counted at `endpoint` instead of the subject's own: a limit that several
    /// endpoints share, such as one over all calls of a user.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) when it is empty or longer
    /// than 512 bytes.
    pub fn shared_at(mut self, endpoint: impl AsRef<[u8]>) -> Result<Self> {
        self.endpoint = Some(checked_name("endpoint", endpoint.as_ref())?.into());
        Ok(self)
    }

    /// The same limit, decided as `outage` says when the server does not answer.
    #[must_use]
    pub fn on_outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// The same policy with another number, as an operator's override sets it.
    pub(crate) fn with_units(&self, units: u64) -> Result<Self> {
        let mut other = Self::new(self.algorithm, units, self.window())?;
        other.burst = self.burst;
        other.policy = self.policy.clone();
        other.endpoint = self.endpoint.clone();
        other.outage = self.outage;
        if self.algorithm == Algorithm::Bucket { other.exact() } else { Ok(other) }
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

    /// The most units that can be taken at once: of a bucket its burst, else the limit.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.burst.unwrap_or(self.limit)
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

    /// What decides while the server does not answer.
    #[must_use]
    pub fn outage(&self) -> Outage {
        self.outage
    }

    pub(crate) fn endpoint(&self) -> Option<&[u8]> {
        self.endpoint.as_deref()
    }

    /// The limit as the script takes it.
    pub(crate) fn spec(&self) -> String {
        let (letter, limit, window_us) = (self.algorithm.letter(), self.limit, self.window_us);
        let burst = self.burst.map_or_else(String::new, |burst| format!("/{burst}"));
        format!("{letter}{limit}/{window_us}{burst}")
    }

    /// How long something that was taken now can still count.
    pub(crate) fn memory_us(&self) -> u64 {
        let fills = u128::from(self.capacity()) * u128::from(self.window_us);
        let fills_us = u64::try_from(fills / u128::from(self.limit)).unwrap_or(u64::MAX);
        (self.window_us * 2).max(fills_us.saturating_mul(2))
    }

    /// Itself, if a bucket's times can be told without rounding.
    fn exact(self) -> Result<Self> {
        let (limit, burst) = (self.limit, self.capacity());
        let parts = limit / gcd(limit, self.window_us);
        if u128::from(burst) * u128::from(parts) > u128::from(MAX_LIMIT) {
            return Err(Error::invalid(format!(
                "a bucket of {burst} units, {limit} in {:?}, cannot be counted exactly; use a smaller \
                 or a rounder number, or a shorter window",
                self.window()
            )));
        }
        let fills = u128::from(burst) * u128::from(self.window_us) / u128::from(limit);
        if fills > MAX_WINDOW.as_micros() {
            return Err(Error::invalid(format!(
                "a bucket of {burst} units, {limit} in {:?}, takes longer than {MAX_WINDOW:?} to fill; \
                 use a smaller burst",
                self.window()
            )));
        }
        Ok(self)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
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

/// The window in the largest unit that fits, up to seconds, and the algorithm where it is not strict:
/// one name for each.
fn window_name(algorithm: Algorithm, window_us: u64) -> String {
    let window = match window_us {
        us if us.is_multiple_of(1_000_000) => format!("{}s", us / 1_000_000),
        us if us.is_multiple_of(1_000) => format!("{}ms", us / 1_000),
        us => format!("{us}us"),
    };
    match algorithm {
        Algorithm::Strict => window,
        other => format!("{window}-{}", other.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn bounds_are_inclusive_and_beyond_them_is_an_error() {
        for limit in [1, MAX_LIMIT] {
            assert_eq!(Limit::strict(limit, MINUTE).unwrap().limit(), limit);
        }
        for limit in [0, MAX_LIMIT + 1, u64::MAX] {
            assert!(Limit::strict(limit, MINUTE).is_err(), "{limit}");
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
    fn each_algorithm_has_its_own_bounds() {
        assert!(Limit::log(MAX_LOG_LIMIT, MINUTE).is_ok());
        assert!(Limit::log(MAX_LOG_LIMIT + 1, MINUTE).is_err());
        assert!(Limit::counter(MAX_COUNTER_LIMIT, MAX_WINDOW).is_ok());
        assert!(Limit::counter(MAX_COUNTER_LIMIT + 1, MINUTE).is_err());
        assert!(Limit::fixed(MAX_LIMIT, MINUTE).is_ok());
    }

    #[test]
    fn a_bucket_that_would_be_rounded_is_refused() {
        for (limit, window) in [(7, MINUTE), (94_000_001, MINUTE), (1_000_000_000, MINUTE)] {
            assert!(Limit::bucket(limit, window).is_ok(), "{limit}");
        }
        assert!(Limit::bucket(1_000_000_007, MINUTE).is_err());
        let seven = || Limit::bucket(7, MINUTE).unwrap();
        assert_eq!(seven().burst(20).unwrap().capacity(), 20);
        assert_eq!(seven().burst(7).unwrap(), seven());
        for burst in [0, MAX_LIMIT, u64::MAX] {
            assert!(seven().burst(burst).is_err(), "{burst}");
        }
        assert!(Limit::bucket(1, MAX_WINDOW).unwrap().burst(2).is_err());
        assert!(Limit::strict(7, MINUTE).unwrap().burst(2).is_err());
    }

    #[test]
    fn a_window_names_its_policy_and_no_other() {
        for (us, name) in [(60_000_000, "60s"), (1_500_000, "1500ms"), (1_001, "1001us")] {
            assert_eq!(window_name(Algorithm::Strict, us), name);
            assert_eq!(window_name(Algorithm::Log, us), format!("{name}-log"));
        }
    }

    #[test]
    fn the_script_is_told_what_differs_from_the_rule() {
        let seven = Limit::bucket(7, MINUTE).unwrap();
        assert_eq!(seven.spec(), "G7/60000000");
        assert_eq!(seven.burst(9).unwrap().spec(), "G7/60000000/9");
    }
}
