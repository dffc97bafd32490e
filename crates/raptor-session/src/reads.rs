//! Reads that are made at the same time ride in one call of `lua/get.lua`.

use bytes::Bytes;
use raptor_core::{BatchLimits, Call, Error, Key, Reply, Result, Script, Vectorised, Weight};

use crate::scripts::{GET, unknown_status};

/// Sessions may be large, and they all come back in one reply.
const SESSIONS_A_CALL: usize = 64;

/// Reads of the script, any number in one call.
pub(crate) struct Get;

/// One read.
pub(crate) struct Wanted {
    pub(crate) session: Key,
    /// Milliseconds, or nothing for the server's clock.
    pub(crate) now: Bytes,
}

/// What the script said to one read.
pub(crate) struct Answer {
    /// By the server's clock; 0 where it was not asked.
    pub(crate) now_ms: i64,
    pub(crate) session: Reply,
}

pub(crate) fn limits() -> BatchLimits {
    let mut limits = BatchLimits::default();
    limits.operations = SESSIONS_A_CALL;
    limits
}

impl Vectorised for Get {
    type Op = Wanted;
    type Out = Answer;

    fn script(&self) -> &Script {
        &GET
    }

    fn key<'op>(&self, wanted: &'op Wanted) -> &'op Key {
        &wanted.session
    }

    fn weight(&self, wanted: &Wanted) -> Weight {
        Weight { arguments: 2, bytes: wanted.session.as_bytes().len() + wanted.now.len() }
    }

    fn write<'c>(&self, wanted: &[Wanted], mut call: Call<'c>) -> Call<'c> {
        for one in wanted {
            call = call.key(&one.session).arg(&one.now);
        }
        call
    }

    fn read(&self, wanted: &[Wanted], reply: Reply) -> Result<Vec<Result<Answer>>> {
        let mut reply = reply.decode::<Vec<Reply>>()?.into_iter();
        let mut next = || reply.next().ok_or_else(unknown_status);
        if next()?.decode::<Bytes>()? != "ok" {
            return Err(unknown_status());
        }
        let now_ms = next()?.decode::<i64>()?;
        let answers: Vec<_> = reply.map(|session| Ok(Answer { now_ms, session })).collect();
        match answers.len() == wanted.len() {
            true => Ok(answers),
            false => Err(Error::codec("session.get answered about another number of sessions")),
        }
    }

    fn idempotent(&self) -> bool {
        true
    }
}
