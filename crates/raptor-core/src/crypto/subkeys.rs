//! One purpose's subkeys, expanded once, and the one place that calls the cipher.

use std::fmt;
use std::sync::Arc;

use aes_gcm_siv::aead::array::Array;
use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::{AeadInOut as _, Aes256GcmSiv, KeyInit as _};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key_id::KeyId;
use crate::error::{Error, ErrorKind, Result};

/// The length of a configured key, and of a subkey.
pub(super) const SECRET_LEN: usize = 32;

/// A configured key; wiped when dropped.
pub(super) type Secret32 = Zeroizing<[u8; SECRET_LEN]>;

/// The length of a nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 12;

/// The length of a tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// A subkey of each key of a keyring, newest first. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Subkeys {
    // Never empty, as a keyring is not.
    keys: Arc<[Subkey]>,
}

/// One key's subkey.
pub(crate) struct Subkey {
    id: KeyId,
    cipher: Aes256GcmSiv,
}

impl Subkeys {
    pub(super) fn derive<'a>(
        keys: impl Iterator<Item = (KeyId, &'a Secret32)>,
        info: &str,
    ) -> Self {
        let keys = keys.map(|(id, secret)| {
            let mut subkey = Secret32::default();
            let expanded =
                Hkdf::<Sha256>::new(None, &**secret).expand(info.as_bytes(), &mut *subkey);
            expanded.expect("HKDF-SHA-256 gives up to 8,160 bytes; 32 are asked for");
            Subkey { id, cipher: Aes256GcmSiv::new(&Array::from(*subkey)) }
        });
        Self { keys: keys.collect() }
    }

    /// The subkey that encrypts.
    pub(crate) fn newest(&self) -> &Subkey {
        &self.keys[0]
    }

    /// The subkey of the key `id`.
    pub(crate) fn find(&self, id: KeyId) -> Option<&Subkey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl Subkey {
    /// The id of the key that this one comes from.
    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// Encrypts the plaintext that stands in `buffer` behind `start + NONCE_LEN`: puts a fresh
    /// nonce at `start` and the tag at the end.
    pub(crate) fn seal(&self, aad: &[u8], buffer: &mut Vec<u8>, start: usize) -> Result<()> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gave no random bytes")
                .with_source(error)
        })?;
        buffer[start..start + NONCE_LEN].copy_from_slice(&nonce);
        let text = InOutBuf::from(&mut buffer[start + NONCE_LEN..]);
        let tag =
            self.cipher.encrypt_inout_detached(&Array::from(nonce), aad, text).map_err(|_| {
                Error::invalid("the value is too long to encrypt: AES-GCM-SIV takes 64 GiB")
            })?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// The plaintext of `sealed`, which is nonce, ciphertext and tag; `None` if any bit of it or of
    /// `aad` is not as it was sealed.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        let mut plain = text.to_vec();
        let buffer = InOutBuf::from(plain.as_mut_slice());
        let (nonce, tag) = (Array::from(*nonce), Array::from(*tag));
        self.cipher.decrypt_inout_detached(&nonce, aad, buffer, &tag).ok()?;
        Some(plain)
    }
}

impl fmt::Debug for Subkeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8452, appendix C.2, the case with 8 bytes of text and 1 of associated data: what we call
    /// is the cipher of that name, so data can be read without us.
    #[test]
    fn the_cipher_is_the_one_of_the_rfc() {
        let mut key = [0; SECRET_LEN];
        key[0] = 1;
        let mut nonce = [0; NONCE_LEN];
        nonce[0] = 3;
        let cipher = Aes256GcmSiv::new(&Array::from(key));
        let mut text = [2, 0, 0, 0, 0, 0, 0, 0];
        let tag = cipher
            .encrypt_inout_detached(&Array::from(nonce), &[1], InOutBuf::from(&mut text[..]))
            .expect("short");
        let hex: String = text.iter().chain(tag.iter()).map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "1de22967237a813291213f267e3b452f02d01ae33e4ec854");
    }
}
