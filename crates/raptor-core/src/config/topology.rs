//! Where the servers are, and how a connection speaks to them.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Credentials;

/// The port of a Redis server when none is given.
pub const DEFAULT_PORT: u16 = 6379;

/// The port of a sentinel when none is given.
pub const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// The address of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Endpoint {
    /// A host name (lower case) or IP address (IPv6 without brackets) and a port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port, never 0.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How the servers are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// One server.
    Standalone(Endpoint),
    /// A Redis Cluster, found through any of its nodes.
    Cluster {
        /// The nodes to ask first; at least one, each once.
        seeds: Vec<Endpoint>,
    },
    /// A primary that sentinels name.
    Sentinel {
        /// The name under which the sentinels know the primary.
        service: String,
        /// The sentinels; at least one, each once.
        sentinels: Vec<Endpoint>,
        /// The login at the sentinels themselves, often none.
        credentials: Credentials,
    },
}

impl Topology {
    /// Whether both lead to the same servers, in whatever order they are listed.
    pub(super) fn same_servers(&self, other: &Self) -> bool {
        fn set(list: &[Endpoint]) -> HashSet<&Endpoint> {
            list.iter().collect()
        }
        match (self, other) {
            (Self::Standalone(one), Self::Standalone(two)) => one == two,
            (Self::Cluster { seeds: one }, Self::Cluster { seeds: two }) => set(one) == set(two),
            (
                Self::Sentinel { service: s1, sentinels: one, credentials: c1 },
                Self::Sentinel { service: s2, sentinels: two, credentials: c2 },
            ) => s1 == s2 && set(one) == set(two) && c1.same_login(c2),
            _ => false,
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = match self {
            Self::Standalone(endpoint) => return write!(f, "{endpoint}"),
            Self::Cluster { seeds } => {
                f.write_str("cluster ")?;
                seeds
            }
            Self::Sentinel { service, sentinels, .. } => {
                write!(f, "{service} by sentinels ")?;
                sentinels
            }
        };
        for (index, endpoint) in list.iter().enumerate() {
            write!(f, "{}{endpoint}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// That connections are encrypted, and whom they trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    ca_file: Option<PathBuf>,
}

impl Tls {
    /// TLS that trusts the system's authorities and those in `ca_file`.
    #[must_use]
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file }
    }

    /// A PEM file with authorities to trust beside the system's.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }
}

/// The version of the Redis protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RESP2, which every server speaks.
    Resp2,
    /// RESP3, from Redis 6.
    #[default]
    Resp3,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resp2 => "RESP2",
            Self::Resp3 => "RESP3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_shown_as_they_are_written() {
        let tcp = |host: &str| Endpoint::Tcp { host: host.into(), port: 7000 }.to_string();
        assert_eq!(tcp("db.internal"), "db.internal:7000");
        assert_eq!(tcp("::1"), "[::1]:7000");
        assert_eq!(Endpoint::Unix("/run/r.sock".into()).to_string(), "/run/r.sock");
    }

    #[test]
    fn the_order_of_seeds_makes_no_difference() {
        let seed = |port| Endpoint::Tcp { host: "h".into(), port };
        let one = Topology::Cluster { seeds: vec![seed(1), seed(2)] };
        let two = Topology::Cluster { seeds: vec![seed(2), seed(1)] };
        assert!(one.same_servers(&two));
        assert!(!one.same_servers(&Topology::Standalone(seed(1))));
        assert_eq!(one.to_string(), "cluster h:1,h:2");
    }
}
