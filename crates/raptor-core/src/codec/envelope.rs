//! A look at an envelope's header: what operators' tools show without any key.

use super::compression::Compression;
use super::format::Format;
use super::header::{FINGERPRINT_LEN, Header, Kind, VERSION, fingerprint};
use crate::crypto::KeyId;
use crate::error::Result;
use crate::keys::Key;

/// What the header of a stored value says. Nothing of it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    header: Header,
    stored_len: usize,
}

impl Envelope {
    /// The header of `stored`. The payload is not looked at, and no key is needed.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when there is no header that this build reads;
    /// [`Flaw::of`](super::Flaw::of) tells why.
    pub fn peek(stored: &[u8]) -> Result<Self> {
        let (header, _) = Header::parse(stored)?;
        Ok(Self { header, stored_len: stored.len() })
    }

    /// The envelope's version.
    #[must_use]
    pub fn version(&self) -> u8 {
        VERSION
    }

    /// The format of the value; `None` for bytes as they are.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        match self.header.kind {
            Kind::Raw => None,
            Kind::Value(format) => Some(format),
        }
    }

    /// How the payload is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.header.compression
    }

    /// The id of the key that it is encrypted with; `None` if it is not encrypted.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        self.header.key_id
    }

    /// The fingerprint of the Redis key that it was encoded for.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; FINGERPRINT_LEN] {
        self.header.fingerprint
    }

    /// Whether it was encoded for `key`.
    #[must_use]
    pub fn is_for(&self, key: &Key) -> bool {
        self.header.fingerprint == fingerprint(key.as_bytes())
    }

    /// The whole envelope's length, in bytes.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        self.stored_len
    }

    /// The payload's length in bytes, decrypted and decompressed, as the header states it.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.header.decoded_len as usize
    }
}
