//! How a sentinel set is formed: everyone is told about everyone in the configuration files.
//!
//! Sentinels find each other by publishing every two seconds and find replicas by asking every ten. Their own files
//! have lines for what they have found; written in advance, the set is whole from the first moment.

use std::time::Duration;

use crate::ports::PortLease;
use crate::recipe::{Recipe, Role};
use crate::sentinel::SERVICE;
use crate::server_builder::chosen_engine;
use crate::{Engine, Error, Sentinel, Server};

/// How often a sentinel asks a server for a sign of life, at least.
const PING_PERIOD: Duration = Duration::from_millis(200);

/// Settings of a [`Sentinel`] set; [`SentinelBuilder::start`] starts it.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until start() is called"]
pub struct SentinelBuilder {
    engine: Option<Engine>,
    replicas: usize,
    sentinels: usize,
    down_after: Duration,
    failover_timeout: Duration,
    lines: Vec<String>,
}

impl SentinelBuilder {
    pub(crate) fn new() -> Self {
        Self {
            engine: None,
            replicas: 2,
            sentinels: 3,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(3),
            lines: Vec::new(),
        }
    }

    /// Runs this engine instead of the one that [`Engine::find`] finds.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// How many replicas follow the primary.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// How many sentinels watch, 1 at least; the quorum is their majority.
    pub fn sentinels(mut self, count: usize) -> Self {
        self.sentinels = count.max(1);
        self
    }

    /// How long a server may be silent before a sentinel calls it down; 1 s unless told.
    pub fn down_after(mut self, silence: Duration) -> Self {
        self.down_after = silence;
        self
    }

    /// The sentinels' failover timeout; 3 s unless told.
    pub fn failover_timeout(mut self, timeout: Duration) -> Self {
        self.failover_timeout = timeout;
        self
    }

    /// Any directive of each data server's configuration file; overrules the kit's own.
    pub fn arg(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.lines.push(format!("{name} {value}"));
        self
    }

    /// Starts primary, replicas and sentinels, and returns when [`Sentinel::wait_ok`] does.
    pub async fn start(self) -> Result<Sentinel, Error> {
        let engine = chosen_engine(self.engine.clone()).await?;
        let servers = self.start_servers(&engine).await?;
        let sentinels = self.start_sentinels(&engine, &servers).await?;
        let set = Sentinel { servers, sentinels };
        set.wait_ok().await?;
        Ok(set)
    }

    async fn start_servers(&self, engine: &Engine) -> Result<Vec<Server>, Error> {
        let mut recipe = Recipe::new(engine.clone());
        recipe.lines.push("repl-diskless-sync-delay 0".to_owned());
        recipe.lines.extend(self.lines.iter().cloned());
        let primary = Server::launch(recipe.clone()).await?;
        recipe.lines.push(format!("replicaof 127.0.0.1 {}", primary.port()));
        let mut servers = vec![primary];
        for _ in 0..self.replicas {
            servers.push(Server::launch(recipe.clone()).await?);
        }
        Ok(servers)
    }

    async fn start_sentinels(
        &self,
        engine: &Engine,
        servers: &[Server],
    ) -> Result<Vec<Server>, Error> {
        let leases: Vec<PortLease> =
            (0..self.sentinels).map(|_| PortLease::take()).collect::<Result<_, _>>()?;
        let ports: Vec<u16> = leases.iter().map(PortLease::port).collect();
        let mut sentinels = Vec::with_capacity(self.sentinels);
        for lease in leases {
            let mut recipe = Recipe::new(engine.clone());
            recipe.role = Role::Sentinel;
            recipe.lines = self.sentinel_lines(lease.port(), &ports, servers);
            let sentinel = Server::launch_on(recipe, vec![lease]).await?;
            // Its first PING to a server follows after a whole period, one second, and the silence until
            // then counts: with one second to be down, the new primary was down as soon as it was named.
            let mut period = redis::cmd("SENTINEL");
            period.arg("DEBUG").arg("PING-PERIOD").arg(PING_PERIOD.as_millis() as u64);
            let () = sentinel.query(&period).await?;
            sentinels.push(sentinel);
        }
        Ok(sentinels)
    }

    fn sentinel_lines(&self, own: u16, ports: &[u16], servers: &[Server]) -> Vec<String> {
        let primary = servers.first().map(Server::port).unwrap_or_default();
        let quorum = self.sentinels / 2 + 1;
        let mut lines = vec![
            format!("sentinel myid {}", id_of(own)),
            format!("sentinel monitor {SERVICE} 127.0.0.1 {primary} {quorum}"),
            format!("sentinel down-after-milliseconds {SERVICE} {}", self.down_after.as_millis()),
            format!("sentinel failover-timeout {SERVICE} {}", self.failover_timeout.as_millis()),
            format!("sentinel parallel-syncs {SERVICE} {}", self.replicas.max(1)),
        ];
        let replicas = servers.iter().skip(1).map(Server::port);
        lines.extend(
            replicas.map(|port| format!("sentinel known-replica {SERVICE} 127.0.0.1 {port}")),
        );
        let others = ports.iter().filter(|port| **port != own);
        lines.extend(others.map(|port| {
            format!("sentinel known-sentinel {SERVICE} 127.0.0.1 {port} {}", id_of(*port))
        }));
        lines
    }
}

/// A sentinel's id is 40 hexadecimal digits; the port makes it unique within the set.
fn id_of(port: u16) -> String {
    format!("{port:040x}")
}
