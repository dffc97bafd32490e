//! What an admission can be given back by.

use std::fmt;
use std::time::Instant;

use raptor_core::{Key, Result};
use time::OffsetDateTime;

use crate::limit::Limit;
use crate::options::AcquireOptions;

/// Stands for the units that one admission took; [`refund`](crate::RateLimitService::refund) uses it
/// up.
///
/// It cannot be cloned, so units come back at most once. It names where they were charged: what has
/// left its window, drained from its bucket, was reset, or was moved by a change of the policy or a
/// step of the clock is not given back again. Dropping it is fine, the units then stay taken.
pub struct Receipt {
    pub(crate) keys: Vec<Key>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) cost: u64,
    /// The clock that the admission was given, if any.
    pub(crate) now_us: Option<u64>,
}

/// Where one limit was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When; of a bucket, when the last unit will have come back by itself.
    pub(crate) at_us: u64,
    pub(crate) epoch: u64,
}

/// Stands for the units that a call took of shares in this process, while the server was away. For
/// the services' own use: callers cannot refund them.
#[derive(Debug)]
pub(crate) struct LocalReceipt {
    pub(crate) keys: Vec<Key>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) cost: u64,
    pub(crate) at: Instant,
}

impl Receipt {
    /// Takes `now` for the server's clock at its refund: for tests and models.
    ///
    /// # Errors
    /// As of [`AcquireOptions::now`].
    pub fn at(mut self, now: OffsetDateTime) -> Result<Self> {
        self.now_us = AcquireOptions::default().now(now)?.now_us();
        Ok(self)
    }

    /// What was taken of each limit.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cost, limits) = (self.cost, self.limits.len());
        f.debug_struct("Receipt").field("cost", &cost).field("limits", &limits).finish()
    }
}

/// What a receipt brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refund {
    /// Units of each limit, in the order in which they were taken; 0 where the receipt was void.
    pub units: Vec<u64>,
}

impl Refund {
    /// Whether nothing came back.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.units.iter().all(|&units| units == 0)
    }
}
