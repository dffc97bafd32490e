//! Where does a RESP value end? A scanner that follows a byte stream, whatever chunks it comes in.
//!
//! The proxy counts requests and replies with it, and the Upstash front cuts requests and replies apart. It needs
//! no stack: a nested value only adds to the number of values still to come. Unknown type bytes are read as lines,
//! which makes inline commands (`PING\r\n`) frames too.

/// Bytes of a header line that are kept; a longer line is a simple string or an inline command, whose text is not needed.
const LONGEST_HEADER: usize = 32;

/// Follows one direction of a RESP2 or RESP3 connection.
#[derive(Debug)]
pub(crate) struct FrameScanner {
    /// Values still to come in the current frame; 0 between frames.
    values_left: u64,
    /// Bytes still to come of a bulk value, its CRLF included.
    bulk_left: u64,
    line: Vec<u8>,
    first: Option<u8>,
    head: Vec<u8>,
    head_limit: usize,
}

impl FrameScanner {
    /// Keeps the first `head_limit` bytes of each frame for [`FrameScanner::head`].
    pub(crate) fn new(head_limit: usize) -> Self {
        Self {
            values_left: 0,
            bulk_left: 0,
            line: Vec::with_capacity(LONGEST_HEADER),
            first: None,
            head: Vec::new(),
            head_limit,
        }
    }

    /// Reads on until a frame ends or the bytes do. `Some(n)`: a frame ended with the n-th byte, call again with the
    /// rest. `None`: all bytes belong to an unfinished frame.
    pub(crate) fn next_end(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.values_left == 0 && self.bulk_left == 0 && self.line.is_empty() && !bytes.is_empty()
        {
            self.first = Some(bytes[0]);
            self.head.clear();
            self.values_left = 1;
        }
        let end = self.scan(bytes);
        let used = end.unwrap_or(bytes.len());
        let room = self.head_limit.saturating_sub(self.head.len()).min(used);
        self.head.extend_from_slice(&bytes[..room]);
        end
    }

    /// Whether all bytes so far belong to whole frames.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.values_left == 0 && self.bulk_left == 0
    }

    /// The type byte of the current frame (of the last one, right after its end).
    pub(crate) fn first_byte(&self) -> Option<u8> {
        self.first
    }

    /// The first bytes of the current frame (of the last one, right after its end).
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.bulk_left > 0 {
                let step =
                    usize::try_from(self.bulk_left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += step;
                self.bulk_left -= step as u64;
                if self.bulk_left > 0 {
                    continue;
                }
            } else {
                let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
                    self.keep(&bytes[at..]);
                    return None;
                };
                self.keep(&bytes[at..at + length]);
                at += length + 1;
                self.header();
                self.line.clear();
                if self.bulk_left > 0 {
                    continue;
                }
            }
            if self.values_left == 0 {
                return Some(at);
            }
        }
        None
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST_HEADER.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(&bytes[..room]);
    }

    /// Takes account of a complete header line.
    fn header(&mut self) {
        self.values_left = self.values_left.saturating_sub(1);
        let count = self.count();
        match self.line.first() {
            // A null has the count -1.
            Some(b'$' | b'!' | b'=') => self.bulk_left = count.map_or(0, |count| count + 2),
            Some(b'*' | b'~' | b'>') => self.values_left += count.unwrap_or_default(),
            Some(b'%') => self.values_left += count.unwrap_or_default() * 2,
            // Attributes stand before the value that they describe.
            Some(b'|') => self.values_left += count.unwrap_or_default() * 2 + 1,
            _ => {}
        }
    }

    fn count(&self) -> Option<u64> {
        let digits = std::str::from_utf8(self.line.get(1..)?).ok()?;
        // Far beyond what a server sends, and small enough not to overflow.
        digits.trim_end().parse::<u64>().ok().filter(|count| *count <= u64::from(u32::MAX))
    }
}

/// The words of a request frame, or `None` if the bytes are not one whole request.
pub(crate) fn words(frame: &[u8]) -> Option<Vec<&[u8]>> {
    if frame.first() != Some(&b'*') {
        let line = frame.trim_ascii();
        return Some(line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect());
    }
    let (count, mut rest) = number_line(&frame[1..])?;
    let mut words = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let (length, body) = number_line(rest.strip_prefix(b"$")?)?;
        words.push(body.get(..length)?);
        rest = body.get(length..)?.strip_prefix(b"\r\n")?;
    }
    Some(words)
}

fn number_line(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(LONGEST_HEADER).position(|byte| *byte == b'\n')?;
    let number = std::str::from_utf8(&bytes[..end]).ok()?.trim_end().parse().ok()?;
    Some((number, &bytes[end + 1..]))
}

/// Whether requests with this name are answered by pushes instead of a reply of their own (RESP3).
pub(crate) fn answered_by_pushes(name: &[u8]) -> bool {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix(b"UN").unwrap_or(&name);
    matches!(name, b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE")
        || matches!(name, b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends of all frames in `bytes` when fed in chunks of `size`.
    fn ends(bytes: &[u8], size: usize) -> Vec<usize> {
        let mut scanner = FrameScanner::new(16);
        let (mut ends, mut base) = (Vec::new(), 0);
        for chunk in bytes.chunks(size) {
            let mut from = 0;
            while let Some(end) = scanner.next_end(&chunk[from..]) {
                from += end;
                ends.push(base + from);
            }
            base += chunk.len();
        }
        ends
    }

    #[test]
    fn frames_end_where_they_end_in_any_chunks() {
        let frames: [&[u8]; 14] = [
            b"+OK\r\n",
            b"$5\r\na\r\nbc\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*2\r\n*2\r\n:1\r\n$1\r\nx\r\n%1\r\n+k\r\n,1.5\r\n",
            b"|1\r\n+ttl\r\n:3\r\n*1\r\n_\r\n",
            b">2\r\n+message\r\n=7\r\ntxt:abc\r\n",
            b"-ERR a long line of text, longer than any header that matters here\r\n",
            b"PING\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n",
            b"~1\r\n#t\r\n",
            b"(3492890328409238509324850943850943825024385\r\n",
        ];
        let stream = frames.concat();
        let mut expected = Vec::new();
        for frame in frames {
            expected.push(expected.last().copied().unwrap_or(0) + frame.len());
        }
        for size in 1..=stream.len() {
            assert_eq!(ends(&stream, size), expected, "in chunks of {size}");
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm() {
        let mut bytes: Vec<u8> =
            b"*99999999999999999999\r\n$4294967295\r\n*4294967295\r\n".to_vec();
        for i in 0..5_000_u32 {
            bytes.extend(i.wrapping_mul(2_654_435_761).to_le_bytes());
        }
        for size in [1, 7, 4096] {
            let _ = ends(&bytes, size);
        }
        assert_eq!(words(b"*1\r\n$9\r\nshort\r\n"), None);
        assert_eq!(words(b"*-1\r\n"), None);
        assert_eq!(words(b"*18446744073709551615\r\n"), None);
    }

    #[test]
    fn words_of_requests_are_read() {
        let request: &[u8] = b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n\r\n\r\n";
        assert_eq!(words(request), Some(vec![&b"GET"[..], b"\r\n\r\n"]));
        assert_eq!(words(b"SET  k v\r\n"), Some(vec![&b"SET"[..], b"k", b"v"]));
    }

    #[test]
    fn subscriptions_are_known_by_name() {
        for name in
            ["subscribe", "PSUBSCRIBE", "ssubscribe", "UNSUBSCRIBE", "punsubscribe", "SUNSUBSCRIBE"]
        {
            assert!(answered_by_pushes(name.as_bytes()), "{name}");
        }
        assert!(!answered_by_pushes(b"PUBLISH"));
    }
}
