//! How usage is charged: prices, periods, and how far an event's time may be off.

use std::time::Duration;

use raptor_core::{Error, ErrorKind, Result};

use super::period::PeriodRule;
use super::prices::PriceBook;

/// How a [`UsageService`](super::UsageService) charges. All recorders of a workspace should have the same options.
#[derive(Clone, Debug)]
pub struct UsageOptions {
    pub(super) prices: PriceBook,
    pub(super) periods: Vec<PeriodRule>,
    pub(super) accept_late: Duration,
    pub(super) accept_ahead: Duration,
}

impl UsageOptions {
    /// With these prices: days and months, events up to 24 h late and 60 s ahead of the server.
    #[must_use]
    pub fn new(prices: PriceBook) -> Self {
        Self {
            prices,
            periods: vec![PeriodRule::DAY, PeriodRule::MONTH],
            accept_late: Duration::from_secs(24 * 60 * 60),
            accept_ahead: Duration::from_secs(60),
        }
    }

    /// The periods to charge, 1 to 8 different ones.
    #[must_use]
    pub fn periods(mut self, rules: impl Into<Vec<PeriodRule>>) -> Self {
        self.periods = rules.into();
        self
    }

    /// How old an event may be when it is recorded, by the server's clock. Ids are remembered so
    /// long, at some 80 bytes an event. At most the shortest retention of the charged periods.
    #[must_use]
    pub fn accept_late(mut self, late: Duration) -> Self {
        self.accept_late = late;
        self
    }

    /// How far an event may lie ahead of the server's clock; at most one hour.
    #[must_use]
    pub fn accept_ahead(mut self, ahead: Duration) -> Self {
        self.accept_ahead = ahead;
        self
    }

    /// In milliseconds; validated options are far below the largest.
    pub(super) fn accept_late_ms(&self) -> i64 {
        self.accept_late.as_millis() as i64
    }

    pub(super) fn accept_ahead_ms(&self) -> i64 {
        self.accept_ahead.as_millis() as i64
    }

    pub(super) fn validate(&self) -> Result<()> {
        let bad = |why: String| Err(Error::new(ErrorKind::Config, why));
        let rules = &self.periods;
        if rules.is_empty() || rules.len() > 8 {
            return bad(format!("usage needs 1 to 8 periods to charge, got {}", rules.len()));
        }
        if rules.iter().enumerate().any(|(i, rule)| rules[..i].contains(rule)) {
            return bad("usage would charge the same period twice".to_owned());
        }
        if rules.iter().any(|rule| rule.unit().retention() < self.accept_late) {
            return bad("usage accepts events later than it keeps a charged period".to_owned());
        }
        if self.accept_ahead > Duration::from_secs(60 * 60) {
            return bad("usage accepts events more than one hour ahead".to_owned());
        }
        Ok(())
    }
}
