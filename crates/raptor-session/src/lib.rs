//! User sessions on Redis: a token that only its holder knows, two deadlines, and a logout that wins.
//!
//! | file | one idea |
//! | --- | --- |
//! | token.rs | [`SessionToken`]: 256 random bits, a shard hint and a pepper id; what Redis sees is its MAC |
//! | pepper.rs | [`Peppers`]: the secrets behind the MAC, and their rotation |
//! | shard.rs, places.rs | which of 256 slots a user's sessions live in; the keys there |
//! | metadata.rs, changes.rs | [`Metadata`]: named fields of any serde type; [`Changes`] of them |
//! | data.rs, head.rs | [`SessionData`]: what a session holds, and the text that its hash begins with |
//! | seal.rs | what a keyring protects |
//! | options.rs | [`SessionOptions`]: timeouts, cap, keyring, events |
//! | service.rs | [`SessionService`], and how a call finds the session of a token |
//! | login.rs | sessions that begin |
//! | visit.rs, reads.rs | sessions in use: read and slid, put off, ended; reads ride together |
//! | update.rs | fields that change |
//! | rotate.rs | another token for the same session |
//! | users.rs | all sessions of a user: listed, ended together |
//! | ended.rs, ops.rs | expiry events; what operations count and sweep |
//! | web/ | feature `tower`: a layer, extractors and the cookie |
//! | tower_sessions.rs | feature `tower-sessions`: a store for that crate |
//! | scripts.rs, lua/ | what decides, beside the data |
//! | telemetry.rs | the metrics |
//!
//! # Layout in Redis (version 1)
//! `session:{sNNN}:<mac>` is a hash as `lua/head.lua` describes, its TTL the idle deadline.
//! `session~user:{sNNN}:<workspace>:<user>` is a zset of MACs, scored by idle deadline, which moves with
//! the session's own; it expires with its longest-lived member. `session~ended:{sNNN}` is a zset of the
//! sessions whose end is to be told. Only a login and a rotation make keys, so a session that was deleted
//! cannot come back.
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
//!     assert_eq!(session.get::<String>("role")?.as_deref(), Some("admin"));
//! }
//! sessions.delete_session(&cookie).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The guide, `docs/guides/sessions.md`, tells what is defended against whom, and what an outage does.
#![warn(missing_docs)]

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/sessions.md")]
struct GuideExamples;

mod changes;
mod data;
mod ended;
mod head;
mod login;
mod metadata;
mod ops;
mod options;
mod pepper;
mod places;
mod reads;
mod rotate;
mod scripts;
mod seal;
mod service;
mod shard;
pub mod telemetry;
mod token;
#[cfg(feature = "tower-sessions")]
mod tower_sessions;
mod update;
mod users;
mod visit;
#[cfg(feature = "tower")]
pub mod web;

pub use changes::Changes;
pub use data::SessionData;
pub use ended::{EndedSession, MAX_ENDED};
pub use login::TooManySessions;
pub use metadata::{MAX_FIELD_NAME_BYTES, MAX_FIELDS, MAX_METADATA_BYTES, Metadata};
pub use ops::UserIndex;
pub use options::{AtCap, MAX_CAP, SessionOptions};
pub use pepper::{PEPPERS_VARIABLE, Peppers};
pub use rotate::{MAX_GRACE, Rotate};
pub use service::SessionService;
pub use token::{Presented, SessionToken};
#[cfg(feature = "tower-sessions")]
pub use tower_sessions::RaptorStore;
pub use ulid::Ulid;
pub use update::{Update, Updated};
pub use users::{MAX_PAGE, PageCursor, Revoke, SessionPage};
