//! Subscriptions on a connection of their own: confirmed, resubscribed, and honest about gaps.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::client::RedisClient;
use crate::config::Endpoint;
use crate::driver::{self, Event, Subscriber};
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry;
use crate::topology::Failure;

/// What a [`Subscription`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A message.
    Message {
        /// The channel that it was published on.
        channel: String,
        /// Its bytes.
        payload: Bytes,
    },
    /// Messages may have been lost before this point: the connection broke and was made again, or
    /// this receiver was too slow.
    Gap,
}

/// Messages kept for a receiver that is slow.
const CAPACITY: usize = 16_384;
/// Silence after which the connection is asked for a sign of life, and how long that may take.
const QUIET: Duration = Duration::from_secs(2);
const PING_DEADLINE: Duration = Duration::from_secs(2);
/// How often it is looked whether the server is still the one to listen to.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between attempts to subscribe again.
const PAUSE: Duration = Duration::from_millis(200);

/// Messages of some channels, at most once each.
///
/// Redis forgets a message that nobody receives: what is published while the connection is down is
/// lost, and said to be so by [`Incoming::Gap`]. Dropping the subscription ends it.
pub struct Subscription {
    incoming: mpsc::Receiver<Incoming>,
    task: AbortHandle,
}

impl Subscription {
    /// The next message, or gap. `None` when the client was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RedisClient {
    /// Subscribes to `channels`, and returns when the server has confirmed it: whatever is
    /// published from then on arrives, or a [`Gap`](Incoming::Gap) says that it may not have.
    ///
    /// A connection of its own; a dead or black-holed one is replaced within 5 s.
    ///
    /// # Errors
    /// [`Auth`](ErrorKind::Auth) when the ACL forbids a channel,
    /// [`Unavailable`](ErrorKind::Unavailable) when no server can be reached,
    /// [`InvalidInput`](ErrorKind::InvalidInput) without channels.
    pub async fn subscribe<C: Into<String>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> Result<Subscription> {
        let channels: Vec<String> = channels.into_iter().map(Into::into).collect();
        if channels.is_empty() {
            return Err(Error::invalid("a subscription needs at least one channel"));
        }
        for channel in &channels {
            if ["__keyspace@", "__keyevent@", "__redis__:"]
                .iter()
                .any(|own| channel.starts_with(own))
            {
                return Err(Error::invalid(
                    "the server's own channels (keyspace events, tracking) are not delivered: \
                     write what you need to hear of as a message",
                ));
            }
        }
        let started = Instant::now();
        let subscriber = self.open_subscriber(&channels).await;
        if self.config().debug_commands() {
            telemetry::subscribed(&channels, &subscriber, started.elapsed());
        }
        let subscriber = subscriber?;
        let (sender, incoming) = mpsc::channel(CAPACITY);
        let client = self.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = feed(client.clone(), channels, subscriber, sender) => {}
                () = client.closed() => {}
            }
        });
        Ok(Subscription { incoming, task: task.abort_handle() })
    }

    async fn open_subscriber(&self, channels: &[String]) -> Result<Subscribed> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Unavailable, "the client is closed"));
        }
        let unavailable = |why: String| Error::new(ErrorKind::Unavailable, why);
        let limit = self.config().connect_timeout();
        let target =
            self.topology().subscribe_at(Instant::now() + limit).await.map_err(|failure| {
                match failure {
                    Failure::Rejected(refused) | Failure::Refused(refused) => {
                        Error::from_server(&refused.0)
                    }
                    other => unavailable(format!("cannot subscribe: {other:?}")),
                }
            })?;
        let subscriber = driver::connect_subscriber(&target, channels.to_vec()).await;
        let subscriber = subscriber.map_err(|e| {
            e.refused.as_ref().map_or_else(
                || unavailable(e.message.clone()),
                |refused| Error::from_server(&refused.0),
            )
        })?;
        Ok(Subscribed { subscriber, endpoint: target.endpoint })
    }
}

/// A subscribed connection, and where it leads.
struct Subscribed {
    subscriber: Box<dyn Subscriber>,
    endpoint: Endpoint,
}

/// Moves messages to the receiver, and replaces the connection when it ends or goes silent.
async fn feed(
    client: RedisClient,
    channels: Vec<String>,
    mut subscribed: Subscribed,
    sender: mpsc::Sender<Incoming>,
) {
    let mut out = Outbox { sender, waiting: VecDeque::new() };
    loop {
        tokio::select! {
            () = out.pump(&mut *subscribed.subscriber) => {}
            () = left_behind(&client, &subscribed.endpoint) => {}
        }
        drop(subscribed);
        out.gap();
        subscribed = loop {
            match client.open_subscriber(&channels).await {
                Ok(subscribed) => break subscribed,
                Err(error) => tracing::debug!(%error, "subscribing again failed"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        if out.sender.is_closed() {
            return;
        }
    }
}

/// Resolves when messages no longer arrive at `endpoint`: another master, another primary.
async fn left_behind(client: &RedisClient, endpoint: &Endpoint) {
    while client.topology().serves(endpoint) {
        tokio::time::sleep(LOOK).await;
    }
}

/// What goes to the receiver: a gap is never lost, messages are when it is too slow.
struct Outbox {
    sender: mpsc::Sender<Incoming>,
    waiting: VecDeque<Incoming>,
}

impl Outbox {
    /// Ends when the connection does.
    async fn pump(&mut self, subscriber: &mut dyn Subscriber) {
        loop {
            match tokio::time::timeout(QUIET, subscriber.next()).await {
                Ok(Some(Event::Message { channel, payload })) => {
                    self.push(Incoming::Message { channel, payload });
                }
                Ok(Some(Event::Lagged)) => self.gap(),
                Ok(None) => return,
                Err(_) => {
                    let pong = tokio::time::timeout(PING_DEADLINE, subscriber.ping()).await;
                    if !matches!(pong, Ok(Ok(()))) {
                        return;
                    }
                    self.flush();
                }
            }
        }
    }

    fn push(&mut self, incoming: Incoming) {
        self.flush();
        if self.waiting.is_empty()
            && let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(incoming)
        {
            self.gap();
        }
    }

    /// One gap stands for all that is lost until it is delivered.
    fn gap(&mut self) {
        if self.waiting.is_empty() {
            self.waiting.push_back(Incoming::Gap);
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(next) = self.waiting.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(next)) = self.sender.try_send(next) {
                self.waiting.push_front(next);
                return;
            }
        }
    }
}
