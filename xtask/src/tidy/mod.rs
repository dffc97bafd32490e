//! `cargo xtask tidy`: the house rules that a machine can hold us to, each a file of its own.

mod arrows;
mod files;
mod headers;
mod leaks;
mod licences;
mod lua;
mod metrics;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::{Metadata, root};

/// Check the house rules; every finding names the file, the line and what to do
///
///   arrows     a service depends on raptor-core and on no other crate of ours; fred's and redis-rs'
///              types stay in raptor-core/src/driver
///   headers    every .rs file begins with `//!`, stays below 450 lines and has a telling name; no
///              unfinished code, no ignored tests
///   lua        every script's header names its KEYS, its ARGV and what it returns, as used
///   metrics    docs/telemetry.md lists exactly the metrics of the code; docs/keys.md exists
///   leaks      no path of a developer's machine, no registry host in any file
///   licences   every dependency's licence is in the allow-list of deny.toml
///
/// Needs nothing but cargo, and git to know which files are ours. `cargo test -p xtask` runs the
/// same checks as a test.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  cargo xtask tidy
  cargo test -p xtask";

pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    let problems = check()?;
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        eprintln!("tidy: all rules hold");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: {} findings", problems.len());
    Ok(ExitCode::FAILURE)
}

/// A broken rule: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    file: String,
    line: usize,
    what: String,
}

impl Problem {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Holds the workspace against every rule.
fn check() -> Result<Vec<Problem>> {
    let root = root();
    let files = files::tracked(&root)?;
    let workspace = Metadata::of_workspace()?;
    let mut problems = arrows::check(&workspace.packages, &root, &files);
    problems.extend(headers::check(&files));
    problems.extend(lua::check(&files));
    problems.extend(metrics::check(&files));
    problems.extend(leaks::check(&files));
    problems.extend(licences::check(&files, &Metadata::with_dependencies()?.packages));
    problems.sort();
    problems.dedup();
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let problems = check().expect("the checks run");
        let shown: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(problems.is_empty(), "\n{}", shown.join("\n"));
    }
}
