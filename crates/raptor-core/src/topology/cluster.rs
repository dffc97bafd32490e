//! A cluster: the slot map, redirections, and one supervised node for each primary.
//!
//! A dead primary stalls only its own slots: every node has connections of its own, and the map
//! is refreshed from whoever answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::slots::{View, parse_redirection};
use super::{Backoff, Failure, Resends, Route, last, passing};
use crate::config::Endpoint;
use crate::driver::{Answer, Request, ServerError, Target};
use crate::keys::SLOTS;
use crate::node::{Node, Size};
use crate::reply::Reply;
use crate::supervisor::CallError;
use crate::telemetry;

/// Redirections that one call follows; a sane cluster needs two.
const MAX_REDIRECTIONS: usize = 16;
/// How often the map is refreshed when all is well, and when a primary is away.
const REFRESH: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(200));
/// The least time between two refreshes.
const REFRESH_GAP: Duration = Duration::from_millis(50);
/// How long a node may take to describe the cluster.
const DESCRIBE_DEADLINE: Duration = Duration::from_millis(500);
/// How many nodes are asked at once.
const ASKED: usize = 3;
/// Views older than ours in a row before one is believed (the cluster was made anew).
const STALE_VIEWS: u32 = 10;
/// How long a call that could not be sent waits for the map to name another owner.
const NEW_OWNER_WAIT: Duration = Duration::from_millis(250);
/// No owner, in a map.
const NOBODY: u16 = u16::MAX;

/// A cluster and the task that keeps its map.
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    seeds: Vec<Target>,
    max_connections: usize,
    map: ArcSwap<Map>,
    /// Every node with connections: the map's, and those met by redirection.
    nodes: Mutex<HashMap<Endpoint, Arc<Node>>>,
    refresh: Notify,
    /// The result of each refresh.
    refreshed: watch::Sender<Option<Result<(), Failure>>>,
}

/// Who owns which slot.
struct Map {
    epoch: u64,
    primaries: Vec<Arc<Node>>,
    /// Indexes into `primaries`; atomic, so that a MOVED corrects one slot in place.
    owners: Vec<AtomicU16>,
}

impl Map {
    fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        let index = self.owners.get(usize::from(slot))?.load(Ordering::Relaxed);
        self.primaries.get(usize::from(index))
    }

    /// Some primary has slots and no connection, or some slot has no owner.
    fn troubled(&self) -> bool {
        self.primaries.iter().any(|node| !node.is_up())
            || self.owners.iter().any(|owner| owner.load(Ordering::Relaxed) == NOBODY)
    }
}

impl Cluster {
    pub(crate) fn start(seeds: Vec<Target>, max_connections: usize) -> Self {
        let shared = Arc::new(Shared {
            seeds,
            max_connections,
            map: ArcSwap::from_pointee(Map { epoch: 0, primaries: Vec::new(), owners: Vec::new() }),
            nodes: Mutex::new(HashMap::new()),
            refresh: Notify::new(),
            refreshed: watch::Sender::new(None),
        });
        let task = tokio::spawn(keep_map(Arc::clone(&shared))).abort_handle();
        Self { shared, task }
    }

    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), Failure> {
        let mut refreshed = self.shared.refreshed.subscribe();
        let outcome = async {
            // Seeds may still be connecting: only a success, or the deadline, ends the wait.
            loop {
                let result = refreshed.borrow_and_update().clone();
                match result {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(failure @ (Failure::Refused(_) | Failure::Rejected(_)))) => {
                        return Err(failure);
                    }
                    _ => {}
                }
                if refreshed.changed().await.is_err() {
                    return Err(Failure::NotSent("the client is closed".into()));
                }
            }
        };
        match tokio::time::timeout_at(deadline, outcome).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                return Err(match self.shared.refreshed.borrow().clone() {
                    Some(Err(failure)) => failure,
                    _ => Failure::NotSent("no seed of the cluster can be reached".into()),
                });
            }
        }
        let map = self.shared.map.load_full();
        for node in &map.primaries {
            // A primary that is away must not keep the others from being used.
            let _ = node.ready(deadline).await;
        }
        Ok(())
    }

    pub(crate) async fn call(
        &self,
        route: Route,
        request: &Request,
        size: Size,
        mut backoff: Backoff<'_>,
    ) -> Result<Reply, Failure> {
        let shared = &*self.shared;
        let deadline = backoff.deadline;
        let mut redirections = 0;
        let mut redirect: Option<(Arc<Node>, bool)> = None;
        loop {
            let picked = redirect.take().or_else(|| Some((shared.pick(route)?, false)));
            let Some((node, asking)) = picked else {
                shared.refresh.notify_one();
                if backoff.pause("clusterdown").await {
                    continue;
                }
                return Err(Failure::NotSent(format!("no primary of the cluster serves {route}")));
            };
            let outcome = if asking {
                let batch = [Request::new("ASKING"), request.clone()];
                node.call(&batch, size, deadline).await
            } else {
                node.call(std::slice::from_ref(request), size, deadline).await
            };
            let refused = match outcome.map(answer) {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(refused)) => refused,
                Err(error @ (CallError::NotSent(_) | CallError::Rejected(_))) => {
                    if !shared.another_owner(route, &node, deadline).await {
                        return Err(error.into());
                    }
                    backoff.resends.count("unsent");
                    continue;
                }
                Err(error) => {
                    shared.refresh.notify_one();
                    return Err(error.into());
                }
            };
            match refused.word() {
                "MOVED" | "ASK" if redirections < MAX_REDIRECTIONS => {
                    redirections += 1;
                    let Some(next) = shared.follow(&refused, &node, backoff.resends) else {
                        return Err(Failure::Refused(refused));
                    };
                    // A loop of redirections (a cluster in the middle of a change) is not spun.
                    if redirections > 4 && !backoff.pause("moved").await {
                        return Err(Failure::Refused(refused));
                    }
                    redirect = Some(next);
                }
                "CLUSTERDOWN" | "READONLY" => {
                    shared.refresh.notify_one();
                    let reason =
                        if refused.word() == "READONLY" { "readonly" } else { "clusterdown" };
                    if !backoff.pause(reason).await {
                        return Err(Failure::Refused(refused));
                    }
                }
                // Keys on both sides of a migration: each by itself is served.
                "TRYAGAIN" if request.divisible => return Err(Failure::Refused(refused)),
                _ => match passing(&refused) {
                    Some(reason) if backoff.pause(reason).await => {}
                    _ => return Err(Failure::Refused(refused)),
                },
            }
        }
    }

    /// The primaries with slots: where they are, and the first slot of each.
    pub(crate) fn primaries(&self) -> Vec<(String, u16)> {
        let map = self.shared.map.load();
        let first_slot = |index: usize| {
            let owns = |owner: &AtomicU16| usize::from(owner.load(Ordering::Relaxed)) == index;
            map.owners.iter().position(owns)
        };
        let named = map.primaries.iter().enumerate().filter_map(|(index, node)| {
            Some((node.target().endpoint.to_string(), first_slot(index)? as u16))
        });
        named.collect()
    }

    /// Whether a subscription there is where messages arrive.
    pub(crate) fn serves(&self, endpoint: &Endpoint) -> bool {
        let map = self.shared.map.load();
        map.primaries.iter().any(|node| node.target().endpoint == *endpoint)
    }

    /// Any primary that can be reached: messages reach subscribers at every node.
    pub(crate) async fn target(&self, deadline: Instant) -> Result<Target, Failure> {
        self.ready(deadline).await?;
        match self.shared.pick(Route::Any) {
            Some(node) => Ok(node.target().clone()),
            None => Err(Failure::NotSent("no primary of the cluster can be reached".into())),
        }
    }

    pub(crate) fn close(&self) {
        self.task.abort();
        for node in self.shared.nodes().values() {
            node.close();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slot(slot) => write!(f, "slot {slot}"),
            Self::Any => f.write_str("any slot"),
        }
    }
}

impl Shared {
    fn nodes(&self) -> MutexGuard<'_, HashMap<Endpoint, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn pick(&self, route: Route) -> Option<Arc<Node>> {
        let map = self.map.load();
        match route {
            Route::Slot(slot) => map.owner(slot).cloned(),
            Route::Any => {
                let up = map.primaries.iter().find(|node| node.is_up());
                up.or(map.primaries.first()).cloned()
            }
        }
    }

    fn node_at(&self, endpoint: &Endpoint) -> Option<Arc<Node>> {
        let template = self.seeds.first()?;
        let mut nodes = self.nodes();
        let node = nodes.entry(endpoint.clone()).or_insert_with(|| {
            let target = Target { endpoint: endpoint.clone(), ..template.clone() };
            Arc::new(Node::start(target, false, self.max_connections))
        });
        Some(Arc::clone(node))
    }

    /// The node that a redirection names, and whether it must be told that we are asking.
    fn follow(
        &self,
        refused: &ServerError,
        from: &Node,
        resends: &Resends,
    ) -> Option<(Arc<Node>, bool)> {
        let asking = refused.word() == "ASK";
        let (slot, endpoint) = parse_redirection(&refused.0, host_of(&from.target().endpoint))?;
        let node = self.node_at(&endpoint)?;
        resends.count(if asking { "ask" } else { "moved" });
        if !asking {
            let map = self.map.load();
            let index = map.primaries.iter().position(|primary| Arc::ptr_eq(primary, &node));
            if let (Some(index), Some(owner)) = (index, map.owners.get(usize::from(slot))) {
                owner.store(index as u16, Ordering::Relaxed);
            }
            self.refresh.notify_one();
        }
        Some((node, asking))
    }

    /// Refreshes the map, and says whether somebody else than `node` is now to be asked.
    async fn another_owner(&self, route: Route, node: &Arc<Node>, deadline: Instant) -> bool {
        let changed = || self.pick(route).is_some_and(|owner| !Arc::ptr_eq(&owner, node));
        let mut refreshed = self.refreshed.subscribe();
        self.refresh.notify_one();
        let wait = async { while !changed() && refreshed.changed().await.is_ok() {} };
        let until = deadline.min(Instant::now() + NEW_OWNER_WAIT);
        let _ = tokio::time::timeout_at(until, wait).await;
        changed()
    }

    /// Asks a few nodes what the cluster looks like; the newest view wins.
    async fn describe(&self) -> Result<View, Failure> {
        let map = self.map.load_full();
        let mut asked: Vec<Arc<Node>> =
            map.primaries.iter().filter(|node| node.is_up()).take(ASKED).cloned().collect();
        if asked.is_empty() {
            asked = self.nodes().values().cloned().collect();
            let seeds = self.seeds.iter().filter_map(|seed| self.node_at(&seed.endpoint));
            let seeds: Vec<_> =
                seeds.filter(|seed| !asked.iter().any(|n| Arc::ptr_eq(n, seed))).collect();
            asked.extend(seeds);
        }
        let views = join_all(asked.iter().map(|node| describe_from(node))).await;
        let mut refused = None;
        let mut unreachable = None;
        let mut best: Option<View> = None;
        for view in views {
            match view {
                Ok(view) => {
                    let rank = |view: &View| (view.epoch, view.covered());
                    if best.as_ref().is_none_or(|best| rank(best) < rank(&view)) {
                        best = Some(view);
                    }
                }
                Err(why @ (Failure::Refused(_) | Failure::Rejected(_))) => refused = Some(why),
                Err(why) => unreachable = Some(why),
            }
        }
        // While one may still answer, what others refuse decides nothing.
        best.ok_or_else(|| {
            let nobody = || Failure::NotSent("no node of the cluster can be reached".into());
            unreachable.or(refused).unwrap_or_else(nobody)
        })
    }

    fn adopt(&self, view: &View) {
        let mut primaries = Vec::new();
        let mut owners = vec![NOBODY; usize::from(SLOTS)];
        for primary in view.primaries.iter().filter(|primary| !primary.ranges.is_empty()) {
            let Some(node) = self.node_at(&primary.endpoint) else { continue };
            for &(from, to) in &primary.ranges {
                owners[usize::from(from)..=usize::from(to)].fill(primaries.len() as u16);
            }
            primaries.push(node);
        }
        let old = self.map.load_full();
        let same = old.primaries.len() == primaries.len()
            && old.primaries.iter().zip(&primaries).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            telemetry::topology_changed("cluster");
            tracing::info!(primaries = primaries.len(), epoch = view.epoch, "slot map changed");
        }
        let owners = owners.into_iter().map(AtomicU16::new).collect();
        self.map.store(Arc::new(Map { epoch: view.epoch, primaries, owners }));
        // Calls under way keep their node until they end; nobody new will find it.
        let known = |endpoint: &Endpoint| view.primaries.iter().any(|p| p.endpoint == *endpoint);
        self.nodes().retain(|endpoint, _| known(endpoint));
    }
}

/// The request's own answer; or, where ASKING went before it, was refused (by an ACL) and the request
/// therefore sent away, that refusal.
fn answer(answers: Vec<Answer>) -> Answer {
    match &answers[..] {
        [Err(refused), Err(away)] if away.word() == "MOVED" => Err(refused.clone()),
        _ => last(answers),
    }
}

fn host_of(endpoint: &Endpoint) -> &str {
    match endpoint {
        Endpoint::Tcp { host, .. } => host,
        Endpoint::Unix(_) => "127.0.0.1",
    }
}

async fn describe_from(node: &Node) -> Result<View, Failure> {
    let deadline = Instant::now() + DESCRIBE_DEADLINE;
    let request = [Request::new("CLUSTER").arg("NODES")];
    let text = match last(node.call(&request, Size::Auto, deadline).await?) {
        Ok(reply) => reply.decode::<String>().unwrap_or_default(),
        Err(refused) => return Err(Failure::Refused(refused)),
    };
    let target = node.target();
    View::parse(&text, host_of(&target.endpoint), target.tls.is_some())
        .filter(|view| view.covered() > 0)
        .ok_or_else(|| Failure::NotSent(format!("{} knows no slot map", target.endpoint)))
}

/// Keeps the map true: on demand, often while a primary is away, else now and then.
async fn keep_map(shared: Arc<Shared>) {
    let mut stale = 0;
    loop {
        let started = Instant::now();
        let outcome = shared.describe().await.map(|view| {
            let old = shared.map.load().epoch;
            stale = if view.epoch < old { stale + 1 } else { 0 };
            if stale == 0 || stale >= STALE_VIEWS {
                stale = 0;
                shared.adopt(&view);
            }
        });
        let failed = outcome.is_err();
        if let Err(failure) = &outcome {
            tracing::debug!(?failure, "the cluster could not be described");
        }
        shared.refreshed.send_replace(Some(outcome));
        let troubled = failed || shared.map.load().troubled();
        let pause = if troubled { REFRESH.1 } else { REFRESH.0 };
        tokio::time::sleep_until(started + REFRESH_GAP).await;
        tokio::select! {
            () = shared.refresh.notified() => {}
            () = tokio::time::sleep_until(started + pause) => {}
        }
    }
}
