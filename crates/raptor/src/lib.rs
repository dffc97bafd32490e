//! The one dependency of a backend on Raptor: its services behind features, re-exported as they are.
//!
//! | feature (on by default) | module | service |
//! | --- | --- | --- |
//! | – | [`core`] | configuration, client, keys, scripts, errors |
//! | `session` | `session` | `SessionService` |
//! | `ratelimit` | `ratelimit` | `RateLimitService` |
//! | `ops` | `ops` | `UsageService` |
//!
//! Off by default: `tower` (sessions over HTTP, and `ratelimit::http`, a layer for axum and tonic), `tower-sessions` (a
//! store for that crate), `toml` (`ratelimit::Policies::from_toml`), `driver-fred`.
//!
//! [`Raptor`] hands out services over one client. What the README says follows.
#![cfg_attr(
    all(feature = "session", feature = "ratelimit", feature = "ops"),
    doc = include_str!("../../../README.md")
)]

mod facade;

pub use facade::Raptor;
pub use raptor_core as core;
#[cfg(feature = "ops")]
pub use raptor_ops as ops;
#[cfg(feature = "ratelimit")]
pub use raptor_ratelimit as ratelimit;
#[cfg(feature = "session")]
pub use raptor_session as session;
