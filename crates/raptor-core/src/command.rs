//! Generic commands, made safe: which go to the server as they are, which in a frame, which never.
//!
//! A reply that is an array of a tenant's bytes could be taken for a pub/sub message by a client
//! library. So commands whose replies are never arrays go as they are, and every other command
//! goes inside a script (one round trip all the same) whose reply begins with a tag of ours. What
//! would change the state of the shared connection, or block it, is refused with the reason.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::args::ToArg;
use crate::call::{Call, Sent};
use crate::client::RedisClient;
use crate::driver::Request;
use crate::error::{Error, Result};
use crate::reply::FromReply;
use crate::script::{self, Script};

/// Arguments beyond which Lua's `unpack` would fail.
pub(crate) const MAX_FRAMED_ARGS: usize = 7_000;

/// Commands that answer with one value: no array, whatever the arguments.
const SCALAR: &[&str] = &[
    "APPEND",
    "BITCOUNT",
    "BITOP",
    "BITPOS",
    "COPY",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "DUMP",
    "ECHO",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "GET",
    "GETBIT",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "HDEL",
    "HEXISTS",
    "HGET",
    "HINCRBY",
    "HINCRBYFLOAT",
    "HLEN",
    "HMSET",
    "HSET",
    "HSETNX",
    "HSTRLEN",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "INFO",
    "LINDEX",
    "LINSERT",
    "LLEN",
    "LPUSH",
    "LPUSHX",
    "LREM",
    "LSET",
    "LTRIM",
    "MSET",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PFADD",
    "PFCOUNT",
    "PING",
    "PSETEX",
    "PTTL",
    "PUBLISH",
    "RENAME",
    "RENAMENX",
    "RESTORE",
    "RPUSH",
    "RPUSHX",
    "SADD",
    "SCARD",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "SISMEMBER",
    "SMOVE",
    "SREM",
    "STRLEN",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
    "XACK",
    "XADD",
    "XDEL",
    "XLEN",
    "XTRIM",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZINCRBY",
    "ZLEXCOUNT",
    "ZREM",
    "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE",
    "ZSCORE",
];

/// Commands that only read, so that a repeat is harmless.
const READS: &[&str] = &[
    "BITCOUNT",
    "BITPOS",
    "DBSIZE",
    "DUMP",
    "ECHO",
    "EXISTS",
    "EXPIRETIME",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HRANDFIELD",
    "HSCAN",
    "HSTRLEN",
    "HVALS",
    "INFO",
    "LINDEX",
    "LLEN",
    "LPOS",
    "LRANGE",
    "MGET",
    "PEXPIRETIME",
    "PING",
    "PTTL",
    "SCARD",
    "SDIFF",
    "SINTER",
    "SINTERCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SRANDMEMBER",
    "SSCAN",
    "STRLEN",
    "SUNION",
    "TIME",
    "TTL",
    "TYPE",
    "XINFO",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREVRANGE",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZLEXCOUNT",
    "ZMSCORE",
    "ZRANDMEMBER",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
    "ZUNION",
];

/// Commands that are refused, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE"],
        "subscriptions need a connection of their own: use RedisClient::subscribe",
    ),
    (
        &[
            "AUTH",
            "ASKING",
            "CLIENT",
            "HELLO",
            "MONITOR",
            "PSYNC",
            "QUIT",
            "READONLY",
            "READWRITE",
            "RESET",
            "SELECT",
            "SYNC",
        ],
        "it changes the connection, which all callers share",
    ),
    (
        &[
            "BLMOVE",
            "BLMPOP",
            "BLPOP",
            "BRPOP",
            "BRPOPLPUSH",
            "BZMPOP",
            "BZPOPMAX",
            "BZPOPMIN",
            "WAIT",
            "WAITAOF",
        ],
        "it blocks the connection, which all callers share",
    ),
    (
        &["DISCARD", "EXEC", "MULTI", "UNWATCH", "WATCH"],
        "transactions span the shared connection: write the steps as one Script, which is atomic",
    ),
    (
        &["EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"],
        "its reply could be mistaken: use Script, whose replies are framed",
    ),
    (
        &[
            "CLUSTER",
            "CONFIG",
            "DEBUG",
            "FAILOVER",
            "FUNCTION",
            "MIGRATE",
            "REPLICAOF",
            "SCRIPT",
            "SHUTDOWN",
            "SLAVEOF",
            "SWAPDB",
        ],
        "it is for administration: use the engine's own command line",
    ),
];

/// `redis.call` of whatever ARGV holds.
pub(crate) static FRAMED: LazyLock<Script> =
    LazyLock::new(|| Script::one_command("core.command", include_str!("lua/command.lua")));

/// A generic command that may be sent.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    name: Cow<'static, str>,
    scalar: bool,
    pub(crate) reads: bool,
}

impl Command {
    fn new(name: &str) -> Result<Self> {
        let upper = name.to_ascii_uppercase();
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if upper.is_empty() || upper.len() > 64 || !upper.bytes().all(plain) {
            return Err(Error::invalid(
                "a command's name is one word; its sub-command is an argument",
            ));
        }
        for (names, why) in REFUSED {
            if names.contains(&upper.as_str()) {
                return Err(Error::invalid(format!("{upper} is refused: {why}")));
            }
        }
        let of =
            |table: &[&'static str]| table.binary_search(&upper.as_str()).ok().map(|at| table[at]);
        let (scalar, reads) = (of(SCALAR), of(READS));
        let known = scalar.or(reads);
        Ok(Self {
            scalar: scalar.is_some(),
            reads: reads.is_some(),
            name: known.map_or(Cow::Owned(upper), Cow::Borrowed),
        })
    }

    pub(crate) fn name(&self) -> &Cow<'static, str> {
        &self.name
    }

    /// Whether it goes inside a script.
    pub(crate) fn is_framed(&self) -> bool {
        !self.scalar
    }

    /// What can be said against its arguments before they are sent.
    pub(crate) fn check(&self, args: &[Bytes]) -> Result<()> {
        if self.name == "XREAD" || self.name == "XREADGROUP" {
            // GROUP, a group and a consumer come first, and may be called anything.
            let named = if self.name == "XREADGROUP" { 3 } else { 0 };
            let options = args.iter().skip(named);
            let mut options = options.take_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS"));
            if options.any(|arg: &Bytes| arg.eq_ignore_ascii_case(b"BLOCK")) {
                return Err(Error::invalid(
                    "BLOCK is refused: it blocks the connection, which all share",
                ));
            }
        }
        if self.is_framed() && args.len() > MAX_FRAMED_ARGS {
            return Err(Error::invalid(format!(
                "{} has {} arguments; split it, at most {MAX_FRAMED_ARGS} are taken",
                self.name,
                args.len()
            )));
        }
        Ok(())
    }
}

impl RedisClient {
    /// A generic command; add keys and arguments in the command's own order, then run it.
    ///
    /// Keys are given by [`Call::key`], which routes the call on a cluster; a command without a key
    /// goes to one of the primaries, whichever. One round trip.
    /// Replies that may be arrays travel through a script: an integer in them is exact up to 2^53,
    /// and at most 7,000 arguments are taken.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for commands that would change or block
    /// the shared connection, with what to use instead.
    ///
    /// ```no_run
    /// # async fn example(client: raptor_core::RedisClient) -> raptor_core::Result<()> {
    /// use raptor_core::Key;
    /// let key = Key::raw("greeting");
    /// client.command("SET").key(&key).arg("hello").run::<()>().await?;
    /// let greeting: Option<String> = client.command("GET").key(&key).run().await?;
    /// # Ok(()) }
    /// ```
    #[must_use = "a call does nothing until it is run"]
    pub fn command(&self, name: &str) -> Call<'_> {
        Call::command(self, Command::new(name))
    }
}

/// Runs a prepared command that was checked.
pub(crate) async fn run<T: FromReply>(
    mut call: Call<'_>,
    sent: Sent<'_>,
    command: Command,
) -> Result<T> {
    if command.is_framed() {
        call.args.insert(0, command.name.to_arg());
        return script::run(call, sent, &FRAMED).await;
    }
    let request = Request { args: call.args, ..Request::new(command.name) };
    let outcome = sent.send(&request).await.map_err(|failure| sent.error(failure));
    sent.end(outcome)?.decode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_refused_commands_are_in_no_other() {
        assert!(SCALAR.is_sorted() && READS.is_sorted());
        for (names, _) in REFUSED {
            for name in *names {
                assert!(!SCALAR.contains(name) && !READS.contains(name), "{name}");
                assert!(Command::new(&name.to_lowercase()).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn names_are_one_word() {
        for name in ["", "CLIENT REPLY", "get\r\n", "GÉT"] {
            assert!(Command::new(name).is_err(), "{name:?}");
        }
        assert!(Command::new("JSON.GET").is_ok());
    }
}
