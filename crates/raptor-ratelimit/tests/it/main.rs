//! Integration tests against a real server, named after the acceptance lines of the design.
#![allow(clippy::unwrap_used, missing_docs)]

mod acl;
mod algorithms;
mod bad_input;
mod batch;
mod clock;
mod concurrency;
mod lost_replies;
mod model;
mod policy_change;
mod receipts;
mod references;
mod riding;
mod rig;
mod rulings;
mod several_limits;
mod state;
mod strict_window;
