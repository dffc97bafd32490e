//! A carrier: takes those who wait to the server and back, call after call, while somebody waits.

use std::sync::Arc;

use super::queue::{At, Gate, Next};
use super::{Shared, Vectorised, Waiting};
use crate::client::RedisClient;
use crate::error::{Error, ErrorKind};

/// One carrier of one lane, on a task of its own in the client's runtime: it depends on no caller,
/// whether that is polled or not, and in whichever runtime.
pub(super) struct Carrier<V: Vectorised> {
    shared: Arc<Shared<V>>,
    client: RedisClient,
    at: At,
    gate: Gate,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ready,
    Lingering,
    Over,
}

impl<V: Vectorised> Carrier<V> {
    /// Begins a carrier that was counted already, with `batch` or else whoever waits.
    pub(super) fn begin(
        shared: &Arc<Shared<V>>,
        client: &RedisClient,
        at: At,
        batch: Vec<Waiting<V>>,
    ) {
        let (shared, client) = (Arc::clone(shared), client.clone());
        let carrier = Self { shared, client, at, gate: Gate::default(), stage: Stage::Ready };
        let runtime = carrier.client.runtime().clone();
        runtime.spawn(carrier.run(batch));
    }

    async fn run(mut self, batch: Vec<Waiting<V>>) {
        let mut batch = Refused(batch);
        loop {
            if batch.0.is_empty() {
                batch.0 = self.fetch();
            }
            let riders = batch.0.len();
            if riders == 0 {
                return;
            }
            self.carry(std::mem::take(&mut batch.0)).await;
            match self.shared.with(|queues| queues.land(self.at, &self.gate, riders)) {
                Next::Leave => {}
                Next::Linger => {
                    self.stage = Stage::Lingering;
                    self.linger().await;
                }
                Next::End => {
                    self.stage = Stage::Over;
                    return;
                }
            }
        }
    }

    /// Waits for nothing, but lets those take their turn who are ready to run right now: the callers
    /// that were just answered, say, and ask again. Once all of them are there it goes on at once. Two
    /// turns, since another worker that was woken to run some of them misses the first.
    async fn linger(&self) {
        let turns = async {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        };
        tokio::select! {
            biased;
            () = self.gate.notified() => {}
            () = turns => {}
        }
    }

    fn fetch(&mut self) -> Vec<Waiting<V>> {
        let lingering = self.stage == Stage::Lingering;
        let (batch, another) = self.shared.with(|queues| {
            if lingering {
                queues.end_of_stay(self.at);
            }
            queues.carry(self.at, &self.shared.limits, Waiting::weight, Waiting::goes)
        });
        self.stage = if batch.is_empty() { Stage::Over } else { Stage::Ready };
        if another {
            Self::begin(&self.shared, &self.client, self.at, Vec::new());
        }
        batch
    }

    async fn carry(&self, batch: Vec<Waiting<V>>) {
        let (ops, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.op, waiting.done)).unzip();
        let results = self.shared.run(&self.client, ops).await;
        for (done, result) in waiting.into_iter().zip(results) {
            // A caller that has gone wants no result.
            let _ = done.send(result);
        }
    }
}

/// A carrier ends early when an operation's own code panics: then another takes over. Or with its
/// runtime: then nobody can carry those who wait, so they are not sent.
impl<V: Vectorised> Drop for Carrier<V> {
    fn drop(&mut self) {
        while self.stage != Stage::Over {
            let lingering = self.stage == Stage::Lingering;
            self.stage = Stage::Over;
            let limits = &self.shared.limits;
            if !self.shared.with(|queues| queues.give_up(self.at, lingering, limits)) {
                return;
            }
            if std::thread::panicking() {
                return Self::begin(&self.shared, &self.client, self.at, Vec::new());
            }
            refuse(self.fetch());
        }
    }
}

/// A batch that was not sent yet, and is refused when its carrier never comes to run.
struct Refused<V: Vectorised>(Vec<Waiting<V>>);

impl<V: Vectorised> Drop for Refused<V> {
    fn drop(&mut self) {
        refuse(std::mem::take(&mut self.0));
    }
}

fn refuse<V: Vectorised>(batch: Vec<Waiting<V>>) {
    for waiting in batch {
        let why = "it was not sent: the runtime that would carry it is gone";
        let _ = waiting.done.send(Err(Error::new(ErrorKind::Unavailable, why)));
    }
}
