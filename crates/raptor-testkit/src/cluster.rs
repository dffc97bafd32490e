//! A private cluster: primaries and replicas of a test's own, formed in about two seconds.

use std::collections::HashMap;
use std::time::Duration;

use crate::cluster_view::{NodeView, field, nodes_seen_by};
use crate::{ClusterBuilder, Error, Server, eventually};

/// Long enough for elections on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running cluster. Its servers end when this is dropped, and when the test process is killed.
///
/// Nodes are named by index: primaries first, then the replicas of node 0, of node 1 and so on. An index names the
/// same process for ever; who is primary of what changes with failovers, so it is asked from the servers.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use raptor_testkit::{Cluster, redis, slot_of};
///
/// let cluster = Cluster::builder().primaries(3).start().await?;
/// let slot = slot_of(b"{tenant}:jobs");
/// let owner = cluster.owner_of_slot(slot).await?;
/// cluster.node(owner).query::<()>(redis::cmd("SET").arg("{tenant}:jobs").arg(1)).await?;
/// cluster.migrate_slot(slot, (owner + 1) % 3).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Cluster {
    pub(crate) nodes: Vec<Server>,
    pub(crate) ids: Vec<String>,
}

impl Cluster {
    /// A cluster with settings of your own; by default 3 primaries without replicas.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    /// Where clients connect: `redis-cluster://127.0.0.1:P1,127.0.0.1:P2,…`, with `:PASSWORD@` if one is set.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| node.addr().to_string()).collect();
        let userinfo = self.nodes.first().map(Server::userinfo).unwrap_or_default();
        format!("redis-cluster://{userinfo}{}", hosts.join(","))
    }

    /// All nodes, dead ones included.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The node with this index, to kill, stop, restart or ask it.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index]
    }

    /// The slot of a key: [`slot_of`](crate::slot_of).
    pub fn slot_of(key: &[u8]) -> u16 {
        crate::slot_of(key)
    }

    /// The node that owns a slot: the running one that claims it with the highest epoch, else whom the others name.
    pub async fn owner_of_slot(&self, slot: u16) -> Result<usize, Error> {
        let mut best: Option<(bool, u64, usize)> = None;
        for view in self.views().await? {
            let claims = view.iter().filter(|line| line.is("master") && line.owns(slot));
            for line in claims {
                let Some(index) = self.index_of(&line.id) else { continue };
                best = best.max(Some((line.is("myself"), line.epoch, index)));
            }
        }
        best.map(|(_, _, index)| index).ok_or_else(|| missing(format!("an owner of slot {slot}")))
    }

    /// The node that holds a key's slot.
    pub async fn owner_of_key(&self, key: &[u8]) -> Result<usize, Error> {
        self.owner_of_slot(crate::slot_of(key)).await
    }

    /// A running replica of this primary, or `None`.
    pub async fn replica_of(&self, primary: usize) -> Result<Option<usize>, Error> {
        for (index, node) in self.running() {
            let view = nodes_seen_by(node).await?;
            let own = view.iter().find(|line| line.is("myself"));
            if own.is_some_and(|own| own.primary.as_ref() == Some(&self.ids[primary])) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Waits until all running nodes call the cluster ok, agree on who owns each slot, know each other, and all
    /// running replicas follow their primaries.
    ///
    /// Nodes that are dead or stopped do not count, except that their slots must be served by someone else.
    pub async fn wait_ok(&self) -> Result<(), Error> {
        eventually("the cluster to be ok", PATIENCE, || self.look()).await
    }

    async fn look(&self) -> Result<(), String> {
        let mut owners: Option<HashMap<u16, usize>> = None;
        for (index, node) in self.running() {
            let view = nodes_seen_by(node).await.map_err(|error| error.to_string())?;
            self.look_at_view(index, &view)?;
            let seen = self.owners_in(&view);
            if owners.as_ref().is_some_and(|owners| *owners != seen) {
                return Err(format!("node {index} disagrees about who owns which slot"));
            }
            owners = Some(seen);
            look_at_info(index, node).await?;
        }
        Ok(())
    }

    fn look_at_view(&self, index: usize, view: &[NodeView]) -> Result<(), String> {
        if view.len() != self.nodes.len() {
            return Err(format!("node {index} knows {} of {} nodes", view.len(), self.nodes.len()));
        }
        for line in view {
            let other = self.index_of(&line.id);
            let Some(other) = other else {
                return Err(format!("node {index} still meets {}", line.port));
            };
            if self.nodes[other].is_running() && !line.is_settled() {
                return Err(format!("node {index} sees node {other} as {}", line.flags.join(",")));
            }
        }
        Ok(())
    }

    fn owners_in(&self, view: &[NodeView]) -> HashMap<u16, usize> {
        let lines = view.iter().filter_map(|line| Some((self.index_of(&line.id)?, line)));
        let ranges =
            lines.flat_map(|(index, line)| line.slots.iter().map(move |range| (index, range)));
        ranges.flat_map(|(index, range)| range.clone().map(move |slot| (slot, index))).collect()
    }

    /// What each running node believes.
    pub(crate) async fn views(&self) -> Result<Vec<Vec<NodeView>>, Error> {
        let mut views = Vec::new();
        for (_, node) in self.running() {
            views.push(nodes_seen_by(node).await?);
        }
        Ok(views)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Server)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_running())
    }

    pub(crate) fn index_of(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|own| own == id)
    }
}

async fn look_at_info(index: usize, node: &Server) -> Result<(), String> {
    let ask = async |command: &redis::Cmd| {
        node.query::<String>(command).await.map_err(|error| error.to_string())
    };
    let info = ask(redis::cmd("CLUSTER").arg("INFO")).await?;
    for (name, wanted) in [("cluster_state", "ok"), ("cluster_slots_ok", "16384")] {
        let seen = field(&info, name).unwrap_or("missing");
        if seen != wanted {
            return Err(format!("node {index}: {name} is {seen}"));
        }
    }
    let info = ask(redis::cmd("INFO").arg("replication")).await?;
    if field(&info, "master_link_status").is_some_and(|status| status != "up") {
        return Err(format!("replica {index} is not in sync"));
    }
    let behind = |line: &&str| line.contains(",state=") && !line.contains(",state=online");
    let waiting = info.lines().find(behind);
    waiting.map_or(Ok(()), |line| Err(format!("primary {index} has {line}")))
}

/// For what the servers ought to know and do not.
pub(crate) fn missing(what: String) -> Error {
    Error::Timeout { what, waited: Duration::ZERO, last: "no running node names one".to_owned() }
}
