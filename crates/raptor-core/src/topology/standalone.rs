//! One server.

use tokio::time::Instant;

use super::{Backoff, Failure, last, passing};
use crate::driver::{Request, Target};
use crate::node::{Node, Size};
use crate::reply::Reply;

/// One server, which is whatever its endpoint leads to.
pub(crate) struct Standalone {
    node: Node,
}

impl Standalone {
    pub(crate) fn start(target: Target, max_connections: usize) -> Self {
        Self { node: Node::start(target, false, max_connections) }
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
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let mut backoff = Backoff::new(deadline);
        loop {
            let answers = self.node.call(std::slice::from_ref(request), size, deadline).await?;
            let refused = match last(answers) {
                Ok(reply) => return Ok(reply),
                Err(refused) => refused,
            };
            match passing(&refused) {
                Some(reason) if backoff.pause(reason).await => {}
                _ => return Err(Failure::Refused(refused)),
            }
        }
    }

    pub(crate) fn close(&self) {
        self.node.close();
    }
}
