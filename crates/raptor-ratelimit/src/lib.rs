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
//! | file | idea |
//! | --- | --- |
//! | `subject.rs` | who is limited, and where |
//! | `limit.rs` | how much in which window; the bounds of both |
//! | `options.rs` | the cost of a call |
//! | `decision.rs` | the answer, a value |
//! | `service.rs` | the service |
//! | `script.rs`, `lua/acquire.lua` | the one place that decides, beside the data |
//! | `telemetry.rs` | the metrics |
//!
//! # The strict sliding window
//! The window is cut into 60 buckets. A bucket counts whole until its very last moment has left the
//! window, so there are never more than `limit` units in *any* trailing window, and quota returns
//! late by at most one bucket, a sixtieth of the window. A limit is one string, of 30 bytes
//! when little used and 300 when all its buckets are, that vanishes one window and one bucket after
//! it last admitted anything.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod decision;
mod limit;
mod options;
mod script;
mod service;
mod subject;
pub mod telemetry;

pub use decision::{Decision, Outcome, RateLimitResult};
pub use limit::{Algorithm, Limit, MAX_LIMIT, MAX_WINDOW, MIN_WINDOW};
pub use options::AcquireOptions;
pub use service::{MAX_LIMITS, RateLimitService};
pub use subject::Subject;
