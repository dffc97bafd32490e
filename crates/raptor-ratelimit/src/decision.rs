//! The answer to a check, a value: being denied is no error.

use std::time::Duration;

use raptor_core::{Error, Result};
use time::OffsetDateTime;

use crate::limit::{Algorithm, Limit};
use crate::receipt::{LocalReceipt, Mark, Receipt};
use crate::script::{Answer, Said, Verdict};

/// Whether a call may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub enum Outcome {
    /// It may; its cost was taken.
    Allowed,
    /// Not now; nothing was taken.
    Denied {
        /// When the same call will be allowed if nobody else takes anything: exact to the
        /// microsecond, counted from the moment of the decision. Under an override it is when that
        /// admits it, or when a lower one ends: then it is worth asking again.
        retry_after: Duration,
    },
    /// Not ever: the cost is above the limit, and not only above an override that ends. Nothing was
    /// taken.
    Never,
}

impl Outcome {
    /// Whether the call may go on.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// What one limit had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitResult {
    /// Whether this limit alone allows the call. Another may deny it: see [`Decision::outcome`].
    pub allowed: bool,
    /// Units a window; an operator's override where one stands.
    pub limit: u64,
    /// Units left after this call, whether it took any or not.
    pub remaining: u64,
    /// When the whole limit is free again if nothing more is taken, by the server's clock.
    pub reset_at: OffsetDateTime,
    /// The same as a time from now on, whatever the caller's clock says.
    pub reset_after: Duration,
    /// When this limit will allow the same call; `None` when it allows it, and when it never will.
    pub retry_after: Option<Duration>,
}

impl RateLimitResult {
    /// The same as one value.
    pub fn outcome(&self) -> Outcome {
        match (self.allowed, self.retry_after) {
            (true, _) => Outcome::Allowed,
            (false, Some(retry_after)) => Outcome::Denied { retry_after },
            (false, None) => Outcome::Never,
        }
    }
}

/// The answer to [`acquire`](crate::RateLimitService::acquire).
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct Decision {
    /// Over all limits: `Never` if one never allows it, else `Denied` for as long as the slowest
    /// of them needs, else `Allowed`.
    pub outcome: Outcome,
    /// What each limit had to say, in the order in which they were given.
    pub results: Vec<RateLimitResult>,
    /// Of what was taken; `None` where nothing was, or where no server took it.
    pub receipt: Option<Receipt>,
    /// Whether the server gave no answer, and the limits' [`Outage`](crate::Outage)s decided.
    pub degraded: bool,
    /// Of what was taken of shares in this process.
    pub(crate) local: Option<LocalReceipt>,
}

impl Decision {
    pub(crate) fn new(results: Vec<RateLimitResult>) -> Self {
        let outcome =
            results.iter().fold(Outcome::Allowed, |all, one| strictest(all, one.outcome()));
        Self { outcome, results, receipt: None, degraded: false, local: None }
    }

    /// What the script's answer means to who asked for `limits`.
    pub(crate) fn of(answer: &Answer, limits: &[Limit]) -> Result<Self> {
        let result = |(limit, verdict): (&Limit, &Verdict)| {
            let denied = verdict.said == Said::Denied;
            Ok(RateLimitResult {
                allowed: verdict.said == Said::Allowed,
                limit: verdict.units.unwrap_or(limit.limit()),
                remaining: verdict.remaining,
                reset_at: instant(answer.now_us.saturating_add(verdict.reset_us))?,
                reset_after: Duration::from_micros(verdict.reset_us),
                retry_after: denied.then(|| Duration::from_micros(verdict.retry_us)),
            })
        };
        let results = limits.iter().zip(&answer.verdicts).map(result).collect::<Result<_>>()?;
        Ok(Self::new(results))
    }

    /// Whether the call may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.outcome.is_allowed()
    }
}

/// Where the script charged each of `limits`.
pub(crate) fn marks(answer: &Answer, limits: &[Limit]) -> Vec<Mark> {
    let mark = |(limit, verdict): (&Limit, &Verdict)| {
        let drains_us = match limit.algorithm() {
            Algorithm::Bucket => verdict.reset_us,
            _ => 0,
        };
        Mark { at_us: answer.now_us.saturating_add(drains_us), epoch: verdict.epoch }
    };
    limits.iter().zip(&answer.verdicts).map(mark).collect()
}

fn instant(us: u64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000)
        .map_err(|error| Error::codec("the server's clock is out of range").with_source(error))
}

pub(crate) fn strictest(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Never, _) | (_, Outcome::Never) => Outcome::Never,
        (Outcome::Denied { retry_after: a }, Outcome::Denied { retry_after: b }) => {
            Outcome::Denied { retry_after: a.max(b) }
        }
        (denied @ Outcome::Denied { .. }, _) | (_, denied @ Outcome::Denied { .. }) => denied,
        (Outcome::Allowed, Outcome::Allowed) => Outcome::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_limit_decides() {
        let denied = |s| Outcome::Denied { retry_after: Duration::from_secs(s) };
        let (allowed, never) = (Outcome::Allowed, Outcome::Never);
        for (one, other, all) in [
            (allowed, allowed, allowed),
            (allowed, denied(3), denied(3)),
            (denied(2), denied(3), denied(3)),
            (never, denied(3), never),
            (never, allowed, never),
        ] {
            assert_eq!(strictest(one, other), all);
            assert_eq!(strictest(other, one), all);
        }
    }
}
