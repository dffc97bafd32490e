//! Lua scripts: a header that names every KEYS and ARGV that the script uses, and what it returns.
//!
//! ```text
//! -- reserve: move up to `want` ready jobs into one lease.
//! -- KEYS[1] ready   zset  score -priority, member seq..id
//! -- ARGV[1] want    int >= 1
//! -- returns {"ok", ...} | {"empty", next_due_ms}
//! ```
//! `KEYS[1..n]`, `KEYS[i]`, `ARGV[3..]` and a bare `ARGV` stand for several.

use super::Problem;
use super::files::SourceFile;

/// An index of KEYS or ARGV, as a header or the code has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    /// `[3]`, or `[3..5]`; open at the end in `[3..n]` and `[3..]`.
    Range(u32, u32),
    /// `[i]`, `[*]`, `[2d + 1]`, or no index at all.
    Some,
}

pub(crate) fn check(files: &[SourceFile]) -> Vec<Problem> {
    let scripts = files.iter().filter(|file| file.path.ends_with(".lua"));
    scripts.flat_map(check_script).collect()
}

fn check_script(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |line, what: String| problems.push(Problem::new(&file.path, line, what));
    let lines: Vec<(usize, &str)> =
        file.lines().skip_while(|(number, line)| *number == 1 && line.starts_with("#!")).collect();
    let header_len = lines.iter().take_while(|(_, line)| line.starts_with("--")).count();
    let (header, code) = lines.split_at(header_len);
    let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".lua");
    let title = header.first().map(|(_, line)| line.trim_start_matches('-').trim_start());
    if !title.is_some_and(|title| title.starts_with(&format!("{stem}: "))) {
        add(1, format!("begin the header with `-- {stem}: ` and what the script does"));
    }
    if !header.iter().any(|(_, line)| line.starts_with("-- returns ")) {
        add(1, "say in the header what the script returns: `-- returns {...}`".into());
    }
    for name in ["KEYS", "ARGV"] {
        let all = |lines: &[(usize, &str)], strip: bool| {
            lines
                .iter()
                .flat_map(|&(number, line)| {
                    let text = if strip { without_comment(line) } else { line };
                    indexes(text, name).into_iter().map(move |index| (number, index))
                })
                .collect::<Vec<_>>()
        };
        let (named, used) = (all(header, false), all(code, true));
        for &(line, index) in &used {
            if !named.iter().any(|&(_, named)| covers(named, index)) {
                let what = match index {
                    Index::Range(first, _) => format!("{name}[{first}]"),
                    Index::Some => name.to_owned(),
                };
                add(line, format!("the header does not name {what}"));
            }
        }
        for &(line, index) in &named {
            if let Index::Range(first, _) = index {
                let is_used = used.iter().any(|&(_, used)| covers(index, used));
                let computed = used.iter().any(|&(_, used)| used == Index::Some);
                if !is_used && !computed {
                    add(line, format!("the header names {name}[{first}], which is never used"));
                }
            }
        }
    }
    problems
}

/// Whether what a header names is what the code uses.
fn covers(named: Index, used: Index) -> bool {
    match (named, used) {
        (Index::Range(from, to), Index::Range(index, _)) => (from..=to).contains(&index),
        (Index::Range(from, to), Index::Some) => from < to,
        (Index::Some, _) => true,
    }
}

/// Every mention of the array `name` in a line, as a word of its own.
fn indexes(line: &str, name: &str) -> Vec<Index> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in line.match_indices(name) {
        let rest = &line[at + name.len()..];
        if line[..at].ends_with(is_word) || rest.starts_with(is_word) {
            continue;
        }
        let inside = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        found.push(inside.map_or(Index::Some, |(inside, _)| parse_index(inside.trim())));
    }
    found
}

fn parse_index(inside: &str) -> Index {
    let (from, to) = inside.split_once("..").unwrap_or((inside, inside));
    match (from.trim().parse(), to.trim().trim_start_matches('.').parse()) {
        (Ok(from), Ok(to)) => Index::Range(from, to),
        (Ok(from), Err(_)) => Index::Range(from, u32::MAX),
        _ => Index::Some,
    }
}

fn without_comment(line: &str) -> &str {
    line.split("--").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
-- reserve: move ready jobs into one lease.
-- KEYS[1] ready   zset
-- KEYS[2] leases  zset
-- ARGV[1] want  int >= 1
-- ARGV[2..] ids
-- returns {\"ok\", ...}
local ready, leases = KEYS[1], KEYS[2]
local want = tonumber(ARGV[1]) -- not KEYS[9]
for i = 2, #ARGV do redis.call('ZADD', leases, 0, ARGV[i]) end
return {'ok'}
";

    fn found(text: &str) -> Vec<String> {
        check(&[SourceFile::new("src/lua/reserve.lua", text)])
            .iter()
            .map(Problem::to_string)
            .collect()
    }

    #[test]
    fn a_good_script_passes() {
        assert!(found(GOOD).is_empty(), "{:?}", found(GOOD));
        assert!(found(&format!("#!lua flags=no-writes\n{GOOD}")).is_empty());
    }

    #[test]
    fn each_rule_is_seen_when_broken() {
        let starts = |text: &str, with: &str| {
            let found = found(text);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&format!("src/lua/reserve.lua:{with}")), "{found:?}");
        };
        starts(&GOOD.replace("-- reserve: ", "-- take: "), "1: begin the header");
        starts(&GOOD.replace("-- returns", "-- gives"), "1: say in the header");
        starts(
            &GOOD.replace("-- KEYS[2] leases  zset\n", ""),
            "6: the header does not name KEYS[2]",
        );
        starts(&GOOD.replace(", KEYS[2]\n", "\n"), "3: the header names KEYS[2], which is never");
        starts(
            &GOOD.replace("-- ARGV[1] want  int >= 1\n", ""),
            "7: the header does not name ARGV[1]",
        );
        let computed = GOOD.replace("-- ARGV[2..] ids\n", "").replace("#ARGV", "3");
        starts(&computed, "8: the header does not name ARGV");
    }

    #[test]
    fn ranges_and_placeholders_stand_for_several() {
        assert_eq!(
            indexes("KEYS[1..n] MYKEYS[1] KEYS", "KEYS"),
            [Index::Range(1, u32::MAX), Index::Some]
        );
        assert_eq!(indexes("ARGV[2d + 1], ARGV[3..5]", "ARGV"), [Index::Some, Index::Range(3, 5)]);
    }
}
