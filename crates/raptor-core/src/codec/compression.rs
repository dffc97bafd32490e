//! LZ4 blocks, with a bound on what they may become.

use std::fmt;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::flaw::Flaw;

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// The LZ4 block format.
    Lz4,
}

/// LZ4's longest match costs one byte for each 255: no block becomes more than that.
const MAX_RATIO: usize = 255;

impl Compression {
    pub(super) fn from_byte(byte: u8) -> Result<Self, Flaw> {
        match byte {
            0 => Ok(Self::None),
            1 => Ok(Self::Lz4),
            other => Err(Flaw::UnknownCompression(other)),
        }
    }

    pub(super) fn byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
        })
    }
}

/// Appends `payload` as an LZ4 block; says `false`, and leaves `out` as it was, if that saves less
/// than an eighth.
pub(super) fn compress(payload: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + get_maximum_output_size(payload.len()), 0);
    let worth_it = payload.len() - payload.len() / 8;
    match compress_into(payload, &mut out[start..]) {
        Ok(len) if len <= worth_it => {
            out.truncate(start + len);
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

/// The `len` bytes that `block` holds. Allocates them at once, and only if a block of its length
/// can hold that many.
pub(super) fn decompress(block: &[u8], len: usize) -> Result<Vec<u8>, Flaw> {
    if len > block.len().saturating_mul(MAX_RATIO) {
        return Err(Flaw::Compression);
    }
    let mut payload = vec![0; len];
    match decompress_into(block, &mut payload) {
        Ok(found) if found == len => Ok(payload),
        _ => Err(Flaw::Compression),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compresses_best_is_within_the_ratio() {
        for len in [100_000, 10_000_000] {
            let payload = vec![b'x'; len];
            let mut block = Vec::new();
            assert!(compress(&payload, &mut block));
            assert!(len > block.len() * 150, "{len} bytes became {}", block.len());
            assert_eq!(decompress(&block, len).expect("valid"), payload);
            for wrong in [len - 1, len + 1, block.len() * MAX_RATIO + 1, usize::MAX] {
                assert_eq!(decompress(&block, wrong).expect_err("refused"), Flaw::Compression);
            }
        }
    }

    #[test]
    fn what_does_not_compress_is_left_alone() {
        let mut noise = vec![0; 4096];
        getrandom::fill(&mut noise).expect("random bytes");
        let mut out = b"before".to_vec();
        assert!(!compress(&noise, &mut out));
        assert_eq!(out, b"before");
    }
}
