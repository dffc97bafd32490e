//! Private Redis and Valkey servers for tests, and what goes wrong with them.
//!
//! A test that mocks Redis tests the mock. A real server starts in 10–40 ms, so a test can have its own:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = raptor_testkit::Server::start().await?;
//! let mut client = raptor_testkit::redis::Client::open(server.url())?.get_connection()?;
//! # let _ = &mut client;
//! # Ok(()) }
//! ```
//!
//! | want | take |
//! | --- | --- |
//! | one server, its signals and restarts | [`Server`] |
//! | a cluster: failover, slot migration | [`Cluster`] |
//! | a primary with sentinels | [`Sentinel`] |
//! | lost replies, delays, dead paths, resets | [`Proxy`] with a [`Fault`] |
//! | TLS | [`TlsFront`] |
//! | Upstash's limits | [`UpstashFront`] |
//! | a user who may do little | [`AclRule`] |
//! | a condition to come true | [`eventually`] |
//! | which server binary runs | [`Engine`] |
//!
//! Everything is private and parallel-safe: temp folders, free ports that are reserved across processes, no persistence
//! unless asked for. Everything ends when its handle is dropped; server processes also end, folder and all, when the
//! test process is killed.
//!
//! The re-exported [`redis`] is the client behind `admin()` and `query()`: another than the one under test, on purpose.

#![warn(missing_docs)]

mod acl;
mod backend;
mod cluster;
mod cluster_builder;
mod cluster_failover;
mod cluster_migration;
mod cluster_view;
mod driver;
mod embedded;
mod engine;
mod error;
mod eventually;
mod frames;
mod listener;
mod ports;
mod process;
mod proxy;
mod proxy_connection;
mod ready;
mod recipe;
mod sentinel;
mod sentinel_builder;
mod server;
mod server_builder;
mod slot;
mod tls;
mod tls_identity;
mod upstash;
mod upstash_rules;

pub use acl::{ACL_RULE_VARIABLE, AclRule};
pub use backend::{BACKEND_VARIABLE, Backend};
pub use cluster::Cluster;
pub use cluster_builder::ClusterBuilder;
pub use cluster_failover::FailoverMode;
pub use driver::{DRIVER_VARIABLE, driver};
pub use engine::{ENGINE_VARIABLE, Engine, EngineSource};
pub use error::Error;
pub use eventually::eventually;
pub use proxy::{Fault, Proxy, RequestCounter};
pub use redis;
pub use sentinel::{SERVICE, Sentinel};
pub use sentinel_builder::SentinelBuilder;
pub use server::Server;
pub use server_builder::ServerBuilder;
pub use slot::{SLOTS, slot_of};
pub use tls::TlsFront;
pub use upstash::UpstashFront;
