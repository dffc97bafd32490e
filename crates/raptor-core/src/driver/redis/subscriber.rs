//! Subscriptions by redis-rs: its parser, under a task of ours that keeps no more than it may.
//!
//! The library's own `PubSub` reads into a channel without bound, and in RESP3 ends at the first push
//! that it does not know.

use std::io;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::super::{ConnectError, Event, SendError, Subscriber, Target};
use super::stream::Stream;
use super::{connect, told};

/// Messages kept for a subscriber that is slow; beyond that it is told that it lost some.
const ROOM: usize = 2_048;

/// One connection for subscriptions.
pub(in crate::driver) struct RedisSubscriber {
    stream: WriteHalf<Stream>,
    answers: mpsc::Receiver<RedisResult<()>>,
    events: mpsc::Receiver<Event>,
    task: AbortHandle,
}

impl RedisSubscriber {
    pub(in crate::driver) async fn connect(
        target: &Target,
        channels: Vec<String>,
    ) -> Result<Self, ConnectError> {
        connect(target, "subscribe at", async |stream| {
            let (reading, stream) = tokio::io::split(stream);
            let (answer, answers) = mpsc::channel(channels.len() + 1);
            let (keep, events) = mpsc::channel(ROOM + 1);
            let task = tokio::spawn(read(reading, answer, keep)).abort_handle();
            let mut subscriber = Self { stream, answers, events, task };
            // Each channel is confirmed, or the whole is refused.
            subscriber.send(redis::cmd("SUBSCRIBE").arg(&channels)).await?;
            for _ in &channels {
                subscriber.answer().await?;
            }
            Ok(subscriber)
        })
        .await
    }

    async fn send(&mut self, command: &Cmd) -> RedisResult<()> {
        self.stream.write_all(&command.get_packed_command()).await?;
        Ok(self.stream.flush().await?)
    }

    async fn answer(&mut self) -> RedisResult<()> {
        let ended = || Err(io::Error::other("the connection ended").into());
        self.answers.recv().await.unwrap_or_else(ended)
    }
}

impl Drop for RedisSubscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscriber for RedisSubscriber {
    fn ping(&mut self) -> BoxFuture<'_, Result<(), SendError>> {
        let pong = async {
            self.send(&redis::cmd("PING")).await?;
            match self.answer().await {
                // A refusal is a sign of life too.
                Err(error) if error.code().is_some() => Ok(()),
                answer => answer,
            }
        };
        pong.map(|pong| pong.map_err(|error| SendError::Lost(told(&error)))).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        self.events.recv().boxed()
    }
}

/// Reads until the connection ends, or says what it should not.
async fn read(
    mut stream: ReadHalf<Stream>,
    answer: mpsc::Sender<RedisResult<()>>,
    keep: mpsc::Sender<Event>,
) {
    let (mut decoder, mut lagged) = (Default::default(), false);
    while let Ok(value) = redis::parse_redis_value_async(&mut decoder, &mut stream).await {
        let kept = match Said::of(value) {
            Said::Answer(said) => answer.try_send(said).is_ok(),
            // The last place is for saying that there was no other.
            Said::Event(event) if keep.capacity() > 1 => {
                lagged = false;
                keep.try_send(event).is_ok()
            }
            Said::Event(_) => {
                std::mem::replace(&mut lagged, true) || keep.try_send(Event::Lagged).is_ok()
            }
            Said::Aside => true,
            Said::Unsubscribed => false,
        };
        if !kept {
            return;
        }
    }
}

/// What a server says to a subscriber.
enum Said {
    Event(Event),
    /// To the oldest command without an answer; of SUBSCRIBE, one a channel.
    Answer(RedisResult<()>),
    /// Messages no longer arrive here.
    Unsubscribed,
    /// Nothing of ours.
    Aside,
}

impl Said {
    /// RESP2 says as an array what RESP3 says as a push.
    fn of(value: Value) -> Self {
        let (kind, mut rest) = match value {
            Value::ServerError(error) => return Self::Answer(Err(RedisError::from(error))),
            Value::Push { kind, data } => (kind.to_string().into(), data.into_iter()),
            Value::Array(items) => {
                let mut items = items.into_iter();
                let Some(Value::BulkString(kind)) = items.next() else { return Self::Aside };
                (kind, items)
            }
            _ => return Self::Answer(Ok(())),
        };
        match (&kind[..], rest.next(), rest.next()) {
            (b"message", Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) => {
                let channel = String::from_utf8_lossy(&channel).into_owned();
                Self::Event(Event::Message { channel, payload: payload.into() })
            }
            (b"subscribe" | b"pong", ..) => Self::Answer(Ok(())),
            (b"unsubscribe" | b"sunsubscribe", ..) => Self::Unsubscribed,
            _ => Self::Aside,
        }
    }
}
