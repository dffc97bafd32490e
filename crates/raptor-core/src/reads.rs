//! Plain reads that ride together: `client.get(key)`.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::call::Call;
use crate::client::RedisClient;
use crate::coalesce::{Vectorised, Weight};
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::reply::Reply;
use crate::script::Script;

static GET: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.get", include_str!("lua/get.lua")));

/// Reads of strings, by key.
pub(crate) struct Reads;

impl Vectorised for Reads {
    type Op = Key;
    type Out = Option<Bytes>;

    fn script(&self) -> &Script {
        &GET
    }

    fn key<'op>(&self, op: &'op Key) -> &'op Key {
        op
    }

    fn weight(&self, op: &Key) -> Weight {
        Weight { arguments: 1, bytes: op.as_bytes().len() }
    }

    fn write<'c>(&self, ops: &[Key], call: Call<'c>) -> Call<'c> {
        ops.iter().fold(call, |call, key| call.key(key))
    }

    fn read(&self, _: &[Key], reply: Reply) -> Result<Vec<Result<Option<Bytes>>>> {
        let answers: Vec<Reply> = reply.decode()?;
        Ok(answers.into_iter().skip(1).map(one).collect())
    }

    fn idempotent(&self) -> bool {
        true
    }
}

/// A value, nothing, or `{error}`.
fn one(answer: Reply) -> Result<Option<Bytes>> {
    match answer {
        Reply::Array(error) => {
            let (message,) = Reply::Array(error).decode::<(String,)>()?;
            Err(Error::from_server(&message))
        }
        value => value.decode(),
    }
}

impl RedisClient {
    /// The bytes at `key`, if there are any. Concurrent calls ride together: many reads are one
    /// round trip, and one command to the server.
    ///
    /// Cancel-safe. Values above some 64 KiB hold up those that ride with them: read them by
    /// `command("GET").key(key).large()`.
    ///
    /// # Errors
    /// [`WrongType`](crate::ErrorKind::WrongType) when the key holds no string, for this caller
    /// alone; those of every call, always retryable; [`Capacity`](crate::ErrorKind::Capacity) when
    /// tens of thousands of reads are waiting.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.reads().submit(self, key.clone()).await
    }
}
