//! The builder: settings as they come, checked together at the end.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::number::{CONNECTIONS, TIMEOUT_MS, TTL_S};
use super::problems::Problems;
use super::servers::{Servers, TokenUse, UrlSetting};
use super::{Driver, Protocol, RedisConfig, Secret, Tls};
use crate::error::Result;
use crate::keys::{DEFAULT_PREFIX, KeySpace, prefix_flaw};

const DEFAULT_TTL_S: u64 = 3600;
const DEFAULT_MAX_CONNECTIONS: u64 = 10;
const DEFAULT_COMMAND_TIMEOUT_MS: u64 = 2000;
const DEFAULT_CONNECT_TIMEOUT_MS: u64 = 3000;

/// A file of certificates larger than this is not read to its end.
const CA_FILE_LIMIT: u64 = 4 << 20;

/// A value, or what is wrong with it, under the name that the user knows it by.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) name: &'static str,
    pub(super) value: Result<T, String>,
}

/// Builds a [`RedisConfig`] from code. Nothing is checked before [`build`](Self::build), which
/// then names all problems at once, each by the name of its setter.
///
/// A setter called twice keeps the last value.
#[derive(Debug)]
#[must_use]
pub struct RedisConfigBuilder(Builder);

/// What the builder and the environment gather.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) servers: Servers,
    pub(super) prefix: Option<Setting<String>>,
    pub(super) default_ttl: Option<Setting<u64>>,
    pub(super) max_connections: Option<Setting<u64>>,
    pub(super) command_timeout: Option<Setting<u64>>,
    pub(super) connect_timeout: Option<Setting<u64>>,
    pub(super) debug_commands: Option<Setting<bool>>,
    pub(super) ca_file: Option<Setting<PathBuf>>,
    pub(super) driver: Option<Setting<Driver>>,
    pub(super) problems: Problems,
}

impl RedisConfigBuilder {
    pub(super) fn new() -> Self {
        Self(Builder::over(Servers {
            urls: Vec::new(),
            tokens: Vec::new(),
            username: None,
            database: None,
            protocol: None,
            no_url: ("url", "is not set; set it, for example to redis://HOST:6379"),
            unused_token: "set a url",
        }))
    }

    /// The server, in any of the forms that [`RedisConfig`] lists.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.0.servers.urls = vec![UrlSetting {
            name: "url",
            text: Secret::new(url),
            token: TokenUse::Password,
            token_hint: "set it by token()",
        }];
        self
    }

    /// The token of an `https://` URL; for any other URL the same as [`password`](Self::password).
    pub fn token(self, token: impl Into<String>) -> Self {
        self.secret("token", token)
    }

    /// The password, when it does not stand in the URL.
    pub fn password(self, password: impl Into<String>) -> Self {
        self.secret("password", password)
    }

    fn secret(mut self, name: &'static str, secret: impl Into<String>) -> Self {
        let tokens = &mut self.0.servers.tokens;
        tokens.retain(|(other, _)| *other != name);
        tokens.push((name, Secret::new(secret)));
        self
    }

    /// The ACL user, when it does not stand in the URL. Needs a password.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.0.servers.username = Some(username.into());
        self
    }

    /// The database number, when it does not stand in the URL (default 0; 0 only on a cluster).
    pub fn database(mut self, database: u8) -> Self {
        self.0.servers.database = Some(database);
        self
    }

    /// The protocol version, when it does not stand in the URL (default RESP3).
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.0.servers.protocol = Some(protocol);
        self
    }

    /// The prefix of every key (default `raptorflow:`); see [`KeySpace::new`].
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.prefix = Some(Setting { name: "key_prefix", value: Ok(prefix.into()) });
        self
    }

    /// The life time of what is stored without one of its own: whole seconds, 1 s to 3,650 days
    /// (default 1 h).
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.0.default_ttl = Some(Setting { name: "default_ttl", value: TTL_S.seconds(ttl) });
        self
    }

    /// The most connections to one server, 1 to 1,000 (default 10).
    pub fn max_connections(mut self, connections: usize) -> Self {
        let number = u64::try_from(connections).unwrap_or(u64::MAX);
        self.0.max_connections =
            Some(Setting { name: "max_connections", value: CONNECTIONS.check(number) });
        self
    }

    /// How long a call may take: whole milliseconds, 1 ms to 10 min (default 2 s).
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.0.command_timeout =
            Some(Setting { name: "command_timeout", value: TIMEOUT_MS.millis(timeout) });
        self
    }

    /// How long connecting may take: whole milliseconds, 1 ms to 10 min (default 3 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.0.connect_timeout =
            Some(Setting { name: "connect_timeout", value: TIMEOUT_MS.millis(timeout) });
        self
    }

    /// Debug mode (default off): a log event of level debug and target `raptor_core::commands` for
    /// every command and script call, of how many, how large and how long, and of no key's parts, no
    /// argument and no value; `docs/telemetry.md` lists its fields.
    pub fn debug_commands(mut self, on: bool) -> Self {
        self.0.debug_commands = Some(Setting { name: "debug_commands", value: Ok(on) });
        self
    }

    /// A PEM file with authorities that TLS trusts beside the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ca_file = Some(Setting { name: "ca_file", value: Ok(path.into()) });
        self
    }

    /// The client library behind the connections (default redis-rs, if compiled in). One that is not
    /// compiled in is a problem that names its feature.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.0.driver = Some(Setting { name: "driver", value: driver.compiled() });
        self
    }

    /// Checks everything. Reads the CA file, if one is set; otherwise does no I/O.
    ///
    /// # Errors
    /// One [`ErrorKind::Config`](crate::ErrorKind::Config) that lists every problem.
    pub fn build(self) -> Result<RedisConfig> {
        self.0.build()
    }
}

impl Builder {
    pub(super) fn over(servers: Servers) -> Self {
        Self {
            servers,
            prefix: None,
            default_ttl: None,
            max_connections: None,
            command_timeout: None,
            connect_timeout: None,
            debug_commands: None,
            ca_file: None,
            driver: None,
            problems: Problems::default(),
        }
    }

    /// The configuration, or one error with everything that is wrong.
    pub(super) fn build(self) -> Result<RedisConfig> {
        let mut problems = self.problems;
        let server = self.servers.resolve(&mut problems);
        let key_space = key_space(self.prefix, &mut problems);
        let mut number = |setting, default| value(setting, &mut problems).unwrap_or(default);
        let default_ttl = number(self.default_ttl, DEFAULT_TTL_S);
        let max_connections = number(self.max_connections, DEFAULT_MAX_CONNECTIONS);
        let command_timeout = number(self.command_timeout, DEFAULT_COMMAND_TIMEOUT_MS);
        let connect_timeout = number(self.connect_timeout, DEFAULT_CONNECT_TIMEOUT_MS);
        let debug_commands = value(self.debug_commands, &mut problems).unwrap_or(false);
        let ca_name = self.ca_file.as_ref().map_or("", |setting| setting.name);
        let ca_file = value(self.ca_file, &mut problems);
        if let Some(path) = &ca_file {
            if let Some(flaw) = ca_flaw(path) {
                problems.add(ca_name, flaw);
            }
            if server.as_ref().is_some_and(|server| !server.tls) {
                problems.add(ca_name, "is set, but the URL asks for no TLS; use rediss://");
            }
        }
        let driver = value(self.driver, &mut problems).unwrap_or_default();
        match (server, key_space) {
            (Some(server), Some(key_space)) if problems.is_empty() => Ok(RedisConfig {
                topology: server.topology,
                credentials: server.credentials,
                tls: server.tls.then(|| Tls::new(ca_file)),
                database: server.database.unwrap_or(0),
                protocol: server.protocol.unwrap_or_default(),
                key_space,
                default_ttl: Duration::from_secs(default_ttl),
                max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
                command_timeout: Duration::from_millis(command_timeout),
                connect_timeout: Duration::from_millis(connect_timeout),
                debug_commands,
                driver,
            }),
            _ => Err(problems.into_error()),
        }
    }
}

fn value<T>(setting: Option<Setting<T>>, problems: &mut Problems) -> Option<T> {
    let setting = setting?;
    setting.value.map_err(|flaw| problems.add(setting.name, flaw)).ok()
}

fn key_space(prefix: Option<Setting<String>>, problems: &mut Problems) -> Option<KeySpace> {
    let name = prefix.as_ref().map_or("", |setting| setting.name);
    let prefix = match prefix {
        Some(setting) => value(Some(setting), problems)?,
        None => DEFAULT_PREFIX.to_owned(),
    };
    if let Some(flaw) = prefix_flaw(&prefix) {
        problems.add(name, flaw);
        return None;
    }
    KeySpace::new(&prefix).ok()
}

/// What is wrong with a CA file, found by reading it; the certificates are parsed on connecting.
fn ca_flaw(path: &Path) -> Option<String> {
    let read = || -> std::io::Result<Option<Vec<u8>>> {
        if !std::fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        File::open(path)?.take(CA_FILE_LIMIT).read_to_end(&mut content)?;
        Ok(Some(content))
    };
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    match read() {
        Err(error) => Some(format!("the file cannot be read ({})", error.kind())),
        Ok(None) => Some("is not a file; name a PEM file of certificates".to_owned()),
        Ok(Some(content)) if content.windows(BEGIN.len()).any(|window| window == BEGIN) => None,
        Ok(Some(_)) => Some("the file holds no PEM certificate".to_owned()),
    }
}
