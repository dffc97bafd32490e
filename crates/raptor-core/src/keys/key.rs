//! One key, ready to be sent: its bytes and, computed once, its hash slot.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

use super::slot::{slot_of, slot_of_tag};

/// One key of the server. Cheap to clone; two keys are equal when their bytes are.
///
/// Its `Debug` shows family and length only: parts may name users or hold a session's MAC.
#[derive(Clone)]
pub struct Key {
    bytes: Bytes,
    slot: u16,
    family: Option<&'static str>,
}

impl Key {
    /// A key outside of any family, for generic commands on data that Raptor does not own.
    ///
    /// Taken as it is: no prefix, no encoding. Its slot follows Redis' hash tag rule.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let slot = slot_of(&bytes);
        Self { bytes, slot, family: None }
    }

    /// A key of the catalogue, whose hash tag stands at `tag` in its bytes.
    pub(super) fn of_family(
        family: &'static str,
        bytes: Vec<u8>,
        tag: std::ops::Range<usize>,
    ) -> Self {
        let slot = slot_of_tag(&bytes[tag]);
        Self { bytes: bytes.into(), slot, family: Some(family) }
    }

    /// The key's bytes, as sent to the server.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key's bytes, shared and not copied.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Its hash slot on a cluster, 0 to 16,383.
    #[must_use]
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// The name of its family; `None` for a raw key.
    #[must_use]
    pub fn family(&self) -> Option<&'static str> {
        self.family
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {} bytes)", self.family.unwrap_or("raw"), self.bytes.len())
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_key_is_its_bytes_and_shows_none_of_them() {
        let key = Key::raw("user:{foo}:secret");
        assert_eq!(key.as_bytes(), b"user:{foo}:secret");
        assert_eq!((key.slot(), key.family()), (12_182, None));
        assert_eq!(format!("{key:?}"), "Key(raw, 17 bytes)");
    }
}
