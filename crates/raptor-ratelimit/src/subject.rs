//! Who is limited, and where: a user at an endpoint.

use std::fmt;

use raptor_core::{Error, Result};

/// The longest user, endpoint or policy name, in bytes.
const MAX_NAME_LEN: usize = 512;

/// A user at an endpoint: what a limit is counted for.
///
/// Both are arbitrary bytes, `{}`, `:` and NUL included, and no two different subjects ever share
/// a count. All limits of one user live in one cluster slot, whatever the endpoint.
///
/// Its `Debug` shows neither, for they may name people.
///
/// ```
/// use raptor_ratelimit::Subject;
///
/// assert!(Subject::new("user-7", "POST /chat").is_ok());
/// assert!(Subject::new("", "POST /chat").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    user: Vec<u8>,
    endpoint: Vec<u8>,
}

impl Subject {
    /// `user` at `endpoint`.
    ///
    /// The user is whatever is to be limited on its own: an account, an API key's id, an address.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](raptor_core::ErrorKind::InvalidInput) when one of them is empty
    /// or longer than 512 bytes.
    pub fn new(user: impl AsRef<[u8]>, endpoint: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self {
            user: checked_name("user", user.as_ref())?,
            endpoint: checked_name("endpoint", endpoint.as_ref())?,
        })
    }

    pub(crate) fn user(&self) -> &[u8] {
        &self.user
    }

    pub(crate) fn endpoint(&self) -> &[u8] {
        &self.endpoint
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({} + {} bytes)", self.user.len(), self.endpoint.len())
    }
}

/// `name`, if it can be part of a key. The error tells `what` it is and never shows it.
pub(crate) fn checked_name(what: &str, name: &[u8]) -> Result<Vec<u8>> {
    match name.len() {
        0 => Err(Error::invalid(format!("the {what} of a rate limit is empty"))),
        1..=MAX_NAME_LEN => Ok(name.to_vec()),
        len => Err(Error::invalid(format!(
            "the {what} of a rate limit has {len} bytes, at most {MAX_NAME_LEN} are allowed; \
             use a hash of it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_but_none_and_too_many_are_a_name() {
        for good in [&b"\0"[..], b"{}", b":", b"a b", &[0xFF; 512]] {
            assert!(Subject::new(good, good).is_ok(), "{good:?}");
        }
        for bad in [&b""[..], &[b'x'; 513]] {
            assert!(Subject::new(bad, "e").is_err());
            assert!(Subject::new("u", bad).is_err());
        }
    }

    #[test]
    fn debug_names_nobody() {
        let subject = Subject::new("alice", "inbox").unwrap();
        assert_eq!(format!("{subject:?}"), "Subject(5 + 5 bytes)");
    }
}
