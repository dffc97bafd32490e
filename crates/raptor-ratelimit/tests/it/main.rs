//! Integration tests against a real server, named after the acceptance lines of the design.
#![allow(clippy::unwrap_used, missing_docs)]

mod acl;
mod across;
mod algorithms;
mod bad_input;
mod batch;
mod clock;
mod concurrency;
mod damage;
mod dropped;
#[cfg(feature = "tower")]
mod grpc;
#[cfg(all(feature = "tower", feature = "toml"))]
mod http;
#[cfg(all(feature = "tower", feature = "toml"))]
mod http_callers;
#[cfg(all(feature = "tower", feature = "toml"))]
#[path = "../../examples/limited_api.rs"]
mod limited_api;
mod lost_replies;
mod model;
mod overrides;
mod permits;
#[cfg(feature = "toml")]
mod policies;
mod policy_change;
mod receipts;
mod references;
mod riding;
mod rig;
mod rulings;
mod serial;
mod several_limits;
mod state;
mod strict_window;
