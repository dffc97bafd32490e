//! What is wrong with stored bytes, as a type: callers tell a swapped value from an old one.

use std::error::Error as _;

use super::format::Format;
use super::header::VERSION;
use super::{MAX_DEPTH, MAX_LEN};
use crate::crypto::KeyId;
use crate::error::{Error, ErrorKind};

/// What is wrong with stored bytes; reads as the rest of "the stored value …".
///
/// The source of every error of [`Codec::decode`](super::Codec::decode); [`Flaw::of`] finds it.
/// Holds nothing of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Something else wrote it.
    #[error("is no envelope of Raptor: it does not begin with 0xC1")]
    NotAnEnvelope,
    /// Its version is not one that this build knows.
    #[error(
        "is an envelope of version {0}, and this build reads up to {VERSION}: upgrade readers \
         before writers"
    )]
    Version(u8),
    /// It ends before its end.
    #[error("is truncated: its header promises more bytes")]
    Truncated,
    /// Bytes follow its end.
    #[error("has bytes behind its end")]
    Overlong,
    /// A format that this build does not know.
    #[error("has the unknown format {0}")]
    UnknownFormat(u8),
    /// A compression that this build does not know.
    #[error("has the unknown compression {0}")]
    UnknownCompression(u8),
    /// Its key id is none.
    #[error("names no valid key id")]
    BadKeyId,
    /// It was encoded for another Redis key: swapped, copied or renamed, or another call's reply.
    #[error("belongs to another Redis key: swapped, copied or renamed")]
    OtherKey,
    /// It is longer than the codec allows.
    #[error("has {len} bytes, and the codec's limit is {max}")]
    TooLong {
        /// Its length once decompressed, as stated.
        len: usize,
        /// The codec's limit.
        max: usize,
    },
    /// It is encrypted and the codec has no keyring.
    #[error("is encrypted with key id `{0}`: give the codec a keyring (RAPTOR_KEYRING)")]
    NoKeyring(KeyId),
    /// It is encrypted with a key that the keyring does not have.
    #[error("is encrypted with key id `{0}`: add key id `{0}` to RAPTOR_KEYRING")]
    UnknownKey(KeyId),
    /// It is not encrypted and the codec has a keyring.
    #[error(
        "is not encrypted, which a codec with a keyring refuses: set Plaintext::Accept while old \
         data is in use"
    )]
    NotEncrypted,
    /// The cipher refuses it.
    #[error(
        "does not open under key id `{0}`: it was altered, or that id names another key on this \
         keyring"
    )]
    Altered(KeyId),
    /// It does not decompress to what its header says.
    #[error("does not decompress to the length that its header states")]
    Compression,
    /// It holds bytes as they are: [`Codec::decode_raw`](super::Codec::decode_raw) reads them.
    #[error("holds raw bytes, not a typed value: read it with decode_raw")]
    RawBytes,
    /// It holds a typed value: [`Codec::decode`](super::Codec::decode) reads it.
    #[error("holds a typed value ({0}), not raw bytes: read it with decode")]
    TypedValue(Format),
    /// Its payload is not exactly one whole value of its format.
    #[error("holds no well-formed {0}")]
    Malformed(Format),
    /// Its payload is nested deeper than [`MAX_DEPTH`].
    #[error("is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Its payload is well-formed and does not fit the type asked for.
    #[error("does not fit the type {type_name}{}", missing(.missing_field.as_deref()))]
    Type {
        /// The type asked for.
        type_name: &'static str,
        /// The field that it lacks, if that is what is wrong.
        missing_field: Option<Box<str>>,
    },
}

impl Flaw {
    /// The flaw that this error is about, if it is about one.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        error.source()?.downcast_ref()
    }
}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        let kind = match flaw {
            Flaw::NoKeyring(_) | Flaw::UnknownKey(_) => ErrorKind::Config,
            _ => ErrorKind::Codec,
        };
        Self::new(kind, format!("the stored value {flaw}")).with_source(flaw)
    }
}

fn missing(field: Option<&str>) -> String {
    match field {
        Some(field) => format!(
            ": the field `{field}` is missing (`#[serde(default)]` lets a type gain a field)"
        ),
        None => String::new(),
    }
}

// The lengths in an envelope have four bytes, and any usize holds what is allowed.
const _: () = assert!(MAX_LEN < u32::MAX as usize);
