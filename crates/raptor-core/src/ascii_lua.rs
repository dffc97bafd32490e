//! Lua sources in plain ASCII, so that the line which refuses one is text.
//!
//! A script that does not compile is refused with a line that quotes it, and where a byte can begin
//! nothing, that one byte: `unexpected symbol near '\xc3'` for the first half of an `é`. Clients
//! read error lines as UTF-8, and one that is not ends or wedges the connection, for every caller
//! on it. A source of ASCII bytes can be quoted in ASCII only.
//!
//! Beyond ASCII, Lua 5.1 knows bytes in strings and comments. Strings get them as `\ddd`; a comment
//! may say anything. Everywhere else they are errors, and stay errors, as a `?`.

use std::borrow::Cow;

/// The same chunk with its lines where they were, without a byte above 127.
pub(crate) fn ascii(source: &str) -> Cow<'_, str> {
    if source.is_ascii() {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len() * 2);
    let mut rest = source.as_bytes();
    while let Some(&byte) = rest.first() {
        let taken = match byte {
            b'"' | b'\'' => short_string(rest, &mut out),
            b'[' => long_string(rest, &mut out),
            b'-' if rest.starts_with(b"--") => comment(rest, &mut out),
            _ => plain(&rest[..1], &mut out),
        };
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

/// Copies `bytes`, with a `?` for what is not ASCII; gives how many they are.
fn plain(bytes: &[u8], out: &mut String) -> usize {
    out.extend(bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }));
    bytes.len()
}

/// Copies one byte of a string, escaped if it must be.
fn escaped(byte: u8, out: &mut String) {
    if byte.is_ascii() {
        out.push(char::from(byte));
    } else {
        out.push_str(&format!("\\{byte}"));
    }
}

/// `"…"` or `'…'`, up to its end, or to the end of a line that it may not cross.
fn short_string(source: &[u8], out: &mut String) -> usize {
    let quote = source[0];
    let mut at = plain(&source[..1], out);
    while let Some(&byte) = source.get(at) {
        at += match byte {
            b'\\' => {
                out.push('\\');
                let next = &source[at + 1..];
                match next.first() {
                    // `\é` is `é`, so the backslash serves.
                    Some(byte) if !byte.is_ascii() => {
                        out.push_str(&byte.to_string());
                        2
                    }
                    _ => 1 + plain(&next[..escape(next)], out),
                }
            }
            b'\n' | b'\r' => break,
            byte => {
                escaped(byte, out);
                1
            }
        };
        if byte == quote {
            break;
        }
    }
    at
}

/// How many bytes a backslash takes with it: a line's end may be two.
fn escape(rest: &[u8]) -> usize {
    line_end(rest).max(1).min(rest.len())
}

/// The length of the line's end that `rest` begins with: `\n`, `\r` or both, in any order.
fn line_end(rest: &[u8]) -> usize {
    match rest {
        [b'\n', b'\r', ..] | [b'\r', b'\n', ..] => 2,
        [b'\n' | b'\r', ..] => 1,
        _ => 0,
    }
}

/// The length of each bracket and of all of a `[==[…]==]`, if `source` begins with one. One without an
/// end takes the rest, and has no closing bracket.
fn long_bracket(source: &[u8]) -> Option<(usize, Option<usize>)> {
    let level = source.get(1..)?.iter().take_while(|byte| **byte == b'=').count();
    if source.first() != Some(&b'[') || source.get(level + 1) != Some(&b'[') {
        return None;
    }
    let bracket = level + 2;
    let close: Vec<u8> =
        source[..bracket].iter().map(|b| if *b == b'[' { b']' } else { *b }).collect();
    let ends = source[bracket..].windows(bracket).position(|window| window == close);
    Some((bracket, ends.map(|inside| inside + 2 * bracket)))
}

/// `[[…]]` has no escapes, so one that needs them becomes a `"…"` of as many lines.
fn long_string(source: &[u8], out: &mut String) -> usize {
    let Some((bracket, length)) = long_bracket(source) else { return plain(&source[..1], out) };
    let Some(length) = length else { return plain(source, out) };
    if source[..length].is_ascii() {
        return plain(&source[..length], out);
    }
    let inside = &source[bracket..length - bracket];
    // A line's end right after the bracket is not part of the string.
    let mut at = plain(&inside[..line_end(inside)], out);
    out.push('"');
    while let Some(&byte) = inside.get(at) {
        if matches!(byte, b'"' | b'\\' | b'\n' | b'\r') {
            out.push('\\');
            at += plain(&inside[at..at + escape(&inside[at..])], out);
        } else {
            escaped(byte, out);
            at += 1;
        }
    }
    out.push('"');
    length
}

/// `-- …` up to the end of its line, or `--[[…]]`.
fn comment(source: &[u8], out: &mut String) -> usize {
    let long = long_bracket(&source[2..]);
    let long = long.map(|(_, length)| length.map_or(source.len(), |length| 2 + length));
    let line = || source.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    let length = long.or_else(line).unwrap_or(source.len());
    plain(&source[..length], out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_bytes_comments_their_lines_and_the_rest_is_no_lua() {
        for (source, wanted) in [
            ("return 1 -- plain", "return 1 -- plain"),
            ("return 'é1'", r"return '\195\1691'"),
            ("return \"\\é\\\"é\"", r#"return "\195\169\"\195\169""#),
            ("return 'a\\\r\né'", "return 'a\\\r\n\\195\\169'"),
            ("return 1 -- é\n+ 1", "return 1 -- ??\n+ 1"),
            ("--[=[ é\n]] ]=] return 'é'", "--[=[ ??\n]] ]=] return '\\195\\169'"),
            ("return é", "return ??"),
            ("return 'é\n'", "return '\\195\\169\n'"),
            ("return [[\né\n\"\\]]", "return \n\"\\195\\169\\\n\\\"\\\\\""),
            ("return [[plain]], 'é'", "return [[plain]], '\\195\\169'"),
            ("return t[1], é", "return t[1], ??"),
            ("return [=[é]]]=]", r#"return "\195\169]]""#),
        ] {
            assert_eq!(ascii(source), wanted, "{source}");
        }
    }

    #[test]
    fn whatever_is_cut_off_anywhere_stays_ascii_with_as_many_lines() {
        let source = "local a = 'é\\\r\n\\é' --[==[ é\n]==] b = [=[\r\né\r\\\"]=] .. [[é]] -- é\n";
        for (end, _) in source.char_indices() {
            for (start, _) in source[..end].char_indices() {
                let part = &source[start..end];
                let made = ascii(part);
                assert!(made.is_ascii(), "{part:?}");
                let lines = |text: &str| text.matches(['\n', '\r']).count();
                assert_eq!(lines(&made), lines(part), "{part:?}: {made:?}");
            }
        }
    }
}
