//! Smart batching: operations that are asked for at the same time ride in one script call.
//!
//! Nothing is waited for. While fewer than two calls are in flight an operation leaves at once; beyond
//! that, operations gather, and what has gathered leaves as soon as a call returns. So one caller, or
//! two, never wait for others, and the busier the server, the larger the batches that relieve it. The
//! idea is Nagle's for packets and group commit for logs.
//!
//! [`queue`] holds who waits and what is in flight, [`carrier`] takes them there and back.

mod carrier;
mod queue;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::carrier::Carrier;
use self::queue::{At, Departure, Entry, Queues};
pub use self::queue::{BatchLimits, Weight};
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
/// a script runs in one slot. Operations of two clients never do.
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
    weight: Weight,
    fate: Arc<Fate>,
    done: oneshot::Sender<Result<V::Out>>,
}

/// Whether a waiting operation was sent or withdrawn: one of both, whoever comes first.
#[derive(Default)]
struct Fate(AtomicU8);

impl<V: Vectorised> Waiting<V> {
    fn weight(&self) -> Weight {
        self.weight
    }

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
        let slot = if client.is_cluster() { shared.vectorised.key(&op).slot() } else { 0 };
        let at = (client.id(), slot);
        if shared.with(|queues| queues.leave_alone(at, &shared.limits)) {
            let _landing = Landing { shared, client, at };
            return shared.run_alone(client, op).await;
        }
        let (waiter, entry) = self.enter(client, at, op)?;
        if let Entry::Boards { others } = entry {
            if others {
                tokio::task::yield_now().await;
            }
            if let Some(op) = waiter.depart() {
                let _landing = Landing { shared, client, at };
                return shared.run_alone(client, op).await;
            }
        }
        waiter.outcome().await
    }

    /// How many operations are waiting for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.with(|queues| queues.waiting())
    }

    fn enter<'a>(
        &'a self,
        client: &'a RedisClient,
        at: At,
        op: V::Op,
    ) -> Result<(Waiter<'a, V>, Entry)> {
        let shared = &self.shared;
        let weight = shared.vectorised.weight(&op);
        let (done, result) = oneshot::channel();
        let fate = Arc::new(Fate::default());
        let waiting = Waiting { op, weight, fate: Arc::clone(&fate), done };
        let entry = shared.with(|queues| queues.enter(at, waiting, &shared.limits));
        if let Entry::Refused(waiting) = entry {
            telemetry::batch_refused(shared.vectorised.script().name());
            return Err(Error::new(
                ErrorKind::Capacity,
                format!("{waiting} operations are waiting already: slow down"),
            ));
        }
        Ok((Waiter { shared, client, at, fate, result, since: Instant::now() }, entry))
    }
}

/// The caller of an operation that waits; withdraws it when dropped in time.
struct Waiter<'a, V: Vectorised> {
    shared: &'a Arc<Shared<V>>,
    client: &'a RedisClient,
    at: At,
    fate: Arc<Fate>,
    result: oneshot::Receiver<Result<V::Out>>,
    since: Instant,
}

impl<V: Vectorised> Waiter<'_, V> {
    /// Leaves with all who wait, where nobody has taken it along. Alone, it is given back.
    fn depart(&self) -> Option<V::Op> {
        let Self { shared, client, at, fate, .. } = self;
        if !fate.is_waiting() {
            return None;
        }
        let me = |waiting: &Waiting<V>| Arc::ptr_eq(&waiting.fate, fate);
        let departure = shared
            .with(|queues| queues.depart(*at, &shared.limits, me, Waiting::weight, Waiting::goes));
        match departure? {
            Departure::Alone(waiting) => Some(waiting.op),
            Departure::Carried { batch, another } => {
                Carrier::begin(shared, client, *at, batch);
                if another {
                    Carrier::begin(shared, client, *at, Vec::new());
                }
                None
            }
        }
    }

    async fn outcome(mut self) -> Result<V::Out> {
        let name = self.shared.vectorised.script().name();
        let timeout = self.client.config().command_timeout();
        let result = tokio::time::timeout_at(self.since + timeout, &mut self.result).await;
        if let Ok(Ok(result)) = result {
            return result;
        }
        if self.withdraw() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{name} was not sent: its turn did not come within {timeout:?}"),
            ));
        }
        let why = match result {
            Err(_) => format!("no reply within {timeout:?}"),
            Ok(_) => "the call that carried it ended before its reply came".to_owned(),
        };
        Err(match self.shared.vectorised.idempotent() {
            true => Error::new(ErrorKind::Timeout, format!("{name}: {why}; a repeat is harmless")),
            false => Error::new(
                ErrorKind::OutcomeUnknown,
                format!("{name}: {why}; it may have run, so look before you repeat it"),
            ),
        })
    }

    /// Whether it was in time: it is never sent then.
    fn withdraw(&self) -> bool {
        let withdraw = |queues: &mut Queues<Waiting<V>>| {
            let in_time = self.fate.settle(Fate::WITHDRAWN);
            if in_time {
                queues.withdraw(self.at, Waiting::is_gone);
            }
            in_time
        };
        self.fate.is_waiting() && self.shared.with(withdraw)
    }
}

impl<V: Vectorised> Drop for Waiter<'_, V> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// A call that its caller awaits; however it ends, those who wait for its place get it.
struct Landing<'a, V: Vectorised> {
    shared: &'a Arc<Shared<V>>,
    client: &'a RedisClient,
    at: At,
}

impl<V: Vectorised> Drop for Landing<'_, V> {
    fn drop(&mut self) {
        let land = |queues: &mut Queues<_>| queues.land_alone(self.at, &self.shared.limits);
        if self.shared.with(land) {
            Carrier::begin(self.shared, self.client, self.at, Vec::new());
        }
    }
}

impl<V: Vectorised> Shared<V> {
    /// The queues, locked; those whom it takes off are dropped when it is free again, since their own
    /// code may ask for it.
    fn with<T>(&self, act: impl FnOnce(&mut Queues<Waiting<V>>) -> T) -> T {
        let mut queues = self.queues.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let acted = act(&mut queues);
        let gone = queues.bury();
        drop(queues);
        drop(gone);
        acted
    }

    /// The result of one operation that travels by itself.
    async fn run_alone(&self, client: &RedisClient, op: V::Op) -> Result<V::Out> {
        let results = self.call(client, std::slice::from_ref(&op), None).await?;
        results.into_iter().next().unwrap_or_else(|| Err(no_result()))
    }

    /// One result an operation, in the time of one call.
    async fn run(&self, client: &RedisClient, ops: Vec<V::Op>) -> Vec<Result<V::Out>> {
        let deadline = Instant::now() + client.config().command_timeout();
        self.run_by(client, &ops, deadline).await
    }

    /// A call that is refused for what may lie in some of its operations only (keys on both sides of
    /// a migrating slot, a key that the ACL forbids) is sent in halves: nothing of it has run.
    fn run_by<'a>(
        &'a self,
        client: &'a RedisClient,
        ops: &'a [V::Op],
        deadline: Instant,
    ) -> BoxFuture<'a, Vec<Result<V::Out>>> {
        async move {
            match self.call(client, ops, Some(deadline)).await {
                Ok(results) => results,
                Err(error) if ops.len() > 1 && error.may_lie_in_a_part() => {
                    let (one, other) = ops.split_at(ops.len() / 2);
                    let halves = join(
                        self.run_by(client, one, deadline),
                        self.run_by(client, other, deadline),
                    );
                    let (mut results, more) = halves.await;
                    results.extend(more);
                    results
                }
                Err(error) => {
                    let others = ops.iter().skip(1).map(|_| Err(error.told_again()));
                    let mut all: Vec<_> = others.collect();
                    all.push(Err(error));
                    all
                }
            }
        }
        .boxed()
    }

    /// One call, and what it says of each operation; by the deadline, where there is one.
    async fn call(
        &self,
        client: &RedisClient,
        ops: &[V::Op],
        deadline: Option<Instant>,
    ) -> Result<Vec<Result<V::Out>>> {
        let script = self.vectorised.script();
        telemetry::batch_sent(script.name(), ops.len());
        let call = client.script(script).many_slots().divisible(ops.len() > 1);
        let mut call = call.operations(ops.len());
        if self.vectorised.idempotent() {
            call = call.idempotent();
        }
        if let Some(deadline) = deadline {
            call = call.by(deadline)?;
        }
        let reply = self.vectorised.write(ops, call).run::<Reply>().await?;
        let results = self.vectorised.read(ops, reply)?;
        if results.len() == ops.len() { Ok(results) } else { Err(no_result()) }
    }
}

fn no_result() -> Error {
    Error::codec("a batch was answered with another number of results than it has operations")
}
