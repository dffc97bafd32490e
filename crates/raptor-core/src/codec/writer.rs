//! A growing buffer that stops growing: what is too long is not built first and measured later.

use std::io;

/// Appends to a buffer, up to a limit.
pub(super) struct Limited {
    buffer: Vec<u8>,
    left: usize,
    full: bool,
}

impl Limited {
    /// Takes up to `limit` bytes behind what the buffer holds.
    pub(super) fn new(buffer: Vec<u8>, limit: usize) -> Self {
        Self { buffer, left: limit, full: false }
    }

    /// Whether a write was refused.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn into_inner(self) -> Vec<u8> {
        self.buffer
    }
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                self.buffer.extend_from_slice(bytes);
                Ok(())
            }
            None => {
                self.full = true;
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
