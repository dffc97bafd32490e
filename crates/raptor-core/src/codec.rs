//! Values as they are stored: a versioned envelope that says what it holds and whose it is.
//!
//! | part | one idea |
//! | --- | --- |
//! | [`Codec`] | typed values and bytes to envelopes and back, as [`CodecOptions`] say |
//! | [`Envelope`] | the header alone, for operators' tools; needs no key |
//! | [`Flaw`] | what is wrong with stored bytes; the source of every decoding error |
//!
//! # The envelope, version 1
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 1 | magic `0xC1`: begins neither UTF-8 (so no JSON, no word of the protocol) nor MessagePack |
//! | 1 | 1 | version, `0x01` |
//! | 2 | 1 | format of the payload: 0 bytes as they are, 1 MessagePack with named fields, 2 JSON |
//! | 3 | 1 | compression: 0 none, 1 LZ4 block |
//! | 4 | 1 | length *k* of the key id, 0 to 16; 0 means not encrypted |
//! | 5 | *k* | key id, `[a-z0-9-]` |
//! | 5 + *k* | 8 | fingerprint of the Redis key: the first bytes of SHA-256(`"raptor key v1\0"`, key) |
//! | 13 + *k* | 4 | payload length, as stored (compressed) and before encryption |
//! | 17 + *k* | 4 | payload length once decompressed; *only if compressed* |
//! | … | 12 | nonce; *only if encrypted* |
//! | … | *n* | payload: formatted, then compressed, then encrypted |
//! | … | 16 | tag; *only if encrypted* |
//!
//! Numbers are big-endian. Nothing follows. Encrypted means AES-256-GCM-SIV (see
//! [`crypto`](crate::crypto)) under the subkey `raptor value v1` of the key of that id; associated
//! data is everything ahead of the nonce, then the whole Redis key.
//!
//! # What is promised
//! - **No reply is mistaken.** A value found under another key than it was encoded for is refused,
//!   encrypted or not: by the fingerprint, and by the cipher when there is one. Without encryption
//!   that guards against accidents, not against somebody who can write to Redis.
//! - **Old data stays readable.** Version 1 will be read by every later version; data of a newer
//!   version is refused with an error that says so. Fields are named, so a type may gain one that
//!   has a `#[serde(default)]`: new code reads old data and old code reads new data.
//! - **Hostile bytes cost no more than they justify.** Decoding never panics. Lengths are held
//!   against the bytes that are there before anything is allocated: no more than the longest value
//!   allowed, 255 times the input for compressed data (what LZ4 can reach), and a MessagePack array
//!   of *n* elements has at least *n* bytes. Nesting ends at [`MAX_DEPTH`]. What your type makes of
//!   an element is its own affair: a `Vec` of large structs whose fields all have defaults takes
//!   their size for each byte of input, so choose a longest value that fits.
//!
//! # What a format does not keep
//! `Some(None)`, `Some(())` and a unit struct in `Some` come back as `None`. JSON turns NaN and
//! infinities into `null`, which is no number when read back, and `None` where an `Option` stands.
//! Integers of 128 bits inside `#[serde(flatten)]` or an internally tagged enum are written and
//! cannot be read. All are serde's ways and so with every codec built on it.

mod body;
mod compression;
mod depth;
mod envelope;
mod flaw;
mod format;
mod header;
mod messagepack;
mod options;
mod writer;

use std::any::type_name;
use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crypto::Subkeys;
use crate::error::{Error, Result};
use crate::keys::Key;
use header::Kind;
use writer::Limited;

pub use compression::Compression;
pub use depth::MAX_DEPTH;
pub use envelope::Envelope;
pub use flaw::Flaw;
pub use format::Format;
pub use header::{FINGERPRINT_LEN, VERSION};
pub use options::{CodecOptions, DEFAULT_COMPRESS_ABOVE, DEFAULT_MAX_LEN, MAX_LEN, Plaintext};

/// Turns values into envelopes and back. Cheap to clone, no I/O.
///
/// Reading takes any format, compression and key of the keyring, whatever the options say about
/// writing: they may change over the life of the data.
///
/// ```
/// use raptor_core::{Codec, CodecOptions, Family, KeySpace, Keyring};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Profile {
///     name: String,
///     #[serde(default)] // gained later: old data has none
///     locale: Option<String>,
/// }
///
/// # let text = "2026-11:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
/// let keyring = Keyring::parse(text)?; // or Keyring::from_env()?
/// let codec = Codec::new(CodecOptions::default().keyring(keyring))?;
/// let key = KeySpace::default().key(&Family::RATE, "acme", &["profile:7"])?;
///
/// let profile = Profile { name: "Ada".into(), locale: None };
/// let stored = codec.encode(&key, &profile)?;
/// assert_eq!(codec.decode::<Profile>(&key, &stored)?, profile);
///
/// // The same bytes under another key are refused.
/// let other = KeySpace::default().key(&Family::RATE, "acme", &["profile:8"])?;
/// assert!(codec.decode::<Profile>(&other, &stored).is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Codec {
    format: Format,
    compress_above: Option<usize>,
    max_len: usize,
    keys: Option<Subkeys>,
    plaintext: Plaintext,
}

impl Default for Codec {
    /// MessagePack, compression above [`DEFAULT_COMPRESS_ABOVE`], **no encryption**.
    fn default() -> Self {
        Self::over(CodecOptions::default())
    }
}

impl Codec {
    /// A codec as the options say. Derives subkeys: make it once and keep it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the longest value is 0 or above
    /// [`MAX_LEN`].
    pub fn new(options: CodecOptions) -> Result<Self> {
        options.check()?;
        Ok(Self::over(options))
    }

    fn over(options: CodecOptions) -> Self {
        Self {
            format: options.format,
            compress_above: options.compress_above,
            max_len: options.max_len,
            keys: options.keyring.map(|keyring| keyring.subkeys(VALUE_SUBKEY)),
            plaintext: options.plaintext,
        }
    }

    /// The envelope that stores `value` under `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the value is longer than
    /// the codec's limit, nested deeper than [`MAX_DEPTH`], or cannot be written in the format (a
    /// JSON map needs keys that are text). The message names the type and shows nothing of the
    /// value.
    pub fn encode<T>(&self, key: &Key, value: &T) -> Result<Bytes>
    where
        T: Serialize + ?Sized,
    {
        let mut writer = Limited::new(body::reserve(self.keys.as_ref(), 128), self.max_len);
        if self.format.write(value, &mut writer).is_err() {
            let flaw = match writer.is_full() {
                true => self.too_long(),
                false => format!("cannot be written as {}", self.format),
            };
            return Err(unwritable::<T>(&flaw));
        }
        let out = writer.into_inner();
        let payload = &out[body::payload_start(self.keys.as_ref())..];
        // What this codec would not read, it does not write either.
        if let Err(flaw) = self.format.check(payload) {
            return Err(unwritable::<T>(&flaw.to_string()));
        }
        self.wrap(key, Kind::Value(self.format), out)
    }

    /// The value that `stored` holds for `key`, in whatever format it was written.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec), or
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the key that it needs is not on the
    /// keyring; [`Flaw::of`] tells which flaw it is. Never shows the payload.
    pub fn decode<T>(&self, key: &Key, stored: &[u8]) -> Result<T>
    where
        T: DeserializeOwned,
    {
        let (kind, payload) = self.unwrap(key, stored)?;
        match kind {
            Kind::Value(format) => Ok(format.read(&payload)?),
            Kind::Raw => Err(Flaw::RawBytes.into()),
        }
    }

    /// The envelope that stores `payload`, as it is, under `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when it is longer than the
    /// codec's limit.
    pub fn encode_raw(&self, key: &Key, payload: &[u8]) -> Result<Bytes> {
        if payload.len() > self.max_len {
            return Err(Error::invalid(format!("the payload {}", self.too_long())));
        }
        let mut out = body::reserve(self.keys.as_ref(), payload.len());
        out.extend_from_slice(payload);
        self.wrap(key, Kind::Raw, out)
    }

    /// The bytes that `stored` holds for `key`. Shares memory with `stored` where they stand in it
    /// as they are.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and when it holds a typed value.
    pub fn decode_raw(&self, key: &Key, stored: &Bytes) -> Result<Bytes> {
        match self.unwrap(key, stored)? {
            (Kind::Value(format), _) => Err(Flaw::TypedValue(format).into()),
            (Kind::Raw, Cow::Borrowed(payload)) => Ok(stored.slice_ref(payload)),
            (Kind::Raw, Cow::Owned(payload)) => Ok(payload.into()),
        }
    }

    /// Whether this codec has a keyring and `stored` is an envelope that its newest key did not
    /// encrypt: decode it and store it anew. `false` for bytes that are no envelope.
    #[must_use]
    pub fn needs_rotation(&self, stored: &[u8]) -> bool {
        let Some(keys) = &self.keys else { return false };
        Envelope::peek(stored).is_ok_and(|envelope| envelope.key_id() != Some(keys.newest().id()))
    }

    fn too_long(&self) -> String {
        format!("is longer than {} bytes, the codec's limit", self.max_len)
    }
}

/// The HKDF context of values' subkeys.
const VALUE_SUBKEY: &str = "raptor value v1";

fn unwritable<T: ?Sized>(flaw: &str) -> Error {
    Error::invalid(format!("a value of type {} {flaw}", type_name::<T>()))
}
