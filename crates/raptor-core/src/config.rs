//! Validated settings: from the environment, a URL or code; all problems named at once.
//!
//! Whatever is wrong comes back as one error that lists every problem by the name of its variable
//! or setter. No error and no `Debug` or `Display` here shows a password, a token or a URL.

mod authority;
mod builder;
mod driver;
mod env;
mod number;
mod problems;
mod query;
mod secret;
mod servers;
mod service;
mod topology;
mod url;

use std::env::VarError;
use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::keys::KeySpace;

pub use builder::RedisConfigBuilder;
pub use driver::Driver;
pub use secret::{Credentials, Secret};
pub use service::Service;
pub use topology::{DEFAULT_PORT, DEFAULT_SENTINEL_PORT, Endpoint, Protocol, Tls, Topology};

/// How to reach the server, and the settings that all services share. Always valid.
///
/// # Environment
/// | variable | meaning | default |
/// | --- | --- | --- |
/// | `UPSTASH_REDIS_URL` | the server | |
/// | `UPSTASH_REDIS_TOKEN` | its password, when not in the URL | |
/// | `UPSTASH_REDIS_REST_URL`, `UPSTASH_REDIS_REST_TOKEN` | the same, as Upstash names its REST pair | |
/// | `REDIS_URL` | the server; gets a token only if it is `https://` | |
/// | `REDIS_KEY_PREFIX` | prefix of every key, see [`KeySpace::new`] | `raptorflow:` |
/// | `REDIS_DEFAULT_TTL` | seconds, 1 to 315,360,000 | 3600 |
/// | `REDIS_MAX_CONNECTIONS` | connections to one server, 1 to 1,000 | 10 |
/// | `REDIS_COMMAND_TIMEOUT_MS` | milliseconds, 1 to 600,000 | 2000 |
/// | `REDIS_CONNECT_TIMEOUT_MS` | milliseconds, 1 to 600,000 | 3000 |
/// | `REDIS_DEBUG` | `1` logs every command, without its values; see [`RedisConfigBuilder::debug_commands`] | `0` |
/// | `RAPTOR_CACHE_URL`, `RAPTOR_SESSION_URL` … | a [`Service`]'s own servers, by [`from_env_for`](Self::from_env_for) | the common ones |
/// | `RAPTOR_REDIS_DRIVER` | `redis` or `fred`, see [`Driver`] | `redis`, if compiled in |
/// | `REDIS_CA_FILE` | PEM file of authorities to trust beside the system's | |
///
/// More than one URL, or a token beside a password, is fine as long as they mean the same.
///
/// # URLs
/// | form | means |
/// | --- | --- |
/// | `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]` | one server |
/// | `redis-cluster://[…@]HOST[:PORT],HOST[:PORT]…[?node=HOST:PORT…]` | a cluster, by some of its nodes |
/// | `redis-sentinel://[…@]HOST[:PORT],…[/DATABASE]?sentinelServiceName=NAME` | the primary that sentinels name; `sentinelUsername`, `sentinelPassword` log in at the sentinels |
/// | `rediss://`, `rediss-cluster://`, `rediss-sentinel://` | the same over TLS |
/// | `unix:///PATH[?db=DATABASE]`, also `redis+unix://` | a unix socket |
/// | `https://HOST`, with a token | Upstash: TLS on port 6379, user `default`, the token as password |
///
/// Each takes `protocol=2` or `3` as a parameter. Special characters of user, password and
/// parameters are percent-encoded.
///
/// ```
/// use raptor_core::config::RedisConfig;
///
/// let config = RedisConfig::from_url("rediss://:s3cret@db.example:6380/2?protocol=2")?;
/// assert_eq!(config.database(), 2);
/// assert!(config.tls().is_some());
/// assert!(!format!("{config:?} {config}").contains("s3cret"));
///
/// let error = RedisConfig::from_url("redis://:s3cret@db.example:99999/x").unwrap_err();
/// assert!(error.to_string().contains("port") && error.to_string().contains("database"));
/// assert!(!error.to_string().contains("s3cret"));
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisConfig {
    topology: Topology,
    credentials: Credentials,
    tls: Option<Tls>,
    database: u8,
    protocol: Protocol,
    key_space: KeySpace,
    default_ttl: Duration,
    max_connections: usize,
    command_timeout: Duration,
    connect_timeout: Duration,
    debug_commands: bool,
    driver: Driver,
}

impl RedisConfig {
    /// Reads the process's environment variables.
    ///
    /// # Errors
    /// One [`ErrorKind::Config`](crate::ErrorKind::Config) that lists every problem, or names the
    /// URL variables if none is set.
    pub fn from_env() -> Result<Self> {
        env::gather(&env::COMMON, |name| std::env::var(name)).build()
    }

    /// The servers of `service`: those of its own URL variable if that is set
    /// ([`Service::url_variable`]), the common ones otherwise. Everything else is as in
    /// [`from_env`](Self::from_env).
    ///
    /// An `https://` URL takes its token from the variable that ends in `_TOKEN` instead of `_URL`.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_env_for(service: Service) -> Result<Self> {
        Self::gathered_for(service, |name| std::env::var(name))
    }

    /// The same from elsewhere: a map, a file, a secret store.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_lookup_for(
        service: Service,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        Self::gathered_for(service, |name| lookup(name).ok_or(VarError::NotPresent))
    }

    fn gathered_for(
        service: Service,
        lookup: impl Fn(&str) -> std::result::Result<String, VarError>,
    ) -> Result<Self> {
        let own = !matches!(lookup(service.url_variable()), Err(VarError::NotPresent));
        let names = if own { service.names() } else { &env::COMMON };
        env::gather(names, lookup).build()
    }

    /// Reads the same variables from elsewhere: a map, a file, a secret store.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        env::gather(&env::COMMON, |name| lookup(name).ok_or(VarError::NotPresent)).build()
    }

    /// The server of `url`, everything else by default.
    ///
    /// # Errors
    /// One [`ErrorKind::Config`](crate::ErrorKind::Config) that lists every problem.
    pub fn from_url(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).build()
    }

    /// Settings from code.
    pub fn builder() -> RedisConfigBuilder {
        RedisConfigBuilder::new()
    }

    /// Where the servers are.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The login at the servers (not at the sentinels, whose login is in the topology).
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// TLS, if connections are to be encrypted.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The database number; 0 on a cluster.
    #[must_use]
    pub fn database(&self) -> u8 {
        self.database
    }

    /// The protocol version.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The keys under the configured prefix.
    #[must_use]
    pub fn key_space(&self) -> &KeySpace {
        &self.key_space
    }

    /// The life time of what is stored without one of its own; whole seconds.
    #[must_use]
    pub fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

    /// The most connections to one server.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// How long a call may take.
    #[must_use]
    pub fn command_timeout(&self) -> Duration {
        self.command_timeout
    }

    /// How long connecting may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Whether every command is logged, see
    /// [`debug_commands`](RedisConfigBuilder::debug_commands).
    #[must_use]
    pub fn debug_commands(&self) -> bool {
        self.debug_commands
    }

    /// The client library behind the connections.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver
    }
}

impl fmt::Display for RedisConfig {
    /// One line for a log: `db.example:6380 (TLS, user default, database 0, RESP3, prefix app:)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.topology)?;
        if self.tls.is_some() {
            f.write_str("TLS, ")?;
        }
        match (self.credentials.username(), self.credentials.password()) {
            (Some(user), _) => write!(f, "user {user}, ")?,
            (None, Some(_)) => f.write_str("with a password, ")?,
            (None, None) => f.write_str("no password, ")?,
        }
        let prefix = self.key_space.prefix();
        write!(f, "database {}, {}, prefix {prefix})", self.database, self.protocol)
    }
}
