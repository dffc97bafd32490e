//! Dependencies' licences: all within the allow-list of `deny.toml`, the one place that has it.

use spdx::{Expression, Licensee, ParseMode};

use super::Problem;
use super::files::SourceFile;
use crate::workspace::Package;

const LIST: &str = "deny.toml";

pub(crate) fn check(files: &[SourceFile], packages: &[Package]) -> Vec<Problem> {
    let Some(list) = files.iter().find(|file| file.path == LIST) else {
        return vec![Problem::new(LIST, 1, "this file is missing; it holds the allowed licences")];
    };
    let Some((line, names)) = allow_list(list) else {
        return vec![Problem::new(LIST, 1, "no `allow = [ \"…\" ]` under [licenses]")];
    };
    let mut problems = Vec::new();
    let mut allowed = Vec::new();
    for name in names {
        match Licensee::parse(name) {
            Ok(licensee) => allowed.push(licensee),
            Err(_) => problems.push(Problem::new(LIST, line, format!("{name}: no SPDX licence"))),
        }
    }
    let foreign = packages.iter().filter(|package| package.source.is_some());
    for package in foreign {
        if let Err(why) = judge(package.license.as_deref(), &allowed) {
            let what = format!("{} {}: {why}", package.name, package.version);
            problems.push(Problem::new(LIST, line, what));
        }
    }
    problems
}

fn judge(licence: Option<&str>, allowed: &[Licensee]) -> Result<(), String> {
    let Some(licence) = licence else {
        return Err("names no licence; look into it, or use another package".into());
    };
    let expression = Expression::parse_mode(licence, ParseMode::LAX)
        .map_err(|error| format!("its licence `{licence}` cannot be read: {}", error.reason))?;
    if expression.evaluate(|needed| allowed.iter().any(|one| one.satisfies(needed))) {
        return Ok(());
    }
    Err(format!("its licence `{licence}` is not allowed; use another package, or allow it here"))
}

/// The strings of `allow = [ … ]`, and its line.
fn allow_list(list: &SourceFile) -> Option<(usize, Vec<&str>)> {
    let mut lines = list.lines().skip_while(|(_, line)| line.trim() != "[licenses]");
    let (number, first) = lines.find(|(_, line)| line.trim_start().starts_with("allow"))?;
    let mut names = Vec::new();
    let rest = lines.map(|(_, line)| line);
    for line in std::iter::once(first).chain(rest) {
        let line = line.split('#').next().unwrap_or_default();
        names.extend(line.split('"').skip(1).step_by(2));
        if line.contains(']') {
            return Some((number, names));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = "[advisories]\n[licenses]\nallow = [\n  \"MIT\", # ours\n  \"ISC\",\n]\n";

    fn package(licence: Option<&str>) -> Package {
        Package {
            id: "x".into(),
            name: "x".into(),
            version: "1.0.0".into(),
            license: licence.map(str::to_owned),
            manifest_path: "x/Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: Vec::new(),
            source: Some("registry".into()),
        }
    }

    fn found(licence: Option<&str>) -> Vec<String> {
        let problems = check(&[SourceFile::new(LIST, DENY)], &[package(licence)]);
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn expressions_are_held_against_the_list() {
        for good in
            ["MIT", "MIT OR GPL-3.0-only", "GPL-2.0-only OR (MIT AND ISC)", "MIT/Apache-2.0"]
        {
            assert!(found(Some(good)).is_empty(), "{good}: {:?}", found(Some(good)));
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "nonsense licence"] {
            let found = found(Some(bad));
            assert!(found[0].starts_with("deny.toml:3: x 1.0.0: its licence"), "{found:?}");
        }
        assert!(found(None)[0].contains("names no licence"));
    }

    #[test]
    fn a_missing_list_is_seen() {
        assert_eq!(check(&[], &[]).len(), 1);
        assert_eq!(check(&[SourceFile::new(LIST, "[licenses]\n")], &[]).len(), 1);
    }
}
