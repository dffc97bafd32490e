//! What a keyring protects: each field for itself, who a session is with its deadlines, and where a pointer leads.
//!
//! A seal names the place that it is for. A field's place is its session's stable id and its name, so it
//! survives a rotation and nothing else; a session's own is its MAC, so a rotation seals it anew, and a
//! copy under another key is refused.

use raptor_core::codec::Plaintext;
use raptor_core::{Error, ErrorKind, Keyring, Result, Sealer};
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
}

impl Seals {
    pub(crate) fn new(keyring: Option<&Keyring>, plaintext: Plaintext) -> Self {
        Self { sealer: keyring.map(|keyring| keyring.sealer("raptor session v1")), plaintext }
    }

    /// Whether there is a keyring.
    pub(crate) fn is_on(&self) -> bool {
        self.sealer.is_some()
    }

    /// A field as it is stored.
    pub(crate) fn field(&self, id: Ulid, name: &str, plain: &[u8]) -> Result<Vec<u8>> {
        match &self.sealer {
            Some(sealer) => sealer.seal(&field_place(id, name), plain),
            None => Ok(plain.to_vec()),
        }
    }

    /// A field as it was before it was stored.
    pub(crate) fn open_field(&self, id: Ulid, name: &str, stored: Vec<u8>) -> Result<Vec<u8>> {
        match (&self.sealer, stored.first()) {
            (Some(sealer), Some(&SEALED)) => sealer.open(&field_place(id, name), &stored),
            (Some(_), _) => self.in_the_clear().map(|()| stored),
            (None, Some(&SEALED)) => Err(no_keyring()),
            (None, _) => Ok(stored),
        }
    }

    /// The seal of a session under its MAC; empty without a keyring.
    pub(crate) fn origin(&self, mac: &str, origin: &Origin) -> Result<Vec<u8>> {
        match &self.sealer {
            Some(sealer) => sealer.seal(&place("origin", mac), &said(origin)),
            None => Ok(Vec::new()),
        }
    }

    /// Refuses a session that is not the one which was sealed.
    pub(crate) fn check_origin(&self, mac: &str, origin: &Origin, seal: &[u8]) -> Result<()> {
        match (&self.sealer, seal) {
            (None, []) => Ok(()),
            (None, _) => Err(no_keyring()),
            (Some(_), []) => self.in_the_clear(),
            (Some(sealer), seal) if sealer.open(&place("origin", mac), seal)? == said(origin) => {
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
            Some(sealer) => sealer.seal(&place("pointer", from), &said),
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
            (Some(sealer), seal) if sealer.open(&place("pointer", from), seal)? == said => Ok(()),
            (Some(_), _) => Err(Error::codec(
                "the pointer at a rotated token is not the one that was sealed: somebody altered it",
            )),
        }
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

fn no_keyring() -> Error {
    Error::new(
        ErrorKind::Config,
        "the session is sealed, and there is no keyring: give the service the one of RAPTOR_KEYRING",
    )
}

fn field_place(id: Ulid, name: &str) -> Vec<u8> {
    place("field", &format!("{id}\0{name}"))
}

/// No part but the last holds a zero byte, so no two places are alike.
fn place(what: &str, which: &str) -> Vec<u8> {
    [what.as_bytes(), b"\0", which.as_bytes()].concat()
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
