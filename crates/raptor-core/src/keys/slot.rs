//! Redis Cluster's hash slot of a key: CRC16/XMODEM of its hash tag, modulo 16,384.
//!
//! The algorithm is that of the Redis Cluster specification ("Key distribution model", "Hash
//! tags"): if the key holds a `{` and, after it, a `}` with at least one byte between, then only
//! these bytes count; otherwise the whole key does.

/// How many hash slots a cluster has.
pub const SLOTS: u16 = 16_384;

/// The hash slot of a raw key, by the hash tag rule of Redis Cluster.
///
/// ```
/// # use raptor_core::keys::slot_of;
/// assert_eq!(slot_of(b"foo"), 12_182);
/// assert_eq!(slot_of(b"cache:{foo}:x"), 12_182);
/// ```
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    slot_of_tag(hash_tag(key).unwrap_or(key))
}

/// The hash slot of what stands between the braces.
pub(super) fn slot_of_tag(tag: &[u8]) -> u16 {
    crc16(tag) % SLOTS
}

/// The bytes between the first `{` and the first `}` after it, unless there are none.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|&byte| byte == b'{')?;
    let inner = key.get(open + 1..)?;
    let close = inner.iter().position(|&byte| byte == b'}')?;
    (close > 0).then(|| &inner[..close])
}

/// CRC16/XMODEM: polynomial 0x1021, initial value 0, neither reflected nor inverted.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        let index = (crc >> 8) ^ u16::from(byte);
        (crc << 8) ^ TABLE[usize::from(index)]
    })
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0_u16; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_gives_the_check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn slots_are_those_that_redis_answers() {
        // CLUSTER KEYSLOT of Redis 7.
        for (key, slot) in [
            (&b"foo"[..], 12_182),
            (b"bar", 5_061),
            (b"hello", 866),
            (b"123456789", 12_739),
            (b"somekey", 11_058),
            (b"foo{hash_tag}", 2_515),
            (b"", 0),
        ] {
            assert_eq!(slot_of(key), slot, "{key:?}");
        }
    }

    #[test]
    fn only_the_first_non_empty_tag_counts() {
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo}{bar"), crc16(b"foo}{bar") % SLOTS);
        assert_eq!(slot_of(b"foo{"), crc16(b"foo{") % SLOTS);
    }
}
