//! redis-rs 1.8 behind the driver contract: one `MultiplexedConnection`, over a stream of ours.
//!
//! Of the library this uses the codec, and the queue that gives each reply to its request. Streams,
//! login, subscriptions and deadlines are ours; its cluster client, its connection manager, its
//! `PubSub`, its retries and its timeouts are not used. What is to be guarded against, and where, is told in
//! `docs/decisions/0002-redis-rs-beside-fred.md`.

mod stream;
mod subscriber;

use std::error::Error;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, RedisResult,
    Value,
};
use tokio::io::AsyncWriteExt;

pub(super) use self::subscriber::RedisSubscriber;
use super::life::Life;
use super::{Answer, ConnectError, Connection, Request, SendError, ServerError, Target};
use crate::config::Protocol;
use crate::reply::Reply;

/// Calls that the library queues; more than a lane has in flight, so that none waits to be queued.
const QUEUE: usize = 8_192;

/// Opens a stream and logs in there; then does the `rest`. All of it within the connect timeout.
async fn connect<T, F: Future<Output = RedisResult<T>>>(
    target: &Target,
    what: &str,
    rest: impl FnOnce(stream::Stream) -> F,
) -> Result<T, ConnectError> {
    let failed = |why: String, refused| ConnectError {
        message: format!("cannot {what} {}: {why}", target.endpoint),
        refused,
    };
    let setup = async {
        let mut stream = stream::open(target).await?;
        greet(&mut stream, target).await?;
        rest(stream).await
    };
    match tokio::time::timeout(target.connect_timeout, setup).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => match redis::ServerError::try_from(error) {
            Ok(refused) => {
                let refused = server_error(&refused);
                Err(failed(refused.0.clone(), Some(refused)))
            }
            Err(error) => Err(failed(told(&error), None)),
        },
        Err(_) => Err(failed(format!("no connection within {:?}", target.connect_timeout), None)),
    }
}

/// Logs in, selects the database and agrees on the protocol, in one round trip.
///
/// The library's own login keeps the server's words to itself. A server that refuses HELLO is
/// spoken to in RESP2.
async fn greet(stream: &mut stream::Stream, target: &Target) -> RedisResult<()> {
    let mut greeting = Pipeline::new();
    if let Some(password) = target.credentials.password() {
        greeting.cmd("AUTH").arg(target.credentials.username()).arg(password.expose());
    }
    if target.database != 0 {
        greeting.cmd("SELECT").arg(target.database);
    }
    let required = greeting.len();
    if target.protocol == Protocol::Resp3 {
        greeting.cmd("HELLO").arg(3);
    }
    stream.write_all(&greeting.get_packed_pipeline()).await?;
    stream.flush().await?;
    let mut decoder = Default::default();
    for nth in 0..greeting.len() {
        let answer = redis::parse_redis_value_async(&mut decoder, stream).await?;
        if nth < required {
            answer.extract_error()?;
        }
    }
    Ok(())
}

/// An error in words of ours: the library's own may quote bytes of a reply that could not be read.
fn told(error: &RedisError) -> String {
    match (error.kind(), error.source()) {
        (ErrorKind::Parse, _) => "a reply could not be read".into(),
        (ErrorKind::Io, Some(system)) => system.to_string(),
        _ => "the connection failed".into(),
    }
}

/// The line that the server sent, which the library cuts at its first space.
fn server_error(error: &redis::ServerError) -> ServerError {
    ServerError(match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    })
}

/// One connection for commands.
pub(super) struct RedisConnection {
    connection: MultiplexedConnection,
    link: Life,
}

impl RedisConnection {
    pub(super) async fn connect(target: &Target) -> Result<Self, ConnectError> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        connect(target, "connect to", async |stream| {
            // The stream is logged in: nothing is left for the library to set up.
            let nothing = RedisConnectionInfo::default().set_skip_set_lib_name();
            let (connection, driver) =
                MultiplexedConnection::new_with_config(&nothing, stream, settings).await?;
            Ok(Self { connection, link: Life::start(driver) })
        })
        .await
    }

    /// A batch goes into the library's queue as one piece, at the first poll.
    async fn exchange(&self, batch: &[Request]) -> Result<Vec<Answer>, SendError> {
        if self.link.is_closed() {
            return Err(SendError::NotSent("the connection is closed".into()));
        }
        let mut connection = self.connection.clone();
        let values = async {
            if let [request] = batch {
                let value = connection.send_packed_command(&command(request)).await?;
                return Ok(vec![value]);
            }
            let mut pipeline = Pipeline::with_capacity(batch.len());
            for request in batch {
                pipeline.add_command(command(request));
            }
            connection.send_packed_commands(&pipeline, 0, batch.len()).await
        };
        tokio::select! {
            biased;
            values = values => values
                .map(|values| values.into_iter().map(answer).collect())
                .map_err(|e| SendError::Lost(told(&e))),
            () = self.link.wait_closed() => {
                Err(SendError::Lost("the connection ended before the answer came".into()))
            }
        }
    }
}

impl Connection for RedisConnection {
    fn send<'a>(&'a self, batch: &'a [Request]) -> BoxFuture<'a, Result<Vec<Answer>, SendError>> {
        self.exchange(batch).boxed()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        self.link.wait_closed().boxed()
    }

    fn close(&self) {
        self.link.close();
    }
}

fn command(request: &Request) -> Cmd {
    let size = request.name.len() + request.size();
    let mut command = Cmd::with_capacity(1 + request.args.len(), size);
    command.arg(&*request.name);
    for arg in &request.args {
        command.arg(&arg[..]);
    }
    command
}

fn answer(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Err(server_error(&error)),
        Value::Attribute { data, .. } => answer(*data),
        value => Ok(reply(value)),
    }
}

/// One reply in our terms. The library copies bytes out of its read buffer, so ours share nothing.
fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Int(number),
        Value::Double(number) => Reply::Double(number),
        Value::Boolean(truth) => Reply::Int(i64::from(truth)),
        Value::Okay => Reply::Bytes(Bytes::from_static(b"OK")),
        Value::BulkString(bytes) => Reply::Bytes(bytes.into()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Reply::Bytes(text.into()),
        Value::BigNumber(number) => Reply::Bytes(number.to_string().into()),
        Value::ServerError(error) => Reply::Bytes(server_error(&error).0.into()),
        Value::Attribute { data, .. } => reply(*data),
        Value::Array(items) | Value::Set(items) | Value::Push { data: items, .. } => {
            Reply::Array(items.into_iter().map(reply).collect())
        }
        Value::Map(pairs) => {
            Reply::Array(pairs.into_iter().flat_map(|(k, v)| [reply(k), reply(v)]).collect())
        }
        _ => Reply::Nil,
    }
}
