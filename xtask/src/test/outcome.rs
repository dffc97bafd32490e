//! What libtest says: the list of tests, and the result of a run.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// Tests in a module of this name assert durations, so they run by themselves, one at a time.
const SERIAL: &str = "serial::";

/// A program's tests, by how they may run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    /// Side by side.
    pub(crate) parallel: Vec<String>,
    /// One at a time.
    pub(crate) serial: Vec<String>,
}

impl Tests {
    /// Reads `--list --format terse`; keeps what contains one of `filters` (all when there are none).
    pub(crate) fn parse(list: &str, filters: &[String]) -> Self {
        let wanted =
            |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
        let (serial, parallel) = list
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .filter(|name| wanted(name))
            .map(str::to_owned)
            .partition(|name| name.starts_with(SERIAL) || name.contains("::serial::"));
        Self { parallel, serial }
    }
}

/// How many tests ended how, and how long it took.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) took: Duration,
    /// Names of those that failed, as far as they are known.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    /// A suite that did not get as far as a result: one failure.
    pub(crate) fn crashed(took: Duration) -> Self {
        Self { failed: 1, took, ..Self::default() }
    }

    /// A result that accounts for fewer tests than were started is a failure, whatever it says.
    pub(crate) fn expecting(mut self, tests: usize) -> Self {
        let seen = self.passed + self.failed + self.skipped;
        if seen < tests && self.failed == 0 {
            self.failed = tests - seen;
        }
        self
    }
}

impl Add for Outcome {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            took: self.took + other.took,
            failures: [self.failures, other.failures].concat(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.took.as_secs_f64();
        match self.failed {
            0 => write!(f, "{} passed, {took:.1} s", self.passed),
            failed => write!(f, "{} passed, {failed} FAILED, {took:.1} s", self.passed),
        }
    }
}

/// Sums up the `test result:` lines of a run; a run that ended badly has at least one failure.
pub(crate) fn read(text: &str, ended_well: bool, took: Duration) -> Outcome {
    let sum = text.lines().filter_map(result_line).fold(Outcome::default(), Add::add);
    let failed = if ended_well { sum.failed } else { sum.failed.max(1) };
    let failures = text.lines().filter_map(failed_test).map(str::to_owned).collect();
    Outcome { failed, took, failures, ..sum }
}

/// `test keys::distinct ... FAILED`
pub(crate) fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s`
pub(crate) fn result_line(line: &str) -> Option<Outcome> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
    };
    Some(Outcome {
        passed: count(" passed")?,
        failed: count(" failed")?,
        skipped: count(" ignored")?,
        took: Duration::ZERO,
        failures: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
serial::stalls: test
keys::deserial::reads: test
proxy::serial::drops: test
keys::distinct: test
keys::speed: benchmark
";

    #[test]
    fn serial_tests_are_told_apart_by_their_module() {
        let tests = Tests::parse(LIST, &[]);
        assert_eq!(tests.serial, ["serial::stalls", "proxy::serial::drops"]);
        assert_eq!(tests.parallel, ["keys::deserial::reads", "keys::distinct"]);
    }

    #[test]
    fn filters_hold_for_serial_tests_too() {
        let tests = Tests::parse(LIST, &["drops".into(), "distinct".into()]);
        assert_eq!(tests.serial, ["proxy::serial::drops"]);
        assert_eq!(tests.parallel, ["keys::distinct"]);
    }

    #[test]
    fn result_lines_are_summed() {
        let text = "\
running 2 tests
test keys::distinct ... FAILED
test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s
noise: test result: nonsense
test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";
        let outcome = read(text, false, Duration::from_secs(1));
        assert_eq!((outcome.passed, outcome.failed, outcome.skipped), (7, 4, 1));
        assert_eq!(outcome.failures, ["keys::distinct"]);
    }

    #[test]
    fn a_run_without_its_result_failed() {
        assert_eq!(read("running 3 tests", false, Duration::ZERO).failed, 1);
        let cut = read("", true, Duration::ZERO).expecting(3);
        assert_eq!((cut.passed, cut.failed), (0, 3));
    }
}
