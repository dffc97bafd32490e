//! The kit against real servers: each feature does what it says, and nothing outlives its owner.

mod cluster;
mod engine;
mod fronts;
mod proxy;
mod sentinel;
mod server;
mod wire;
