//! The table at the end: suite × engine or backend → passed, failed, skipped, or not run and why.

use std::fmt;

use super::outcome::Outcome;

/// Everything that ran, and everything that did not.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    suite: String,
    row: String,
    result: Result<Outcome, String>,
}

impl Report {
    /// A suite's outcome on a row.
    pub(crate) fn add(&mut self, suite: &str, row: &str, outcome: Outcome) {
        self.push(suite, row, Ok(outcome));
    }

    /// A suite that did not run.
    pub(crate) fn add_not_run(&mut self, suite: &str, row: &str, reason: &str) {
        self.push(suite, row, Err(reason.to_owned()));
    }

    /// The sum; a suite that did not run counts as one skipped.
    pub(crate) fn total(&self) -> Outcome {
        let skipped = Outcome { skipped: 1, ..Outcome::default() };
        let outcomes = self.lines.iter().map(|line| line.result.as_ref().unwrap_or(&skipped));
        outcomes.fold(Outcome::default(), |sum, one| sum + one.clone())
    }

    /// Whether nothing ran, nor was to run.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many suites did not run.
    pub(crate) fn not_run(&self) -> usize {
        self.lines.iter().filter(|line| line.result.is_err()).count()
    }

    fn push(&mut self, suite: &str, row: &str, result: Result<Outcome, String>) {
        self.lines.push(Line { suite: suite.to_owned(), row: row.to_owned(), result });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Line) -> usize, least| {
            self.lines.iter().map(of).max().unwrap_or_default().max(least)
        };
        let suite = width(|line| line.suite.chars().count(), "suite".len());
        let row = width(|line| line.row.chars().count(), "engine".len());
        writeln!(
            f,
            "\n{:<suite$}  {:<row$}  {:>6}  {:>6}  {:>7}  {:>7}",
            "suite", "engine", "passed", "failed", "skipped", "seconds"
        )?;
        for line in &self.lines {
            write!(f, "{:<suite$}  {:<row$}  ", line.suite, line.row)?;
            match &line.result {
                Ok(outcome) => writeln!(
                    f,
                    "{:>6}  {:>6}  {:>7}  {:>7.1}",
                    outcome.passed,
                    outcome.failed,
                    outcome.skipped,
                    outcome.took.as_secs_f64()
                )?,
                Err(reason) => writeln!(f, "not run: {reason}")?,
            }
        }
        for line in &self.lines {
            for name in line.result.iter().flat_map(|outcome| &outcome.failures) {
                writeln!(f, "failed: {} · {}: {name}", line.suite, line.row)?;
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_run_is_named_with_its_reason_and_counted() {
        let mut report = Report::default();
        let failures = vec!["calls::late".to_owned()];
        let outcome = Outcome { passed: 7, failed: 1, failures, ..Outcome::default() };
        report.add("raptor-core it", "valkey-9.1", outcome);
        report.add_not_run("raptor-core it", "redis-7.0", "no Redis 7.0 on PATH");
        let total = report.total();
        assert_eq!((total.passed, total.failed, total.skipped), (7, 1, 1));
        assert_eq!(report.not_run(), 1);
        let table = report.to_string();
        assert!(table.contains("failed: raptor-core it · valkey-9.1: calls::late"), "{table}");
        assert!(table.contains("raptor-core it  redis-7.0   not run: no Redis 7.0"), "{table}");
    }
}
