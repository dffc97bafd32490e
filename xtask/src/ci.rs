//! `cargo xtask ci`: everything that must hold before a change is taken, in one go.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::workspace::{Metadata, root};
use crate::{demo, process, test};

/// A trace of real traffic, where the machine has it.
const TRACE: &str = "../shared/data/llm_trace_conv.csv";

/// Run every check: format, lints, tidy, docs, each crate alone, all tests, the demo.
///
/// Stops at the first step that fails, and says how long each step took. Every suite must run: a
/// row of the test matrix for which there is no engine is a failure here. The last line is that of
/// the tests, `N passed, N failed, N skipped`.
///
/// Needs what `cargo xtask test` needs, rustfmt, clippy and a Redis 7.0 (`.ci/run` fetches one and
/// then calls this).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  .ci/run
  RAPTOR_REDIS70_SERVER=/opt/redis-7.0/redis-server cargo xtask ci";

pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    let metadata = Metadata::of_workspace()?;
    let mut run = Run::default();
    let outcome = steps(&metadata, &mut run);
    eprintln!("\nstep                             seconds");
    for (name, took) in &run.took {
        eprintln!("{name:<32} {:>7.1}", took.as_secs_f64());
    }
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    if let Some(line) = run.tests {
        println!("{line}");
    }
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn steps(metadata: &Metadata, run: &mut Run) -> Result<()> {
    run.step("lock file", &["fetch", "--locked"])?;
    run.step("format", &["fmt", "--all", "--check"])?;
    run.step("tidy", &["xtask", "tidy"])?;
    run.step(
        "lints",
        &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
    )?;
    run.with(
        "docs",
        cargo(&["doc", "--workspace", "--no-deps", "--all-features"])
            .env("RUSTDOCFLAGS", "-Dwarnings"),
    )?;
    for package in metadata.packages.iter().filter(|package| package.is_crate()) {
        let alone = format!("{} alone", package.name);
        // The core has to have a driver: with redis-rs it is checked everywhere else.
        let least: &[_] = match package.name.as_str() {
            "raptor-core" => &["--no-default-features", "--features", "driver-fred"],
            _ => &["--no-default-features"],
        };
        run.step(&alone, &[&["check", "--package", &package.name], least].concat())?;
        run.step(&alone, &["check", "--package", &package.name, "--all-features"])?;
    }
    run.deny()?;
    run.test()?;
    run.step("demo", &["xtask", "demo", "--requests", "2000"])?;
    if root().join(TRACE).is_file() {
        for limit in [&[][..], &["--limit", "unlimited"]] {
            run.step("demo on the trace", &[&["xtask", "demo", "--trace", TRACE], limit].concat())?;
        }
    } else {
        eprintln!("── no {TRACE} here: the demo on real traffic did not run");
    }
    Ok(())
}

/// Steps run on private servers: what the user's environment names is hidden from them.
fn cargo(args: &[&str]) -> Command {
    let mut cargo = process::cargo();
    for name in demo::NAMED_BY {
        cargo.env_remove(name);
    }
    cargo.args(args).current_dir(root()).stdin(Stdio::null());
    cargo
}

/// The steps so far.
#[derive(Default)]
struct Run {
    took: Vec<(String, Duration)>,
    /// The last line of the tests.
    tests: Option<String>,
}

impl Run {
    fn step(&mut self, name: &str, args: &[&str]) -> Result<()> {
        self.with(name, &mut cargo(args))
    }

    fn with(&mut self, name: &str, command: &mut Command) -> Result<()> {
        eprintln!("\n── {name}: {}", process::shown(command));
        let started = Instant::now();
        let status = process::status(command)?;
        self.note(name, started.elapsed());
        anyhow::ensure!(status.success(), "{name} failed: `{}`", process::shown(command));
        Ok(())
    }

    /// Both halves of one step count as one.
    fn note(&mut self, name: &str, took: Duration) {
        match self.took.last_mut() {
            Some((last, sum)) if last == name => *sum += took,
            _ => self.took.push((name.to_owned(), took)),
        }
    }

    /// The README's own command; its last line becomes ours.
    fn test(&mut self) -> Result<()> {
        let mut command = cargo(&["xtask", "test", "--strict"]);
        eprintln!("\n── tests: {}", process::shown(&command));
        let started = Instant::now();
        let child = command.stdout(Stdio::piped()).spawn().context("running the tests")?;
        let output = child.wait_with_output()?;
        self.note("tests", started.elapsed());
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        self.tests = text.lines().last().filter(|line| test::is_last_line(line)).map(str::to_owned);
        anyhow::ensure!(output.status.success(), "tests failed: `{}`", process::shown(&command));
        anyhow::ensure!(self.tests.is_some(), "the tests ended without their last line");
        Ok(())
    }

    /// cargo-deny where it is installed; tidy has looked at the licences in any case.
    fn deny(&mut self) -> Result<()> {
        let mut probe = cargo(&["deny", "--version"]);
        let installed = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if installed.is_ok_and(|status| status.success()) {
            return self
                .step("deny", &["deny", "--offline", "check", "bans", "licenses", "sources"]);
        }
        eprintln!("\n── deny: cargo-deny is not installed; licences were checked by tidy");
        Ok(())
    }
}
