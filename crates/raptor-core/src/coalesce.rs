//! Smart batching: operations that are asked for at the same time ride in one script call.
//!
//! Nothing is waited for. While fewer than two calls are in flight an operation leaves at once, with
//! whoever else is ready to run at that moment; beyond that, operations gather, and what has gathered
//! leaves as soon as a call returns. So a lone caller never waits for others, and the busier the
//! server, the larger the batches that relieve it. The idea is Nagle's for packets and group commit
//! for logs.
//!
//! [`queue`] holds who waits and what is in flight, [`flight`] takes them there and back.

mod flight;
mod queue;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::flight::{Carried, Flight};
pub use self::queue::{BatchLimits, Weight};
use self::queue::{Entry, Queues};
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
    queues: Mutex<Queues<Waiting<V>>>,
}

/// An operation that waits for a flight.
struct Waiting<V: Vectorised> {
    op: V::Op,
    fate: Arc<Fate>,
    done: oneshot::Sender<Result<V::Out>>,
}

/// Whether a waiting operation was sent or withdrawn: one of both, whoever comes first.
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
        let shared = &self.shared;
        let (op, mut flight) = match self.enter(client, op)? {
            Entered::First(op, flight) => (op, flight),
            Entered::Waiting(waiter) => return waiter.outcome(&shared.vectorised).await,
        };
        let mut riders = flight.board(Some(shared.vectorised.weight(&op))).await;
        if riders.is_empty() {
            let results = shared.run(client, vec![op]).await;
            return results.into_iter().next().unwrap_or_else(|| Err(no_result()));
        }
        let (waiting, waiter) = waiting(op, Fate::SENT, client);
        riders.insert(0, waiting);
        Carried::begin(flight, riders).finish().await;
        waiter.outcome(&shared.vectorised).await
    }

    /// How many operations are waiting for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queues().waiting()
    }

    fn enter(&self, client: &RedisClient, op: V::Op) -> Result<Entered<V>> {
        let shared = &self.shared;
        let lane = match client.is_cluster() {
            true => shared.vectorised.key(&op).slot(),
            false => 0,
        };
        let mut queues = shared.queues();
        match queues.enter(lane, &shared.limits) {
            Entry::First => Ok(Entered::First(op, Flight::first(shared, client, lane))),
            Entry::Wait => {
                let (waiting, waiter) = waiting(op, Fate::WAITING, client);
                queues.wait(lane, waiting);
                Ok(Entered::Waiting(waiter))
            }
            Entry::Refused(waiting) => {
                telemetry::batch_refused(shared.vectorised.script().name());
                Err(Error::new(
                    ErrorKind::Capacity,
                    format!("{waiting} operations are waiting already: slow down"),
                ))
            }
        }
    }
}

enum Entered<V: Vectorised> {
    First(V::Op, Flight<V>),
    Waiting(Waiter<V::Out>),
}

/// An operation for the queue, and its caller's end of it.
fn waiting<V: Vectorised>(
    op: V::Op,
    fate: u8,
    client: &RedisClient,
) -> (Waiting<V>, Waiter<V::Out>) {
    let (done, result) = oneshot::channel();
    let fate = Arc::new(Fate(AtomicU8::new(fate)));
    let timeout = client.config().command_timeout();
    let waiter = Waiter { fate: Arc::clone(&fate), result, timeout, since: Instant::now() };
    (Waiting { op, fate, done }, waiter)
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

impl<V: Vectorised> Shared<V> {
    fn queues(&self) -> MutexGuard<'_, Queues<Waiting<V>>> {
        self.queues.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Who leaves with the flight that boards, and whether one more is to take the rest.
    fn leave(&self, lane: u16, aboard: Option<Weight>) -> (Vec<Waiting<V>>, bool) {
        let weigh = |waiting: &Waiting<V>| self.vectorised.weight(&waiting.op);
        let goes = |waiting: &Waiting<V>| waiting.fate.settle(Fate::SENT);
        self.queues().leave(lane, &self.limits, aboard, weigh, goes)
    }

    /// Whether a flight that landed, or was given up while `boarding`, is to board again.
    fn land(&self, lane: u16, boarding: bool) -> bool {
        self.queues().land(lane, boarding)
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
