//! The first bytes of an envelope: written and read here, laid out in the module's documentation.

use sha2::{Digest as _, Sha256};

use super::compression::Compression;
use super::flaw::Flaw;
use super::format::Format;
use crate::crypto::{KeyId, MAX_KEY_ID_LEN};

/// Begins neither UTF-8 nor MessagePack, nor a reply of the protocol.
const MAGIC: u8 = 0xC1;

/// The newest version of the envelope that this build reads, and the one that it writes.
pub const VERSION: u8 = 1;

/// The length of a key's fingerprint, in bytes.
pub const FINGERPRINT_LEN: usize = 8;

/// Magic, version, format, compression, length of the key id.
const FIXED_LEN: usize = 5;

/// What the payload is, decompressed and decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes as they are.
    Raw,
    /// A typed value.
    Value(Format),
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Value(Format::MessagePack) => 1,
            Self::Value(Format::Json) => 2,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, Flaw> {
        match byte {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Value(Format::MessagePack)),
            2 => Ok(Self::Value(Format::Json)),
            other => Err(Flaw::UnknownFormat(other)),
        }
    }
}

/// The header of an envelope of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) compression: Compression,
    pub(super) key_id: Option<KeyId>,
    pub(super) fingerprint: [u8; FINGERPRINT_LEN],
    /// The payload's length as stored, before encryption.
    pub(super) payload_len: u32,
    /// Its length once decompressed; the same if it is not compressed.
    pub(super) decoded_len: u32,
}

impl Header {
    /// How long a header with these is.
    pub(super) fn len(key_id: Option<KeyId>, compression: Compression) -> usize {
        let lengths = if compression == Compression::None { 4 } else { 8 };
        let id_len = key_id.map_or(0, |id| id.as_bytes().len());
        FIXED_LEN + id_len + FINGERPRINT_LEN + lengths
    }

    /// Writes the header over the first bytes of `out`, which has room for it.
    pub(super) fn write(&self, out: &mut [u8]) {
        let id = self.key_id.as_ref().map_or(&[][..], KeyId::as_bytes);
        let fixed = [MAGIC, VERSION, self.kind.byte(), self.compression.byte(), id.len() as u8];
        let (payload_len, decoded_len) =
            (self.payload_len.to_be_bytes(), self.decoded_len.to_be_bytes());
        let decoded_len = match self.compression {
            Compression::None => &[][..],
            Compression::Lz4 => &decoded_len[..],
        };
        let mut at = 0;
        for part in [&fixed[..], id, &self.fingerprint, &payload_len, decoded_len] {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }

    /// The header, and what follows it.
    pub(super) fn parse(stored: &[u8]) -> Result<(Self, &[u8]), Flaw> {
        let [magic, rest @ ..] = stored else { return Err(Flaw::NotAnEnvelope) };
        if *magic != MAGIC {
            return Err(Flaw::NotAnEnvelope);
        }
        let ([version], rest) = take::<1>(rest)?;
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
        let ([kind, compression, id_len], rest) = take::<3>(rest)?;
        let kind = Kind::from_byte(kind)?;
        let compression = Compression::from_byte(compression)?;
        if usize::from(id_len) > MAX_KEY_ID_LEN {
            return Err(Flaw::BadKeyId);
        }
        let (id, rest) = rest.split_at_checked(usize::from(id_len)).ok_or(Flaw::Truncated)?;
        let key_id = match id {
            [] => None,
            id => Some(KeyId::from_bytes(id).ok_or(Flaw::BadKeyId)?),
        };
        let (fingerprint, rest) = take::<FINGERPRINT_LEN>(rest)?;
        let (payload_len, rest) = take::<4>(rest)?;
        let (decoded_len, rest) = match compression {
            Compression::None => (payload_len, rest),
            Compression::Lz4 => take::<4>(rest)?,
        };
        let header = Self {
            kind,
            compression,
            key_id,
            fingerprint,
            payload_len: u32::from_be_bytes(payload_len),
            decoded_len: u32::from_be_bytes(decoded_len),
        };
        Ok((header, rest))
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Flaw> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Flaw::Truncated)?;
    Ok((*head, rest))
}

/// The fingerprint of a Redis key: tells keys apart, and is no secret.
pub(super) fn fingerprint(key: &[u8]) -> [u8; FINGERPRINT_LEN] {
    let hash = Sha256::new().chain_update(b"raptor key v1\0").chain_update(key).finalize();
    let mut fingerprint = [0; FINGERPRINT_LEN];
    fingerprint.copy_from_slice(&hash[..FINGERPRINT_LEN]);
    fingerprint
}
