//! Around the payload: compress, encrypt and head it; and all of that back, checked in order.

use std::borrow::Cow;

use bytes::Bytes;

use super::compression::{Compression, compress, decompress};
use super::flaw::Flaw;
use super::header::{Header, Kind, fingerprint};
use super::{Codec, Plaintext};
use crate::crypto::{KeyId, NONCE_LEN, Subkeys, TAG_LEN};
use crate::error::{Error, Result};
use crate::keys::Key;

/// Where a payload begins that is not compressed.
pub(super) fn payload_start(keys: Option<&Subkeys>) -> usize {
    start(newest(keys), Compression::None)
}

/// A buffer with room left ahead of the payload, and for one of `len` bytes.
pub(super) fn reserve(keys: Option<&Subkeys>, len: usize) -> Vec<u8> {
    let start = payload_start(keys);
    let mut out = Vec::with_capacity(start + len + TAG_LEN);
    out.resize(start, 0);
    out
}

fn newest(keys: Option<&Subkeys>) -> Option<KeyId> {
    keys.map(|keys| keys.newest().id())
}

fn start(key_id: Option<KeyId>, compression: Compression) -> usize {
    Header::len(key_id, compression) + key_id.map_or(0, |_| NONCE_LEN)
}

/// What the cipher binds the payload to: the header, then the whole key. The header tells its own
/// length, so no two pairs give the same bytes.
fn associated_data(header: &[u8], key: &Key) -> Vec<u8> {
    [header, key.as_bytes()].concat()
}

impl Codec {
    /// The envelope around the payload that stands in `out` behind the room of [`reserve`].
    pub(super) fn wrap(&self, key: &Key, kind: Kind, mut out: Vec<u8>) -> Result<Bytes> {
        let key_id = newest(self.keys.as_ref());
        let mut compression = Compression::None;
        let decoded_len = out.len() - start(key_id, compression);
        if self.compress_above.is_some_and(|above| decoded_len > above) {
            let plain = out.len() - decoded_len;
            let mut packed = vec![0; start(key_id, Compression::Lz4)];
            if compress(&out[plain..], &mut packed) {
                (out, compression) = (packed, Compression::Lz4);
            }
        }
        let payload_len = out.len() - start(key_id, compression);
        let header = Header {
            kind,
            compression,
            key_id,
            fingerprint: fingerprint(key.as_bytes()),
            payload_len: length(payload_len)?,
            decoded_len: length(decoded_len)?,
        };
        header.write(&mut out);
        if let Some(keys) = &self.keys {
            let header_len = Header::len(key_id, compression);
            let aad = associated_data(&out[..header_len], key);
            keys.newest().seal(&aad, &mut out, header_len)?;
        }
        Ok(out.into())
    }

    /// The payload that `stored` holds for `key`, and what it is.
    ///
    /// Whose it is comes first: a value that belongs elsewhere may be anything else besides.
    pub(super) fn unwrap<'a>(
        &self,
        key: &Key,
        stored: &'a [u8],
    ) -> Result<(Kind, Cow<'a, [u8]>), Flaw> {
        let (header, body) = Header::parse(stored)?;
        if header.fingerprint != fingerprint(key.as_bytes()) {
            return Err(Flaw::OtherKey);
        }
        let (payload_len, decoded_len) = (header.payload_len as usize, header.decoded_len as usize);
        let overhead = header.key_id.map_or(0, |_| NONCE_LEN + TAG_LEN);
        match body.len().checked_sub(overhead) {
            Some(len) if len > payload_len => return Err(Flaw::Overlong),
            Some(len) if len == payload_len => {}
            _ => return Err(Flaw::Truncated),
        }
        let len = payload_len.max(decoded_len);
        if len > self.max_len {
            return Err(Flaw::TooLong { len, max: self.max_len });
        }
        let payload = match (header.key_id, &self.keys) {
            (None, Some(_)) if self.plaintext == Plaintext::Refuse => {
                return Err(Flaw::NotEncrypted);
            }
            (None, _) => Cow::Borrowed(body),
            (Some(id), None) => return Err(Flaw::NoKeyring(id)),
            (Some(id), Some(keys)) => {
                let subkey = keys.find(id).ok_or(Flaw::UnknownKey(id))?;
                let aad = associated_data(&stored[..stored.len() - body.len()], key);
                Cow::Owned(subkey.open(&aad, body).ok_or(Flaw::Altered(id))?)
            }
        };
        let payload = match header.compression {
            Compression::None => payload,
            Compression::Lz4 => Cow::Owned(decompress(&payload, decoded_len)?),
        };
        Ok((header.kind, payload))
    }
}

fn length(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::invalid("a payload has at most 2³² bytes"))
}
