//! `RedisPipeline`: many commands at once, each with a result of its own, in order.
//!
//! Two ways to run one batch. *Pipelined*, each command is a call like any other (routed, resent
//! when refused, alone) that does not wait for the one before it. *Atomic*, all of them are one
//! script in one slot. There is no MULTI/EXEC: a transaction would span a connection that all
//! callers share.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt as _};
use tokio::time::Instant;

use crate::args::ToArg;
use crate::call::Call;
use crate::client::RedisClient;
use crate::command::MAX_FRAMED_ARGS;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Key;
use crate::reply::{FromReply, Reply};
use crate::script::Script;

/// Commands of one pipeline that are under way at a time.
const WINDOW: usize = 1_024;

/// Runs the commands that ARGV holds.
static ATOMIC: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.pipeline", include_str!("lua/pipeline.lua")));

/// A batch of commands, put together and then sent at once.
///
/// ```no_run
/// # async fn example(client: raptor_core::RedisClient) -> raptor_core::Result<()> {
/// use raptor_core::Key;
/// let visits = Key::raw("visits:{7}");
///
/// // One round trip, one result a command, whatever becomes of the others.
/// let results = client
///     .pipeline()
///     .command("SET").key(&visits).arg(0)
///     .command("INCR").key(&visits)
///     .execute()
///     .await?;
/// assert!(results.iter().all(Result::is_ok));
///
/// // Typed, and with nobody else's commands in between.
/// let ((), count, expires): ((), i64, bool) = client
///     .pipeline()
///     .command("SET").key(&visits).arg(0)
///     .command("INCR").key(&visits)
///     .command("EXPIRE").key(&visits).arg(60)
///     .atomic()
///     .run()
///     .await?;
/// assert_eq!((count, expires), (1, true));
/// # Ok(()) }
/// ```
///
/// # What is guaranteed
/// - Results come in the order of the commands, one each. A command that fails fails alone.
/// - Nothing is executed twice. A command whose reply was lost is
///   [`OutcomeUnknown`](ErrorKind::OutcomeUnknown), or retryable if it only reads; the others keep
///   their results.
/// - A pipeline that cannot be sent as it is (a refused command, keys of one command in two slots,
///   too much of something) is refused whole, before anything is sent.
/// - [`atomic`](Self::atomic): nobody sees the state between two of its commands, and they run in
///   order.
///
/// # What is not
/// - **Nothing is rolled back**, atomic or not: Redis cannot. A command that fails leaves those
///   before it done, and those after it run all the same.
/// - *Order of execution* without `atomic`: commands are sent in order, over one connection to
///   each server, so a server runs those it gets in order, other callers' in between. It is no
///   promise: a command that the server refused (a moved slot, a failover, a flushed script cache)
///   is sent again, alone, behind the others; one that found no connection goes once there is one;
///   one with more than 64 KiB of arguments travels by another connection; and on a cluster nothing
///   relates two servers. Where the order matters, use `atomic`, or await one before the next.
///
/// # Cost and limits
/// At most [`MAX_COMMANDS`](Self::MAX_COMMANDS); up to 1,024 of them are under way at a time, so
/// up to that many take one round trip (one a server on a cluster). Memory holds all replies.
/// Atomic: one round trip, at most [`MAX_ATOMIC_COMMANDS`](Self::MAX_ATOMIC_COMMANDS) commands and
/// 7,000 words in all; the server does nothing else meanwhile.
///
/// Dropping the future sends nothing more; what was sent runs.
#[must_use = "a pipeline does nothing until it is run"]
pub struct RedisPipeline<'a> {
    client: &'a RedisClient,
    calls: Vec<Call<'a>>,
    atomic: bool,
    timeout: Duration,
    /// A key or an argument came before any command.
    stray: bool,
}

impl RedisClient {
    /// An empty pipeline.
    pub fn pipeline(&self) -> RedisPipeline<'_> {
        RedisPipeline {
            client: self,
            calls: Vec::new(),
            atomic: false,
            timeout: self.config().command_timeout(),
            stray: false,
        }
    }
}

impl<'a> RedisPipeline<'a> {
    /// The most commands of one pipeline.
    pub const MAX_COMMANDS: usize = 100_000;

    /// The most commands of one atomic pipeline.
    pub const MAX_ATOMIC_COMMANDS: usize = 1_000;

    /// Adds a command, as [`RedisClient::command`] takes it. Keys and arguments follow.
    pub fn command(self, name: &str) -> Self {
        let call = self.client.command(name);
        self.with(call)
    }

    /// Adds a key to the last command.
    pub fn key(self, key: &Key) -> Self {
        self.on_last(|call| call.key(key))
    }

    /// Adds an argument to the last command.
    pub fn arg(self, arg: impl ToArg) -> Self {
        self.on_last(|call| call.arg(arg))
    }

    /// Adds arguments to the last command.
    pub fn args<A: ToArg>(self, args: impl IntoIterator<Item = A>) -> Self {
        self.on_last(|call| call.args(args))
    }

    /// Adds a call made elsewhere: a command with options of its own, or (not in an atomic
    /// pipeline) a script. It runs on this pipeline's client.
    pub fn with(mut self, call: Call<'a>) -> Self {
        self.push(call);
        self
    }

    /// As [`with`](Self::with), for loops.
    pub fn push(&mut self, call: Call<'a>) {
        self.calls.push(call.of(self.client));
    }

    /// How many commands it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// All commands as one script: nobody sees a state in between, and they run in order.
    ///
    /// All keys share one hash slot, on a single server too, and every key that a command touches
    /// is given by [`key`](Self::key). A command that fails does not end the rest and undoes
    /// nothing. Replies are as elsewhere; an integer within an array is exact up to 2^53. Options
    /// of single calls (their timeouts, [`Call::idempotent`]) do not apply.
    pub fn atomic(mut self) -> Self {
        self.atomic = true;
        self
    }

    /// Ends the whole pipeline after `timeout` instead of the configured time of one command: what
    /// has no reply by then is of unknown outcome, or was not sent.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the pipeline: one result a command, in order.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for the whole, when it cannot be sent as it is.
    /// Everything else is told at its command: the server's refusals,
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) after a lost reply,
    /// [`Unavailable`](ErrorKind::Unavailable) when it was not sent.
    pub async fn execute(self) -> Result<Vec<Result<Reply>>> {
        self.check()?;
        match self.atomic {
            true if self.calls.is_empty() => Ok(Vec::new()),
            true => Ok(self.run_as_script().await),
            false => Ok(self.run_pipelined().await),
        }
    }

    /// As [`execute`](Self::execute), with each reply read as `T`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); a reply of another shape is
    /// [`Codec`](ErrorKind::Codec) in its place.
    pub async fn execute_as<T: FromReply>(self) -> Result<Vec<Result<T>>> {
        let results = self.execute().await?;
        Ok(results.into_iter().map(|result| result.and_then(Reply::decode)).collect())
    }

    /// Sends the pipeline, for when all must succeed: `run::<((), i64, bool)>()`, a type a command.
    ///
    /// # Errors
    /// The first command's that failed, by place and name. It is retryable only if nothing ran or
    /// every command only reads: the others may have run, so use [`execute`](Self::execute) where
    /// it matters which. [`InvalidInput`](ErrorKind::InvalidInput), and nothing is sent, when there
    /// are more or fewer commands than types.
    pub async fn run<T: FromReplies>(self) -> Result<T> {
        if self.calls.len() != T::COUNT {
            return Err(Error::invalid(format!(
                "a pipeline of {} commands cannot give {} replies: name one type a command",
                self.calls.len(),
                T::COUNT
            )));
        }
        let harmless = self.calls.iter().all(Call::is_idempotent);
        let names: Vec<String> = self.calls.iter().map(|call| call.name().into_owned()).collect();
        let results = self.execute().await?;
        let count = results.len();
        let told = |(at, (result, name)): (usize, (Result<Reply>, String))| {
            result.map_err(|error| {
                error.of_batch(&format!("command {} of {count}, {name}", at + 1), harmless)
            })
        };
        let replies = results.into_iter().zip(names).enumerate().map(told);
        T::from_replies(replies.collect::<Result<Vec<_>>>()?)
    }

    fn on_last(mut self, change: impl FnOnce(Call<'a>) -> Call<'a>) -> Self {
        match self.calls.pop() {
            Some(call) => self.calls.push(change(call)),
            None => self.stray = true,
        }
        self
    }

    /// What can be said against it before anything is sent.
    fn check(&self) -> Result<()> {
        if self.stray {
            return Err(Error::invalid("a key or an argument stands before the first command"));
        }
        let most = if self.atomic { Self::MAX_ATOMIC_COMMANDS } else { Self::MAX_COMMANDS };
        if self.calls.len() > most {
            return Err(Error::invalid(format!(
                "the pipeline has {} commands; split it, at most {most} are taken",
                self.calls.len()
            )));
        }
        for (at, call) in self.calls.iter().enumerate() {
            let which = || format!("command {} of {}", at + 1, self.calls.len());
            call.check().map_err(|error| error.of_batch(&which(), true))?;
            if self.atomic && call.as_command().is_none() {
                return Err(Error::invalid(format!(
                    "{} is the script {}: an atomic pipeline takes commands only",
                    which(),
                    call.name()
                )));
            }
        }
        if self.atomic {
            let words: usize = self.calls.iter().map(|call| call.args.len() + 1).sum();
            if words > MAX_FRAMED_ARGS {
                return Err(Error::invalid(format!(
                    "the atomic pipeline has {words} words; at most {MAX_FRAMED_ARGS} are taken"
                )));
            }
            let mut keys = self.calls.iter().flat_map(|call| &call.keys);
            let first = keys.next();
            if let Some((one, two)) =
                first.and_then(|one| Some((one, keys.find(|key| key.slot() != one.slot())?)))
            {
                return Err(Error::invalid(format!(
                    "keys {one:?} and {two:?} of an atomic pipeline lie in different hash slots: \
                     give them the same {{tag}}"
                )));
            }
        }
        Ok(())
    }

    async fn run_pipelined(self) -> Vec<Result<Reply>> {
        let deadline = Instant::now().checked_add(self.timeout);
        let mut results = Vec::with_capacity(self.calls.len());
        let mut calls = sources_first(self.client, self.calls).into_iter();
        let mut running = FuturesOrdered::new();
        loop {
            while running.len() < WINDOW
                && let Some(call) = calls.next()
            {
                // Not to be put off by the runtime's budget: a call is sent at its first poll, and
                // these are polled in order.
                running.push_back(tokio::task::unconstrained(run_one(call, deadline)));
            }
            let Some(result) = running.next().await else { return results };
            results.push(result);
            if results.len().is_multiple_of(WINDOW) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn run_as_script(self) -> Vec<Result<Reply>> {
        let mut script =
            self.client.script(&ATOMIC).operations(self.calls.len()).timeout(self.timeout);
        let mut keys = HashSet::new();
        for call in &self.calls {
            script = script.arg(call.args.len() + 1).arg(&*call.name()).args(&call.args);
            for key in &call.keys {
                if keys.insert(key) {
                    script = script.key(key);
                }
            }
        }
        let reads = |call: &Call<'_>| call.as_command().is_some_and(|command| command.reads);
        if self.calls.iter().all(reads) {
            script = script.idempotent();
        }
        let replies = script.run::<Reply>().await;
        let count = self.calls.len();
        match replies.and_then(|replies| results_of(replies, count)) {
            Ok(results) => results,
            Err(error) => self
                .calls
                .iter()
                .map(|call| match error.kind() {
                    // Whatever became of the others, this one may be repeated.
                    ErrorKind::OutcomeUnknown if reads(call) => Err(Error::new(
                        ErrorKind::Connection,
                        format!("{}: its reply was lost; a repeat is harmless", call.name()),
                    )),
                    _ => Err(error.told_again()),
                })
                .collect(),
        }
    }
}

async fn run_one(call: Call<'_>, deadline: Option<Instant>) -> Result<Reply> {
    let call = match deadline {
        Some(deadline) => call.by(deadline)?,
        None => call,
    };
    call.run().await
}

/// The first of several calls in one place brings its script along, if it has one: refused for want
/// of it and sent again, it would run behind the others.
fn sources_first<'a>(client: &RedisClient, mut calls: Vec<Call<'a>>) -> Vec<Call<'a>> {
    let cluster = client.is_cluster();
    let lane = |call: &Call<'_>| if cluster { call.slot() } else { None };
    let mut waiting = HashSet::new();
    let mut known = HashSet::new();
    // From behind, to see whether others follow.
    let followed: Vec<bool> = calls.iter().rev().map(|call| !waiting.insert(lane(call))).collect();
    for (call, followed) in calls.iter_mut().zip(followed.into_iter().rev()) {
        if let Some(sha) = call.script_sha()
            && known.insert((lane(call), sha))
        {
            call.with_source = followed;
        }
    }
    calls
}

/// The results within an atomic pipeline's reply.
fn results_of(replies: Reply, count: usize) -> Result<Vec<Result<Reply>>> {
    let items: Vec<Vec<Reply>> = match replies {
        Reply::Array(items) => {
            items.into_iter().skip(1).map(Reply::decode).collect::<Result<_>>()?
        }
        _ => Vec::new(),
    };
    if items.len() != count {
        return Err(Error::codec(format!(
            "an atomic pipeline of {count} commands was answered with {} results",
            items.len()
        )));
    }
    let result = |item: Vec<Reply>| {
        let mut parts = item.into_iter();
        let status: String = parts.next().unwrap_or(Reply::Nil).decode()?;
        let rest = parts.next().unwrap_or(Reply::Nil);
        match status.as_str() {
            "ok" => Ok(rest),
            "error" => Err(Error::from_server(&rest.text()?)),
            "stopped" => Err(Error::new(
                ErrorKind::Auth,
                format!("nothing ran: the user may not run command {}", rest.decode::<u64>()?),
            )),
            _ => Err(Error::codec(
                "it ran, and its reply is an integer beyond 2^53, which an atomic pipeline cannot \
                 tell exactly",
            )),
        }
    };
    Ok(items.into_iter().map(result).collect())
}

/// Tuples that a pipeline's replies can be read as, a type a command, up to eight.
pub trait FromReplies: Sized {
    /// How many commands it takes.
    const COUNT: usize;

    /// Reads `replies`, of which there are [`COUNT`](Self::COUNT).
    ///
    /// # Errors
    /// [`Codec`](ErrorKind::Codec) when a shape does not fit.
    fn from_replies(replies: Vec<Reply>) -> Result<Self>;
}

macro_rules! tuple_from_replies {
    ($count:literal: $($name:ident),*) => {
        impl<$($name: FromReply),*> FromReplies for ($($name,)*) {
            const COUNT: usize = $count;

            fn from_replies(replies: Vec<Reply>) -> Result<Self> {
                let mut replies = replies.into_iter();
                Ok(($($name::from_reply(replies.next().unwrap_or(Reply::Nil))?,)*))
            }
        }
    };
}
tuple_from_replies!(1: A);
tuple_from_replies!(2: A, B);
tuple_from_replies!(3: A, B, C);
tuple_from_replies!(4: A, B, C, D);
tuple_from_replies!(5: A, B, C, D, E);
tuple_from_replies!(6: A, B, C, D, E, F);
tuple_from_replies!(7: A, B, C, D, E, F, G);
tuple_from_replies!(8: A, B, C, D, E, F, G, H);
