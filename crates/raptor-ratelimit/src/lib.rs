//! Exact, cheap rate limits on Redis.
//!
//! [`RateLimitService::acquire`] asks for a number of units under one or several limits and takes
//! them all or none, in one round trip and one atomic step. What is denied takes nothing, and the
//! answer says exactly when to come back. Calls made at the same time ride in one script call.
//!
//! ```no_run
//! use std::time::Duration;
//! use raptor_ratelimit::{AcquireOptions, Limit, Outcome, RateLimitService, Subject};
//!
//! # async fn run(client: raptor_core::RedisClient) -> raptor_core::Result<()> {
//! let service = RateLimitService::new(client);
//! let subject = Subject::new("user-7", "POST /chat")?;
//! let limits = [
//!     Limit::strict(10, Duration::from_secs(60))?,
//!     Limit::strict(100, Duration::from_secs(3600))?,
//! ];
//! match service.acquire(&subject, &limits, &AcquireOptions::default()).await?.outcome {
//!     Outcome::Allowed => { /* serve */ }
//!     Outcome::Denied { retry_after } => { /* 429, Retry-After: retry_after */ }
//!     Outcome::Never => { /* the request is larger than a limit */ }
//!     _ => {}
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `docs/guides/rate-limits.md` tells which algorithm when, and shows them side by side.
//!
//! | file | idea |
//! | --- | --- |
//! | `subject.rs` | who is limited, and where |
//! | `limit.rs` | how much in which window, by which algorithm; the bounds of all |
//! | `options.rs` | the cost of a call; what holds for a service |
//! | `decision.rs`, `receipt.rs` | the answer, a value; what it can be given back by |
//! | `service.rs` | the service: acquire, peek, charge, refund |
//! | `script.rs`, `lua/` | the one place that decides, beside the data: a file an algorithm |
//! | `ruling.rs` | reset, block, override, list |
//! | `across.rs` | limits of several users at once |
//! | `permit.rs` | how many at once |
//! | `denied.rs`, `lease.rs` | decisions without a round trip: what was just denied; leased tokens |
//! | `outage.rs`, `breaker.rs`, `shares.rs` | decisions while the server is away |
//! | `policies.rs` | tiers and policies from a configuration; `check_limit`, `record_request` |
//! | `http/` | the layer for axum and tonic, with the feature `tower` |
//! | `telemetry.rs` | the metrics |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod across;
mod breaker;
mod decision;
mod denied;
#[cfg(feature = "tower")]
pub mod http;
mod lease;
mod limit;
mod options;
mod outage;
mod permit;
mod policies;
mod receipt;
mod ruling;
mod script;
mod service;
mod shares;
mod subject;
pub mod telemetry;

pub use across::{Ask, MAX_ASKS};
pub use decision::{Decision, Outcome, RateLimitResult};
pub use lease::{LEASE_LIFE, Leased};
pub use limit::{
    Algorithm, Limit, MAX_COUNTER_LIMIT, MAX_LIMIT, MAX_LOG_LIMIT, MAX_WINDOW, MIN_WINDOW,
};
pub use options::{AcquireOptions, RateLimitOptions};
pub use outage::Outage;
pub use permit::{Concurrent, Permit};
pub use policies::{NoPolicy, Policies};
pub use receipt::{Receipt, Refund};
pub use ruling::Ruling;
pub use service::{MAX_LIMITS, RateLimitService};
pub use subject::Subject;

/// The guide's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/rate-limits.md")]
struct Guide;
