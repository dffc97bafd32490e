//! One call of a coalescer at a time, from boarding to landing.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::queue::Weight;
use super::{Shared, Vectorised, Waiting};
use crate::client::RedisClient;
use crate::error::{Error, ErrorKind};

/// A flight of one lane. However it ends, who waits leaves next.
pub(super) struct Flight<V: Vectorised> {
    shared: Arc<Shared<V>>,
    client: RedisClient,
    lane: u16,
    stage: Stage,
    /// On a task of its own, which ends early only with its runtime.
    own_task: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Boarding,
    Flying,
    Landed,
}

impl<V: Vectorised> Flight<V> {
    /// The flight of an operation that is its first.
    pub(super) fn first(shared: &Arc<Shared<V>>, client: &RedisClient, lane: u16) -> Self {
        Self {
            shared: Arc::clone(shared),
            client: client.clone(),
            lane,
            stage: Stage::Boarding,
            own_task: false,
        }
    }

    /// Takes along whoever is ready to run right now, for instance callers that were just answered
    /// together and ask again. That costs a turn of the scheduler, and waits for nothing.
    pub(super) async fn board(&mut self, aboard: Option<Weight>) -> Vec<Waiting<V>> {
        tokio::task::yield_now().await;
        self.leave(aboard)
    }

    fn leave(&mut self, aboard: Option<Weight>) -> Vec<Waiting<V>> {
        self.stage = Stage::Flying;
        let (batch, more) = self.shared.leave(self.lane, aboard);
        if more {
            Self::first(&self.shared, &self.client, self.lane).depart();
        }
        batch
    }

    /// Boards on a task of its own, carries who boards, and goes on while somebody waits.
    fn depart(mut self) {
        self.own_task = true;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                loop {
                    let batch = self.board(None).await;
                    self.carry(batch).await;
                    if !self.land() {
                        return;
                    }
                }
            })),
            Err(_) => drop(self),
        }
    }

    /// Carries a batch.
    pub(super) async fn carry(&self, batch: Vec<Waiting<V>>) {
        let (ops, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.op, waiting.done)).unzip();
        if ops.is_empty() {
            return;
        }
        let results = self.shared.run(&self.client, ops).await;
        for (done, result) in waiting.into_iter().zip(results) {
            // A caller that has gone wants no result.
            let _ = done.send(result);
        }
    }

    /// Ends the flight, or begins the next where somebody waits.
    fn land(&mut self) -> bool {
        let again = self.shared.land(self.lane, self.stage == Stage::Boarding);
        self.stage = if again { Stage::Boarding } else { Stage::Landed };
        again
    }
}

/// A flight with riders that its first caller carries. When that caller goes away before the end,
/// it goes on on a task of its own: riders depend on nobody.
pub(super) struct Carried(Option<BoxFuture<'static, ()>>);

impl Carried {
    pub(super) fn begin<V: Vectorised>(flight: Flight<V>, batch: Vec<Waiting<V>>) -> Self {
        Self(Some(async move { flight.carry(batch).await }.boxed()))
    }

    pub(super) async fn finish(mut self) {
        if let Some(flight) = &mut self.0 {
            flight.await;
        }
        self.0 = None;
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(flight) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(flight);
        }
    }
}

impl<V: Vectorised> Drop for Flight<V> {
    fn drop(&mut self) {
        let runtime_ended = self.own_task && !std::thread::panicking();
        while self.stage != Stage::Landed && self.land() {
            if !runtime_ended {
                Self::first(&self.shared, &self.client, self.lane).depart();
                self.stage = Stage::Landed;
                return;
            }
            // Nobody can carry them, so they are not sent.
            for waiting in self.leave(None) {
                let why = "it was not sent: the runtime that would carry it is gone";
                let _ = waiting.done.send(Err(Error::new(ErrorKind::Unavailable, why)));
            }
        }
    }
}
