//! A master that sentinels appoint.
//!
//! The sentinels are asked each second and after every sign of trouble, and tell of a switch at
//! once (`+switch-master`). The old master is *fenced* in that moment: its connections are closed
//! and a reply that it still gave is not believed, since the new master will make it forget. Whom
//! to follow is decided in `election.rs`.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::election::{Claim, Election, Verdict};
use super::slots::parse_host_port;
use super::{Backoff, Failure, last, passing};
use crate::config::Endpoint;
use crate::driver::{self, Event, Request, Target};
use crate::node::{Node, Size};
use crate::reply::Reply;
use crate::supervisor::{CallError, Lane};
use crate::telemetry;

/// How often the sentinels are asked.
const POLL: Duration = Duration::from_secs(1);
/// How long a sentinel may take to answer.
const ASK_DEADLINE: Duration = Duration::from_millis(500);
/// How long a call that could not be sent waits for another master.
const NEW_MASTER_WAIT: Duration = Duration::from_millis(250);
/// Pause before a lost subscription to a sentinel is taken up again.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// Silence after which a sentinel is asked for a sign of life, and how long that may take.
const QUIET: Duration = Duration::from_secs(5);
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// The master of a service, followed.
pub(crate) struct Sentinel {
    shared: Arc<Shared>,
    // Aborts what it holds when dropped.
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    service: String,
    /// Credentials and settings of the master; the endpoint is the sentinels' to say.
    template: Target,
    max_connections: usize,
    sentinels: Vec<Lane>,
    election: Mutex<Election>,
    /// `None` while nobody is known or trusted.
    master: watch::Sender<Option<Arc<Node>>>,
    poke: Notify,
    /// Why there is no master.
    trouble: Mutex<Failure>,
}

impl Sentinel {
    pub(crate) fn start(
        service: String,
        sentinels: Vec<Target>,
        template: Target,
        max_connections: usize,
    ) -> Self {
        let lanes = sentinels.iter().map(|target| Lane::start(target.clone(), false)).collect();
        let shared = Arc::new(Shared {
            service,
            template,
            max_connections,
            sentinels: lanes,
            election: Mutex::new(Election::new(sentinels.len())),
            master: watch::Sender::new(None),
            poke: Notify::new(),
            trouble: Mutex::new(Failure::NotSent("no sentinel has answered yet".into())),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(poll(Arc::clone(&shared)));
        for (index, target) in sentinels.into_iter().enumerate() {
            tasks.spawn(listen(Arc::clone(&shared), index, target));
        }
        Self { shared, tasks: Mutex::new(tasks) }
    }

    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), Failure> {
        Ok(self.shared.current(deadline).await?.ready(deadline).await?)
    }

    pub(crate) async fn target(&self, deadline: Instant) -> Result<Target, Failure> {
        Ok(self.shared.current(deadline).await?.target().clone())
    }

    /// Whether a subscription there is where messages arrive; while in doubt, it may be.
    pub(crate) fn serves(&self, endpoint: &Endpoint) -> bool {
        let master = self.shared.master.borrow();
        master.as_ref().is_none_or(|master| master.target().endpoint == *endpoint)
    }

    pub(crate) async fn call(
        &self,
        request: &Request,
        size: Size,
        mut backoff: Backoff<'_>,
    ) -> Result<Reply, Failure> {
        let shared = &*self.shared;
        let deadline = backoff.deadline;
        loop {
            let node = shared.current(deadline).await?;
            let outcome = node.call(std::slice::from_ref(request), size, deadline).await;
            let refused = match outcome.map(last) {
                Ok(Ok(reply)) if shared.is_current(&node) => return Ok(reply),
                Ok(Ok(_)) => {
                    return Err(Failure::Lost("the master was replaced during the call".into()));
                }
                Ok(Err(refused)) => refused,
                Err(error @ (CallError::NotSent(_) | CallError::Rejected(_))) => {
                    if !shared.another_master(&node, deadline).await {
                        return Err(error.into());
                    }
                    backoff.resends.count("unsent");
                    continue;
                }
                Err(error) => {
                    shared.poke.notify_one();
                    return Err(error.into());
                }
            };
            let reason = match refused.word() {
                "READONLY" => {
                    shared.poke.notify_one();
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

    pub(crate) fn close(&self) {
        self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).abort_all();
        self.shared.sentinels.iter().for_each(Lane::close);
        if let Some(master) = &*self.shared.master.borrow() {
            master.close();
        }
    }
}

impl Shared {
    /// The master, waited for until `deadline` while a switch is under way.
    async fn current(&self, deadline: Instant) -> Result<Arc<Node>, Failure> {
        let mut master = self.master.subscribe();
        let known = master.wait_for(Option::is_some);
        if let Ok(Ok(master)) = tokio::time::timeout_at(deadline, known).await
            && let Some(master) = &*master
        {
            return Ok(Arc::clone(master));
        }
        Err(match locked(&self.trouble).clone() {
            Failure::NotSent(why) => Failure::NotSent(format!(
                "no sentinel names a master of {} that can be trusted: {why}",
                self.service
            )),
            rejected => rejected,
        })
    }

    fn is_current(&self, node: &Arc<Node>) -> bool {
        matches!(&*self.master.borrow(), Some(master) if Arc::ptr_eq(master, node))
    }

    async fn another_master(&self, node: &Arc<Node>, deadline: Instant) -> bool {
        self.poke.notify_one();
        let mut master = self.master.subscribe();
        let changed =
            master.wait_for(|master| matches!(master, Some(master) if !Arc::ptr_eq(master, node)));
        let until = deadline.min(Instant::now() + NEW_MASTER_WAIT);
        matches!(tokio::time::timeout_at(until, changed).await, Ok(Ok(_)))
    }

    /// `service old-host old-port new-host new-port`, announced by a sentinel.
    fn switched(&self, sentinel: usize, announcement: &[u8]) {
        let text = String::from_utf8_lossy(announcement);
        let words: Vec<&str> = text.split(' ').collect();
        if let [service, host, port, ..] = words.as_slice()
            && *service == self.service
            && let Some(old) = parse_host_port(&format!("{host}:{port}"), "")
            && locked(&self.election).announced(sentinel, &old)
        {
            self.leave();
        }
        self.poke.notify_one();
    }

    /// Fences the present master: its connections are closed, its replies are not believed.
    fn leave(&self) {
        if let Some(old) = self.master.send_replace(None) {
            old.close();
        }
    }

    fn decide(&self, claims: &[Option<Claim>]) {
        let mut election = locked(&self.election);
        match election.heard(claims) {
            Verdict::Wait => {}
            Verdict::Trust(endpoint) => {
                if self.master.borrow().is_none() {
                    self.start(endpoint);
                }
            }
            Verdict::Follow(endpoint) => {
                telemetry::topology_changed("sentinel");
                tracing::info!(service = self.service, master = %endpoint, "following a master");
                self.leave();
                self.start(endpoint);
            }
        }
    }

    fn start(&self, endpoint: Endpoint) {
        let target = Target { endpoint, ..self.template.clone() };
        let node = Node::start(target, true, self.max_connections);
        self.master.send_replace(Some(Arc::new(node)));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Asks every sentinel who is master, each second and when poked.
async fn poll(shared: Arc<Shared>) {
    loop {
        let answers =
            join_all(shared.sentinels.iter().map(|lane| ask(lane, &shared.service))).await;
        let mut claims = Vec::new();
        for answer in answers {
            if let Err(failure) = &answer {
                *locked(&shared.trouble) = failure.clone();
            }
            claims.push(answer.ok());
        }
        shared.decide(&claims);
        // Without a master, ask again soon.
        let pause = if shared.master.borrow().is_some() { POLL } else { POLL / 10 };
        tokio::time::sleep(Duration::from_millis(20)).await;
        tokio::select! {
            () = shared.poke.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn ask(sentinel: &Lane, service: &str) -> Result<Claim, Failure> {
    let deadline = Instant::now() + ASK_DEADLINE;
    let name = service.to_owned();
    let batch = [
        Request::new("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name.clone()),
        Request::new("SENTINEL").arg("MASTER").arg(name),
    ];
    let mut replies = Vec::new();
    for answer in sentinel.call(&batch, deadline).await? {
        replies.push(answer.map_err(Failure::Refused)?);
    }
    let (details, address) = (replies.pop(), replies.pop());
    let address: Option<Vec<String>> = address.and_then(|reply| reply.decode().ok());
    let details: Option<Vec<Reply>> = details.and_then(|reply| reply.decode().ok());
    claim(address, details)
        .ok_or_else(|| Failure::NotSent(format!("it does not know the service {service}")))
}

fn claim(address: Option<Vec<String>>, details: Option<Vec<Reply>>) -> Option<Claim> {
    let [host, port] = <[String; 2]>::try_from(address?).ok()?;
    let endpoint = parse_host_port(&format!("{host}:{port}"), "")?;
    let details = details?;
    let epoch = details.chunks_exact(2).find_map(|pair| match pair {
        [Reply::Bytes(name), value] if &name[..] == b"config-epoch" => {
            value.clone().decode::<u64>().ok()
        }
        _ => None,
    })?;
    Some(Claim { endpoint, epoch })
}

/// Hears of a switch the moment a sentinel announces it.
async fn listen(shared: Arc<Shared>, index: usize, sentinel: Target) {
    loop {
        let channels = vec!["+switch-master".into()];
        if let Ok(mut subscriber) = driver::connect_subscriber(&sentinel, channels).await {
            // What was announced before we listened is found by asking.
            shared.poke.notify_one();
            loop {
                match tokio::time::timeout(QUIET, subscriber.next()).await {
                    Ok(Some(Event::Message { payload, .. })) => shared.switched(index, &payload),
                    Ok(Some(Event::Lagged)) => shared.poke.notify_one(),
                    Ok(None) => break,
                    // Silence is normal, a black hole is not.
                    Err(_) => {
                        let pong = tokio::time::timeout(PING_DEADLINE, subscriber.ping()).await;
                        if !matches!(pong, Ok(Ok(()))) {
                            break;
                        }
                    }
                }
            }
        }
        tokio::time::sleep(RESUBSCRIBE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_needs_an_address_and_an_epoch() {
        let bytes = |text: &'static str| Reply::Bytes(text.into());
        let details = vec![bytes("name"), bytes("m"), bytes("config-epoch"), bytes("7")];
        let address = Some(vec!["127.0.0.1".to_owned(), "7000".to_owned()]);
        let expected =
            Claim { endpoint: Endpoint::Tcp { host: "127.0.0.1".into(), port: 7000 }, epoch: 7 };
        assert_eq!(claim(address.clone(), Some(details)), Some(expected));
        assert_eq!(claim(address, Some(vec![])), None);
        assert_eq!(claim(None, Some(vec![])), None);
    }
}
