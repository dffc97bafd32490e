//! What a codec writes, and what it accepts.

use super::format::Format;
use crate::crypto::Keyring;
use crate::error::{Error, ErrorKind, Result};

/// Payloads above this many bytes are compressed when nothing else is said.
pub const DEFAULT_COMPRESS_ABOVE: usize = 1024;

/// The longest payload when nothing else is said: 16 MiB.
pub const DEFAULT_MAX_LEN: usize = 16 << 20;

/// The longest payload that can be allowed: 256 MiB, half of what Redis stores in one string.
pub const MAX_LEN: usize = 256 << 20;

/// What a [`Codec`](super::Codec) writes, and what it accepts.
#[derive(Clone, Debug)]
pub struct CodecOptions {
    pub(super) format: Format,
    pub(super) compress_above: Option<usize>,
    pub(super) max_len: usize,
    pub(super) keyring: Option<Keyring>,
    pub(super) plaintext: Plaintext,
}

/// What a codec with a keyring does with a value that is not encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plaintext {
    /// Refuses it: else whoever can write to Redis would put a value of their own in place of an
    /// encrypted one.
    #[default]
    Refuse,
    /// Reads it: while data that was written before encryption is still in use.
    Accept,
}

impl Default for CodecOptions {
    /// MessagePack, compression above [`DEFAULT_COMPRESS_ABOVE`], values to [`DEFAULT_MAX_LEN`], no
    /// encryption.
    fn default() -> Self {
        Self {
            format: Format::default(),
            compress_above: Some(DEFAULT_COMPRESS_ABOVE),
            max_len: DEFAULT_MAX_LEN,
            keyring: None,
            plaintext: Plaintext::default(),
        }
    }
}

impl CodecOptions {
    /// The format that typed values are written in.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Compresses payloads of more than `bytes` bytes, where that saves an eighth or more; `None`
    /// never compresses.
    ///
    /// With encryption, the stored length then tells how well a value compresses. Choose `None`
    /// where one value holds a secret beside text that a stranger chooses and whose stored length
    /// that stranger can see.
    #[must_use]
    pub fn compress_above(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.compress_above = bytes.into();
        self
    }

    /// The longest payload, in bytes before compression: 1 to [`MAX_LEN`]. Longer ones are neither
    /// written nor read.
    #[must_use]
    pub fn max_len(mut self, bytes: usize) -> Self {
        self.max_len = bytes;
        self
    }

    /// Encrypts with the newest key, reads what any of the keys encrypted.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// What to do with a value that is not encrypted, when there is a keyring.
    #[must_use]
    pub fn plaintext(mut self, plaintext: Plaintext) -> Self {
        self.plaintext = plaintext;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if (1..=MAX_LEN).contains(&self.max_len) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Config,
            format!("the codec's longest value is {} bytes; give 1 to {MAX_LEN}", self.max_len),
        ))
    }
}
