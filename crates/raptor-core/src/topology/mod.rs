//! Which server a call goes to, and what is sent again: standalone, sentinel, cluster.
//!
//! One rule holds everywhere: what a server *refused* before doing anything, and what was never
//! sent, may be sent again, alone, until the call's deadline. What got no answer never is.

mod cluster;
mod election;
mod sentinel;
mod slots;
mod standalone;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Endpoint, RedisConfig, Topology as Layout};
use crate::driver::{self, Answer, Request, ServerError, Target};
use crate::error::Result;
use crate::node::Size;
use crate::reply::Reply;
use crate::supervisor::CallError;
use crate::telemetry;

/// Where a call must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the owner of a hash slot.
    Slot(u16),
    /// To any server that takes writes.
    Any,
}

/// Why a call has no reply, after everything that may be tried again was.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It did not run.
    NotSent(String),
    /// It was sent and may have run: the link broke.
    Lost(String),
    /// It was sent and may have run: no answer by the deadline.
    Late,
    /// The server answered with an error.
    Refused(ServerError),
    /// The connection was refused (credentials, rights).
    Rejected(ServerError),
    /// The reply did not fit.
    Misfit(String),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent(why) => Self::NotSent(why),
            CallError::Rejected(refused) => Self::Rejected(refused),
            CallError::Lost(why) => Self::Lost(why),
            CallError::Late => Self::Late,
            CallError::Misfit(why) => Self::Misfit(why),
        }
    }
}

/// The servers behind a client.
pub(crate) enum Topology {
    Standalone(standalone::Standalone),
    Sentinel(sentinel::Sentinel),
    Cluster(cluster::Cluster),
}

impl Topology {
    /// Starts to connect in the background.
    pub(crate) fn start(config: &RedisConfig) -> Result<Self> {
        let tls = config.tls().map(|tls| driver::tls_config(tls.ca_file())).transpose()?;
        let target = |endpoint: &Endpoint| Target {
            endpoint: endpoint.clone(),
            credentials: config.credentials().clone(),
            tls: tls.clone(),
            database: config.database(),
            protocol: config.protocol(),
            connect_timeout: config.connect_timeout(),
            driver: config.driver(),
        };
        let connections = config.max_connections();
        Ok(match config.topology() {
            Layout::Standalone(endpoint) => {
                Self::Standalone(standalone::Standalone::start(target(endpoint), connections))
            }
            Layout::Sentinel { service, sentinels, credentials } => {
                let watched = sentinels.iter().map(|endpoint| Target {
                    credentials: credentials.clone(),
                    database: 0,
                    ..target(endpoint)
                });
                let master = target(&sentinels[0]);
                Self::Sentinel(sentinel::Sentinel::start(
                    service.clone(),
                    watched.collect(),
                    master,
                    connections,
                ))
            }
            Layout::Cluster { seeds } => Self::Cluster(cluster::Cluster::start(
                seeds.iter().map(target).collect(),
                connections,
            )),
        })
    }

    /// Waits until calls can be served, or says why they cannot.
    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), Failure> {
        match self {
            Self::Standalone(servers) => servers.ready(deadline).await,
            Self::Sentinel(servers) => servers.ready(deadline).await,
            Self::Cluster(servers) => servers.ready(deadline).await,
        }
    }

    /// One request, its reply by `deadline`.
    pub(crate) async fn call(
        &self,
        route: Route,
        request: &Request,
        size: Size,
        deadline: Instant,
        resends: &Resends,
    ) -> Result<Reply, Failure> {
        let backoff = Backoff::new(deadline, resends);
        match self {
            Self::Standalone(servers) => servers.call(request, size, backoff).await,
            Self::Sentinel(servers) => servers.call(request, size, backoff).await,
            Self::Cluster(servers) => servers.call(route, request, size, backoff).await,
        }
    }

    /// Every server that takes writes, as of now: a name for it, and a slot that it owns.
    pub(crate) fn primaries(&self) -> Vec<(String, u16)> {
        match self {
            Self::Standalone(_) | Self::Sentinel(_) => vec![(String::new(), 0)],
            Self::Cluster(servers) => servers.primaries(),
        }
    }

    /// A server to subscribe at.
    pub(crate) async fn subscribe_at(&self, deadline: Instant) -> Result<Target, Failure> {
        match self {
            Self::Standalone(servers) => Ok(servers.target()),
            Self::Sentinel(servers) => servers.target(deadline).await,
            Self::Cluster(servers) => servers.target(deadline).await,
        }
    }

    /// Whether messages still arrive at a subscription at `endpoint`.
    pub(crate) fn serves(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Standalone(_) => true,
            Self::Sentinel(servers) => servers.serves(endpoint),
            Self::Cluster(servers) => servers.serves(endpoint),
        }
    }

    /// Ends every connection now.
    pub(crate) fn close(&self) {
        match self {
            Self::Standalone(servers) => servers.close(),
            Self::Sentinel(servers) => servers.close(),
            Self::Cluster(servers) => servers.close(),
        }
    }
}

/// How often one call was sent again.
#[derive(Default)]
pub(crate) struct Resends(AtomicU32);

impl Resends {
    pub(crate) fn count(&self, reason: &'static str) {
        telemetry::resent(reason);
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn so_far(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The time of one call, and the pauses between its resends: 2 ms, doubling to 50 ms.
///
/// The last tenth of the call's time is left to the answer: a resend that could no longer be
/// answered would turn a plain refusal into an unknown outcome.
pub(crate) struct Backoff<'a> {
    deadline: Instant,
    pause: Duration,
    last_resend: Instant,
    resends: &'a Resends,
}

impl<'a> Backoff<'a> {
    fn new(deadline: Instant, resends: &'a Resends) -> Self {
        let left = deadline.saturating_duration_since(Instant::now());
        let pause = Duration::from_millis(2);
        Self { deadline, pause, last_resend: deadline - left / 10, resends }
    }

    /// Pauses, and says whether there is time for another try.
    async fn pause(&mut self, reason: &'static str) -> bool {
        let until = Instant::now() + self.pause;
        if until >= self.last_resend {
            return false;
        }
        tokio::time::sleep_until(until).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(50));
        self.resends.count(reason);
        true
    }
}

/// The one answer of a batch whose last request is the caller's.
fn last(mut answers: Vec<Answer>) -> Answer {
    answers.pop().unwrap_or_else(|| Err(ServerError("ERR no answer".into())))
}

/// Why a refused request may be sent to the *same* server again after a pause.
fn passing(refused: &ServerError) -> Option<&'static str> {
    match refused.word() {
        "LOADING" => Some("loading"),
        "MASTERDOWN" => Some("masterdown"),
        "TRYAGAIN" => Some("tryagain"),
        _ => None,
    }
}
