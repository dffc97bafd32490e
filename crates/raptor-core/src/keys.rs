//! Every key is `{prefix}{family}:{TAG}:part:part…`, and only this module makes one.
//!
//! The tag stands in literal braces: it is the hash tag of Redis Cluster, so all keys with one tag
//! live in one slot, whatever their family. Tag and parts are encoded ([`decode_part`] tells how),
//! so different inputs give different keys and none leaves its family. The families are listed in
//! `docs/keys.md`.

mod family;
mod key;
mod part;
mod slot;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};

pub use family::{Family, RedisType, catalogue_markdown};
pub use key::Key;
pub use part::{MAX_PART_LEN, decode_part};
pub use slot::{SLOTS, slot_of};

/// The prefix when none is set.
pub const DEFAULT_PREFIX: &str = "raptorflow:";

/// The longest prefix, in bytes.
pub const MAX_PREFIX_LEN: usize = 64;

/// No parts after the tag: `space.key(&family, tag, NO_PARTS)`.
pub const NO_PARTS: &[&str] = &[];

/// All keys under one prefix. Cheap to clone.
///
/// Two key spaces with different prefixes never share a key.
///
/// ```
/// use raptor_core::keys::{Family, KeySpace};
///
/// let space = KeySpace::new("shop:")?;
/// let key = space.key(&Family::RATE, "user:7", &["/v1/chat", "minute"])?;
/// assert_eq!(key.as_bytes(), b"shop:rate:{user%3A7}:%2Fv1%2Fchat:minute");
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySpace {
    prefix: Arc<str>,
}

impl Default for KeySpace {
    /// The key space of [`DEFAULT_PREFIX`].
    fn default() -> Self {
        Self { prefix: Arc::from(DEFAULT_PREFIX) }
    }
}

impl KeySpace {
    /// The key space of `prefix`: 1 to 64 letters, digits or `_ . - / :`.
    ///
    /// The prefix is used as given; by custom it ends in `:`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when it is empty, too long or
    /// holds another character. The message does not repeat the prefix.
    pub fn new(prefix: &str) -> Result<Self> {
        match prefix_flaw(prefix) {
            Some(flaw) => Err(Error::invalid(format!("the key prefix {flaw}"))),
            None => Ok(Self { prefix: Arc::from(prefix) }),
        }
    }

    /// The prefix, as given.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of `family` for `tag` and `parts`, each of 1 to [`MAX_PART_LEN`] arbitrary bytes.
    ///
    /// Different families, tags or lists of parts give different keys; equal tags give equal
    /// slots. How many parts there are is the caller's choice: [`Family::parts`] documents it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the tag or a part is empty
    /// or too long. The message names the part and never shows it.
    pub fn key<T, P>(&self, family: &Family, tag: T, parts: &[P]) -> Result<Key>
    where
        T: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let tag = tag.as_ref();
        let separators = ":{}".len() + parts.len();
        let parts_len: usize = parts.iter().map(|part| part.as_ref().len()).sum();
        let mut out = Vec::with_capacity(
            self.prefix.len() + family.name.len() + separators + tag.len() + parts_len,
        );
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(family.name.as_bytes());
        out.extend_from_slice(b":{");
        let start = out.len();
        part::encode_part(&mut out, tag, Which { family, part: None })?;
        let end = out.len();
        out.push(b'}');
        for (index, part) in parts.iter().enumerate() {
            out.push(b':');
            part::encode_part(&mut out, part.as_ref(), Which { family, part: Some(index) })?;
        }
        Ok(Key::of_family(family.name, out, start..end))
    }

    /// What a raw key of this space was made from; `None` if [`key`](Self::key) cannot have made
    /// it: another prefix, an unknown family, parts that are not encoded.
    #[must_use]
    pub fn parse(&self, raw: &[u8]) -> Option<ParsedKey> {
        let rest = std::str::from_utf8(raw).ok()?.strip_prefix(&*self.prefix)?;
        let (name, rest) = rest.split_once(":{")?;
        let (tag, rest) = rest.split_once('}')?;
        let parts = match rest.strip_prefix(':') {
            Some(parts) => parts.split(':').map(decode).collect::<Option<Vec<_>>>()?,
            None if rest.is_empty() => Vec::new(),
            None => return None,
        };
        Some(ParsedKey { family: Family::by_name(name)?, tag: decode(tag)?, parts })
    }

    /// A key that the server told: of its family again, where [`key`](Self::key) has made it.
    pub(crate) fn recognise(&self, raw: Bytes) -> Key {
        let made = self.parse(&raw).and_then(|parsed| {
            let key = self.key(parsed.family, parsed.tag, &parsed.parts).ok()?;
            (key.as_bytes() == raw).then_some(key)
        });
        made.unwrap_or_else(|| Key::raw(raw))
    }
}

/// What a key was made from: the answer of [`KeySpace::parse`].
///
/// Holds users' data in the clear: its `Debug` shows it, for operators' tools.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsedKey {
    /// The family.
    pub family: &'static Family,
    /// The tag, decoded.
    pub tag: Vec<u8>,
    /// The parts after the tag, decoded.
    pub parts: Vec<Vec<u8>>,
}

fn decode(encoded: &str) -> Option<Vec<u8>> {
    decode_part(encoded.as_bytes()).ok()
}

/// What is wrong with a prefix, as the rest of a sentence; `None` if nothing is.
pub(crate) fn prefix_flaw(prefix: &str) -> Option<String> {
    const ALLOWED: &str = "letters, digits and _ . - / : are allowed";
    if prefix.is_empty() {
        return Some(format!("is empty; give 1 to {MAX_PREFIX_LEN} characters, say `app:`"));
    }
    if prefix.len() > MAX_PREFIX_LEN {
        return Some(format!("has {} bytes; at most {MAX_PREFIX_LEN} fit", prefix.len()));
    }
    let wrong = prefix.chars().find(|c| !c.is_ascii_alphanumeric() && !"_.-/:".contains(*c))?;
    Some(match wrong {
        '{' | '}' => format!("holds a brace, which marks the cluster's hash tag; {ALLOWED}"),
        '*' | '?' | '[' | ']' | '\\' => format!("holds a glob character; {ALLOWED}"),
        c if c.is_whitespace() => format!("holds white space; {ALLOWED}"),
        c if c.is_control() => format!("holds a control character; {ALLOWED}"),
        _ => format!("holds a character that is not allowed; {ALLOWED}"),
    })
}

/// Names a part in an error: `part 2 (policy) of a rate key`.
struct Which<'a> {
    family: &'a Family,
    part: Option<usize>,
}

impl fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            None => write!(f, "the tag ({})", self.family.tag)?,
            Some(index) => {
                write!(f, "part {}", index + 1)?;
                if let Some(name) = self.family.parts.get(index) {
                    write!(f, " ({name})")?;
                }
            }
        }
        write!(f, " of a {} key", self.family.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_parsed_once_and_not_repeated_in_errors() {
        for good in ["raptorflow:", "a", "A/b_c.d-e:9:", &"p".repeat(64)] {
            assert_eq!(KeySpace::new(good).expect("valid").prefix(), good);
        }
        assert_eq!(KeySpace::default(), KeySpace::new(DEFAULT_PREFIX).expect("valid"));
        for bad in ["", "app{x}:", "app x:", "app\n:", "app*", "app?", "a[b]", "a\\b", "a%41", "é:"]
        {
            let error = KeySpace::new(bad).expect_err("refused");
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidInput);
            assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
        }
        assert!(KeySpace::new(&"p".repeat(65)).is_err());
    }

    #[test]
    fn parts_that_cannot_be_used_are_named() {
        let space = KeySpace::default();
        let error = space.key(&Family::RATE, "u", &["x", ""]).expect_err("refused").to_string();
        assert!(error.starts_with("part 2 (policy) of a rate key is empty"), "{error}");
        let error = space.key(&Family::RATE, "", NO_PARTS).expect_err("refused").to_string();
        assert!(error.starts_with("the tag (user) of a rate key is empty"), "{error}");
        let error =
            space.key(&Family::RATE, "u", &["s".repeat(513)]).expect_err("refused").to_string();
        assert!(error.contains("part 1 (endpoint) of a rate key has 513 bytes"), "{error}");
        assert!(!error.contains("sss"), "{error}");
    }
}
