//! What one worker counted: the demo's own knowledge of what happened, and how long it took.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use raptor::core::Error;

use crate::backend::Request;
use crate::books::{Accounts, Sums};
use crate::models::Model;

/// A service that a request calls, in the order in which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Session,
    RateLimit,
    Usage,
}

impl Service {
    pub(crate) const ALL: [Self; 3] = [Self::Session, Self::RateLimit, Self::Usage];
}

/// As their scripts and metrics name them.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Session => "session.get",
            Self::RateLimit => "ratelimit.decide",
            Self::Usage => "usage.record",
        })
    }
}

/// What became of requests, and of the calls that they made.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) admitted: u64,
    pub(crate) denied: u64,
    /// Requests that were neither: their session was missing, or a service failed.
    pub(crate) failed: u64,
    /// Events that were recorded before their first attempt.
    pub(crate) strange_duplicates: u64,
    /// Calls that ended in an error, by its kind; most were made again.
    pub(crate) errors: BTreeMap<(Service, &'static str), u64>,
    /// Why requests failed, the first of each kind.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// What was admitted, by tenant.
    pub(crate) accounts: Accounts,
    /// The hours, counted from 1970, in which something was admitted.
    pub(crate) hours: BTreeSet<i64>,
    /// Microseconds that calls took, their retries included.
    latency: [Histogram<u64>; 3],
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        // To two digits: small, for there is one a worker. They grow with what they hold.
        let histogram = || Histogram::new(2);
        Ok(Self {
            admitted: 0,
            denied: 0,
            failed: 0,
            strange_duplicates: 0,
            errors: BTreeMap::new(),
            reasons: BTreeMap::new(),
            accounts: Accounts::default(),
            hours: BTreeSet::new(),
            latency: [histogram()?, histogram()?, histogram()?],
        })
    }

    /// Books what an admitted request is going to use.
    pub(crate) fn admitted(&mut self, request: Request<'_>, tenant: &str, user: &str) {
        let (context, generated) = (request.arrival.context, request.arrival.generated);
        let cost_pico = Model::named(request.model).map_or(0, |m| m.cost_pico(context, generated));
        let used =
            Sums { requests: 1, context: context.into(), generated: generated.into(), cost_pico };
        self.admitted += 1;
        self.accounts.book(tenant, user, request.model, used);
        self.hours.insert(request.arrival.at.unix_timestamp().div_euclid(3_600));
    }

    pub(crate) fn failed(&mut self, reason: String) {
        self.failed += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    pub(crate) fn erred(&mut self, service: Service, error: &Error) {
        *self.errors.entry((service, error.kind().as_str())).or_default() += 1;
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn took(&mut self, service: Service, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // What grows takes every value but those near 2^64: half a million years.
        let _ = self.latency[service as usize].record(us);
    }

    pub(crate) fn latency(&self, service: Service) -> &Histogram<u64> {
        &self.latency[service as usize]
    }

    pub(crate) fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.admitted += other.admitted;
        self.denied += other.denied;
        self.failed += other.failed;
        self.strange_duplicates += other.strange_duplicates;
        for (key, count) in other.errors {
            *self.errors.entry(key).or_default() += count;
        }
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.accounts.add(other.accounts);
        self.hours.extend(other.hours);
        for (own, others) in self.latency.iter_mut().zip(other.latency) {
            own.add(others)?;
        }
        Ok(())
    }
}
