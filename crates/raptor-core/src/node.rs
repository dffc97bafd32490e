//! One server: a lane for ordinary calls and, once needed, one for large values.
//!
//! A reply of 16 MB holds up everything behind it on its connection. Calls that send or expect
//! large values therefore travel apart, and small calls never wait for them.

use std::sync::OnceLock;

use tokio::time::Instant;

use crate::driver::{Answer, Request, Target};
use crate::supervisor::{CallError, Lane};

/// Requests with more argument bytes than this take the lane for large values.
pub(crate) const LARGE: usize = 64 * 1024;

/// Which lane a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// By what the request holds.
    Auto,
    /// A large reply is expected.
    Large,
}

/// One server and the connections to it.
pub(crate) struct Node {
    target: Target,
    must_be_master: bool,
    small: Lane,
    large: Option<OnceLock<Lane>>,
}

impl Node {
    /// Starts to connect. At most `max_connections` are held; with one there is no second lane.
    pub(crate) fn start(target: Target, must_be_master: bool, max_connections: usize) -> Self {
        Self {
            small: Lane::start(target.clone(), must_be_master),
            large: (max_connections > 1).then(OnceLock::new),
            target,
            must_be_master,
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn is_up(&self) -> bool {
        self.small.is_up()
    }

    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), CallError> {
        self.small.ready(deadline).await
    }

    pub(crate) async fn call(
        &self,
        batch: &[Request],
        size: Size,
        deadline: Instant,
    ) -> Result<Vec<Answer>, CallError> {
        let large = size == Size::Large || batch.iter().map(Request::size).sum::<usize>() > LARGE;
        match &self.large {
            Some(lane) if large && !self.small.is_closed() => {
                let start = || Lane::start_patient(self.target.clone(), self.must_be_master);
                lane.get_or_init(start).call(batch, deadline).await
            }
            _ => self.small.call(batch, deadline).await,
        }
    }

    /// Asks for new connections in place of the present ones.
    pub(crate) fn renew(&self) {
        self.small.renew();
        if let Some(lane) = self.large.as_ref().and_then(OnceLock::get) {
            lane.renew();
        }
    }

    /// Ends the connections now: what is in flight is lost.
    pub(crate) fn close(&self) {
        self.small.close();
        if let Some(lane) = self.large.as_ref().and_then(OnceLock::get) {
            lane.close();
        }
    }
}
