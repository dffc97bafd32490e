//! The AEAD keyring: named 32-byte keys, newest first; the newest encrypts, any of them decrypts.
//!
//! | part | one idea |
//! | --- | --- |
//! | [`Keyring`] | the keys as configured; never shown, wiped when dropped |
//! | [`KeyId`] | the short name that stored data carries, so that keys can rotate |
//! | [`Sealer`] | one purpose's subkeys: seals bytes to the place they are stored at |
//!
//! [`Codec`](crate::Codec) encrypts whole values with a keyring; a [`Sealer`] is for what is not
//! an envelope, such as a field of a hash.
//!
//! # The cipher, and why
//! AES-256-GCM-SIV ([RFC 8452]) with a random 96-bit nonce of the operating system. It is
//! *nonce-misuse resistant*: if a nonce ever repeats (a restored virtual machine, a broken random
//! source) it tells no more than whether two messages under one key, with the same associated
//! data, are the same; nothing is decrypted or forged. Under AES-GCM or ChaCha20-Poly1305 one
//! repeated nonce gives away the XOR of two messages and the means to forge. The same property
//! makes random nonces safe at our rates: a repetition is likely after 2⁴⁸ messages, which is nine
//! thousand years at a thousand a second, and harmless then. No counter has to be kept by
//! anybody. The price is a second pass over the data.
//!
//! # Subkeys
//! No configured key encrypts anything itself. Each purpose has a subkey of its own,
//! `HKDF-SHA-256(key, info = purpose)`, so one keyring serves values, session fields and more,
//! and a ciphertext of one purpose is noise to another.
//!
//! # What a sealed text looks like
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 1 | `0xF5`: begins neither UTF-8 nor a word of the protocol |
//! | 1 | 1 | version, `0x01` |
//! | 2 | 1 | length *k* of the key id, 1 to 16 |
//! | 3 | *k* | key id, `[a-z0-9-]` |
//! | 3 + *k* | 12 | nonce |
//! | 15 + *k* | *n* | ciphertext, as long as the plaintext |
//! | 15 + *k* + *n* | 16 | tag |
//!
//! Associated data: bytes 0 to 3 + *k*, then the caller's.
//!
//! [RFC 8452]: https://www.rfc-editor.org/rfc/rfc8452

mod env;
mod key_id;
mod keyring;
mod sealer;
mod subkeys;

pub use env::{KEYRING_FILE_VARIABLE, KEYRING_VARIABLE};
pub use key_id::{KeyId, MAX_KEY_ID_LEN};
pub use keyring::Keyring;
pub use sealer::Sealer;

pub(crate) use subkeys::{NONCE_LEN, Subkeys, TAG_LEN};

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/encryption.md")]
struct GuideExamples;
