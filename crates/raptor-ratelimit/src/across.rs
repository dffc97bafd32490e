//! Limits of several users in one decision: they lie in different slots, so no one step sees them all.

use raptor_core::{Error, Result};
use tokio::task::JoinSet;

use crate::decision::{Decision, Outcome, strictest};
use crate::limit::Limit;
use crate::options::AcquireOptions;
use crate::service::RateLimitService;
use crate::subject::Subject;

/// One subject and what is asked of it: a part of [`acquire_across`](RateLimitService::acquire_across).
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose limits.
    pub subject: Subject,
    /// Which ones, as of [`acquire`](RateLimitService::acquire).
    pub limits: Vec<Limit>,
}

impl RateLimitService {
    /// Takes the cost of all limits of all subjects, or gives back what was granted: a user's own
    /// limit and the one of its organisation, say.
    ///
    /// Each part is decided by [`acquire`](Self::acquire), all at once, so no limit is ever exceeded.
    /// When one denies or fails, the others are refunded before the answer, also what they took of an
    /// [outage's share](crate::Outage::Local): until then, for about a round trip, others may be denied
    /// what is about to come back. This happens also when the future
    /// is dropped meanwhile. Prefer one subject where you can: its limits are decided in one step.
    ///
    /// The decisions stand in the order of `asks`; the outcome over all is the strictest. Where it is
    /// not `Allowed`, no decision has a receipt.
    ///
    /// Not guaranteed: that a part is given back whose answer or refund got lost; it stays taken until
    /// its window has passed.
    ///
    /// Cost: one round trip, two when something is given back; a script call a part at most.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for no parts, more than
    /// [`MAX_ASKS`], or the same user twice (join its limits, by
    /// [`shared_at`](Limit::shared_at)); else that of the first part that failed, as of `acquire`.
    pub async fn acquire_across(
        &self,
        asks: &[Ask],
        options: &AcquireOptions,
    ) -> Result<(Outcome, Vec<Decision>)> {
        if !(1..=MAX_ASKS).contains(&asks.len()) {
            let why = format!("a call asks of 1 to {MAX_ASKS} subjects, got {}", asks.len());
            return Err(Error::invalid(why));
        }
        for (index, ask) in asks.iter().enumerate() {
            if asks[..index].iter().any(|other| other.subject.user() == ask.subject.user()) {
                return Err(Error::invalid(
                    "a user is asked twice; give its limits in one part, each `shared_at` its endpoint",
                ));
            }
        }
        let (service, asks, options) = (self.clone(), asks.to_vec(), options.clone());
        // A task, so that what was granted is given back whoever goes away.
        let decided = tokio::spawn(async move { service.all_or_none(asks, options).await });
        decided.await.unwrap_or_else(|error| {
            Err(Error::new(
                raptor_core::ErrorKind::OutcomeUnknown,
                "the runtime ended before all parts were decided; some may have been taken",
            )
            .with_source(error))
        })
    }

    async fn all_or_none(
        &self,
        asks: Vec<Ask>,
        options: AcquireOptions,
    ) -> Result<(Outcome, Vec<Decision>)> {
        let mut parts = JoinSet::new();
        let count = asks.len();
        for (index, ask) in asks.into_iter().enumerate() {
            let (service, options) = (self.clone(), options.clone());
            parts.spawn(async move {
                (index, service.acquire(&ask.subject, &ask.limits, &options).await)
            });
        }
        let mut decisions: Vec<Option<Decision>> = (0..count).map(|_| None).collect();
        let mut failed = None;
        for (index, decided) in parts.join_all().await {
            match decided {
                Ok(decision) => decisions[index] = Some(decision),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let mut decisions: Vec<Decision> = decisions.into_iter().flatten().collect();
        let outcome =
            decisions.iter().fold(Outcome::Allowed, |all, one| strictest(all, one.outcome));
        if failed.is_none() && outcome.is_allowed() {
            return Ok((outcome, decisions));
        }
        for share in decisions.iter_mut().filter_map(|decision| decision.local.take()) {
            self.give_back_locally(&share);
        }
        let mut refunds = JoinSet::new();
        for receipt in decisions.iter_mut().filter_map(|decision| decision.receipt.take()) {
            let service = self.clone();
            refunds.spawn(async move { service.refund(receipt).await });
        }
        // A lost refund leaves its part taken; the decision stands.
        refunds.join_all().await;
        match failed {
            Some(error) => Err(error),
            None => Ok((outcome, decisions)),
        }
    }
}

/// The most subjects that one call may ask of.
pub const MAX_ASKS: usize = 16;
