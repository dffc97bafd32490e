//! fred 10.1 behind the driver contract: a client without reconnection, driven as one connection.
//!
//! What fred does on its own is switched off: no policy (a cut ends the client for good), no
//! timeouts, no cluster, no resending. What remains to guard against, and where, is told in
//! `docs/decisions/0001-fred-behind-a-seam.md`.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::ErrorKind;
use fred::interfaces::{AuthInterface, ClientLike, EventInterface, Resp3Frame};
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, Server, ServerConfig, TcpConfig, TlsConfig,
    TlsConnector, TlsHostMapping,
};
use fred::types::{ClusterHash, CustomCommand, Message, RespVersion, Value};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::broadcast;

use super::life::Life;
use super::{
    Answer, ConnectError, Connection, Event, Request, SendError, ServerError, Subscriber, Target,
    tcp,
};
use crate::config::{Endpoint, Protocol};
use crate::reply::Reply;

/// Messages kept for a subscriber that is slow; beyond that it is told how many it lost.
///
/// fred reserves the room at once, some 700 bytes a message, so this is not larger.
const SUBSCRIBER_CAPACITY: usize = 2_048;

/// The same of a connection that does not subscribe: fred tells itself of its own state through it.
const COMMAND_CAPACITY: usize = 32;

/// What fred answers to one command.
type Frame = Result<Resp3Frame, fred::error::Error>;

/// A fred client and the task that drives it.
struct Link {
    client: Client,
    life: Life,
}

impl Link {
    async fn open(target: &Target, capacity: usize) -> Result<Self, ConnectError> {
        let client = Client::new(
            fred_config(target),
            Some(PerformanceConfig {
                default_command_timeout: Duration::ZERO,
                broadcast_channel_capacity: capacity,
                ..PerformanceConfig::default()
            }),
            Some(connection_config(target.connect_timeout)),
            None,
        );
        let failed = |why: String, refused| ConnectError {
            message: format!("cannot connect to {}: {why}", target.endpoint),
            refused,
        };
        let setup = async {
            let task = client.init().await?;
            // The task ends with the connection, or by `abort`.
            let life = Life::of(task.abort_handle(), async move { drop(task.await) });
            let link = Self { client, life };
            // fred would write `HELLO 3 AUTH user password` as one line, which a password with a
            // space or a line break takes apart. So AUTH comes first, as a RESP2 array, and a HELLO
            // without credentials after it. A server that refuses HELLO is spoken to in RESP2.
            if target.protocol == Protocol::Resp3
                && let Err(e) = link.client.hello(RespVersion::RESP3, None, None).await
                && !is_server_error(&e)
            {
                return Err(e);
            }
            Ok(link)
        };
        match tokio::time::timeout(target.connect_timeout, setup).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(e)) => {
                let refused = is_server_error(&e).then(|| ServerError(e.details().to_owned()));
                let why = refused.as_ref().map_or_else(|| told(&e), |refused| refused.0.clone());
                Err(failed(why, refused))
            }
            Err(_) => {
                Err(failed(format!("no connection within {:?}", target.connect_timeout), None))
            }
        }
    }
}

fn fred_config(target: &Target) -> Config {
    let server = match &target.endpoint {
        Endpoint::Tcp { host, port } => {
            ServerConfig::Centralized { server: Server::new(host.clone(), *port) }
        }
        Endpoint::Unix(path) => ServerConfig::Unix { path: path.clone() },
    };
    Config {
        fail_fast: true,
        username: target.credentials.username().map(str::to_owned),
        password: target.credentials.password().map(|secret| secret.expose().to_owned()),
        server,
        version: RespVersion::RESP2,
        database: (target.database != 0).then_some(target.database),
        tls: target.tls.clone().map(|config| TlsConfig {
            connector: TlsConnector::Rustls(tokio_rustls::TlsConnector::from(config)),
            hostnames: TlsHostMapping::None,
        }),
        ..Config::default()
    }
}

fn connection_config(connect_timeout: Duration) -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: connect_timeout,
        internal_command_timeout: connect_timeout,
        max_command_attempts: 1,
        max_command_buffer_len: 0,
        auto_client_setname: false,
        reconnect_on_auth_error: false,
        tcp: TcpConfig {
            nodelay: Some(true),
            keepalive: Some(tcp::keepalive()),
            #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
            user_timeout: Some(tcp::USER_TIMEOUT),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    }
}

/// Whether an error of `init` is a reply of the server: those begin with a word in capitals.
fn is_server_error(error: &fred::error::Error) -> bool {
    let word = error.details().split(' ').next().unwrap_or_default();
    word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase())
}

/// A fred error in words of ours: its own may quote bytes of a reply that could not be read.
fn told(error: &fred::error::Error) -> String {
    match error.kind() {
        // fred keeps the Debug form of a system error; its message is the readable part.
        ErrorKind::IO => match error.details().split_once("message: \"") {
            Some((_, message)) => message.split('"').next().unwrap_or_default().to_owned(),
            None => error.details().to_owned(),
        },
        ErrorKind::Tls => format!("TLS: {}", error.details()),
        ErrorKind::Protocol | ErrorKind::Parse => "a reply could not be read".into(),
        ErrorKind::Canceled => "the connection ended".into(),
        ErrorKind::Timeout => "no answer in time".into(),
        kind => format!("the connection failed ({})", kind.to_str()),
    }
}

/// One connection for commands.
pub(super) struct FredConnection {
    link: Link,
    /// Requests queued so far. Held while a batch is queued, so that batches never interleave.
    queued: Mutex<u64>,
    /// Answers taken by their callers so far: never more than have arrived.
    answered: AtomicU64,
}

impl FredConnection {
    pub(super) async fn connect(target: &Target) -> Result<Self, ConnectError> {
        let link = Link::open(target, COMMAND_CAPACITY).await?;
        Ok(Self { link, queued: Mutex::new(0), answered: AtomicU64::new(0) })
    }

    async fn exchange(&self, batch: &[Request]) -> Result<Vec<Answer>, SendError> {
        if self.link.life.is_closed() {
            return Err(SendError::NotSent("the connection is closed".into()));
        }
        match batch {
            [request] => {
                let (place, frame) = self.answered(1, self.call(request)).await?;
                Ok(vec![self.answer(frame, place)?])
            }
            batch => {
                let calls = join_all(batch.iter().map(|request| self.call(request)));
                let (place, frames) = self.answered(batch.len() as u64, calls).await?;
                frames.into_iter().zip(place..).map(|(frame, at)| self.answer(frame, at)).collect()
            }
        }
    }

    /// One request, which fred queues at the first poll. Boxed, for fred's futures take 7 KB.
    fn call(&self, request: &Request) -> BoxFuture<'_, Frame> {
        let args: Vec<_> = request.args.iter().cloned().map(Value::Bytes).collect();
        let command = custom(request.name.clone());
        self.link.client.custom_raw(command, args).boxed()
    }

    /// What `calls` give, `size` requests, and the place of the first among all that were queued.
    async fn answered<T>(
        &self,
        size: u64,
        calls: impl Future<Output = T>,
    ) -> Result<(u64, T), SendError> {
        let mut calls = std::pin::pin!(calls);
        let (place, first) = {
            let mut queued = self.queued.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let place = *queued;
            *queued += size;
            (place, calls.as_mut().now_or_never())
        };
        if let Some(frames) = first {
            return Ok((place, frames));
        }
        tokio::select! {
            biased;
            frames = calls => Ok((place, frames)),
            () = self.link.life.wait_closed() => {
                Err(SendError::Lost("the connection ended before the answer came".into()))
            }
        }
    }

    fn answer(&self, frame: Frame, place: u64) -> Result<Answer, SendError> {
        if frame.is_ok() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        match frame {
            Ok(Resp3Frame::SimpleError { data, .. }) => Ok(Err(ServerError(data.to_string()))),
            Ok(Resp3Frame::BlobError { data, .. }) => {
                Ok(Err(ServerError(String::from_utf8_lossy(&data).into_owned())))
            }
            Ok(frame) => Ok(Ok(reply(frame))),
            Err(e) => self.failed(&e, place),
        }
    }

    /// What became of the request at `place` that ended with a client error.
    fn failed(&self, error: &fred::error::Error, place: u64) -> Result<Answer, SendError> {
        // Said before anything is queued.
        if error.details() == "Failed to send command to router." {
            return Err(SendError::NotSent("the connection is closed".into()));
        }
        // fred ends the connection at a CLUSTERDOWN, with that error for every call on it. The one
        // that was refused is the first without an answer; if as many answers were taken as were
        // queued before this request, then this is it.
        if error.details().starts_with("CLUSTERDOWN")
            && self.answered.load(Ordering::Relaxed) == place
        {
            return Ok(Err(ServerError(error.details().to_owned())));
        }
        Err(SendError::Lost(told(error)))
    }
}

fn custom(name: Cow<'static, str>) -> CustomCommand {
    match name {
        Cow::Borrowed(name) => CustomCommand::new_static(name, ClusterHash::Random, false),
        Cow::Owned(name) => CustomCommand::new(name, ClusterHash::Random, false),
    }
}

impl Connection for FredConnection {
    fn send<'a>(&'a self, batch: &'a [Request]) -> BoxFuture<'a, Result<Vec<Answer>, SendError>> {
        self.exchange(batch).boxed()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        self.link.life.wait_closed().boxed()
    }

    fn close(&self) {
        self.link.life.close();
    }
}

/// One reply in our terms. Bytes are copied: fred's are slices of a large shared read buffer.
fn reply(frame: Resp3Frame) -> Reply {
    match frame {
        Resp3Frame::Null => Reply::Nil,
        Resp3Frame::Number { data, .. } => Reply::Int(data),
        Resp3Frame::Double { data, .. } => Reply::Double(data),
        Resp3Frame::Boolean { data, .. } => Reply::Int(i64::from(data)),
        Resp3Frame::BlobString { data, .. }
        | Resp3Frame::SimpleString { data, .. }
        | Resp3Frame::BigNumber { data, .. }
        | Resp3Frame::VerbatimString { data, .. }
        | Resp3Frame::BlobError { data, .. } => Reply::Bytes(Bytes::copy_from_slice(&data)),
        Resp3Frame::SimpleError { data, .. } => {
            Reply::Bytes(Bytes::copy_from_slice(data.as_bytes()))
        }
        Resp3Frame::Array { data, .. } => Reply::Array(data.into_iter().map(reply).collect()),
        // Inside a reply this is no push: fred's RESP2 decoder makes one of any nested array that
        // begins with `message`, and puts a word before it, which is taken off again.
        Resp3Frame::Push { data, .. } => {
            Reply::Array(data.into_iter().skip(1).map(reply).collect())
        }
        Resp3Frame::Set { data, .. } => Reply::Array(data.into_iter().map(reply).collect()),
        Resp3Frame::Map { data, .. } => {
            Reply::Array(data.into_iter().flat_map(|(k, v)| [reply(k), reply(v)]).collect())
        }
        Resp3Frame::ChunkedString(data) => Reply::Bytes(Bytes::copy_from_slice(&data)),
        Resp3Frame::Hello { .. } => Reply::Nil,
    }
}

/// One connection for subscriptions.
///
/// fred drops the confirmations of SUBSCRIBE, and an error reply to it has no caller and shifts the
/// replies that follow. So SUBSCRIBE is sent as a custom command with a PING behind it: what answers
/// the SUBSCRIBE is then either its error, or the PONG. From there on each PING is answered by the
/// PONG of the next one, which is why one is always kept.
pub(super) struct FredSubscriber {
    link: Link,
    messages: broadcast::Receiver<Message>,
    unanswered: BoxFuture<'static, Frame>,
}

impl FredSubscriber {
    pub(super) async fn connect(
        target: &Target,
        channels: Vec<String>,
    ) -> Result<Self, ConnectError> {
        let link = Link::open(target, SUBSCRIBER_CAPACITY).await?;
        let messages = link.client.message_rx();
        let channels = channels.into_iter().map(Value::from).collect();
        let confirmed = queued(&link.client, "SUBSCRIBE", channels);
        let unanswered = queued(&link.client, "PING", Vec::new());
        let failed = |why: String, refused| ConnectError {
            message: format!("cannot subscribe at {}: {why}", target.endpoint),
            refused,
        };
        let confirmed = tokio::time::timeout(target.connect_timeout, answer(&link, confirmed));
        match confirmed.await {
            // Whoever may not PING got past the SUBSCRIBE.
            Ok(Err(SendError::NotSent(refused))) if refused.contains("'ping'") => {
                Ok(Self { link, messages, unanswered })
            }
            Ok(Ok(())) => Ok(Self { link, messages, unanswered }),
            Ok(Err(SendError::NotSent(refused))) => {
                Err(failed(refused.clone(), Some(ServerError(refused))))
            }
            Ok(Err(SendError::Lost(why))) => Err(failed(why, None)),
            Err(_) => {
                Err(failed(format!("no confirmation within {:?}", target.connect_timeout), None))
            }
        }
    }
}

/// Queues a command now; its answer is awaited later.
fn queued(client: &Client, name: &'static str, args: Vec<Value>) -> BoxFuture<'static, Frame> {
    let client = client.clone();
    let mut call =
        async move { client.custom_raw(custom(Cow::Borrowed(name)), args).await }.boxed();
    match (&mut call).now_or_never() {
        Some(answered) => std::future::ready(answered).boxed(),
        None => call,
    }
}

async fn answer(link: &Link, call: BoxFuture<'static, Frame>) -> Result<(), SendError> {
    let frame = tokio::select! {
        frame = call => frame,
        () = link.life.wait_closed() => return Err(SendError::Lost("the connection ended".into())),
    };
    match frame {
        Ok(Resp3Frame::SimpleError { data, .. }) => Err(SendError::NotSent(data.to_string())),
        Ok(Resp3Frame::BlobError { data, .. }) => {
            Err(SendError::NotSent(String::from_utf8_lossy(&data).into_owned()))
        }
        Ok(_) => Ok(()),
        Err(e) => Err(SendError::Lost(told(&e))),
    }
}

impl Subscriber for FredSubscriber {
    fn ping(&mut self) -> BoxFuture<'_, Result<(), SendError>> {
        let next = queued(&self.link.client, "PING", Vec::new());
        let oldest = std::mem::replace(&mut self.unanswered, next);
        // A refusal is a sign of life too.
        let alive = |outcome| match outcome {
            Err(SendError::NotSent(_)) => Ok(()),
            outcome => outcome,
        };
        answer(&self.link, oldest).map(alive).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        async move {
            let received = tokio::select! {
                biased;
                received = self.messages.recv() => received,
                () = self.link.life.wait_closed() => return None,
            };
            match received {
                Ok(message) => Some(Event::Message {
                    channel: message.channel.to_string(),
                    payload: message
                        .value
                        .into_bytes()
                        .map(|bytes| Bytes::copy_from_slice(&bytes))
                        .unwrap_or_default(),
                }),
                Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Lagged),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        }
        .boxed()
    }
}
