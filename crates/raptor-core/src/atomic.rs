//! `AtomicOperations`: read, decide and write in one step, on bytes and on typed values.

mod values;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;

use crate::args::ToArg;
use crate::call::Call;
use crate::client::RedisClient;
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::reply::{FromReply, Reply};
use crate::script::Script;
use crate::ttl::millis;

pub use values::AtomicValues;

static COMPARE_AND_SET: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.compare_and_set", include_str!("lua/compare_and_set.lua")));
static GET_AND_SET: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.get_and_set", include_str!("lua/get_and_set.lua")));
static COMPARE_AND_DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("core.compare_and_delete", include_str!("lua/compare_and_delete.lua"))
});
static INCREMENT: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.increment", include_str!("lua/increment.lua")));

/// What becomes of a key's TTL when it is written. From a millisecond (parts count whole) to
/// [`MAX_TTL`](crate::ttl::MAX_TTL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// It stays as it is; a new key has none.
    #[default]
    Keep,
    /// The key has none from now on.
    Never,
    /// The key expires this long after the write.
    In(Duration),
    /// A key that the write made expires this long after it; one that existed keeps its TTL.
    /// The windows of counters.
    Created(Duration),
}

impl Expiry {
    /// The word and the milliseconds that the scripts take.
    fn add<'c>(self, call: Call<'c>) -> Result<Call<'c>> {
        Ok(match self {
            Self::Keep => call.arg("keep").arg(""),
            Self::Never => call.arg("never").arg(""),
            Self::In(ttl) => call.arg("in").arg(millis(ttl)?),
            Self::Created(ttl) => call.arg("created").arg(millis(ttl)?),
        })
    }
}

/// What [`compare_and_set`](AtomicOperations::compare_and_set) did. Its `Debug` shows no value.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub enum Swap<V = Bytes> {
    /// The key held what was expected, and holds the new value.
    Swapped,
    /// It holds this instead (`None`: there is no such key), and was left alone.
    Mismatch(Option<V>),
}

/// What [`compare_and_delete`](AtomicOperations::compare_and_delete) did. Its `Debug` shows no value.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub enum Removal<V = Bytes> {
    /// The key held what was expected, and is gone.
    Deleted,
    /// It holds this instead (`None`: there is no such key), and was left alone.
    Mismatch(Option<V>),
}

/// What [`increment`](AtomicOperations::increment) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Increment {
    /// The sum, which the key holds now.
    Value(i64),
    /// The sum would be out of bounds: the key holds this still.
    OutOfBounds {
        /// What the key holds; 0 when there is no such key.
        current: i64,
    },
}

impl<V> fmt::Debug for Swap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swapped => f.write_str("Swapped"),
            Self::Mismatch(current) => shown(f, current),
        }
    }
}

impl<V> fmt::Debug for Removal<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str("Deleted"),
            Self::Mismatch(current) => shown(f, current),
        }
    }
}

fn shown<V>(f: &mut fmt::Formatter<'_>, current: &Option<V>) -> fmt::Result {
    f.write_str(if current.is_some() { "Mismatch(Some(…))" } else { "Mismatch(None)" })
}

/// Operations on one string key that look and write in one step. Cheap to clone.
///
/// # What is guaranteed
/// Nobody reads or writes the key between look and write. One round trip each. A key of another
/// type is [`WrongType`](crate::ErrorKind::WrongType), and nothing was written. Bytes are compared
/// as bytes, whatever they are.
///
/// # What is not
/// A lost reply leaves the outcome open:
/// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown), and nothing is sent again. Read the key to
/// learn it, and where values can recur (A, then B, then A again) put a version or an id into the
/// value: equal bytes are taken for the same value. What a primary accepted just before it failed
/// can be lost with it.
///
/// At `maxmemory` with `noeviction` writes are [`Capacity`](crate::ErrorKind::Capacity) and write
/// nothing; [`get`](Self::get) and [`compare_and_delete`](Self::compare_and_delete) work.
///
/// ```no_run
/// # async fn example(client: raptor_core::RedisClient) -> raptor_core::Result<()> {
/// use std::time::Duration;
/// use raptor_core::{Expiry, Key};
/// use raptor_core::atomic::{Increment, Swap};
///
/// let (atomic, leader) = (client.atomic(), Key::raw("leader"));
/// let ttl = Expiry::In(Duration::from_secs(30));
/// if let Swap::Mismatch(current) = atomic.compare_and_set(&leader, None, "me", ttl).await? {
///     println!("led by somebody else, of {} bytes", current.map_or(0, |name| name.len()));
/// }
///
/// let seats = Key::raw("seats");
/// match atomic.increment(&seats, 2, 0..=100, Expiry::Keep).await? {
///     Increment::Value(taken) => println!("{taken} are taken"),
///     Increment::OutOfBounds { current } => println!("full: {current} are taken"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct AtomicOperations {
    client: RedisClient,
}

impl RedisClient {
    /// Operations that look and write in one step.
    #[must_use]
    pub fn atomic(&self) -> AtomicOperations {
        AtomicOperations::new(self)
    }
}

impl AtomicOperations {
    /// Operations over `client`.
    #[must_use]
    pub fn new(client: &RedisClient) -> Self {
        Self { client: client.clone() }
    }

    /// The value; `None` when there is no such key.
    ///
    /// # Errors
    /// As any call that only reads.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.client.command("GET").key(key).run().await
    }

    /// Writes `new` if the key holds `expected`; `None` expects that there is no such key.
    ///
    /// On a mismatch the current value travels back, so that a loop needs no read in between.
    ///
    /// # Errors
    /// See [the type](Self); [`InvalidInput`](crate::ErrorKind::InvalidInput) for a TTL that cannot
    /// be.
    pub async fn compare_and_set(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        new: impl ToArg,
        expiry: Expiry,
    ) -> Result<Swap> {
        let call = self.client.script(&COMPARE_AND_SET).key(key);
        let call = match expected {
            Some(expected) => call.arg("bytes").arg(expected),
            None => call.arg("missing").arg(""),
        };
        match Status::of(expiry.add(call.arg(new))?).await? {
            Status { word, .. } if word == "swapped" => Ok(Swap::Swapped),
            Status { word, value } if word == "mismatch" => Ok(Swap::Mismatch(value.decode()?)),
            _ => Err(unknown()),
        }
    }

    /// Writes `new` and gives what the key held before.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn get_and_set(
        &self,
        key: &Key,
        new: impl ToArg,
        expiry: Expiry,
    ) -> Result<Option<Bytes>> {
        let call = self.client.script(&GET_AND_SET).key(key).arg(new);
        match Status::of(expiry.add(call)?).await? {
            Status { word, value } if word == "set" => value.decode(),
            _ => Err(unknown()),
        }
    }

    /// Writes `new` if there is no such key, of any type. `false` when there is.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn set_if_absent(&self, key: &Key, new: impl ToArg, expiry: Expiry) -> Result<bool> {
        let call = self.client.command("SET").key(key).arg(new).arg("NX");
        let call = match expiry {
            Expiry::Keep | Expiry::Never => call,
            Expiry::In(ttl) | Expiry::Created(ttl) => call.arg("PX").arg(millis(ttl)?),
        };
        Ok(call.run::<Option<Bytes>>().await?.is_some())
    }

    /// Deletes the key if it holds `expected`.
    ///
    /// # Errors
    /// See [the type](Self).
    pub async fn compare_and_delete(&self, key: &Key, expected: &[u8]) -> Result<Removal> {
        match Status::of(self.client.script(&COMPARE_AND_DELETE).key(key).arg(expected)).await? {
            Status { word, .. } if word == "deleted" => Ok(Removal::Deleted),
            Status { word, value } if word == "mismatch" => Ok(Removal::Mismatch(value.decode()?)),
            _ => Err(unknown()),
        }
    }

    /// Adds `by` (which may be negative) to the integer that the key holds, unless the sum would
    /// leave `bounds`. A missing key counts as 0.
    ///
    /// Exact over all of `i64`. `i64::MIN..=i64::MAX` bounds nothing but overflow, which is
    /// [`Increment::OutOfBounds`] too. A value that is out of bounds already may only be brought
    /// back within them.
    ///
    /// # Errors
    /// See [the type](Self); [`Codec`](crate::ErrorKind::Codec) when the key holds something else
    /// than the decimal text of an `i64`, which is left alone;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for bounds that hold no number.
    pub async fn increment(
        &self,
        key: &Key,
        by: i64,
        bounds: RangeInclusive<i64>,
        expiry: Expiry,
    ) -> Result<Increment> {
        if bounds.is_empty() {
            return Err(Error::invalid("the bounds hold no number: the upper one is the smaller"));
        }
        // The script only compares, so what it compares with is worked out here.
        let [least, most] =
            [*bounds.start(), *bounds.end()].map(|n| i128::from(n) - i128::from(by));
        let call = self.client.script(&INCREMENT).key(key).arg(by).arg(least).arg(most);
        match Status::of(expiry.add(call)?).await? {
            Status { word, value } if word == "ok" => Ok(Increment::Value(value.decode()?)),
            Status { word, value } if word == "out_of_bounds" => {
                Ok(Increment::OutOfBounds { current: value.decode()? })
            }
            Status { word, .. } if word == "not_an_integer" => {
                Err(Error::codec("the key holds no decimal integer of 64 bits; it was left alone"))
            }
            _ => Err(unknown()),
        }
    }
}

/// A script's status word, and what comes with it.
struct Status {
    word: String,
    value: Reply,
}

impl Status {
    async fn of(call: Call<'_>) -> Result<Self> {
        call.run().await
    }
}

impl FromReply for Status {
    fn from_reply(reply: Reply) -> Result<Self> {
        let mut parts = reply.decode::<Vec<Reply>>()?.into_iter();
        let word = parts.next().unwrap_or(Reply::Nil).decode()?;
        Ok(Self { word, value: parts.next().unwrap_or(Reply::Nil) })
    }
}

fn unknown() -> Error {
    Error::codec("a status word that this version does not know")
}

// The guide's examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/atomic.md")]
struct AtomicGuide;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_show_no_value() {
        let swap = Swap::Mismatch(Some(Bytes::from("s3cret")));
        assert_eq!(format!("{swap:?}"), "Mismatch(Some(…))");
        let removal: Removal = Removal::Mismatch(None);
        assert_eq!(format!("{removal:?}"), "Mismatch(None)");
    }
}
