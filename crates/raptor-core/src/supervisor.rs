//! Keeps one connection to one server alive: connects, watches, replaces.
//!
//! A [`Lane`] is watched from its outstanding calls: when calls are unanswered and nothing has
//! arrived for a second, a PING asks for a sign of life, and a connection that does not answer it
//! is closed and replaced. So a dead, wedged or black-holed connection is gone within
//! [`STALL`] + [`PING_DEADLINE`] of an outstanding call, whatever the client library believes.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::driver::{
    self, Answer, ConnectError, Connection, Request, SendError, ServerError, Target,
};
use crate::reply::Reply;
use crate::telemetry;

/// Silence under outstanding calls after which the connection is asked for a sign of life.
const STALL: Duration = Duration::from_secs(1);
/// How long it may take to answer that.
const PING_DEADLINE: Duration = Duration::from_secs(2);
/// How often outstanding calls are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often an idle connection is asked for a sign of life.
const IDLE_PING: Duration = Duration::from_secs(30);
/// Calls that one connection carries at a time; more wait their turn, within their deadlines.
const MAX_IN_FLIGHT: usize = 4_096;
/// Pauses between attempts to connect: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// Why a connection is replaced that is not lost.
const RENEWED: &str = "renewed";

/// Why a call on a lane has no answers.
#[derive(Clone, Debug)]
pub(crate) enum CallError {
    /// Nothing was sent: the server cannot be reached.
    NotSent(String),
    /// The server refused the connection itself (credentials, ACL, too many clients).
    Rejected(ServerError),
    /// Sent, and the link broke or was given up.
    Lost(String),
    /// Sent, and no answer by the deadline.
    Late,
    /// An answer did not fit its request; the connection was closed.
    Misfit(String),
}

/// What a lane's connection is doing.
#[derive(Clone)]
enum State {
    /// An attempt is under way and the one before it did not fail: worth waiting for.
    Connecting,
    Up(Arc<dyn Connection>),
    /// The last attempt failed; more follow in the background.
    Down(ConnectError),
    /// Given up by its owner.
    Closed,
}

/// A supervised connection to one server.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    target: Target,
    /// A connection is used only when the server says that it is a master.
    must_be_master: bool,
    state: watch::Sender<State>,
    in_flight: Semaphore,
    /// Calls sent and not answered yet.
    outstanding: AtomicUsize,
    /// Answers so far: progress.
    answered: AtomicU64,
    /// A call ended without an answer, and nothing has arrived since.
    suspect: AtomicBool,
    /// The latest deadline of a call, where calls may take long (large values over a slow link).
    patience: Option<Mutex<Instant>>,
    /// Asks for another connection in place of the present one.
    renew: Notify,
}

impl Shared {
    /// Closed is for good, even when the supervisor was just about to say otherwise.
    fn enter(&self, next: State) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = next;
            }
            open
        });
    }
}

impl Lane {
    /// Starts to connect, and keeps doing so until dropped.
    pub(crate) fn start(target: Target, must_be_master: bool) -> Self {
        Self::start_with(target, must_be_master, None)
    }

    /// The same for large values: a call that allows itself more time gets it, since a reply that
    /// is still arriving looks like silence.
    pub(crate) fn start_patient(target: Target, must_be_master: bool) -> Self {
        Self::start_with(target, must_be_master, Some(Mutex::new(Instant::now())))
    }

    fn start_with(target: Target, must_be_master: bool, patience: Option<Mutex<Instant>>) -> Self {
        let (state, _) = watch::channel(State::Connecting);
        let shared = Arc::new(Shared {
            target,
            must_be_master,
            state,
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            outstanding: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            patience,
            renew: Notify::new(),
        });
        let task = tokio::spawn(supervise(Arc::clone(&shared))).abort_handle();
        Self { shared, task }
    }

    /// Whether calls find a connection right now.
    pub(crate) fn is_up(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Up(_))
    }

    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Closed)
    }

    /// Waits for a connection until `deadline`, through failed attempts; a refusal ends the wait.
    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), CallError> {
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| match state {
            State::Up(_) | State::Closed => true,
            State::Down(error) => error.refused.is_some(),
            State::Connecting => false,
        });
        let _ = tokio::time::timeout_at(deadline, settled).await;
        self.connection(deadline).await.map(drop)
    }

    /// Sends `batch` and gives its answers by `deadline`. Never sends anything twice.
    pub(crate) async fn call(
        &self,
        batch: &[Request],
        deadline: Instant,
    ) -> Result<Vec<Answer>, CallError> {
        if let Some(patience) = &self.shared.patience {
            let mut latest = patience.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *latest = (*latest).max(deadline);
        }
        let _turn = self.turn(deadline).await?;
        loop {
            let connection = self.connection(deadline).await?;
            let unanswered = Unanswered::begin(&self.shared);
            match tokio::time::timeout_at(deadline, connection.send(batch)).await {
                Ok(Ok(answers)) => {
                    unanswered.answered();
                    return checked(batch, answers).inspect_err(|_| connection.close());
                }
                Ok(Err(SendError::NotSent(why))) => {
                    unanswered.never_sent();
                    self.until_replaced(&connection, deadline, why).await?;
                }
                Ok(Err(SendError::Lost(why))) => return Err(CallError::Lost(why)),
                Err(_) => return Err(CallError::Late),
            }
        }
    }

    /// A place among the calls in flight.
    async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, CallError> {
        let in_flight = &self.shared.in_flight;
        if let Ok(turn) = in_flight.try_acquire() {
            return Ok(turn);
        }
        match tokio::time::timeout_at(deadline, in_flight.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(CallError::NotSent(format!("{MAX_IN_FLIGHT} calls were in flight before it"))),
        }
    }

    /// Asks for a new connection in place of the present one, which ends once its calls have.
    pub(crate) fn renew(&self) {
        self.shared.renew.notify_one();
    }

    /// Ends the connection now and for good: what is in flight is lost, what comes is not sent.
    pub(crate) fn close(&self) {
        self.task.abort();
        if let State::Up(connection) = self.shared.state.send_replace(State::Closed) {
            connection.close();
        }
    }

    async fn connection(&self, deadline: Instant) -> Result<Arc<dyn Connection>, CallError> {
        if let State::Up(connection) = &*self.shared.state.borrow() {
            return Ok(Arc::clone(connection));
        }
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        match tokio::time::timeout_at(deadline, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(connection) => Ok(Arc::clone(connection)),
                State::Down(ConnectError { refused: Some(refused), .. }) => {
                    Err(CallError::Rejected(refused.clone()))
                }
                State::Down(error) => Err(CallError::NotSent(error.message.clone())),
                State::Connecting | State::Closed => Err(closed()),
            },
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(CallError::NotSent(format!(
                "no connection to {} in time",
                self.shared.target.endpoint
            ))),
        }
    }

    /// After a refusal to send on `old`, waits until the supervisor has noticed too.
    async fn until_replaced(
        &self,
        old: &Arc<dyn Connection>,
        deadline: Instant,
        why: String,
    ) -> Result<(), CallError> {
        let mut state = self.shared.state.subscribe();
        let replaced = state.wait_for(
            |state| !matches!(state, State::Up(connection) if Arc::ptr_eq(connection, old)),
        );
        match tokio::time::timeout_at(deadline, replaced).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(CallError::NotSent(why)),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> CallError {
    CallError::NotSent("the client is closed".into())
}

/// Counts a call as outstanding; if it ends without an answer the connection becomes suspect.
struct Unanswered<'a> {
    shared: &'a Shared,
    suspicious: bool,
}

impl<'a> Unanswered<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.outstanding.fetch_add(1, Ordering::Relaxed);
        Self { shared, suspicious: true }
    }

    fn answered(mut self) {
        self.suspicious = false;
        self.shared.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn never_sent(mut self) {
        self.suspicious = false;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.shared.outstanding.fetch_sub(1, Ordering::Relaxed);
        if self.suspicious {
            self.shared.suspect.store(true, Ordering::Relaxed);
        }
    }
}

/// Holds each answer against what its request asked to be echoed.
fn checked(batch: &[Request], mut answers: Vec<Answer>) -> Result<Vec<Answer>, CallError> {
    if answers.len() != batch.len() {
        return Err(CallError::Misfit(format!(
            "{} answers to {} requests",
            answers.len(),
            batch.len()
        )));
    }
    for (request, answer) in batch.iter().zip(&mut answers) {
        fit(request, answer)?;
    }
    Ok(answers)
}

/// Takes the echo off, where one was asked for.
fn fit(request: &Request, answer: &mut Answer) -> Result<(), CallError> {
    match (&request.echo, answer) {
        (Some(echo), Ok(Reply::Array(items))) => match items.first() {
            Some(Reply::Bytes(first)) if first == echo => {
                items.remove(0);
                Ok(())
            }
            _ => Err(misfit(request)),
        },
        (Some(_), Ok(_)) => Err(misfit(request)),
        _ => Ok(()),
    }
}

fn misfit(request: &Request) -> CallError {
    telemetry::reply_misfit();
    CallError::Misfit(format!(
        "the reply to {} belongs to another request; the connection was closed",
        request.name
    ))
}

/// The supervisor's life: connect, watch, replace.
async fn supervise(shared: Arc<Shared>) {
    let mut pause = BACKOFF.0;
    loop {
        match open(&shared).await {
            Ok(connection) => {
                pause = BACKOFF.0;
                shared.suspect.store(false, Ordering::Relaxed);
                shared.enter(State::Up(Arc::clone(&connection)));
                let why = watch_over(&shared, connection.as_ref()).await;
                telemetry::connection_lost(why);
                tracing::warn!(endpoint = %shared.target.endpoint, reason = why, "connection lost");
                // A renewed one serves until its successor stands, and ends with its last call.
                if why != RENEWED {
                    connection.close();
                    shared.enter(State::Connecting);
                }
            }
            Err(error) => {
                tracing::debug!(endpoint = %shared.target.endpoint, %error, "connecting failed");
                shared.enter(State::Down(error));
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
    }
}

/// Between a half and the whole of `pause`, so that many clients do not return in step.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

async fn open(shared: &Shared) -> Result<Arc<dyn Connection>, ConnectError> {
    let connection = driver::connect(&shared.target).await?;
    if shared.must_be_master {
        let role = [Request::new("ROLE")];
        let role = connection.send(&role);
        let role = tokio::time::timeout(shared.target.connect_timeout, role).await;
        let (is_master, refused) = match role {
            Ok(Ok(mut answers)) => match answers.pop() {
                Some(Ok(Reply::Array(items))) => (
                    matches!(items.first(), Some(Reply::Bytes(role)) if &role[..] == b"master"),
                    None,
                ),
                Some(Err(refused)) => (false, Some(refused)),
                _ => (false, None),
            },
            _ => (false, None),
        };
        if !is_master {
            connection.close();
            let message = format!("{} is not a master, or does not say so", shared.target.endpoint);
            return Err(ConnectError { message, refused });
        }
    }
    telemetry::connected();
    Ok(connection)
}

/// Returns, with the reason, once `connection` is to be replaced.
async fn watch_over(shared: &Shared, connection: &dyn Connection) -> &'static str {
    let mut seen = shared.answered.load(Ordering::Relaxed);
    let mut last_sign = Instant::now();
    let mut stalled_since = None;
    let mut pings = 0_u64;
    loop {
        tokio::select! {
            () = connection.closed() => return "closed",
            () = shared.renew.notified() => return RENEWED,
            () = tokio::time::sleep(TICK) => {}
        }
        let now = Instant::now();
        let answered = shared.answered.load(Ordering::Relaxed);
        if answered != seen {
            seen = answered;
            last_sign = now;
            stalled_since = None;
        }
        let waiting = shared.outstanding.load(Ordering::Relaxed) > 0
            || shared.suspect.load(Ordering::Relaxed);
        let stalled = waiting && now - *stalled_since.get_or_insert(now) >= STALL;
        if !waiting {
            stalled_since = None;
        }
        if stalled || now - last_sign >= IDLE_PING {
            pings += 1;
            let tag = bytes::Bytes::from(format!("p{pings:x}"));
            let ping = [Request::new("PING").arg(tag.clone())];
            let ping = connection.send(&ping);
            let patience = shared.patience.as_ref().map_or(now, |latest| {
                *latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
            });
            match tokio::time::timeout_at(patience.max(now + PING_DEADLINE), ping).await {
                Ok(Ok(answers)) if !is_pong(&answers, &tag) => {
                    telemetry::reply_misfit();
                    return "misfit";
                }
                Ok(Ok(_)) => {
                    last_sign = Instant::now();
                    stalled_since = None;
                    shared.suspect.store(false, Ordering::Relaxed);
                }
                // Answers came while the PING waited its turn: slow, not dead.
                Err(_) if shared.answered.load(Ordering::Relaxed) != seen => {}
                Ok(Err(_)) => return "closed",
                Err(_) => return "no sign of life",
            }
        }
    }
}

/// Whether this is what answers that PING; another call's reply says that all of them are shifted.
fn is_pong(answers: &[Answer], tag: &[u8]) -> bool {
    match answers {
        [Ok(Reply::Bytes(pong))] => pong[..] == *tag,
        // A refusal is a sign of life too.
        [Err(_)] => true,
        _ => false,
    }
}
