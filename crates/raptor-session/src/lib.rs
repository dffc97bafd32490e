//! User sessions on Redis: a token that only its holder knows, two deadlines, and a logout that wins.
//!
//! | file | one idea |
//! | --- | --- |
//! | token.rs | [`SessionToken`]: 256 random bits, a shard hint and a pepper id; what Redis sees is its MAC |
//! | pepper.rs | [`Peppers`]: the secrets behind the MAC, and their rotation |
//! | shard.rs | which of 256 slots a user's sessions live in |
//! | metadata.rs | [`Metadata`]: named fields of any serde type |
//! | data.rs | [`SessionData`]: what a session holds |
//! | options.rs | [`SessionOptions`]: timeouts and peppers |
//! | service.rs | [`SessionService`]: create, get, delete |
//! | telemetry.rs | the metrics |
//!
//! # Layout in Redis (version 1)
//! `session:{sNNN}:<mac>` is a hash with the fields that `lua/create.lua` lists, its TTL the idle
//! deadline. `session~user:{sNNN}:<workspace>:<user>` is a zset of MACs, scored by idle deadline,
//! which moves with the session's own; it expires with its longest-lived member. Only `create`
//! makes keys, so a session that was deleted cannot come back.
//!
//! The server must not evict (`noeviction`).
//!
//! ```no_run
//! use raptor_core::{RedisClient, RedisConfig};
//! use raptor_session::{Metadata, Peppers, SessionOptions, SessionService};
//!
//! # async fn tour() -> raptor_core::Result<()> {
//! let client = RedisClient::connect(RedisConfig::from_url("redis://127.0.0.1:6379")?).await?;
//! let sessions = SessionService::new(client, SessionOptions::new(Peppers::from_env()?))?;
//!
//! let token = sessions
//!     .create_session("ann", "acme", &Metadata::new().with("role", &"admin")?)
//!     .await?;
//! let cookie = token.expose().to_owned();
//!
//! if let Some(session) = sessions.get_session(&cookie).await? {
//!     assert_eq!(session.user, "ann");
//!     assert_eq!(session.metadata.get::<String>("role")?.as_deref(), Some("admin"));
//! }
//! sessions.delete_session(&cookie).await?;
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

mod data;
mod metadata;
mod options;
mod pepper;
mod service;
mod shard;
pub mod telemetry;
mod token;

pub use data::SessionData;
pub use metadata::{MAX_FIELD_NAME_BYTES, MAX_FIELDS, MAX_METADATA_BYTES, Metadata};
pub use options::SessionOptions;
pub use pepper::{PEPPERS_VARIABLE, Peppers};
pub use service::SessionService;
pub use token::{Presented, SessionToken};
pub use ulid::Ulid;
