//! Failover on request: a replica takes over its primary's slots.

use std::time::Duration;

use crate::cluster::{PATIENCE, missing};
use crate::cluster_view::nodes_seen_by;
use crate::{Cluster, Error, eventually};

/// How a replica takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverMode {
    /// The primary holds its clients until the replica has everything: nothing is lost. Both must live.
    Graceful,
    /// The replica asks the other primaries for their votes without asking its own primary, which may be dead.
    Force,
    /// The replica takes over without any vote; works without a majority.
    Takeover,
}

impl Cluster {
    /// Makes a replica of `primary` the new primary, and returns its index when all running nodes follow it.
    ///
    /// With the old primary running, also waits until that one follows as a replica. Takes some 10–100 ms; but voters
    /// refuse a second election for the same slots within twice the node timeout, and then it takes seconds (Redis
    /// 7.0 waits for four times the node timeout). An election that comes to nothing is asked for again.
    pub async fn failover(&self, primary: usize, mode: FailoverMode) -> Result<usize, Error> {
        let heir = self.replica_of(primary).await?;
        let heir = heir.ok_or_else(|| missing(format!("a running replica of node {primary}")))?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("FAILOVER");
        match mode {
            FailoverMode::Graceful => {}
            FailoverMode::Force => _ = command.arg("FORCE"),
            FailoverMode::Takeover => _ = command.arg("TAKEOVER"),
        }
        // A manual failover is given up by the servers after 5 s, an election sooner.
        for _ in 0..3 {
            let () = self.node(heir).query(&command).await?;
            if self.promoted(heir, Duration::from_secs(6)).await.is_ok() {
                break;
            }
        }
        self.promoted(heir, Duration::from_millis(1)).await?;
        if self.node(primary).is_running() {
            self.wait_ok().await?;
        } else {
            self.followed(heir).await?;
        }
        Ok(heir)
    }

    async fn promoted(&self, heir: usize, limit: Duration) -> Result<(), Error> {
        eventually(&format!("node {heir} to be primary"), limit, || async {
            let view = nodes_seen_by(self.node(heir)).await.map_err(|error| error.to_string())?;
            let own = view.iter().find(|line| line.is("myself"));
            match own {
                Some(own) if own.is("master") && !own.slots.is_empty() => Ok(()),
                own => Err(format!("{own:?}")),
            }
        })
        .await
    }

    /// Waits until all running nodes see slots at the heir.
    async fn followed(&self, heir: usize) -> Result<(), Error> {
        eventually(&format!("all nodes to follow node {heir}"), PATIENCE, || async {
            let views = self.views().await.map_err(|error| error.to_string())?;
            let lines = views.iter().flatten().filter(|line| line.id == self.ids[heir]);
            let followers =
                lines.filter(|line| line.is("master") && !line.slots.is_empty()).count();
            if followers == views.len() {
                Ok(())
            } else {
                Err(format!("{followers} of {}", views.len()))
            }
        })
        .await
    }
}
