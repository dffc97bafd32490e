//! The driver contract: *one connection to one server*, and the only place that knows a client library.
//!
//! A driver sends a batch and gives its answers in order, or says what became of the batch. It has
//! no retries, no topology, no deadlines: those are [`crate::supervisor`]'s and
//! [`crate::topology`]'s. Each library is a file of its own, `fred.rs` and `redis.rs`, and a feature.

#[cfg(feature = "driver-fred")]
mod fred;
mod life;
#[cfg(feature = "driver-redis")]
mod redis;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

#[cfg(not(any(feature = "driver-fred", feature = "driver-redis")))]
compile_error!("raptor-core needs a driver: enable its feature `driver-fred` or `driver-redis`");

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub(crate) use self::tls::client_config as tls_config;
use crate::config::{Credentials, Driver, Endpoint, Protocol};
use crate::reply::Reply;

/// One command as it goes to a server.
#[derive(Clone)]
pub(crate) struct Request {
    /// The command's name.
    pub(crate) name: Cow<'static, str>,
    /// Everything after the name.
    pub(crate) args: Vec<Bytes>,
    /// When set, the answer must be an array that begins with these bytes; they are checked and
    /// taken off before the answer is handed on.
    pub(crate) echo: Option<Bytes>,
    /// Its caller can send it in parts, which may find what the whole is refused for now.
    pub(crate) divisible: bool,
}

impl Request {
    /// A command without arguments.
    pub(crate) fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), args: Vec::new(), echo: None, divisible: false }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl Into<Bytes>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The bytes of its arguments.
    pub(crate) fn size(&self) -> usize {
        self.args.iter().map(Bytes::len).sum()
    }
}

/// An error reply: the server refused this one request, and said so.
#[derive(Clone, Debug)]
pub(crate) struct ServerError(pub(crate) String);

impl ServerError {
    /// The first word, which names the error: `MOVED`, `NOSCRIPT`, `ERR` …
    pub(crate) fn word(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }
}

/// What the server said to one request.
pub(crate) type Answer = Result<Reply, ServerError>;

/// What became of a batch that got no answers.
#[derive(Clone, Debug)]
pub(crate) enum SendError {
    /// No byte of it reached a server.
    NotSent(String),
    /// It may have been executed, wholly, partly or not at all.
    Lost(String),
}

/// Why a connection could not be made.
#[derive(Clone, Debug)]
pub(crate) struct ConnectError {
    /// In words, without secrets.
    pub(crate) message: String,
    /// Set when the server answered with an error, for example to wrong credentials.
    pub(crate) refused: Option<ServerError>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Whom to connect to, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Credentials,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) database: u8,
    pub(crate) protocol: Protocol,
    pub(crate) connect_timeout: Duration,
    pub(crate) driver: Driver,
}

impl Target {
    /// The configuration has no such driver; this says so all the same.
    #[cfg(not(all(feature = "driver-fred", feature = "driver-redis")))]
    fn no_driver(&self) -> ConnectError {
        let feature = self.driver.feature();
        ConnectError { message: format!("{feature} is not compiled in"), refused: None }
    }
}

/// One live connection to one server.
pub(crate) trait Connection: Send + Sync {
    /// Sends `batch`, contiguously, at the first poll; gives one answer a request, in order.
    ///
    /// Dropping the future before its first poll sends nothing; dropping it later forgets the
    /// answers, and may keep what is still queued from being sent. Nothing is ever sent twice.
    fn send<'a>(&'a self, batch: &'a [Request]) -> BoxFuture<'a, Result<Vec<Answer>, SendError>>;

    /// Resolves when the connection has ended, for whatever reason.
    fn closed(&self) -> BoxFuture<'_, ()>;

    /// Ends the connection at once; what is in flight is lost.
    fn close(&self);
}

/// Something that a subscribing connection received.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message on a channel.
    Message { channel: String, payload: Bytes },
    /// Messages came faster than they were taken, and some are gone.
    Lagged,
}

/// One live connection that has subscribed, and sends nothing else.
pub(crate) trait Subscriber: Send {
    /// Asks for a sign of life. Not cancel-safe: a connection that owes an answer is given up.
    fn ping(&mut self) -> BoxFuture<'_, Result<(), SendError>>;

    /// The next event; `None` when the connection has ended. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Option<Event>>;
}

/// Connects to one server.
pub(crate) async fn connect(target: &Target) -> Result<Arc<dyn Connection>, ConnectError> {
    match target.driver {
        #[cfg(feature = "driver-fred")]
        Driver::Fred => Ok(Arc::new(fred::FredConnection::connect(target).await?)),
        #[cfg(feature = "driver-redis")]
        Driver::Redis => Ok(Arc::new(redis::RedisConnection::connect(target).await?)),
        #[cfg(not(all(feature = "driver-fred", feature = "driver-redis")))]
        _ => Err(target.no_driver()),
    }
}

/// Connects to one server and subscribes to `channels`; returns once it has confirmed that.
pub(crate) async fn connect_subscriber(
    target: &Target,
    channels: Vec<String>,
) -> Result<Box<dyn Subscriber>, ConnectError> {
    match target.driver {
        #[cfg(feature = "driver-fred")]
        Driver::Fred => Ok(Box::new(fred::FredSubscriber::connect(target, channels).await?)),
        #[cfg(feature = "driver-redis")]
        Driver::Redis => Ok(Box::new(redis::RedisSubscriber::connect(target, channels).await?)),
        #[cfg(not(all(feature = "driver-fred", feature = "driver-redis")))]
        _ => Err(target.no_driver()),
    }
}
