//! `RedisClient`: the handle that everything else is built on. Cheap to clone, safe to share.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::coalesce::Coalescer;
use crate::config::RedisConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::KeySpace;
use crate::reads::Reads;
use crate::topology::{Failure, Topology};

/// A client of one Redis or Valkey: a server, a sentinel group or a cluster.
///
/// Connections are supervised: they are made again when cut, wedged or black-holed, and follow
/// failovers; see `docs/architecture.md`. Dropping the last clone closes them. They live on the tokio
/// runtime that made the client: when that has ended, every call is
/// [`Unavailable`](ErrorKind::Unavailable) for good.
#[derive(Clone)]
pub struct RedisClient {
    inner: Arc<Inner>,
}

struct Inner {
    config: RedisConfig,
    topology: Topology,
    closed: watch::Sender<bool>,
    runtime: Handle,
    reads: Coalescer<Reads>,
}

impl RedisClient {
    /// Connects, and waits until calls can be served.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when no server can be reached within the connect
    /// timeout, [`Auth`](ErrorKind::Auth) when it refuses the credentials,
    /// [`Config`](ErrorKind::Config) when TLS cannot be set up.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let client = Self::connect_lazy(config)?;
        client.ready().await?;
        Ok(client)
    }

    /// Starts to connect in the background and returns at once: for services that must come up
    /// while Redis is away. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) when TLS cannot be set up.
    pub fn connect_lazy(config: RedisConfig) -> Result<Self> {
        let topology = Topology::start(&config)?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                topology,
                closed: watch::Sender::new(false),
                runtime: Handle::current(),
                reads: Coalescer::new(Reads),
            }),
        })
    }

    /// Waits until calls can be served, at most the connect timeout.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + self.config().connect_timeout();
        self.topology().ready(deadline).await.map_err(|failure| match failure {
            Failure::Rejected(refused) | Failure::Refused(refused) => {
                let error = Error::from_server(&refused.0);
                let kind = match error.kind() {
                    ErrorKind::Auth => ErrorKind::Auth,
                    _ if refused.0.contains("cluster support disabled") => ErrorKind::Config,
                    _ => ErrorKind::Unavailable,
                };
                let hint = match kind {
                    ErrorKind::Config => "; use a redis:// URL for a single server",
                    _ => "",
                };
                Error::new(kind, format!("cannot connect: {error}{hint}"))
            }
            Failure::NotSent(why) | Failure::Lost(why) | Failure::Misfit(why) => {
                Error::new(ErrorKind::Unavailable, why)
            }
            Failure::Late => {
                Error::new(ErrorKind::Unavailable, "cannot connect: no answer in time")
            }
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.inner.config
    }

    /// Makes keys under the configured prefix.
    #[must_use]
    pub fn keys(&self) -> &KeySpace {
        self.inner.config.key_space()
    }

    /// Closes all connections now, for every clone: calls under way end with an error, and
    /// subscriptions end. To lose nothing, await your calls first; dropping the last clone is enough
    /// then.
    pub fn close(&self) {
        self.inner.closed.send_replace(true);
        self.inner.topology.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.inner.closed.borrow()
    }

    /// Resolves when the client is closed.
    pub(crate) async fn closed(&self) {
        // The sender is ours, so this cannot fail.
        let _ = self.inner.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Tells clients apart, as long as they live; clones are one.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.inner).addr()
    }

    /// The runtime that its connections live on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    pub(crate) fn reads(&self) -> &Coalescer<Reads> {
        &self.inner.reads
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.inner.topology, Topology::Cluster(_))
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.inner.topology
    }
}

impl fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClient").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
