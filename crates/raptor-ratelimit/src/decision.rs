//! The answer to a check, a value: being denied is no error.

use std::time::Duration;

use time::OffsetDateTime;

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
        /// microsecond, counted from the moment of the decision.
        retry_after: Duration,
    },
    /// Not ever: the cost is above the limit. Nothing was taken.
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
    /// Units a window.
    pub limit: u64,
    /// Units left after this call, whether it took any or not.
    pub remaining: u64,
    /// When the whole limit is free again if nothing more is taken, by the server's clock.
    pub reset_at: OffsetDateTime,
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Decision {
    /// Over all limits: `Never` if one never allows it, else `Denied` for as long as the slowest
    /// of them needs, else `Allowed`.
    pub outcome: Outcome,
    /// What each limit had to say, in the order in which they were given.
    pub results: Vec<RateLimitResult>,
}

impl Decision {
    pub(crate) fn new(results: Vec<RateLimitResult>) -> Self {
        let outcome =
            results.iter().fold(Outcome::Allowed, |all, one| strictest(all, one.outcome()));
        Self { outcome, results }
    }

    /// Whether the call may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.outcome.is_allowed()
    }
}

fn strictest(one: Outcome, other: Outcome) -> Outcome {
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
