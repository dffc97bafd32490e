//! Rust files: a header that says why, a size that one can read, a name that tells, nothing left
//! unfinished.

use super::Problem;
use super::files::SourceFile;

/// One idea a file rarely needs more lines.
const MAX_LINES: usize = 450;

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "utility", "common", "helper", "helpers", "misc", "stuff"];

/// What must not stand in code, with what to do instead. Split, so that this file is clean itself.
const UNFINISHED: [(&str, &str); 4] = [
    (concat!("todo", "!("), "finish it, or return a typed error that says what is missing"),
    (concat!("unimplemented", "!("), "finish it, or return a typed error"),
    (concat!("#[ig", "nore"), "make the test run; a suite that cannot run says so by name"),
    (concat!("```ig", "nore"), "let the example compile (`no_run` if it must not run)"),
];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Problem> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |line, what: String| problems.push(Problem::new(&file.path, line, what));
    let first = file.text.lines().next().unwrap_or_default();
    if first.contains("@generated") {
        return problems;
    }
    if !first.starts_with("//! ") {
        add(1, "begin the file with `//!`: what it is and why".into());
    }
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        add(lines, format!("{lines} lines; split it, one idea a file (at most {MAX_LINES})"));
    }
    let mut words = file.path.trim_end_matches(".rs").split(['/', '_', '-']);
    if let Some(empty) = words.find(|word| EMPTY_NAMES.contains(word)) {
        add(1, format!("`{empty}` says nothing; name the file after its idea"));
    }
    for (number, line) in file.lines() {
        let is_comment = line.trim_start().starts_with("//");
        for (word, instead) in UNFINISHED {
            // A fenced example stands in a comment; the others count in code only.
            if line.contains(word) && is_comment == word.starts_with('`') {
                add(number, format!("`{word}`: {instead}"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&[SourceFile::new(path, text)]).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_good_file_passes() {
        let text = "//! What and why.\n// a todo in prose is prose\nfn f() {}\n";
        assert!(found("crates/a/src/keys.rs", text).is_empty());
    }

    #[test]
    fn each_rule_is_seen_when_broken() {
        let starts = |found: Vec<String>, with: &str| {
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(with), "{found:?}");
        };
        starts(found("a.rs", "use std::fmt;\n"), "a.rs:1: begin the file");
        starts(found("a.rs", ""), "a.rs:1: begin the file");
        starts(found("a.rs", &format!("//! x\n{}", "\n".repeat(450))), "a.rs:451: 451 lines");
        starts(found("src/redis_utils.rs", "//! x\n"), "src/redis_utils.rs:1: `utils`");
        starts(found("src/common/x.rs", "//! x\n"), "src/common/x.rs:1: `common`");
        let code = format!("//! x\nfn f() {{ {}) }}\n", concat!("todo", "!("));
        starts(found("a.rs", &code), "a.rs:2: `todo");
        let code = format!("//! x\n{}]\n", concat!("#[ig", "nore"));
        starts(found("a.rs", &code), "a.rs:2: `#[");
        let code = format!("//! x\n/// {}\n", concat!("```ig", "nore"));
        starts(found("a.rs", &code), "a.rs:2: `");
    }
}
