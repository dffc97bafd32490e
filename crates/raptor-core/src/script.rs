//! `Script`: Lua that runs atomically beside the data, called by its SHA-1.
//!
//! Every script is sent in a small frame of ours. It takes a *tag* off the end of ARGV, runs the
//! script, and answers `{tag, "R", result}`, or `{tag, "E", message}` when the script raised or
//! returned an error. Three things follow by construction, for our scripts and for users': no
//! reply begins with bytes that a tenant chose (a client library might take those for a pub/sub
//! message and hand every later reply to the wrong caller); a reply that belongs to another call
//! is seen as such; and an error from *inside* a script, which may have written already, is never
//! taken for a server's refusal to run it (`MOVED`, `TRYAGAIN` …), after which a request is sent
//! again.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::ascii_lua::ascii;
use crate::call::{Call, Sent};
use crate::client::RedisClient;
use crate::driver::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::reply::{FromReply, Reply};
use crate::topology::Failure;

/// A Lua script, prepared once (a `static` in a `LazyLock`) and called often.
///
/// The source is an ordinary chunk of Lua 5.1 with `KEYS` and `ARGV` that ends in a `return`. A
/// leading `#!lua` line is kept. It is sent as ASCII: its strings hold what they hold, its comments
/// are nobody's business there. It may return integers, strings, `nil`, `false`, status and error replies,
/// doubles, and arrays of these up to 32 deep. Anything that a client could misread is refused with
/// [`InvalidInput`](ErrorKind::InvalidInput) after the script ran: deeper or circular tables, tables
/// with a metatable, status replies and nested error replies that are not ASCII, and the RESP3 types
/// map, set, big number and verbatim string (return arrays). An error reply nested in an array
/// arrives as its text.
///
/// An error that the script raises or returns is never retryable: it may have written before.
///
/// Not guaranteed: that the server keeps scripts; a flushed script cache, a
/// restart or a failover costs one more round trip, and is otherwise unseen.
pub struct Script {
    name: &'static str,
    source: Bytes,
    sha: Bytes,
    kind: Kind,
}

/// What an error from inside a script says about what was done before it.
enum Kind {
    /// Nothing: earlier steps may have written.
    Steps,
    /// All: the one command was refused, and nothing was done.
    OneCommand,
}

impl Script {
    /// Prepares `source`. The name appears in errors and spans: `ratelimit.decide`.
    #[must_use]
    pub fn new(name: &'static str, source: &str) -> Self {
        Self::prepare(name, source, Kind::Steps)
    }

    /// A script that is one command and nothing else.
    pub(crate) fn one_command(name: &'static str, source: &str) -> Self {
        Self::prepare(name, source, Kind::OneCommand)
    }

    fn prepare(name: &'static str, source: &str, kind: Kind) -> Self {
        let framed = frame(source);
        let sha = Sha1::digest(framed.as_bytes());
        let sha: String = sha.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name, source: framed.into(), sha: sha.into(), kind }
    }

    /// The name given at construction.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// An error from inside the script.
    fn error(&self, message: &str) -> Error {
        match self.kind {
            Kind::OneCommand => Error::from_server(message),
            Kind::Steps => Error::from_script(message),
        }
    }

    /// The SHA-1 under which servers cache it, in hexadecimal.
    #[must_use]
    pub fn sha(&self) -> &str {
        std::str::from_utf8(&self.sha).unwrap_or_default()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("name", &self.name).field("sha", &self.sha()).finish()
    }
}

/// The script's body comes first, on its own lines: so a Lua error names the right line, and the
/// frame's own variables are out of its sight.
fn frame(source: &str) -> String {
    let (shebang, body) = match source.strip_prefix("#!") {
        Some(_) => source.split_once('\n').unwrap_or((source, "")),
        None => ("", source),
    };
    let newline = if shebang.is_empty() { "" } else { "\n" };
    let shebang = shebang.replace(|c: char| !c.is_ascii(), "?");
    let body = ascii(body);
    format!(
        "{shebang}{newline}local function body() {body}\nend\n{}",
        include_str!("lua/frame.lua")
    )
}

/// A tag is unique in the process; replies are told apart by it, nothing else depends on it.
fn next_tag() -> Bytes {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut digits = itoa::Buffer::new();
    [b"t", digits.format(NEXT.fetch_add(1, Ordering::Relaxed)).as_bytes()].concat().into()
}

impl RedisClient {
    /// A call of `script`; add keys and arguments, then `run` it.
    ///
    /// One round trip; two when the server does not know the script (it is then sent whole).
    #[must_use = "a call does nothing until it is run"]
    pub fn script<'a>(&'a self, script: &'a Script) -> Call<'a> {
        Call::script(self, script)
    }
}

/// Runs a prepared script call.
pub(crate) async fn run<T: FromReply>(
    mut call: Call<'_>,
    sent: Sent<'_>,
    script: &Script,
) -> Result<T> {
    let tag = next_tag();
    let mut args = Vec::with_capacity(call.keys.len() + call.args.len() + 3);
    args.push(script.sha.clone());
    args.push(Bytes::copy_from_slice(itoa::Buffer::new().format(call.keys.len()).as_bytes()));
    args.extend(call.keys.iter().map(|key| key.bytes()));
    args.append(&mut call.args);
    args.push(tag.clone());
    let mut request =
        Request { args, echo: Some(tag), divisible: call.divisible, ..Request::new("EVALSHA") };
    if call.with_source {
        request.name = "EVAL".into();
        request.args[0] = script.source.clone();
    }

    let mut outcome = sent.send(&request).await;
    if matches!(&outcome, Err(Failure::Refused(refused)) if refused.word() == "NOSCRIPT") {
        sent.resends.count("noscript");
        request.name = "EVAL".into();
        request.args[0] = script.source.clone();
        outcome = sent.send(&request).await;
    }
    let unframed = outcome.map_err(Some).and_then(|reply| unframe(reply).map_err(|_| None));
    let outcome = unframed.map_or_else(
        |failure| match failure {
            Some(failure) => Err(sent.error(failure)),
            None => Err(Error::new(
                ErrorKind::Protocol,
                format!("the script {} answered without its frame", script.name),
            )),
        },
        |framed| match framed {
            Framed::Reply(reply) => Ok(reply),
            Framed::Unsafe(what) => Err(Error::invalid(format!(
                "{} ran, and returned {what}, which no client can be trusted to read",
                script.name
            ))),
            Framed::Error(message) => Err(script.error(&message)),
        },
    );
    sent.end(outcome)?.decode().map_err(|e| Error::codec(format!("{}: {e}", script.name)))
}

enum Framed {
    Reply(Reply),
    Error(String),
    Unsafe(String),
}

/// Takes the frame off; the tag was checked and taken off by the supervisor already.
fn unframe(reply: Reply) -> Result<Framed> {
    let Reply::Array(items) = reply else { return Err(Error::codec("no frame")) };
    let mut items = items.into_iter();
    match items.next() {
        Some(Reply::Bytes(status)) if &status[..] == b"R" => {
            Ok(Framed::Reply(items.next().unwrap_or(Reply::Nil)))
        }
        Some(Reply::Bytes(status)) if &status[..] == b"U" => {
            Ok(Framed::Unsafe(items.next().unwrap_or(Reply::Nil).decode()?))
        }
        Some(Reply::Bytes(status)) if &status[..] == b"E" => {
            Ok(Framed::Error(items.next().unwrap_or(Reply::Nil).text()?))
        }
        _ => Err(Error::codec("no frame")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shebang_stays_first_and_lines_keep_their_numbers() {
        let framed = frame("#!lua flags=no-writes\nreturn 1");
        assert!(framed.starts_with("#!lua flags=no-writes\nlocal function body() return 1"));
        let framed = frame("-- a header\nreturn nonsense()");
        assert_eq!(framed.lines().position(|line| line.contains("nonsense")), Some(1));
    }

    #[test]
    fn tags_differ() {
        assert_ne!(next_tag(), next_tag());
    }
}
