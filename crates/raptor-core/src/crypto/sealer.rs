//! Sealed texts: bytes encrypted for one purpose, bound to the place where they are stored.

use super::key_id::KeyId;
use super::subkeys::{NONCE_LEN, Subkeys, TAG_LEN};
use crate::error::{Error, ErrorKind, Result};

/// The first byte of a sealed text: begins neither UTF-8 nor a word of the protocol.
const MAGIC: u8 = 0xF5;

const VERSION: u8 = 1;

/// Magic, version and the key id's length.
const FIXED_LEN: usize = 3;

/// Seals and opens bytes for one purpose: see [`Keyring::sealer`](crate::Keyring::sealer).
/// Cheap to clone.
///
/// `place` says where the sealed text is stored, unambiguously (say session id, zero byte, field
/// name). It is not stored but must be the same to open, so a text moved to another place is
/// refused. The sealed layout is in the [module's documentation](crate::crypto).
///
/// Not protected: the text's length, and its age. Who can write to the place can put back what
/// was sealed for that place before.
///
/// ```
/// # let keyring = raptor_core::Keyring::parse("a:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=")?;
/// let fields = keyring.sealer("session field v1");
/// let sealed = fields.seal(b"session-7\0email", b"ada@example.org")?;
/// assert_eq!(fields.open(b"session-7\0email", &sealed)?, b"ada@example.org");
/// assert!(fields.open(b"session-8\0email", &sealed).is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: Subkeys,
}

impl Sealer {
    pub(super) fn over(keys: Subkeys) -> Self {
        Self { keys }
    }

    /// Encrypts `plaintext` under the newest key, for `place`. 31 bytes and the key id longer.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the operating system gives no random bytes.
    pub fn seal(&self, place: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let key = self.keys.newest();
        let id = key.id();
        let id = id.as_bytes();
        let header_len = FIXED_LEN + id.len();
        let mut sealed = Vec::with_capacity(header_len + NONCE_LEN + plaintext.len() + TAG_LEN);
        sealed.extend_from_slice(&[MAGIC, VERSION, id.len() as u8]);
        sealed.extend_from_slice(id);
        let aad = [&sealed, place].concat();
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(plaintext);
        key.seal(&aad, &mut sealed, header_len)?;
        Ok(sealed)
    }

    /// The plaintext of what [`seal`](Self::seal) made for the same place, under any key.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when its key is not on the keyring; [`ErrorKind::Codec`] when it is no
    /// sealed text, of a newer version, cut short, altered, or from another place or purpose. No
    /// message shows any of it.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let (id, rest) = parse(sealed)?;
        let Some(key) = self.keys.find(id) else {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the sealed text needs key id `{id}`, which is not on the keyring; add it to \
                     RAPTOR_KEYRING"
                ),
            ));
        };
        if rest.len() < NONCE_LEN + TAG_LEN {
            return Err(Error::codec(TRUNCATED));
        }
        let aad = [&sealed[..sealed.len() - rest.len()], place].concat();
        key.open(&aad, rest).ok_or_else(|| {
            Error::codec(format!(
                "the sealed text does not open under key id `{id}`: it was altered or cut short, \
                 or it belongs to another place or purpose"
            ))
        })
    }

    /// Whether this is a sealed text that the newest key did not seal. `false` for other bytes.
    #[must_use]
    pub fn needs_rotation(&self, sealed: &[u8]) -> bool {
        parse(sealed).is_ok_and(|(id, _)| id != self.keys.newest().id())
    }
}

const TRUNCATED: &str = "the sealed text is cut short";

/// The key id, and what follows the header.
fn parse(sealed: &[u8]) -> Result<(KeyId, &[u8])> {
    match sealed {
        [MAGIC, VERSION, id_len, rest @ ..] => {
            let (id, rest) = rest
                .split_at_checked(usize::from(*id_len))
                .ok_or_else(|| Error::codec(TRUNCATED))?;
            let id = KeyId::from_bytes(id)
                .ok_or_else(|| Error::codec("the sealed text names no valid key id"))?;
            Ok((id, rest))
        }
        [MAGIC] | [MAGIC, VERSION] => Err(Error::codec(TRUNCATED)),
        [MAGIC, version, ..] => Err(Error::codec(format!(
            "the sealed text is of version {version}, this build reads version {VERSION}; \
             upgrade readers before writers"
        ))),
        _ => Err(Error::codec("the bytes are not a sealed text: they do not begin with 0xF5")),
    }
}
