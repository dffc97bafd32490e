//! The tests of raptor-core against real servers. What measures time or moves a whole cluster is in
//! `serial`, which `cargo xtask test` runs one test at a time.

#![allow(clippy::print_stdout, reason = "durations are printed for the reader of a test run")]

mod acl;
mod acl_tools;
mod atomic;
mod atomic_contention;
mod calls;
mod captured;
mod coalescing;
mod coalescing_callers;
mod codec;
mod config;
mod config_problems;
mod crypto;
mod debug_mode;
mod desync;
mod distrust;
mod fixture;
mod foreign_bytes;
mod keys;
mod lost_replies;
mod pipeline;
mod secrets;
mod serial;
mod subscriptions;
mod ttl;
