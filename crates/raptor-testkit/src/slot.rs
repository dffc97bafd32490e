//! Which of the 16,384 hash slots a key lies in: CRC16 of the key, or of its hash tag.
//!
//! Written here from the cluster specification, so that tests have an oracle which is not the code they test.

/// How many slots a cluster has.
pub const SLOTS: u16 = 16_384;

/// The slot of a key, as the servers compute it: of the part between the first `{` and the next `}` if there is one
/// and it is not empty, else of the whole key.
///
/// ```
/// use raptor_testkit::slot_of;
/// assert_eq!(slot_of(b"foo"), 12182);
/// assert_eq!(slot_of(b"queue:{foo}:ready"), slot_of(b"foo"));
/// ```
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let tag = &key[open + 1..];
    let close = tag.iter().position(|byte| *byte == b'}')?;
    Some(&tag[..close]).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM: polynomial 0x1021, starts at 0, no reflection.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_example() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn hash_tags() {
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo}{"), crc16(b"foo}{") % SLOTS);
    }
}
