//! Doc tests: only cargo can run them, so its output says which package they belong to.

use std::time::{Duration, Instant};

use anyhow::Result;
use raptor_testkit::Engine;

use super::Args;
use super::binaries::captured;
use super::outcome::{Outcome, failed_test, result_line};
use super::rows::Row;
use crate::{process, workspace};

/// Runs the workspace's doc tests; an outcome for each package that has some.
pub(crate) fn run(row: &Row, engine: &Engine, args: &Args) -> Result<Vec<(String, Outcome)>> {
    let started = Instant::now();
    eprintln!("doc tests · {} …", row.name);
    let mut command = process::cargo();
    command.args(["test", "--doc", "--all-features", "--no-fail-fast"]);
    if args.package.is_empty() {
        command.arg("--workspace");
    }
    for package in &args.package {
        command.args(["--package", package]);
    }
    command.arg("--").args(&args.filters).current_dir(workspace::root());
    row.set_up(engine, &mut command);
    let (text, good) = captured(&mut command, args.verbose)?;
    // A package without a library has no doc tests, and cargo calls that an error.
    if !good && text.contains("no library targets found") {
        return Ok(Vec::new());
    }
    let mut outcomes = read(&text);
    let failures: usize = outcomes.iter().map(|(_, outcome)| outcome.failed).sum();
    if !good && failures == 0 {
        outcomes.push(("workspace".into(), Outcome::crashed(Duration::ZERO)));
    }
    if let Some((_, first)) = outcomes.first_mut() {
        first.took = started.elapsed();
    }
    let sum = outcomes.iter().fold(Outcome::default(), |sum, (_, outcome)| sum + outcome.clone());
    if sum.failed > 0 && !args.verbose {
        eprintln!("{text}");
    }
    eprintln!("doc tests · {}: {sum}", row.name);
    outcomes.retain(|(_, outcome)| outcome.passed + outcome.failed + outcome.skipped > 0);
    Ok(outcomes)
}

/// `   Doc-tests raptor_core`, then a result line for each of its groups.
fn read(text: &str) -> Vec<(String, Outcome)> {
    let mut outcomes: Vec<(String, Outcome)> = Vec::new();
    for line in text.lines() {
        if let Some(package) = line.trim().strip_prefix("Doc-tests ") {
            outcomes.push((package.replace('_', "-"), Outcome::default()));
        } else if let (Some(result), Some((_, sum))) = (result_line(line), outcomes.last_mut()) {
            *sum = std::mem::take(sum) + result;
        } else if let (Some(name), Some((_, sum))) = (failed_test(line), outcomes.last_mut()) {
            sum.failures.push(name.to_owned());
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_go_to_the_package_named_before_them() {
        let text = "\
   Doc-tests raptor_core

running 2 tests
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
   Doc-tests raptor_ops
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
";
        let outcomes = read(text);
        assert_eq!(outcomes[0].0, "raptor-core");
        assert_eq!(outcomes[0].1.passed, 3);
        assert_eq!((outcomes[1].1.passed, outcomes[1].1.failed), (1, 1));
    }
}
