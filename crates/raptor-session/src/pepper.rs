//! Peppers: the secrets behind a token's MAC. Redis never sees them, so who reads it cannot use it.
//!
//! The first pepper signs new tokens; the others keep their tokens alive until they are taken off the list.
//!
//! Taking one off makes its tokens worth nothing at once. Their sessions end by their deadlines, or are
//! revoked: until then they are listed, and count under a cap.
//!
//! A process without a token's pepper knows no such session. So a new pepper goes in last, and moves up
//! once all processes have it.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use raptor_core::{Error, ErrorKind, Result};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The environment variable of [`Peppers::from_env`].
pub const PEPPERS_VARIABLE: &str = "RAPTOR_SESSION_PEPPERS";

/// The longest pepper id, in bytes; it stands in every token.
pub(crate) const MAX_ID_LEN: usize = 16;
const MIN_SECRET_LEN: usize = 32;
const MAX_PEPPERS: usize = 16;

/// Keeps the MAC of a session apart from any other use of the same secret.
const DOMAIN: &[u8] = b"raptor-session token v1\0";

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A list of peppers, newest first. Cheap to clone; shows ids only, and wipes its secrets on drop.
///
/// The text form is `id:base64,id:base64`: ids of 1 to 16 letters, digits, `_`, `-` or `.`, each
/// secret 32 bytes or more (`openssl rand -base64 32`), standard or URL-safe alphabet.
///
/// ```
/// use raptor_session::Peppers;
/// let peppers = Peppers::parse(
///     "2026-07:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=, 2026-01:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
/// )?;
/// assert_eq!(format!("{peppers:?}"), r#"Peppers(["2026-07", "2026-01"])"#);
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Peppers {
    list: Arc<[Pepper]>,
}

pub(crate) struct Pepper {
    id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl Peppers {
    /// Reads the list from [`PEPPERS_VARIABLE`].
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) when it is absent (there is no default: a random secret would
    /// end every session at the next start) or malformed; the message never shows a secret.
    pub fn from_env() -> Result<Self> {
        Self::from_variable(std::env::var(PEPPERS_VARIABLE).ok().map(Zeroizing::new))
    }

    fn from_variable(text: Option<Zeroizing<String>>) -> Result<Self> {
        match text {
            Some(text) if !text.trim().is_empty() => Self::parse(&text),
            _ => Err(bad("is not set: give `id:base64` with at least 32 random bytes")),
        }
    }

    /// Reads a list, newest first.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) as of [`Peppers::from_env`].
    pub fn parse(text: &str) -> Result<Self> {
        let mut list: Vec<Pepper> = Vec::new();
        for (at, entry) in text.split(',').enumerate() {
            let pepper = Pepper::parse(entry.trim())
                .map_err(|why| bad(&format!("has a bad entry {}: {why}", at + 1)))?;
            if list.iter().any(|other| other.id == pepper.id) {
                return Err(bad(&format!("names the id {} twice", pepper.id)));
            }
            list.push(pepper);
        }
        if list.len() > MAX_PEPPERS {
            return Err(bad(&format!("has more than {MAX_PEPPERS} entries")));
        }
        Ok(Self { list: list.into() })
    }

    /// The one that signs new tokens.
    pub(crate) fn newest(&self) -> &Pepper {
        // `parse` makes at least one: splitting gives at least one entry, and none may be empty.
        &self.list[0]
    }

    /// All, the newest first.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Pepper> {
        self.list.iter()
    }

    pub(crate) fn by_id(&self, id: &[u8]) -> Option<&Pepper> {
        self.list.iter().find(|pepper| pepper.id.as_bytes() == id)
    }
}

impl Pepper {
    pub(crate) fn id(&self) -> &[u8] {
        self.id.as_bytes()
    }

    /// HMAC-SHA-256 over all of the token.
    pub(crate) fn mac(&self, token: &[u8]) -> [u8; 32] {
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes any length");
        mac.update(DOMAIN);
        mac.update(token);
        mac.finalize().into_bytes().into()
    }

    fn parse(entry: &str) -> Result<Self, &'static str> {
        let (id, secret) = entry.split_once(':').ok_or("expected `id:base64`")?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if id.is_empty() || id.len() > MAX_ID_LEN || !id.bytes().all(plain) {
            return Err("an id has 1 to 16 letters, digits, `_`, `-` or `.`");
        }
        let url_safe = secret.contains(['-', '_']);
        let secret = if url_safe { URL_SAFE.decode(secret) } else { STANDARD.decode(secret) };
        let secret = Zeroizing::new(secret.map_err(|_| "the secret is not base64")?);
        if secret.len() < MIN_SECRET_LEN {
            return Err("the secret has less than 32 bytes");
        }
        Ok(Self { id: id.to_owned(), secret })
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.list.iter().map(|pepper| pepper.id.as_str()).collect();
        write!(f, "Peppers({ids:?})")
    }
}

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{PEPPERS_VARIABLE} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    #[test]
    fn absence_is_an_error_and_never_a_random_value() {
        for text in [None, Some(""), Some("  ")] {
            let error = Peppers::from_variable(text.map(|text| Zeroizing::new(text.to_owned())));
            assert_eq!(error.expect_err("absent").kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn malformed_lists_are_refused_without_showing_a_secret() {
        let twice = format!("a:{SECRET},a:{SECRET}");
        let long = format!("{}:{SECRET}", "x".repeat(17));
        let many = (0..17).map(|n| format!("k{n}:{SECRET}")).collect::<Vec<_>>().join(",");
        let (no_id, bad_id, trailing) =
            (format!(":{SECRET}"), format!("a b:{SECRET}"), format!("a:{SECRET},"));
        for text in [
            "",
            "a",
            "a:",
            SECRET,
            "a:c2hvcnQ=",
            "a:!!!!",
            &twice,
            &long,
            &many,
            &no_id,
            &bad_id,
            &trailing,
        ] {
            let error = Peppers::parse(text).expect_err("malformed");
            assert_eq!(error.kind(), ErrorKind::Config);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("MDEy") && !shown.contains("c2hv"), "{shown}");
        }
    }

    #[test]
    fn both_alphabets_and_missing_padding_are_read() {
        let standard = Peppers::parse(&format!("a:{}", "+/+/".repeat(11))).expect("standard");
        let url_safe = Peppers::parse(&format!("a:{}", "-_-_".repeat(11))).expect("URL-safe");
        assert_eq!(standard.newest().mac(b"x"), url_safe.newest().mac(b"x"));
        assert!(Peppers::parse(&format!("a:{}", SECRET.trim_end_matches('='))).is_ok());
    }

    #[test]
    fn the_newest_comes_first_and_all_are_found() {
        let peppers =
            Peppers::parse(&format!("new:{SECRET}, old:{}", "QUFB".repeat(11))).expect("peppers");
        assert_eq!(peppers.newest().id(), b"new");
        assert!(peppers.by_id(b"old").is_some() && peppers.by_id(b"other").is_none());
        assert!(!format!("{peppers:?}").contains("MDEy"));
    }
}
