//! A walk over MessagePack that believes no length, ahead of the reader that would.
//!
//! rmp-serde hands a declared length on as a size hint, and serde reserves up to 1 MiB for it: five
//! bytes that declare 2³² elements cost a megabyte, at each level of a nested type. After this walk
//! every array of *n* elements is known to have *n* values behind it. It keeps no stack of its own
//! beyond [`MAX_DEPTH`] counters and allocates nothing.

use super::depth::MAX_DEPTH;
use super::flaw::Flaw;
use super::format::Format;

const MALFORMED: Flaw = Flaw::Malformed(Format::MessagePack);

/// Whether `bytes` are exactly one whole value, nested no deeper than [`MAX_DEPTH`].
pub(super) fn check(bytes: &[u8]) -> Result<(), Flaw> {
    let mut rest = Rest(bytes);
    // How many values are still to come, at each level; the first level is the value itself.
    let mut pending = [0_u64; MAX_DEPTH + 1];
    pending[0] = 1;
    let mut depth = 0;
    loop {
        if pending[depth] == 0 {
            match depth {
                0 if rest.0.is_empty() => return Ok(()),
                0 => return Err(MALFORMED),
                _ => depth -= 1,
            }
            continue;
        }
        pending[depth] -= 1;
        let children = rest.value()?;
        if children > rest.0.len() as u64 {
            return Err(MALFORMED);
        }
        if children > 0 {
            depth += 1;
            *pending.get_mut(depth).ok_or(Flaw::TooDeep)? = children;
        }
    }
}

/// What is still to be walked over.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Steps over a value's head, and over all of it unless it is an array or a map: then it says
    /// how many values follow as its content.
    fn value(&mut self) -> Result<u64, Flaw> {
        let marker = self.take::<1>()?[0];
        let content = match marker {
            // nil, false, true, the small integers
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 0,
            // map, array, string with the length in the marker
            0x80..=0x8f => return Ok(2 * u64::from(marker & 0x0f)),
            0x90..=0x9f => return Ok(u64::from(marker & 0x0f)),
            0xa0..=0xbf => u64::from(marker & 0x1f),
            // never used
            0xc1 => return Err(MALFORMED),
            // bin, str; ext has one byte more, its type
            0xc4 | 0xd9 => self.length::<1>()?,
            0xc5 | 0xda => self.length::<2>()?,
            0xc6 | 0xdb => self.length::<4>()?,
            0xc7 => 1 + self.length::<1>()?,
            0xc8 => 1 + self.length::<2>()?,
            0xc9 => 1 + self.length::<4>()?,
            // float 32 and 64, unsigned and signed of 8, 16, 32, 64 bits
            0xca => 4,
            0xcb => 8,
            0xcc..=0xcf => 1 << (marker - 0xcc),
            0xd0..=0xd3 => 1 << (marker - 0xd0),
            // ext of 1, 2, 4, 8, 16 bytes and its type
            0xd4..=0xd8 => 1 + (1 << (marker - 0xd4)),
            0xdc => return self.length::<2>(),
            0xdd => return self.length::<4>(),
            0xde => return Ok(2 * self.length::<2>()?),
            0xdf => return Ok(2 * self.length::<4>()?),
        };
        let content = usize::try_from(content).map_err(|_| MALFORMED)?;
        self.0 = self.0.get(content..).ok_or(MALFORMED)?;
        Ok(0)
    }

    fn length<const N: usize>(&mut self) -> Result<u64, Flaw> {
        let bytes = self.take::<N>()?;
        Ok(bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_lengths_are_held_against_what_is_there() {
        for hostile in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..], // array of 2^32 - 1
            &[0xdf, 0xff, 0xff, 0xff, 0xff],     // map likewise
            &[0xdb, 0xff, 0xff, 0xff, 0xff],     // string
            &[0xc6, 0xff, 0xff, 0xff, 0xff],     // bin
            &[0xc9, 0xff, 0xff, 0xff, 0xff],     // ext
            &[0x92, 0xc0],                       // one of two
            &[0x81, 0xc0],                       // a key and no value
            &[0xcf, 0, 0],                       // half a number
            &[0xc0, 0xc0],                       // two values
            &[0xc1],
            &[],
        ] {
            assert_eq!(check(hostile).expect_err("refused"), MALFORMED, "{hostile:02x?}");
        }
    }

    #[test]
    fn every_marker_is_stepped_over_whole() {
        // One value of each head that has content, as the specification lays them out.
        let heads: [(&[u8], usize); 23] = [
            (&[0xc4, 3], 3),
            (&[0xc5, 0, 3], 3),
            (&[0xc6, 0, 0, 0, 3], 3),
            (&[0xc7, 3], 4),
            (&[0xc8, 0, 3], 4),
            (&[0xc9, 0, 0, 0, 3], 4),
            (&[0xca], 4),
            (&[0xcb], 8),
            (&[0xcc], 1),
            (&[0xcd], 2),
            (&[0xce], 4),
            (&[0xcf], 8),
            (&[0xd0], 1),
            (&[0xd1], 2),
            (&[0xd2], 4),
            (&[0xd3], 8),
            (&[0xd4], 2),
            (&[0xd5], 3),
            (&[0xd6], 5),
            (&[0xd7], 9),
            (&[0xd8], 17),
            (&[0xd9, 3], 3),
            (&[0xa3], 3),
        ];
        for (head, content) in heads {
            let value = [head, &vec![0; content]].concat();
            check(&value).expect("whole");
            assert_eq!(check(&value[..value.len() - 1]).expect_err("cut"), MALFORMED);
            let array = [&[0x93][..], &value, &[0x01], &value].concat();
            check(&array).expect("whole");
        }
    }

    #[test]
    fn nesting_ends() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        check(&nested(MAX_DEPTH)).expect("fits");
        assert_eq!(check(&nested(MAX_DEPTH + 1)).expect_err("refused"), Flaw::TooDeep);
        assert_eq!(check(&nested(1_000_000)).expect_err("refused"), Flaw::TooDeep);
    }
}
