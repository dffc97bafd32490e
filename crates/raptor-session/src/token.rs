//! The token: what its holder keeps and nobody else ever stores.
//!
//! URL-safe base64 without padding of: version 1 (one byte), shard (one byte), 32 random bytes of
//! the operating system, pepper id (1 to 16 bytes). What is stored is the MAC over all of it, so
//! who changes the shard or the pepper id of a token names a session that does not exist.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use raptor_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::pepper::{MAX_ID_LEN, Pepper, Peppers};

const VERSION: u8 = 1;
const RANDOM_LEN: usize = 32;
const HEAD_LEN: usize = 2 + RANDOM_LEN;
const MAX_LEN: usize = HEAD_LEN + MAX_ID_LEN;
/// Base64 of the shortest and of the longest token.
const TEXT_LEN: std::ops::RangeInclusive<usize> = 47..=67;

/// The secret that names a session, 47 to 67 URL-safe characters. `Debug` hides it, there is no
/// `Display`, and it is wiped from memory when dropped.
///
/// ```no_run
/// # async fn example(sessions: raptor_session::SessionService) -> raptor_core::Result<()> {
/// use raptor_session::Metadata;
/// let token = sessions.create_session("ann", "acme", &Metadata::new()).await?;
/// assert_eq!(format!("{token:?}"), "SessionToken(hidden)");
/// let cookie = format!("__Host-session={}; Secure; HttpOnly; SameSite=Lax; Path=/", token.expose());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    text: Zeroizing<String>,
}

impl SessionToken {
    /// The token's text, to hand to its holder and to nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// A new token out of 256 random bits of the operating system.
    pub(crate) fn mint(shard: u8, pepper: &Pepper) -> Result<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        bytes.extend_from_slice(&[VERSION, shard]);
        bytes.resize(HEAD_LEN, 0);
        getrandom::fill(&mut bytes[2..]).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gave no random bytes")
                .with_source(error)
        })?;
        bytes.extend_from_slice(pepper.id());
        Ok(Self { text: Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes)) })
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(hidden)")
    }
}

/// What somebody presents as a token: a [`SessionToken`], or text of any kind out of a cookie.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    text: &'a str,
}

impl<'a> From<&'a SessionToken> for Presented<'a> {
    fn from(token: &'a SessionToken) -> Self {
        Self { text: token.expose() }
    }
}

impl<'a> From<&'a str> for Presented<'a> {
    fn from(text: &'a str) -> Self {
        Self { text }
    }
}

impl<'a> From<&'a String> for Presented<'a> {
    fn from(text: &'a String) -> Self {
        Self { text }
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({} bytes)", self.text.len())
    }
}

/// Where a token's session lives: nothing here gives the token back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) shard: u8,
    /// URL-safe base64 of the MAC, 43 characters.
    pub(crate) mac: String,
}

impl Address {
    /// `None` for what cannot be a token of ours; whether a session exists only the server knows.
    ///
    /// Costs nothing for over-long text: its length is looked at first.
    pub(crate) fn of(token: Presented<'_>, peppers: &Peppers) -> Option<Self> {
        if !TEXT_LEN.contains(&token.text.len()) {
            return None;
        }
        let mut buffer = Zeroizing::new([0_u8; MAX_LEN + 2]);
        let len = URL_SAFE_NO_PAD.decode_slice(token.text, &mut buffer[..]).ok()?;
        let bytes = &buffer[..len];
        if bytes.len() <= HEAD_LEN || bytes[0] != VERSION {
            return None;
        }
        let pepper = peppers.by_id(&bytes[HEAD_LEN..])?;
        Some(Self::of_mac(bytes[1], &pepper.mac(bytes)))
    }

    pub(crate) fn of_mac(shard: u8, mac: &[u8; 32]) -> Self {
        Self { shard, mac: URL_SAFE_NO_PAD.encode(mac) }
    }
}

/// Whether the text has the form of a MAC.
pub(crate) fn is_mac(text: &str) -> bool {
    text.len() == 43
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    fn peppers(list: &str) -> Peppers {
        let secrets = list.split(' ').map(|id| format!("{id}:{}", "QUFB".repeat(11)));
        Peppers::parse(&secrets.collect::<Vec<_>>().join(",")).expect("peppers")
    }

    fn address(text: &str, peppers: &Peppers) -> Option<Address> {
        Address::of(text.into(), peppers)
    }

    #[test]
    fn a01_100k_tokens_and_their_macs_are_unique() {
        let peppers = peppers("k1");
        let mut seen = HashSet::new();
        for n in 0..100_000_u32 {
            let token = SessionToken::mint(n as u8, peppers.newest()).expect("random bytes");
            let address = Address::of((&token).into(), &peppers).expect("our own");
            assert_eq!(address.shard, n as u8);
            assert_eq!(address.mac.len(), 43);
            assert!(seen.insert(token.expose().to_owned()) && seen.insert(address.mac));
        }
    }

    #[test]
    fn pepper_ids_of_every_length_fit() {
        for len in 1..=MAX_ID_LEN {
            let peppers = peppers(&"k".repeat(len));
            let token = SessionToken::mint(255, peppers.newest()).expect("random bytes");
            assert!(TEXT_LEN.contains(&token.expose().len()));
            assert!(Address::of((&token).into(), &peppers).is_some());
        }
    }

    #[test]
    fn an_older_pepper_still_reads_its_tokens_and_an_unknown_one_does_not() {
        let (old, both) = (peppers("old"), peppers("new old"));
        let token = SessionToken::mint(1, old.newest()).expect("random bytes");
        assert_eq!(address(token.expose(), &both), address(token.expose(), &old));
        assert_eq!(address(token.expose(), &peppers("new")), None);
    }

    #[test]
    fn a_token_changed_anywhere_is_another_or_none() {
        let peppers = peppers("k1 k2");
        let token = SessionToken::mint(7, peppers.newest()).expect("random bytes");
        let genuine = address(token.expose(), &peppers).expect("our own");
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=. ";
        for at in 0..token.expose().len() {
            for &with in alphabet {
                let mut changed = token.expose().as_bytes().to_vec();
                if changed[at] == with {
                    continue;
                }
                changed[at] = with;
                let changed = String::from_utf8(changed).expect("ASCII");
                let address = address(&changed, &peppers);
                assert!(address.is_none_or(|address| address.mac != genuine.mac), "{at}");
            }
            assert_eq!(address(&token.expose()[..at], &peppers), None);
        }
    }

    #[test]
    fn debug_hides_everything() {
        let token = SessionToken::mint(7, peppers("k1").newest()).expect("random bytes");
        let presented = Presented::from(&token);
        let shown = format!("{token:?} {presented:?}");
        assert!(!shown.contains(&token.expose()[..8]), "{shown}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}") {
            prop_assert_eq!(address(&text, &peppers("k1")), None);
        }

        #[test]
        fn any_text_of_the_alphabet_is_read_without_panic(text in "[A-Za-z0-9_-]{40,70}") {
            let _ = address(&text, &peppers("k1"));
        }
    }
}
