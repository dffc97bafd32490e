//! The test binaries: built once by cargo, then run by us on each engine and backend.
//!
//! Running them ourselves (in their package's folder, as cargo does) keeps one build for all rows
//! and says which package a result belongs to.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use raptor_testkit::{ACL_RULE_VARIABLE, Engine};
use serde::Deserialize;

use super::Args;
use super::outcome::{Outcome, Tests};
use super::rows::Row;
use crate::workspace::{self, Metadata};
use crate::{process, test::outcome};

/// One test program.
#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) package: String,
    pub(crate) target: String,
    /// `lib`, `bin`, `test` …
    pub(crate) kind: String,
    pub(crate) path: PathBuf,
    /// Its package's folder.
    pub(crate) folder: PathBuf,
}

impl Binary {
    /// Its name in the table.
    pub(crate) fn suite(&self) -> String {
        match self.kind.as_str() {
            "test" => format!("{} {}", self.package, self.target),
            "bench" => format!("{} bench {}", self.package, self.target),
            _ => format!("{} unit", self.package),
        }
    }

    /// Whether it is a package's `tests/it`.
    pub(crate) fn is_integration(&self) -> bool {
        self.kind == "test" && self.target == "it"
    }
}

/// All test programs of the workspace.
pub(crate) struct Binaries {
    pub(crate) list: Vec<Binary>,
    /// Where the standard library's shared objects are (tests of macros need them).
    libraries: PathBuf,
}

/// The lines of `cargo --message-format=json` that we read.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<workspace::Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Binaries {
    /// Builds the tests of the whole workspace; none when that fails, and cargo has said why.
    ///
    /// `packages` limits what is kept, not what is built: one set of features for all.
    pub(crate) fn build(metadata: &Metadata, packages: &[String]) -> Result<Option<Self>> {
        for name in packages {
            let known = metadata.packages.iter().any(|package| package.name == *name);
            anyhow::ensure!(known, "--package {name}: no such package in the workspace");
        }
        let mut build = process::cargo();
        build.args(["test", "--workspace", "--all-features", "--no-run"]);
        build.arg("--message-format=json-render-diagnostics");
        build.current_dir(workspace::root()).stdout(Stdio::piped());
        let mut child = build.spawn().context("running cargo test --no-run")?;
        let mut list = Vec::new();
        let stdout = child.stdout.take().context("cargo's stdout")?;
        for line in BufReader::new(stdout).lines() {
            list.extend(read_message(&line?, metadata));
        }
        if !child.wait()?.success() {
            return Ok(None);
        }
        list.retain(|binary| packages.is_empty() || packages.contains(&binary.package));
        list.sort_by_cached_key(Binary::suite);
        let mut rustc = Command::new("rustc");
        let libraries = process::stdout(rustc.args(["--print", "target-libdir"]))?;
        Ok(Some(Self { list, libraries: PathBuf::from(libraries.trim()) }))
    }

    /// Runs one program on one row: first what may run side by side, then what is `serial`.
    ///
    /// None when it has no tests, or none that the filters want.
    pub(crate) fn run(
        &self,
        binary: &Binary,
        row: &Row,
        engine: &Engine,
        args: &Args,
    ) -> Result<Option<Outcome>> {
        let mut listing = self.command(binary, row, engine);
        let listed = listing.args(["--list", "--format", "terse"]).output();
        let listed = listed.with_context(|| format!("running {}", binary.path.display()))?;
        let tests = Tests::parse(&String::from_utf8_lossy(&listed.stdout), &args.filters);
        if !listed.status.success() {
            eprint!("{}", String::from_utf8_lossy(&listed.stderr));
            return Ok(Some(Outcome::crashed(std::time::Duration::ZERO)));
        }
        let mut sum: Option<Outcome> = None;
        for (names, threads) in [(&tests.parallel, None), (&tests.serial, Some("--test-threads=1"))]
        {
            if names.is_empty() {
                continue;
            }
            let what = if threads.is_some() { " (serial)" } else { "" };
            eprint!("{} · {}{what}: {} tests …", binary.suite(), row.name, names.len());
            std::io::stderr().flush()?;
            let mut command = self.command(binary, row, engine);
            command.arg("--exact").args(threads).args(names);
            let outcome = watched(&mut command, args.verbose)?.expecting(names.len());
            eprintln!(" {outcome}");
            sum = Some(sum.unwrap_or_default() + outcome);
        }
        Ok(sum)
    }

    fn command(&self, binary: &Binary, row: &Row, engine: &Engine) -> Command {
        let mut command = Command::new(&binary.path);
        command.current_dir(&binary.folder).env("CARGO_MANIFEST_DIR", &binary.folder);
        row.set_up(engine, &mut command);
        if let Ok(Some(rule)) = row.permissions(binary) {
            command.env(ACL_RULE_VARIABLE, rule.to_string());
        }
        let variable = if cfg!(target_os = "macos") {
            "DYLD_FALLBACK_LIBRARY_PATH"
        } else {
            "LD_LIBRARY_PATH"
        };
        let present = std::env::var_os(variable).unwrap_or_default();
        let folders =
            std::iter::once(self.libraries.clone()).chain(std::env::split_paths(&present));
        if let Ok(joined) = std::env::join_paths(folders) {
            command.env(variable, joined);
        }
        command
    }
}

fn read_message(line: &str, metadata: &Metadata) -> Option<Binary> {
    let message: Message = serde_json::from_str(line).ok()?;
    let is_test = message.profile.is_some_and(|profile| profile.test);
    if message.reason != "compiler-artifact" || !is_test {
        return None;
    }
    let id = message.package_id?;
    let package = metadata.packages.iter().find(|package| package.id == id)?;
    let target = message.target?;
    Some(Binary {
        package: package.name.clone(),
        target: target.name,
        kind: target.kind.into_iter().next()?,
        path: message.executable?,
        folder: package.folder().to_owned(),
    })
}

/// Runs a test program, or cargo running several, and reads its results.
///
/// Its output is shown as it comes when `verbose`, else only when something failed.
pub(crate) fn watched(command: &mut Command, verbose: bool) -> Result<Outcome> {
    let started = Instant::now();
    let (text, good) = captured(command, verbose)?;
    let outcome = outcome::read(&text, good, started.elapsed());
    if outcome.failed > 0 && !verbose {
        eprintln!("\n{text}");
    }
    Ok(outcome)
}

/// Runs a program and gives what it wrote on stdout and stderr, in order, and whether it ended well.
pub(crate) fn captured(command: &mut Command, verbose: bool) -> Result<(String, bool)> {
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child =
        command.spawn().with_context(|| format!("running {}", process::shown(command)))?;
    // Our ends of the pipe must close, or the reader never sees its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut text = Vec::new();
    if verbose {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            std::io::stderr().write_all(&line)?;
            text.append(&mut line);
        }
    } else {
        reader.read_to_end(&mut text)?;
    }
    let status = child.wait()?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if !status.success() && status.code().is_none() {
        text.push_str(&format!("\nended by a signal: {status}\n"));
    }
    Ok((text, status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_comes_in_order_and_a_failure_is_seen() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let (text, good) = captured(&mut shell, false).expect("runs");
        assert_eq!(text, "one\ntwo\nthree\n");
        assert!(!good);
    }

    #[test]
    fn a_program_that_dies_counts_as_failed() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo running 3 tests; kill -9 $$"]);
        let outcome = watched(&mut shell, false).expect("runs");
        assert_eq!((outcome.passed, outcome.failed), (0, 1));
    }
}
