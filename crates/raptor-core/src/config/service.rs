//! Servers of a service's own: a cache wants eviction where queues, locks and sessions forbid it.

use super::env::Names;
use super::servers::TokenUse;

/// A service that may have servers of its own, by a URL variable that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// `RAPTOR_CACHE_URL`: wants an eviction policy.
    Cache,
    /// `RAPTOR_LOCKS_URL`: needs `noeviction`.
    Locks,
    /// `RAPTOR_OPS_URL`: usage and budgets; needs `noeviction`.
    Ops,
    /// `RAPTOR_PUBSUB_URL`
    PubSub,
    /// `RAPTOR_QUEUE_URL`: needs `noeviction`.
    Queue,
    /// `RAPTOR_RATELIMIT_URL`
    RateLimit,
    /// `RAPTOR_SESSION_URL`: needs `noeviction`.
    Session,
}

impl Service {
    /// The variable that gives the service its own servers.
    #[must_use]
    pub fn url_variable(self) -> &'static str {
        self.names().urls[0].0
    }

    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Cache => &CACHE,
            Self::Locks => &LOCKS,
            Self::Ops => &OPS,
            Self::PubSub => &PUBSUB,
            Self::Queue => &QUEUE,
            Self::RateLimit => &RATELIMIT,
            Self::Session => &SESSION,
        }
    }
}

macro_rules! names {
    ($($constant:ident: $url:literal, $token:literal;)*) => {$(
        const $constant: Names = Names {
            urls: &[($url, TokenUse::HttpsOnly, concat!("set ", $token))],
            tokens: &[$token],
        };
    )*};
}
names! {
    CACHE: "RAPTOR_CACHE_URL", "RAPTOR_CACHE_TOKEN";
    LOCKS: "RAPTOR_LOCKS_URL", "RAPTOR_LOCKS_TOKEN";
    OPS: "RAPTOR_OPS_URL", "RAPTOR_OPS_TOKEN";
    PUBSUB: "RAPTOR_PUBSUB_URL", "RAPTOR_PUBSUB_TOKEN";
    QUEUE: "RAPTOR_QUEUE_URL", "RAPTOR_QUEUE_TOKEN";
    RATELIMIT: "RAPTOR_RATELIMIT_URL", "RAPTOR_RATELIMIT_TOKEN";
    SESSION: "RAPTOR_SESSION_URL", "RAPTOR_SESSION_TOKEN";
}
