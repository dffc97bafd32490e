//! One server.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::{Backoff, Failure, last, passing};
use crate::driver::{Request, Target};
use crate::node::{Node, Size};
use crate::reply::Reply;

/// The least time between two connections given up for READONLY.
const RENEWAL: Duration = Duration::from_secs(1);

/// One server, which is whatever its endpoint leads to.
pub(crate) struct Standalone {
    node: Node,
    /// When the connection was last given up because its server takes no writes.
    renewed: Mutex<Option<Instant>>,
}

impl Standalone {
    pub(crate) fn start(target: Target, max_connections: usize) -> Self {
        Self { node: Node::start(target, false, max_connections), renewed: Mutex::new(None) }
    }

    pub(crate) fn target(&self) -> Target {
        self.node.target().clone()
    }

    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), Failure> {
        Ok(self.node.ready(deadline).await?)
    }

    pub(crate) async fn call(
        &self,
        request: &Request,
        size: Size,
        mut backoff: Backoff<'_>,
    ) -> Result<Reply, Failure> {
        let deadline = backoff.deadline;
        loop {
            let answers = self.node.call(std::slice::from_ref(request), size, deadline).await?;
            let refused = match last(answers) {
                Ok(reply) => return Ok(reply),
                Err(refused) => refused,
            };
            let reason = match refused.word() {
                "READONLY" => {
                    self.renew();
                    Some("readonly")
                }
                _ => passing(&refused),
            };
            match reason {
                Some(reason) if backoff.pause(reason).await => {}
                _ => return Err(Failure::Refused(refused)),
            }
        }
    }

    /// The name or address may lead to another server by now (a failover behind it), while this
    /// connection still leads to the one that was demoted. At most once a second.
    fn renew(&self) {
        let now = Instant::now();
        let mut renewed = self.renewed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if renewed.is_none_or(|at| now - at >= RENEWAL) {
            *renewed = Some(now);
            self.node.renew();
        }
    }

    pub(crate) fn close(&self) {
        self.node.close();
    }
}
