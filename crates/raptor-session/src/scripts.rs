//! The scripts, each behind what they share, and how their replies are told apart.

use std::sync::LazyLock;

use bytes::Bytes;
use raptor_core::{Error, ErrorKind, Reply, Result, Script};

use crate::head::{NewerLayout, corrupt};
use crate::seal::no_keyring;

macro_rules! scripts {
    ($($name:ident: $called:literal, $file:literal;)*) => {$(
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            let source = concat!(
                include_str!("lua/base.lua"),
                include_str!("lua/head.lua"),
                include_str!($file),
            );
            Script::new($called, source)
        });
    )*};
}
scripts! {
    CREATE: "session.create", "lua/create.lua";
    DELETE: "session.delete", "lua/delete.lua";
    EXPEL: "session.expel", "lua/expel.lua";
    PEEK: "session.peek", "lua/peek.lua";
    UPDATE: "session.update", "lua/update.lua";
    TAKE: "session.take", "lua/take.lua";
    EXTEND: "session.extend", "lua/extend.lua";
    ROTATE: "session.rotate", "lua/rotate.lua";
    MEMBERS: "session.members", "lua/members.lua";
    LIST: "session.list", "lua/list.lua";
    REVOKE: "session.revoke", "lua/revoke.lua";
    INSPECT: "session.inspect", "lua/inspect.lua";
    ENDED: "session.ended", "lua/ended.lua";
    ACK: "session.ack", "lua/ack.lua";
}

#[cfg(feature = "tower-sessions")]
scripts! {
    PUT: "session.put", "lua/put.lua";
}

/// The hot one parses for itself.
pub(crate) static GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new("session.get", concat!(include_str!("lua/base.lua"), include_str!("lua/get.lua")))
});

/// What a script said of one session.
#[derive(Debug)]
pub(crate) enum Said {
    /// Its own status, and what came with it.
    Of(Bytes, Vec<Bytes>),
    /// There is none; with what came along.
    None(Vec<Bytes>),
    /// Another key took its place.
    Moved(Moved),
}

/// A pointer at a rotated token.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) to: String,
    pub(crate) readable_ms: i64,
    pub(crate) now_ms: i64,
    pub(crate) seal: Bytes,
    /// "id suffix" of the session that it leads to.
    pub(crate) whose: Bytes,
}

impl Said {
    /// From a reply that is a flat array.
    pub(crate) fn read(reply: Reply) -> Result<Self> {
        let mut items = reply.decode::<Vec<Bytes>>()?.into_iter();
        let status = items.next().ok_or_else(unknown_status)?;
        let rest: Vec<Bytes> = items.collect();
        match &status[..] {
            b"none" => Ok(Self::None(rest)),
            b"moved" => match &rest[..] {
                [to, readable_ms, now_ms, seal, whose] => Ok(Self::Moved(Moved {
                    to: text(to)?.to_owned(),
                    readable_ms: number(readable_ms)?,
                    now_ms: number(now_ms)?,
                    seal: seal.clone(),
                    whose: whose.clone(),
                })),
                _ => Err(unknown_status()),
            },
            b"refused" => Err(told(rest.first().map_or(&b""[..], |message| message))),
            b"layout" | b"corrupt" | b"split" | b"sealed" => Err(refused(&status)),
            _ => Ok(Self::Of(status, rest)),
        }
    }
}

/// The error for a status that is one.
pub(crate) fn refused(status: &[u8]) -> Error {
    match status {
        b"layout" => Error::codec(
            "this session, or its user's index, is stored in a newer layout: update this process",
        )
        .with_source(NewerLayout),
        b"corrupt" => corrupt(),
        b"sealed" => no_keyring(),
        b"split" => Error::new(
            ErrorKind::TryAgain,
            "the cluster is moving the user's slot, and nothing was done: repeat it a little later",
        ),
        _ => unknown_status(),
    }
}

/// What the server refused to one of several that rode together.
fn told(message: &[u8]) -> Error {
    let message = String::from_utf8_lossy(message);
    let kind = if message.contains("NOPERM") { ErrorKind::Auth } else { ErrorKind::WrongType };
    Error::new(kind, format!("session.get: {message}"))
}

pub(crate) fn unknown_status() -> Error {
    Error::new(ErrorKind::Protocol, "unknown status of a session operation")
}

pub(crate) fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| corrupt())
}

pub(crate) fn number(bytes: &[u8]) -> Result<i64> {
    text(bytes)?.parse().map_err(|_| corrupt())
}
