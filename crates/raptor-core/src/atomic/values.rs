//! The same on typed values: decoded to be compared, swapped by the exact bytes that were read.
//!
//! Two envelopes of one value need not be equal bytes: encryption takes a new nonce each time, and
//! an older one may have another format or lack a field. So the bytes are read, what they hold is
//! compared here, and the swap is on condition that the key still holds just those bytes.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{AtomicOperations, Expiry, Removal, Swap};
use crate::codec::{Codec, Flaw};
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Key;

/// How often an operation looks again at a key whose bytes change under it and whose value does not.
const LOOKS: usize = 16;

/// Those of one process that change one key take turns (some keys share one by chance): without, of
/// 64 at once 63 would read and write in vain each time. Nothing rests on it but speed, so whoever
/// waits too long, for a server that is away perhaps, goes without.
static TURNS: [Mutex<()>; 1_024] = [const { Mutex::const_new(()) }; 1_024];
const TURN_WAIT: Duration = Duration::from_millis(250);

/// The longest pause after others were faster.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// Atomic operations on values of a [`Codec`], encrypted ones too.
///
/// What [`AtomicOperations`] guarantees, and: a value that cannot be read (another key's, damaged,
/// of an unknown key id) is a typed error before anything is written. Comparing takes a read and a
/// write: two round trips, and two more whenever somebody rewrites an equal value in between, at
/// most 16 times; then the operation is [`TryAgain`](ErrorKind::TryAgain), and wrote nothing.
///
/// ```no_run
/// # async fn example(client: raptor_core::RedisClient) -> raptor_core::Result<()> {
/// use raptor_core::{Codec, Expiry, Key};
///
/// let (codec, stock) = (Codec::default(), Key::raw("stock"));
/// let values = client.atomic().values(&codec);
/// let left: u32 = values
///     .update(&stock, Expiry::Keep, |current: Option<u32>| current.unwrap_or(10).saturating_sub(1))
///     .await?;
/// println!("{left} left");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct AtomicValues<'c> {
    atomic: AtomicOperations,
    codec: &'c Codec,
}

impl AtomicOperations {
    /// The same on typed values.
    #[must_use]
    pub fn values<'c>(&self, codec: &'c Codec) -> AtomicValues<'c> {
        AtomicValues { atomic: self.clone(), codec }
    }
}

/// What a key held: the bytes, for the swap, and what they say.
struct Held<T> {
    bytes: Bytes,
    value: T,
}

impl AtomicValues<'_> {
    /// The value; `None` when there is no such key. One round trip.
    ///
    /// # Errors
    /// As any call that only reads; those of [`Codec::decode`].
    pub async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        Ok(self.read(key, self.atomic.get(key).await?).await?.map(|held| held.value))
    }

    /// Writes `new` if the key holds a value equal to `expected`; `None` expects no such key.
    ///
    /// # Errors
    /// See [the type](Self) and [`AtomicOperations::compare_and_set`].
    pub async fn compare_and_set<T>(
        &self,
        key: &Key,
        expected: Option<&T>,
        new: &T,
        expiry: Expiry,
    ) -> Result<Swap<T>>
    where
        T: PartialEq + Serialize + DeserializeOwned,
    {
        let new = self.codec.encode(key, new)?;
        let mut held = match expected {
            None => None,
            Some(_) => self.read(key, self.atomic.get(key).await?).await?,
        };
        for _ in 0..LOOKS {
            if held.as_ref().map(|held| &held.value) != expected {
                return Ok(Swap::Mismatch(held.map(|held| held.value)));
            }
            let bytes = held.as_ref().map(|held| &held.bytes[..]);
            match self.atomic.compare_and_set(key, bytes, &new, expiry).await? {
                Swap::Swapped => return Ok(Swap::Swapped),
                Swap::Mismatch(current) => held = self.read(key, current).await?,
            }
        }
        Err(contended())
    }

    /// Deletes the key if it holds a value equal to `expected`.
    ///
    /// # Errors
    /// See [the type](Self) and [`AtomicOperations::compare_and_delete`].
    pub async fn compare_and_delete<T>(&self, key: &Key, expected: &T) -> Result<Removal<T>>
    where
        T: PartialEq + DeserializeOwned,
    {
        let mut held = self.read(key, self.atomic.get(key).await?).await?;
        for _ in 0..LOOKS {
            let Some(fitting) = held.take_if(|held| held.value == *expected) else {
                return Ok(Removal::Mismatch(held.map(|held| held.value)));
            };
            match self.atomic.compare_and_delete(key, &fitting.bytes).await? {
                Removal::Deleted => return Ok(Removal::Deleted),
                Removal::Mismatch(current) => held = self.read(key, current).await?,
            }
        }
        Err(contended())
    }

    /// Writes `new` if there is no such key. One round trip.
    ///
    /// # Errors
    /// See [`AtomicOperations::set_if_absent`]; those of [`Codec::encode`].
    pub async fn set_if_absent<T>(&self, key: &Key, new: &T, expiry: Expiry) -> Result<bool>
    where
        T: Serialize + ?Sized,
    {
        self.atomic.set_if_absent(key, self.codec.encode(key, new)?, expiry).await
    }

    /// Writes `new` and gives what the key held before.
    ///
    /// # Errors
    /// See [the type](Self): a value that cannot be read is not overwritten.
    pub async fn get_and_set<T>(&self, key: &Key, new: &T, expiry: Expiry) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned,
    {
        let new = self.codec.encode(key, new)?;
        self.swap(key, expiry, |current| Ok((current, new.clone()))).await
    }

    /// Writes what `change` makes of the current value, and gives what it wrote.
    ///
    /// Two round trips, and as many again, after a short pause, each time that somebody else was
    /// faster: then `change` is asked again, so it should do nothing but compute. Updates of one key
    /// by one process take turns, so only other processes are faster, and other operations. No new
    /// try begins once the configured command timeout has passed.
    ///
    /// # Errors
    /// See [the type](Self); [`TryAgain`](ErrorKind::TryAgain) when others were faster all the time:
    /// nothing was written.
    pub async fn update<T>(
        &self,
        key: &Key,
        expiry: Expiry,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
    {
        let changed = |current| {
            let new = change(current);
            let bytes = self.codec.encode(key, &new)?;
            Ok((new, bytes))
        };
        self.swap(key, expiry, changed).await
    }

    /// Swaps what is there for what `change` makes of it, until nobody was faster.
    async fn swap<T: DeserializeOwned, R>(
        &self,
        key: &Key,
        expiry: Expiry,
        mut change: impl FnMut(Option<T>) -> Result<(R, Bytes)>,
    ) -> Result<R> {
        let (started, limit) = (Instant::now(), self.atomic.client.config().command_timeout());
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        let turn = TURNS[hash as usize % TURNS.len()].lock();
        let _turn = tokio::time::timeout(TURN_WAIT.min(limit), turn).await;
        let mut current = self.atomic.get(key).await?;
        let mut longest_pause = Duration::from_millis(1);
        loop {
            let held = self.read(key, current.clone()).await?.map(|held| held.value);
            let (given, new) = change(held)?;
            let swap = self.atomic.compare_and_set(key, current.as_deref(), new, expiry).await?;
            if let Swap::Swapped = swap {
                return Ok(given);
            }
            // Out of step with the others, and rarer the more of them there are.
            let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
            let pause = longest_pause.mul_f64(random);
            if started.elapsed().saturating_add(pause) >= limit {
                return Err(contended());
            }
            tokio::time::sleep(pause).await;
            longest_pause = (longest_pause * 2).min(LONGEST_PAUSE);
            current = self.atomic.get(key).await?;
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        key: &Key,
        bytes: Option<Bytes>,
    ) -> Result<Option<Held<T>>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let value = match self.codec.decode(key, &bytes) {
            Ok(value) => value,
            Err(error) => {
                if Flaw::of(&error) == Some(&Flaw::OtherKey) {
                    self.atomic.client.distrust(key).await;
                }
                return Err(error);
            }
        };
        Ok(Some(Held { bytes, value }))
    }
}

fn contended() -> Error {
    Error::new(
        ErrorKind::TryAgain,
        "the key was changed by others each time between read and write; nothing was written",
    )
}
