//! The shared ground of Raptor: configuration, keys, errors, and a client that tells the truth
//! about every call.
//!
//! | module | one idea |
//! | --- | --- |
//! | [`config`] | settings, validated all at once, secrets never shown |
//! | [`keys`] | the catalogue of key families; parts that cannot leave their place |
//! | [`codec`] | values in versioned envelopes: formats, compression, encryption, whose they are |
//! | [`crypto`] | the keyring: keys with names, newest first |
//! | [`client`](RedisClient) | the handle: supervised connections, failovers followed |
//! | [`Script`] | Lua beside the data, its replies framed so that none can be mistaken |
//! | [`Call`] | a script's or a command's call: keys, arguments, deadline |
//! | [`RedisPipeline`] | many commands at once, each with its own result; or as one atomic script |
//! | [`AtomicOperations`] | compare-and-set and its kin, on bytes and on typed values |
//! | [`TtlManager`] | how long keys live: set, refreshed, spread, and leaks found |
//! | [`Subscription`] | channels, with honest gaps |
//! | [`Error`] | what went wrong, and whether a repeat is safe |
//!
//! What this crate guarantees of every call: it is executed at most once; its reply is its own; it
//! ends by its deadline; and an error says whether it may have run.

pub mod atomic;
pub mod codec;
pub mod config;
pub mod crypto;
pub mod keys;

mod args;
mod ascii_lua;
mod call;
mod client;
mod coalesce;
mod command;
mod distrust;
mod driver;
mod error;
mod node;
mod pipeline;
mod reads;
mod reply;
mod script;
mod subscription;
mod supervisor;
pub mod telemetry;
mod topology;
pub mod ttl;

pub use args::ToArg;
pub use atomic::{AtomicOperations, Expiry};
pub use call::Call;
pub use client::RedisClient;
pub use coalesce::{BatchLimits, Coalescer, Vectorised, Weight};
pub use codec::{Codec, CodecOptions, Envelope};
pub use config::RedisConfig;
pub use crypto::{KeyId, Keyring, Sealer};
pub use error::{Error, ErrorKind, Result};
pub use keys::{Family, Key, KeySpace};
pub use pipeline::{FromReplies, RedisPipeline};
pub use reply::{FromReply, Reply};
pub use script::Script;
pub use subscription::{Incoming, Subscription};
pub use ttl::{Ttl, TtlManager};
