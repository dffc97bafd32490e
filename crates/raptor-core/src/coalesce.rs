//! Smart batching: operations that are asked for at the same time ride in one script call.
//!
//! Nothing is waited for. While fewer than two calls are in flight an operation leaves at once, with
//! whoever else is ready to run at that moment; beyond that, operations gather, and what has gathered
//! leaves as soon as a call returns. So a lone caller never waits for others, and the busier the
//! server, the larger the batches that relieve it. The idea is Nagle's for packets and group commit
//! for logs.
//!
//! [`queue`] holds who waits and what is in flight, [`carrier`] takes them there and back.

mod carrier;
mod queue;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::carrier::Carrier;
pub use self::queue::{BatchLimits, Weight};
use self::queue::{Departure, Entry, Queues};
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
#[derive(Default)]
struct Fate(AtomicU8);

impl<V: Vectorised> Waiting<V> {
    /// Whether it is sent now, and had not withdrawn.
    fn goes(&self) -> bool {
        self.fate.settle(Fate::SENT)
    }

    fn is_gone(&self) -> bool {
        !self.fate.is_waiting()
    }
}

impl Fate {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const WITHDRAWN: u8 = 2;

    fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::WAITING
    }

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
        let (waiter, entry) = self.enter(client, op)?;
        if let Entry::Boards { others } = entry {
            if others {
                tokio::task::yield_now().await;
            }
            if let Some(op) = waiter.depart() {
                let _landing = Landing { shared, client, lane: waiter.lane };
                let results = shared.run(client, vec![op]).await;
                return results.into_iter().next().unwrap_or_else(|| Err(no_result()));
            }
        }
        waiter.outcome().await
    }

    /// How many operations are waiting for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queues().waiting()
    }

    fn enter<'a>(&'a self, client: &'a RedisClient, op: V::Op) -> Result<(Waiter<'a, V>, Entry)> {
        let shared = &self.shared;
        let lane = match client.is_cluster() {
            true => shared.vectorised.key(&op).slot(),
            false => 0,
        };
        let (done, result) = oneshot::channel();
        let fate = Arc::new(Fate::default());
        let waiting = Waiting { op, fate: Arc::clone(&fate), done };
        let entry = shared.queues().enter(lane, waiting, &shared.limits);
        if let Entry::Refused(waiting) = entry {
            telemetry::batch_refused(shared.vectorised.script().name());
            return Err(Error::new(
                ErrorKind::Capacity,
                format!("{waiting} operations are waiting already: slow down"),
            ));
        }
        let since = Instant::now();
        let boards = matches!(entry, Entry::Boards { .. });
        Ok((Waiter { shared, client, lane, fate, result, since, boards }, entry))
    }
}

/// The caller of an operation that waits; withdraws it when dropped in time.
struct Waiter<'a, V: Vectorised> {
    shared: &'a Arc<Shared<V>>,
    client: &'a RedisClient,
    lane: u16,
    fate: Arc<Fate>,
    result: oneshot::Receiver<Result<V::Out>>,
    since: Instant,
    /// It may be that nobody comes for it.
    boards: bool,
}

impl<V: Vectorised> Waiter<'_, V> {
    /// Leaves with all who wait, where nobody has taken it along. Alone, it is given back.
    fn depart(&self) -> Option<V::Op> {
        let Self { shared, client, lane, fate, .. } = self;
        if !fate.is_waiting() {
            return None;
        }
        let me = |waiting: &Waiting<V>| Arc::ptr_eq(&waiting.fate, fate);
        match shared.depart(*lane, me)? {
            Departure::Alone(waiting) => Some(waiting.op),
            Departure::Carried { batch, another } => {
                Carrier::begin(shared, client, *lane, batch);
                if another {
                    Carrier::begin(shared, client, *lane, Vec::new());
                }
                None
            }
        }
    }

    async fn outcome(mut self) -> Result<V::Out> {
        let vectorised = &self.shared.vectorised;
        let name = vectorised.script().name();
        let timeout = self.client.config().command_timeout();
        let deadline = self.since + timeout;
        match tokio::time::timeout_at(deadline, &mut self.result).await {
            Ok(Ok(result)) => result,
            _ if self.fate.settle(Fate::WITHDRAWN) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{name} was not sent: its turn did not come within {timeout:?}"),
            )),
            // Sent: by the deadline no answer, or what carried it was ended with its runtime.
            _ if vectorised.idempotent() => Err(Error::new(
                ErrorKind::Timeout,
                format!("{name}: no reply within {timeout:?}; a repeat is harmless"),
            )),
            _ => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                format!(
                    "{name}: no reply within {timeout:?}; it may have run, so look before you \
                     repeat it"
                ),
            )),
        }
    }
}

impl<V: Vectorised> Drop for Waiter<'_, V> {
    fn drop(&mut self) {
        if self.fate.settle(Fate::WITHDRAWN) && self.boards {
            self.shared.sweep(self.lane);
        }
    }
}

/// A call that its caller awaits; however it ends, those who wait for its place get it.
struct Landing<'a, V: Vectorised> {
    shared: &'a Arc<Shared<V>>,
    client: &'a RedisClient,
    lane: u16,
}

impl<V: Vectorised> Drop for Landing<'_, V> {
    fn drop(&mut self) {
        if self.shared.land_alone(self.lane) {
            Carrier::begin(self.shared, self.client, self.lane, Vec::new());
        }
    }
}

impl<V: Vectorised> Shared<V> {
    fn queues(&self) -> MutexGuard<'_, Queues<Waiting<V>>> {
        self.queues.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn weigh(&self, waiting: &Waiting<V>) -> Weight {
        self.vectorised.weight(&waiting.op)
    }

    /// See [`Queues::depart`].
    fn depart(&self, lane: u16, me: impl Fn(&Waiting<V>) -> bool) -> Option<Departure<Waiting<V>>> {
        self.queues().depart(lane, &self.limits, me, |one| self.weigh(one), Waiting::goes)
    }

    /// Those whom a carrier takes along, and whether there is to be one more.
    fn fetch(&self, lane: u16, lingering: bool) -> (Vec<Waiting<V>>, bool) {
        let mut queues = self.queues();
        if lingering {
            queues.end_of_stay(lane);
        }
        queues.carry(lane, &self.limits, |one| self.weigh(one), Waiting::goes)
    }

    fn land_alone(&self, lane: u16) -> bool {
        let mut queues = self.queues();
        let carrier = queues.land_alone(lane, &self.limits);
        queues.sweep(lane, Waiting::is_gone);
        carrier
    }

    fn give_up(&self, lane: u16, lingering: bool) -> bool {
        self.queues().give_up(lane, lingering, &self.limits)
    }

    fn sweep(&self, lane: u16) {
        self.queues().sweep(lane, Waiting::is_gone);
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
