//! Nesting, bounded: readers recurse, and a stack overflow is no panic that anybody could catch.

/// How deep arrays, maps and objects may be nested in a value.
///
/// Low enough for a thread's 2 MiB in an unoptimised build.
pub const MAX_DEPTH: usize = 100;

/// Whether JSON text, well-formed or not, opens at most [`MAX_DEPTH`] brackets at once.
pub(super) fn json_is_shallow(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        let fits = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(json_is_shallow(fits.as_bytes()));
        assert!(json_is_shallow(format!("[{fits}]").replace("[[", "[],[").as_bytes()));
        assert!(!json_is_shallow("[".repeat(101).as_bytes()));
        let string = format!(r#"["\"{}"]"#, "[".repeat(1_000));
        assert!(json_is_shallow(string.as_bytes()));
    }
}
