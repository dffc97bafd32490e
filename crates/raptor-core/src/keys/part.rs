//! The encoding of a key's variable parts: no two inputs give one text, none holds a separator.
//!
//! Letters, digits and `_ . - ~ @ + =` stay as they are; every other byte becomes `%` and two
//! upper-case hex digits (RFC 3986's scheme with our own set). So an encoded part never holds
//! `:`, a brace, a glob character, white space or a control byte.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::error::{Error, Result};

/// The longest part, in bytes ahead of the encoding (which at most triples it).
pub const MAX_PART_LEN: usize = 512;

/// What is encoded: everything but letters, digits and these seven.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b'@')
    .remove(b'+')
    .remove(b'=');

/// Appends `part` in its encoded form; `which` names it should it be empty or too long.
pub(super) fn encode_part(out: &mut Vec<u8>, part: &[u8], which: impl fmt::Display) -> Result<()> {
    if part.is_empty() {
        return Err(Error::invalid(format!(
            "{which} is empty; every part needs at least one byte"
        )));
    }
    if part.len() > MAX_PART_LEN {
        return Err(Error::invalid(format!(
            "{which} has {} bytes, at most {MAX_PART_LEN} are allowed; use a hash of it",
            part.len()
        )));
    }
    for piece in percent_encode(part, ENCODED) {
        out.extend_from_slice(piece.as_bytes());
    }
    Ok(())
}

/// The bytes that an encoded part stands for: the exact inverse of what
/// [`KeySpace::key`](super::KeySpace::key) does to a part.
///
/// Strict: what the encoding does not produce (a lower-case or broken `%xx`, an escape of a byte
/// that needs none, a bare separator, nothing at all, too much) is refused.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
pub fn decode_part(encoded: &[u8]) -> Result<Vec<u8>> {
    let part: Vec<u8> = percent_decode(encoded).collect();
    let mut again = Vec::with_capacity(encoded.len());
    encode_part(&mut again, &part, "the decoded key part")?;
    if again == encoded { Ok(part) } else { Err(Error::invalid("not an encoded key part")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(part: &[u8]) -> String {
        let mut out = Vec::new();
        encode_part(&mut out, part, "part").expect("valid");
        String::from_utf8(out).expect("valid")
    }

    #[test]
    fn unreserved_bytes_stay_and_all_others_are_escaped() {
        let plain = b"ABCXYZabcxyz0189_.-~@+=";
        assert_eq!(encode(plain).as_bytes(), plain);
        for byte in (0..=255_u8).filter(|byte| !byte.is_ascii_alphanumeric()) {
            if !b"_.-~@+=".contains(&byte) {
                assert_eq!(encode(&[byte]), format!("%{byte:02X}"));
            }
        }
    }

    #[test]
    fn decoding_is_strict() {
        assert_eq!(decode_part(b"a%3Ab%25").expect("valid"), b"a:b%");
        for wrong in [&b""[..], b"a:b", b"%3a", b"%41", b"%", b"%4", b"%G0", b"{a", b"\xFF", b"a b"]
        {
            assert!(decode_part(wrong).is_err(), "{wrong:?}");
        }
        assert!(decode_part(&[b'a'; MAX_PART_LEN + 1]).is_err());
        assert!(decode_part(&[b'a'; MAX_PART_LEN]).is_ok());
    }
}
