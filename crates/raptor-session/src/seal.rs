//! What a keyring protects: each field for itself, who a session is with its deadlines, and where a pointer leads.
//!
//! A seal names the place that it is for: the prefix of all keys, and in it a field's is its session's stable
//! id and its name, so it survives a rotation and nothing else; a session's own is its MAC, so a rotation
//! seals it anew, and a copy under another key is refused.
//!
//! A session is sealed whole or not at all. One in the clear stays in the clear as long as it lives: else who
//! plants one, while plaintext is accepted, would have it sealed for the time after.

use std::sync::Arc;

use raptor_core::codec::Plaintext;
use raptor_core::{Error, ErrorKind, KeySpace, Keyring, Result, Sealer};
use ulid::Ulid;

use crate::head::Origin;
use crate::scripts::Moved;

/// The first byte of what is sealed; no field in the clear begins so.
const SEALED: u8 = 0xF5;

/// Seals and opens, where there is a keyring.
#[derive(Clone, Debug)]
pub(crate) struct Seals {
    sealer: Option<Sealer>,
    plaintext: Plaintext,
    prefix: Arc<str>,
}

impl Seals {
    pub(crate) fn new(keyring: Option<&Keyring>, plaintext: Plaintext, keys: &KeySpace) -> Self {
        let sealer = keyring.map(|keyring| keyring.sealer("raptor session v1"));
        Self { sealer, plaintext, prefix: keys.prefix().into() }
    }

    /// Whether there is a keyring.
    pub(crate) fn is_on(&self) -> bool {
        self.sealer.is_some()
    }

    /// For a script, whether what is sealed can be opened here.
    pub(crate) fn arg(&self) -> &'static str {
        if self.is_on() { "1" } else { "0" }
    }

    /// A field as it is stored.
    pub(crate) fn field(&self, id: Ulid, name: &str, plain: &[u8]) -> Result<Vec<u8>> {
        match &self.sealer {
            Some(sealer) => sealer.seal(&self.field_place(id, name), plain),
            None => Ok(plain.to_vec()),
        }
    }

    /// A field of a session with this seal, as it was before it was stored.
    pub(crate) fn open_field(
        &self,
        id: Ulid,
        name: &str,
        stored: Vec<u8>,
        seal: &[u8],
    ) -> Result<Vec<u8>> {
        let is_sealed = stored.first() == Some(&SEALED);
        match (&self.sealer, is_sealed) {
            (None, false) => Ok(stored),
            (None, true) => Err(no_keyring()),
            (Some(_), is_sealed) if is_sealed == seal.is_empty() => Err(Error::codec(
                "a field in the clear in a sealed session, or a sealed one in a session in the clear: \
                 somebody planted it",
            )),
            (Some(sealer), true) => sealer.open(&self.field_place(id, name), &stored),
            (Some(_), false) => self.in_the_clear().map(|()| stored),
        }
    }

    /// The seal of a session under its MAC; empty without a keyring.
    pub(crate) fn origin(&self, mac: &str, origin: &Origin) -> Result<Vec<u8>> {
        match &self.sealer {
            Some(sealer) => sealer.seal(&self.place("origin", mac), &said(origin)),
            None => Ok(Vec::new()),
        }
    }

    /// Refuses a session that is not the one which was sealed.
    pub(crate) fn check_origin(&self, mac: &str, origin: &Origin, seal: &[u8]) -> Result<()> {
        match (&self.sealer, seal) {
            (None, []) => Ok(()),
            (None, _) => Err(no_keyring()),
            (Some(_), []) => self.in_the_clear(),
            (Some(sealer), seal)
                if sealer.open(&self.place("origin", mac), seal)? == said(origin) =>
            {
                Ok(())
            }
            (Some(_), _) => Err(Error::codec(
                "the session's user, workspace or deadlines are not those that were sealed: \
                 somebody altered what is stored",
            )),
        }
    }

    /// The seal of a pointer from one MAC to another; empty without a keyring.
    pub(crate) fn pointer(
        &self,
        from: &str,
        to: &str,
        readable_ms: i64,
        origin: &Origin,
    ) -> Result<Vec<u8>> {
        let said = leads(to, readable_ms, origin.whose().as_bytes());
        match &self.sealer {
            Some(sealer) => sealer.seal(&self.place("pointer", from), &said),
            None => Ok(Vec::new()),
        }
    }

    /// Refuses a pointer that no rotation made.
    pub(crate) fn check_pointer(&self, from: &str, moved: &Moved) -> Result<()> {
        let said = leads(&moved.to, moved.readable_ms, &moved.whose);
        match (&self.sealer, &moved.seal[..]) {
            (None, []) => Ok(()),
            (None, _) => Err(no_keyring()),
            (Some(_), []) => self.in_the_clear(),
            (Some(sealer), seal) if sealer.open(&self.place("pointer", from), seal)? == said => {
                Ok(())
            }
            (Some(_), _) => Err(Error::codec(
                "the pointer at a rotated token is not the one that was sealed: somebody altered it",
            )),
        }
    }

    fn field_place(&self, id: Ulid, name: &str) -> Vec<u8> {
        self.place("field", &format!("{id}\0{name}"))
    }

    /// No part but the last holds a zero byte, so no two places are alike.
    fn place(&self, what: &str, which: &str) -> Vec<u8> {
        [what, &self.prefix, which].join("\0").into_bytes()
    }

    fn in_the_clear(&self) -> Result<()> {
        match self.plaintext {
            Plaintext::Accept => Ok(()),
            Plaintext::Refuse => Err(Error::codec(
                "the session is not sealed, and there is a keyring: it is from before encryption, \
                 or somebody else's; accept plaintext while sessions from before live",
            )),
        }
    }
}

pub(crate) fn no_keyring() -> Error {
    Error::new(
        ErrorKind::Config,
        "the session is sealed, and there is no keyring: give the service the one of RAPTOR_KEYRING",
    )
}

fn said(origin: &Origin) -> Vec<u8> {
    let mut said = origin.id.to_bytes().to_vec();
    for ms in [origin.created_ms, origin.idle_ms, origin.absolute_ms] {
        said.extend_from_slice(&ms.to_be_bytes());
    }
    said.extend_from_slice(origin.suffix.as_bytes());
    said
}

/// A MAC has one length, so nothing can move from it into what follows.
fn leads(to: &str, readable_ms: i64, whose: &[u8]) -> Vec<u8> {
    [&readable_ms.to_be_bytes()[..], to.as_bytes(), whose].concat()
}
