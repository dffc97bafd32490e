//! The name of a key: short, and safe to show, store and log.

use std::fmt;

use crate::error::{Error, Result};

/// The longest key id, in bytes.
pub const MAX_KEY_ID_LEN: usize = 16;

/// The name of a key: 1 to 16 of `a-z`, `0-9` and `-`. Stored beside what the key encrypted.
///
/// No secret: it is shown in messages and visible in Redis. A date does well: `2026-11`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    // Zero behind `len`, so that the derived comparisons compare names.
    bytes: [u8; MAX_KEY_ID_LEN],
    len: u8,
}

impl KeyId {
    /// The id `name`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when it is empty, too long or
    /// holds another character. The message does not repeat it.
    pub fn new(name: &str) -> Result<Self> {
        Self::from_bytes(name.as_bytes()).ok_or_else(|| Error::invalid(format!("a {RULE}")))
    }

    /// The id, from bytes that anybody may have written.
    pub(crate) fn from_bytes(name: &[u8]) -> Option<Self> {
        let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if name.is_empty() || name.len() > MAX_KEY_ID_LEN || !name.iter().all(allowed) {
            return None;
        }
        let mut bytes = [0; MAX_KEY_ID_LEN];
        bytes[..name.len()].copy_from_slice(name);
        Some(Self { bytes, len: name.len() as u8 })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so this is never the empty default.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What a key id is, as the rest of a sentence.
pub(super) const RULE: &str = "key id is 1 to 16 of a-z, 0-9 and -";

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_plain() {
        for good in ["a", "2026-11", "0123456789abcdef", "-"] {
            assert_eq!(KeyId::new(good).expect("valid").as_str(), good);
        }
        for bad in ["", "0123456789abcdefg", "A", "a_b", "a b", "é", "a\n", "a:b"] {
            let error = KeyId::new(bad).expect_err("refused");
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidInput);
        }
        assert_ne!(KeyId::new("a").expect("valid"), KeyId::new("ab").expect("valid"));
    }
}
