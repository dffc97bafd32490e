//! Smart batching: operations that are asked for at the same time ride in one script call.
//!
//! Nothing is waited for. While few calls are in flight an operation goes at once, alone; beyond
//! that, operations gather, and what has gathered leaves as soon as a call returns. So a lone
//! caller never waits for others, and the busier the server, the larger the batches that relieve
//! it. The idea is Nagle's for packets and group commit for logs.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::call::Call;
use crate::client::RedisClient;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Key;
use crate::reply::Reply;
use crate::script::Script;
use crate::telemetry;

/// A script that takes *n* operations: how they become its arguments, and its reply their results.
pub trait Vectorised: Send + Sync + 'static {
    /// One operation.
    type Op: Send + Sync + 'static;
    /// What one operation gives.
    type Out: Send + 'static;

    /// The script.
    fn script(&self) -> &Script;

    /// A key of the operation; all its keys lie in one slot.
    fn key<'op>(&self, op: &'op Self::Op) -> &'op Key;

    /// What the operation adds to a call.
    fn weight(&self, op: &Self::Op) -> Weight;

    /// Adds the operations to the call, in order.
    fn write<'c>(&self, ops: &[Self::Op], call: Call<'c>) -> Call<'c>;

    /// One result an operation, in order. An error of the whole means that the reply did not fit.
    ///
    /// # Errors
    /// [`Codec`](ErrorKind::Codec) when the reply has another form than the script gives.
    fn read(&self, ops: &[Self::Op], reply: Reply) -> Result<Vec<Result<Self::Out>>>;

    /// Whether running an operation twice is harmless.
    fn idempotent(&self) -> bool {
        false
    }
}

/// What one operation adds to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Keys and arguments.
    pub arguments: usize,
    /// Their bytes, roughly.
    pub bytes: usize,
}

/// The bounds of batching. The defaults suit nearly everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// Calls in flight before operations gather.
    pub in_flight: usize,
    /// Operations in one call: what one script run holds up everybody else for.
    pub operations: usize,
    /// Keys and arguments of one call.
    pub arguments: usize,
    /// Bytes of one call.
    pub bytes: usize,
    /// Operations that wait; more are refused with [`Capacity`](ErrorKind::Capacity).
    pub waiting: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { in_flight: 4, operations: 128, arguments: 1_000, bytes: 64 * 1024, waiting: 65_536 }
    }
}

/// Gathers operations of one kind. Cheap to clone; clones share the batches.
///
/// On a single server everything rides together; on a cluster what shares a hash slot does, since
/// a script runs in one slot.
pub struct Coalescer<V: Vectorised> {
    shared: Arc<Shared<V>>,
}

impl<V: Vectorised> Clone for Coalescer<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<V: Vectorised> std::fmt::Debug for Coalescer<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let script = self.shared.vectorised.script().name();
        f.debug_struct("Coalescer").field("script", &script).finish_non_exhaustive()
    }
}

struct Shared<V: Vectorised> {
    vectorised: V,
    limits: BatchLimits,
    /// By slot on a cluster; one for all on a single server. Empty when nothing is under way.
    queues: Mutex<HashMap<u16, Queue<V>>>,
}

struct Queue<V: Vectorised> {
    in_flight: usize,
    waiting: VecDeque<Waiting<V>>,
}

struct Waiting<V: Vectorised> {
    op: V::Op,
    fate: Arc<Fate>,
    done: oneshot::Sender<Result<V::Out>>,
}

/// Whether a waiting operation was sent or withdrawn: one of both, whoever comes first.
#[derive(Default)]
struct Fate(AtomicU8);

impl Fate {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const WITHDRAWN: u8 = 2;

    fn settle(&self, fate: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, fate, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl<V: Vectorised> Coalescer<V> {
    /// Batches of `vectorised` within the default limits.
    #[must_use]
    pub fn new(vectorised: V) -> Self {
        Self::with_limits(vectorised, BatchLimits::default())
    }

    /// Batches of `vectorised` within `limits`.
    #[must_use]
    pub fn with_limits(vectorised: V, limits: BatchLimits) -> Self {
        Self { shared: Arc::new(Shared { vectorised, limits, queues: Mutex::default() }) }
    }

    /// Runs `op`, alone or with others.
    ///
    /// Cancel-safe: dropped before it is sent, the operation is withdrawn and never runs; dropped
    /// later, it runs and its result is discarded. Either way nobody else notices.
    ///
    /// # Errors
    /// The operation's own; those of the call that carried it, told to each of its riders
    /// ([`OutcomeUnknown`](ErrorKind::OutcomeUnknown) after a lost reply);
    /// [`Unavailable`](ErrorKind::Unavailable) when its turn did not come in time, and
    /// [`Capacity`](ErrorKind::Capacity) when too many wait: then it did not run.
    pub async fn submit(&self, client: &RedisClient, op: V::Op) -> Result<V::Out> {
        match self.enter(client, op)? {
            Entered::Now(op, flight) => {
                let results = self.shared.run(client, vec![op]).await;
                drop(flight);
                results.into_iter().next().unwrap_or_else(|| Err(no_result()))
            }
            Entered::Waiting(waiter) => waiter.outcome(&self.shared.vectorised).await,
        }
    }

    /// How many operations are waiting for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queues().values().map(|queue| queue.waiting.len()).sum()
    }

    fn enter(&self, client: &RedisClient, op: V::Op) -> Result<Entered<V>> {
        let shared = &self.shared;
        let lane = match client.is_cluster() {
            true => shared.vectorised.key(&op).slot(),
            false => 0,
        };
        let mut queues = shared.queues();
        let queue =
            queues.entry(lane).or_insert_with(|| Queue { in_flight: 0, waiting: VecDeque::new() });
        if queue.in_flight < shared.limits.in_flight {
            queue.in_flight += 1;
            let flight = Flight { shared: Arc::clone(shared), client: client.clone(), lane };
            return Ok(Entered::Now(op, flight));
        }
        if queue.waiting.len() >= shared.limits.waiting {
            telemetry::batch_refused(shared.vectorised.script().name());
            return Err(Error::new(
                ErrorKind::Capacity,
                format!("{} operations are waiting already: slow down", queue.waiting.len()),
            ));
        }
        let (done, result) = oneshot::channel();
        let fate = Arc::new(Fate::default());
        queue.waiting.push_back(Waiting { op, fate: Arc::clone(&fate), done });
        let timeout = client.config().command_timeout();
        Ok(Entered::Waiting(Waiter { fate, result, timeout, since: Instant::now() }))
    }
}

enum Entered<V: Vectorised> {
    Now(V::Op, Flight<V>),
    Waiting(Waiter<V::Out>),
}

/// The caller of an operation that waits; withdraws it when dropped in time.
struct Waiter<T> {
    fate: Arc<Fate>,
    result: oneshot::Receiver<Result<T>>,
    timeout: Duration,
    since: Instant,
}

impl<T> Waiter<T> {
    async fn outcome<V: Vectorised>(mut self, vectorised: &V) -> Result<T> {
        let name = vectorised.script().name();
        let deadline = self.since + self.timeout;
        match tokio::time::timeout_at(deadline, &mut self.result).await {
            Ok(Ok(result)) => result,
            _ if self.fate.settle(Fate::WITHDRAWN) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{name} was not sent: its turn did not come within {:?}", self.timeout),
            )),
            // Sent: by the deadline no answer, or what carried it was ended with its runtime.
            _ if vectorised.idempotent() => Err(Error::new(
                ErrorKind::Timeout,
                format!("{name}: no reply within {:?}; a repeat is harmless", self.timeout),
            )),
            _ => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                format!(
                    "{name}: no reply within {:?}; it may have run, so look before you repeat it",
                    self.timeout
                ),
            )),
        }
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.fate.settle(Fate::WITHDRAWN);
    }
}

/// One call in flight. However it ends, what has gathered meanwhile leaves.
struct Flight<V: Vectorised> {
    shared: Arc<Shared<V>>,
    client: RedisClient,
    lane: u16,
}

impl<V: Vectorised> Drop for Flight<V> {
    fn drop(&mut self) {
        let Some(batch) = self.shared.next(self.lane) else { return };
        let flight =
            Self { shared: Arc::clone(&self.shared), client: self.client.clone(), lane: self.lane };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(carry(flight, batch))),
            // Dropped outside a runtime: nobody can carry them, so they were not sent.
            Err(_) => batch.into_iter().for_each(|waiting| {
                let why = "it was not sent: the runtime that would carry it is gone";
                let _ = waiting.done.send(Err(Error::new(ErrorKind::Unavailable, why)));
            }),
        }
    }
}

/// Carries a batch; when `flight` is dropped at the end, the next one leaves.
async fn carry<V: Vectorised>(flight: Flight<V>, batch: Vec<Waiting<V>>) {
    let (ops, waiting): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.op, waiting.done)).unzip();
    let results = flight.shared.run(&flight.client, ops).await;
    for (done, result) in waiting.into_iter().zip(results) {
        // A caller that has gone wants no result.
        let _ = done.send(result);
    }
}

impl<V: Vectorised> Shared<V> {
    fn queues(&self) -> MutexGuard<'_, HashMap<u16, Queue<V>>> {
        self.queues.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What leaves next; with `None` the flight is over.
    fn next(&self, lane: u16) -> Option<Vec<Waiting<V>>> {
        let mut queues = self.queues();
        let queue = queues.get_mut(&lane)?;
        let mut batch = Vec::new();
        let mut load = Weight::default();
        while let Some(next) = queue.waiting.front() {
            let weight = self.vectorised.weight(&next.op);
            load.arguments += weight.arguments;
            load.bytes += weight.bytes;
            let full = batch.len() >= self.limits.operations
                || load.arguments > self.limits.arguments
                || load.bytes > self.limits.bytes;
            // One that is too large for any batch still goes, alone.
            if full && !batch.is_empty() {
                break;
            }
            if let Some(next) = queue.waiting.pop_front()
                && next.fate.settle(Fate::SENT)
            {
                batch.push(next);
            }
        }
        if !batch.is_empty() {
            return Some(batch);
        }
        queue.in_flight -= 1;
        if queue.in_flight == 0 {
            queues.remove(&lane);
        }
        None
    }

    /// One result an operation.
    ///
    /// A call that is refused before it ran, for what may concern some of its operations only (keys
    /// on both sides of a migrating slot, a key that the ACL forbids), is sent in its parts.
    async fn run(&self, client: &RedisClient, ops: Vec<V::Op>) -> Vec<Result<V::Out>> {
        match self.call(client, &ops).await {
            Ok(results) => results,
            Err(error) if ops.len() > 1 && error.is_refusal_of_the_whole() => {
                let alone = ops.iter().map(|op| async {
                    let results = self.call(client, std::slice::from_ref(op)).await?;
                    results.into_iter().next().unwrap_or_else(|| Err(no_result()))
                });
                join_all(alone).await
            }
            Err(error) => {
                let mut all: Vec<_> = ops.iter().skip(1).map(|_| Err(error.told_again())).collect();
                all.push(Err(error));
                all
            }
        }
    }

    /// One call, and what it says of each operation.
    async fn call(&self, client: &RedisClient, ops: &[V::Op]) -> Result<Vec<Result<V::Out>>> {
        let script = self.vectorised.script();
        telemetry::batch_sent(script.name(), ops.len());
        let mut call = client.script(script).many_slots().divisible(ops.len() > 1);
        if self.vectorised.idempotent() {
            call = call.idempotent();
        }
        let reply = self.vectorised.write(ops, call).run::<Reply>().await?;
        let results = self.vectorised.read(ops, reply)?;
        if results.len() == ops.len() { Ok(results) } else { Err(no_result()) }
    }
}

fn no_result() -> Error {
    Error::codec("a batch was answered with another number of results than it has operations")
}
