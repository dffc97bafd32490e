//! One call in the making, a script's or a generic command's, and how its outcome is told.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::args::ToArg;
use crate::client::RedisClient;
use crate::command::{self, Command};
use crate::driver::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Key;
use crate::node::Size;
use crate::reply::{FromReply, Reply};
use crate::script::{self, Script};
use crate::telemetry::{self, CommandLog};
use crate::topology::{Failure, Resends, Route};

const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A call that is being put together: keys, arguments, options, then [`run`](Call::run).
///
/// Dropping the future of `run` before it was polled sends nothing; dropping it later leaves the
/// call to run on the server, and its reply is discarded.
#[must_use = "a call does nothing until it is run"]
pub struct Call<'a> {
    pub(crate) client: &'a RedisClient,
    what: What<'a>,
    pub(crate) keys: Vec<Key>,
    /// Arguments; for a command the keys stand among them.
    pub(crate) args: Vec<Bytes>,
    pub(crate) size: Size,
    /// A script goes with its source, known to the server or not: it is never refused for that.
    pub(crate) with_source: bool,
    /// Where a call without keys goes: to the owner of this slot.
    at_slot: Option<u16>,
    many_slots: bool,
    /// Its operations can also be sent one by one.
    pub(crate) divisible: bool,
    /// How many operations it is, where it is a batch.
    operations: Option<usize>,
    idempotent: bool,
    timeout: Duration,
}

enum What<'a> {
    Script(&'a Script),
    Command(Result<Command>),
}

impl<'a> Call<'a> {
    fn new(client: &'a RedisClient, what: What<'a>, idempotent: bool) -> Self {
        Self {
            client,
            what,
            keys: Vec::new(),
            args: Vec::new(),
            size: Size::Auto,
            with_source: false,
            at_slot: None,
            many_slots: false,
            divisible: false,
            operations: None,
            idempotent,
            timeout: client.config().command_timeout(),
        }
    }

    pub(crate) fn script(client: &'a RedisClient, script: &'a Script) -> Self {
        Self::new(client, What::Script(script), false)
    }

    pub(crate) fn command(client: &'a RedisClient, command: Result<Command>) -> Self {
        let reads = command.as_ref().is_ok_and(|command| command.reads);
        Self::new(client, What::Command(command), reads)
    }

    /// Adds a key. All keys of a call share one hash slot, on a single server too.
    pub fn key(mut self, key: &Key) -> Self {
        if matches!(self.what, What::Command(_)) {
            self.args.push(key.bytes());
        }
        self.keys.push(key.clone());
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl ToArg) -> Self {
        self.args.push(arg.to_arg());
        self
    }

    /// Adds arguments.
    pub fn args<A: ToArg>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(ToArg::to_arg));
        self
    }

    /// Says that running twice is harmless: a lost reply is then a retryable
    /// [`Timeout`](ErrorKind::Timeout) or [`Connection`](ErrorKind::Connection) error, not
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown). Commands that only read need not say it.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// A batch of several operations may span slots where there is but one server.
    pub(crate) fn many_slots(mut self) -> Self {
        self.many_slots = true;
        self
    }

    /// Goes to the owner of `slot`, where there are several servers and no key says which.
    pub(crate) fn at_slot(mut self, slot: u16) -> Self {
        self.at_slot = Some(slot);
        self
    }

    /// Ends by `deadline` at the latest, or is not sent at all.
    pub(crate) fn by(mut self, deadline: Instant) -> Result<Self> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let why = format!("{} was not sent: its time was over before its turn", self.name());
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        self.timeout = self.timeout.min(left);
        Ok(self)
    }

    /// The slot that says where it goes.
    pub(crate) fn slot(&self) -> Option<u16> {
        self.keys.first().map(Key::slot).or(self.at_slot)
    }

    /// Makes it a call of `client`.
    pub(crate) fn of(mut self, client: &'a RedisClient) -> Self {
        self.client = client;
        self
    }

    /// The command's or the script's name.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        match &self.what {
            What::Script(script) => script.name().into(),
            What::Command(Ok(command)) => command.name().clone(),
            What::Command(Err(_)) => "a command".into(),
        }
    }

    /// The command; `None` for a script, and for a command that is refused.
    pub(crate) fn as_command(&self) -> Option<&Command> {
        match &self.what {
            What::Command(Ok(command)) => Some(command),
            _ => None,
        }
    }

    /// The script that it runs, a framed command's included.
    pub(crate) fn script_sha(&self) -> Option<&'a str> {
        match &self.what {
            What::Script(script) => Some(script.sha()),
            What::Command(Ok(command)) => command.is_framed().then(|| command::FRAMED.sha()),
            What::Command(Err(_)) => None,
        }
    }

    /// Whether a repeat does no harm.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Says how many operations ride in it.
    pub(crate) fn operations(mut self, operations: usize) -> Self {
        self.operations = Some(operations);
        self
    }

    /// What it is, for the log, and nothing of what is in it.
    fn described(&self) -> CommandLog {
        let argument_bytes: usize = self.args.iter().map(Bytes::len).sum();
        let key_bytes: usize = self.keys.iter().map(|key| key.as_bytes().len()).sum();
        let (arguments, bytes) = match self.what {
            What::Script(_) => (self.args.len(), argument_bytes + key_bytes),
            // A command's keys stand among its arguments.
            What::Command(_) => (self.args.len() - self.keys.len(), argument_bytes),
        };
        CommandLog {
            families: telemetry::families(&self.keys),
            keys: self.keys.len(),
            arguments,
            bytes,
            operations: self.operations,
        }
    }

    /// What the whole is refused for may be nothing to its parts, so it is not insisted on.
    pub(crate) fn divisible(mut self, divisible: bool) -> Self {
        self.divisible = divisible;
        self
    }

    /// Says that a large reply is expected: it travels apart and holds up nobody.
    /// Requests above 64 KiB do so by themselves.
    pub fn large(mut self) -> Self {
        self.size = Size::Large;
        self
    }

    /// Ends the call, resends included, after `timeout` instead of the configured time.
    ///
    /// A server that is silent to everybody for more than three seconds is given up, and the call
    /// with it, however long this is.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the call and reads its reply as `T`.
    ///
    /// # Errors
    /// By [`ErrorKind`]; [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) when it was sent, changes
    /// something, and no reply came. Nothing is ever executed twice.
    pub async fn run<T: FromReply>(self) -> Result<T> {
        self.check()?;
        let sent = Sent::begin(&self);
        match &self.what {
            What::Script(script) => {
                let script = *script;
                script::run(self, sent, script).await
            }
            What::Command(Ok(command)) => {
                let command = command.clone();
                command::run(self, sent, command).await
            }
            What::Command(Err(refused)) => Err(refused.told_again()),
        }
    }

    /// What can be said against it before it is sent.
    pub(crate) fn check(&self) -> Result<()> {
        let one_slot = !self.many_slots || self.client.is_cluster();
        if one_slot
            && let Some(two) = self.keys.windows(2).find(|two| two[0].slot() != two[1].slot())
        {
            return Err(Error::invalid(format!(
                "keys {:?} and {:?} lie in different hash slots: give them the same {{tag}}",
                two[0], two[1]
            )));
        }
        match &self.what {
            What::Script(_) => Ok(()),
            What::Command(Ok(command)) => command.check(&self.args),
            What::Command(Err(refused)) => Err(refused.told_again()),
        }
    }
}

/// A call under way: its deadline, and how its outcome is told to the caller, to metrics and logs.
pub(crate) struct Sent<'a> {
    client: &'a RedisClient,
    name: Cow<'static, str>,
    route: Route,
    size: Size,
    idempotent: bool,
    timeout: Duration,
    started: Instant,
    pub(crate) resends: Resends,
    /// Set in debug mode.
    log: Option<CommandLog>,
    outcome: &'static str,
}

impl<'a> Sent<'a> {
    pub(crate) fn begin(call: &Call<'a>) -> Self {
        Self {
            client: call.client,
            name: call.name(),
            route: call.slot().map_or(Route::Any, Route::Slot),
            size: call.size,
            idempotent: call.idempotent,
            timeout: call.timeout,
            started: Instant::now(),
            resends: Resends::default(),
            log: call.client.config().debug_commands().then(|| call.described()),
            outcome: telemetry::CALLER_GONE,
        }
    }

    pub(crate) async fn send(&self, request: &Request) -> Result<Reply, Failure> {
        // Longer than anybody waits, where the sum cannot be told.
        let deadline = self.started.checked_add(self.timeout).unwrap_or(self.started + A_YEAR);
        let topology = self.client.topology();
        topology.call(self.route, request, self.size, deadline, &self.resends).await
    }

    /// What the caller is told.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        let name = &self.name;
        let unknown = |why: String, harmless: ErrorKind| {
            if self.idempotent {
                Error::new(harmless, format!("{name}: {why}; a repeat is harmless"))
            } else {
                Error::new(
                    ErrorKind::OutcomeUnknown,
                    format!("{name}: {why}; it may have run, so look before you repeat it"),
                )
            }
        };
        match failure {
            Failure::NotSent(why) => {
                Error::new(ErrorKind::Unavailable, format!("{name} was not sent: {why}"))
            }
            Failure::Rejected(refused) => {
                let error = Error::from_server(&refused.0);
                let kind = match error.kind() {
                    ErrorKind::Auth => ErrorKind::Auth,
                    _ => ErrorKind::Unavailable,
                };
                Error::new(
                    kind,
                    format!("{name} was not sent, the connection was refused: {error}"),
                )
            }
            Failure::Refused(refused) => Error::from_server(&refused.0),
            Failure::Lost(why) => unknown(why, ErrorKind::Connection),
            Failure::Late => {
                unknown(format!("no reply within {:?}", self.timeout), ErrorKind::Timeout)
            }
            Failure::Misfit(why) => unknown(why, ErrorKind::Protocol),
        }
    }

    /// Counts the outcome.
    pub(crate) fn end<T>(mut self, outcome: Result<T>) -> Result<T> {
        let counted = outcome.as_ref().map(drop).map_err(Error::kind);
        self.outcome = telemetry::call_ended(counted, self.started.elapsed());
        outcome
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            log.write(&self.name, self.outcome, self.started.elapsed(), self.resends.so_far());
        }
    }
}
