//! How a cluster is formed without any tool: nodes start side by side and are told about each other.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::cluster::PATIENCE;
use crate::cluster_view::nodes_seen_by;
use crate::recipe::Recipe;
use crate::server_builder::chosen_engine;
use crate::slot::SLOTS;
use crate::{Cluster, Engine, Error, Server, eventually};

/// Settings of a [`Cluster`]; [`ClusterBuilder::start`] starts it.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until start() is called"]
pub struct ClusterBuilder {
    engine: Option<Engine>,
    primaries: usize,
    replicas_per_primary: usize,
    node_timeout: Duration,
    password: Option<String>,
    persistent: bool,
    lines: Vec<String>,
}

impl ClusterBuilder {
    pub(crate) fn new() -> Self {
        Self {
            engine: None,
            primaries: 3,
            replicas_per_primary: 0,
            node_timeout: Duration::from_millis(1500),
            password: None,
            persistent: false,
            lines: Vec::new(),
        }
    }

    /// Runs this engine instead of the one that [`Engine::find`] finds.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// How many primaries share the slots, 1 at least. Elections need a majority of them, so 3 or more.
    pub fn primaries(mut self, count: usize) -> Self {
        self.primaries = count.max(1);
        self
    }

    /// How many replicas each primary gets.
    pub fn replicas_per_primary(mut self, count: usize) -> Self {
        self.replicas_per_primary = count;
        self
    }

    /// How long a node may be silent before the others call it failed; 1.5 s unless told.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// A password for the default user of every node.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Nodes keep their data over a restart.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Any directive of each node's configuration file; overrules the kit's own.
    pub fn arg(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.lines.push(format!("{name} {value}"));
        self
    }

    /// Starts the nodes and returns when [`Cluster::wait_ok`] does.
    ///
    /// Takes a little over 2 s: a fresh node waits that long by itself before it serves.
    pub async fn start(self) -> Result<Cluster, Error> {
        let recipe = self.recipe(chosen_engine(self.engine.clone()).await?);
        let count = self.primaries * (1 + self.replicas_per_primary);
        let nodes = start_all(recipe, count).await?;
        let mut ids = Vec::new();
        for node in &nodes {
            ids.push(node.query(redis::cmd("CLUSTER").arg("MYID")).await?);
        }
        let cluster = Cluster { nodes, ids };
        self.share_slots(&cluster).await?;
        meet(&cluster).await?;
        self.attach_replicas(&cluster).await?;
        cluster.wait_ok().await?;
        Ok(cluster)
    }

    fn recipe(&self, engine: Engine) -> Recipe {
        let mut recipe = Recipe::new(engine);
        recipe.cluster = true;
        recipe.persistent = self.persistent;
        recipe.password = self.password.clone();
        recipe.lines = vec![
            format!("cluster-node-timeout {}", self.node_timeout.as_millis()),
            "cluster-announce-ip 127.0.0.1".to_owned(),
            "cluster-require-full-coverage no".to_owned(),
            "cluster-allow-replica-migration no".to_owned(),
            "cluster-replica-validity-factor 0".to_owned(),
            "repl-diskless-sync-delay 0".to_owned(),
        ];
        recipe.lines.extend(self.lines.iter().cloned());
        recipe
    }

    /// Even ranges to the primaries, and an epoch of its own to every node, so that none collide.
    async fn share_slots(&self, cluster: &Cluster) -> Result<(), Error> {
        for (index, node) in cluster.nodes.iter().enumerate() {
            let epoch = index + 1;
            let () = node.query(redis::cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(epoch)).await?;
            if index < self.primaries {
                let bound = |part: usize| part * usize::from(SLOTS) / self.primaries;
                let (first, last) = (bound(index), bound(index + 1) - 1);
                let mut add = redis::cmd("CLUSTER");
                let () = node.query(add.arg("ADDSLOTSRANGE").arg(first).arg(last)).await?;
            }
        }
        Ok(())
    }

    async fn attach_replicas(&self, cluster: &Cluster) -> Result<(), Error> {
        for (place, replica) in cluster.nodes[self.primaries..].iter().enumerate() {
            let primary = &cluster.ids[place / self.replicas_per_primary];
            let () = replica.query(redis::cmd("CLUSTER").arg("REPLICATE").arg(primary)).await?;
        }
        Ok(())
    }
}

async fn start_all(recipe: Recipe, count: usize) -> Result<Vec<Server>, Error> {
    let mut starting = JoinSet::new();
    for index in 0..count {
        let recipe = recipe.clone();
        starting.spawn(async move { (index, Server::launch(recipe).await) });
    }
    let mut nodes = Vec::with_capacity(count);
    while let Some(started) = starting.join_next().await {
        let failed = |error| Error::io("starting a node")(std::io::Error::other(error));
        let (index, node) = started.map_err(failed)?;
        nodes.push((index, node?));
    }
    nodes.sort_unstable_by_key(|(index, _)| *index);
    Ok(nodes.into_iter().map(|(_, node)| node).collect())
}

/// Introduces every pair: quicker than to introduce one and let gossip do the rest.
async fn meet(cluster: &Cluster) -> Result<(), Error> {
    for (index, node) in cluster.nodes.iter().enumerate() {
        for other in &cluster.nodes[index + 1..] {
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(other.port()).arg(other.bus_port());
            let () = node.query(&meet).await?;
        }
    }
    eventually("all nodes to know each other", PATIENCE, || async {
        for (index, node) in cluster.nodes.iter().enumerate() {
            let view = nodes_seen_by(node).await.map_err(|error| error.to_string())?;
            let known = view.iter().filter(|line| line.is_settled()).count();
            if known != cluster.nodes.len() || view.len() != known {
                return Err(format!("node {index} knows {known} of {}", view.len()));
            }
        }
        Ok(())
    })
    .await
}
