//! What TTL a family's keys are due, and how TTLs are spread so that keys do not expire in step.

use std::collections::BTreeMap;
use std::time::Duration;

use super::millis;
use crate::error::{Error, Result};
use crate::keys::Family;

/// Spreads a TTL evenly over ± a fraction of it: keys written together do not expire together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// No spread.
    pub const NONE: Self = Self(0.0);

    /// ± `fraction`: `0.1` is ± 10 %. From 0 to less than 1.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for any other number.
    pub fn new(fraction: f64) -> Result<Self> {
        if (0.0..1.0).contains(&fraction) {
            return Ok(Self(fraction));
        }
        Err(Error::invalid(format!("a jitter of ± {fraction}: give a fraction from 0 to below 1")))
    }

    /// `ttl` spread by `random`: 0 gives the shortest, `u32::MAX` the longest; equal numbers give
    /// equal TTLs. Never zero unless `ttl` is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use raptor_core::ttl::Jitter;
    ///
    /// let (jitter, minute) = (Jitter::new(0.5)?, Duration::from_secs(60));
    /// assert_eq!(jitter.spread(minute, 0), Duration::from_secs(30));
    /// assert_eq!(jitter.spread(minute, u32::MAX), Duration::from_secs(90));
    /// # Ok::<(), raptor_core::Error>(())
    /// ```
    #[must_use]
    pub fn spread(self, ttl: Duration, random: u32) -> Duration {
        if self.0 == 0.0 || ttl.is_zero() {
            return ttl;
        }
        let place = 2.0 * f64::from(random) / f64::from(u32::MAX) - 1.0;
        // Below 2 × a duration; only one near the type's end, far above `MAX_TTL`, would not fit.
        Duration::try_from_secs_f64(ttl.as_secs_f64() * (1.0 + self.0 * place))
            .map_or(ttl, |spread| spread.max(Duration::from_millis(1)))
    }
}

/// What TTL the keys of one family get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TtlPolicy {
    default: Duration,
    longest: Option<Duration>,
    jitter: Jitter,
}

impl TtlPolicy {
    /// Keys get `default`, exactly; longer TTLs are allowed.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for zero or above
    /// [`MAX_TTL`](super::MAX_TTL).
    pub fn new(default: Duration) -> Result<Self> {
        millis(default)?;
        Ok(Self { default, longest: None, jitter: Jitter::NONE })
    }

    /// No key of the family gets more than `longest`, jitter included.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when it is shorter than the default, or above
    /// [`MAX_TTL`](super::MAX_TTL).
    pub fn max(mut self, longest: Duration) -> Result<Self> {
        millis(longest)?;
        if longest < self.default {
            return Err(Error::invalid(format!(
                "the longest TTL, {longest:?}, is shorter than the default, {:?}",
                self.default
            )));
        }
        self.longest = Some(longest);
        Ok(self)
    }

    /// Spreads the default.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The longest TTL allowed.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        self.longest
    }

    /// The TTL of one key: the default spread by `random`, see [`Jitter::spread`], and not above
    /// the longest.
    #[must_use]
    pub fn due(&self, random: u32) -> Duration {
        let spread = self.jitter.spread(self.default, random);
        spread.min(self.longest.unwrap_or(super::MAX_TTL))
    }
}

/// Policies by key family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TtlPolicies {
    by_family: BTreeMap<&'static str, TtlPolicy>,
}

impl TtlPolicies {
    /// No policies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the policy of `family`.
    #[must_use]
    pub fn family(mut self, family: &Family, policy: TtlPolicy) -> Self {
        self.by_family.insert(family.name, policy);
        self
    }

    /// The policy of the family of that name.
    #[must_use]
    pub fn of(&self, family: &str) -> Option<&TtlPolicy> {
        self.by_family.get(family)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let hour = Duration::from_secs(3600);
        for fraction in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
            assert!(Jitter::new(fraction).is_err(), "{fraction}");
        }
        assert!(TtlPolicy::new(Duration::ZERO).is_err());
        assert!(TtlPolicy::new(hour).and_then(|policy| policy.max(hour / 2)).is_err());
        assert!(
            TtlPolicy::new(hour).and_then(|policy| policy.max(super::super::MAX_TTL * 2)).is_err()
        );
    }

    proptest! {
        #[test]
        fn a_spread_stays_within_its_fraction_and_below_the_longest(
            ttl_ms in 1_u64..1_000_000_000,
            fraction in 0.0..0.99_f64,
            random: u32,
        ) {
            let ttl = Duration::from_millis(ttl_ms);
            let jitter = Jitter::new(fraction).expect("a fraction");
            let spread = jitter.spread(ttl, random);
            prop_assert_eq!(spread, jitter.spread(ttl, random));
            let (low, high) = (ttl.mul_f64(1.0 - fraction), ttl.mul_f64(1.0 + fraction));
            let rounding = Duration::from_micros(1);
            prop_assert!(spread + rounding >= low.max(Duration::from_millis(1)) && spread <= high + rounding);
            let policy = TtlPolicy::new(ttl).and_then(|policy| policy.max(ttl)).expect("a policy");
            prop_assert!(policy.jitter(jitter).due(random) <= ttl);
        }
    }
}
