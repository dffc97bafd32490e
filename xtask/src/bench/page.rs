//! `docs/benchmarks.md`: tables and plots from the JSON that the benches write.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench --publish`; run it on your machine, idle, and compare.

Each cell is the median of rounds in which the ways take turns, so the machine's moods hit all alike.
Read a figure beside its control of the same block, never beside one of another run. A Redis shard is
one core, so the server's CPU an operation is the limit that carries over to your machines.
";

#[derive(Deserialize)]
struct Report {
    name: String,
    what: String,
    engine: String,
    #[serde(default)]
    rows: Vec<Row>,
    #[serde(default)]
    outages: Vec<Outage>,
}

#[derive(Deserialize)]
struct Row {
    workload: String,
    way: String,
    callers: usize,
    operations_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_us: f64,
    client_cpu_us: f64,
    commands: f64,
}

/// What a steady caller saw of a fault: median and worst of the rounds.
#[derive(Deserialize)]
struct Outage {
    fault: String,
    since: String,
    way: String,
    rounds: usize,
    recovery_ms: [f64; 2],
    gap_ms: [f64; 2],
    failed: [f64; 2],
}

/// The page for the reports in `folder`.
pub(super) fn of(folder: &Path) -> Result<String> {
    let files = std::fs::read_dir(folder).context("there are no figures; run the benches first")?;
    let mut paths: Vec<_> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    paths.sort();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut page = format!("{HEAD}\nThis run: {cores} cores for server and client together.\n");
    for path in paths {
        let report = std::fs::read(&path)?;
        let report: Report = serde_json::from_slice(&report)
            .with_context(|| format!("{} is of another version", path.display()))?;
        section(&mut page, &report)?;
    }
    Ok(page)
}

fn section(page: &mut String, report: &Report) -> Result<()> {
    writeln!(page, "\n## {}\n\nWhat: {}. On {}.", report.name, report.what, report.engine)?;
    for rows in report.rows.chunk_by(|one, two| one.workload == two.workload) {
        writeln!(page, "\n### {}\n", rows[0].workload)?;
        writeln!(
            page,
            "| callers | way | ops/s | p50 µs | p99 µs | server CPU µs/op | client CPU µs/op | commands/op |"
        )?;
        writeln!(page, "| --: | --- | --: | --: | --: | --: | --: | --: |")?;
        for row in rows {
            writeln!(
                page,
                "| {} | {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
                row.callers,
                row.way,
                row.operations_per_second,
                row.p50_us,
                row.p99_us,
                row.server_cpu_us,
                row.client_cpu_us,
                row.commands
            )?;
        }
        plot(page, "operations a second", rows, |row| row.operations_per_second)?;
        plot(page, "server CPU an operation, µs", rows, |row| row.server_cpu_us)?;
    }
    outages(page, &report.outages)
}

/// Medians, with the worst behind them.
fn outages(page: &mut String, outages: &[Outage]) -> Result<()> {
    if outages.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "\n| fault | way | rounds | recovery ms (worst) | counted since | longest gap ms (worst) | failed calls (worst) |"
    )?;
    writeln!(page, "| --- | --- | --: | --: | --- | --: | --: |")?;
    let both = |[median, worst]: [f64; 2]| format!("{median:.0} ({worst:.0})");
    for row in outages {
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.fault,
            row.way,
            row.rounds,
            both(row.recovery_ms),
            row.since,
            both(row.gap_ms),
            both(row.failed)
        )?;
    }
    Ok(())
}

/// Bars of text: they read the same in a terminal, an editor and a browser.
fn plot(page: &mut String, title: &str, rows: &[Row], of: impl Fn(&Row) -> f64) -> Result<()> {
    writeln!(page, "\n```text\n{title}")?;
    for block in rows.chunk_by(|one, two| one.callers == two.callers) {
        let most = block.iter().map(&of).fold(f64::MIN_POSITIVE, f64::max);
        for row in block {
            let bar = "█".repeat((of(row) / most * 40.0).ceil() as usize);
            let digits = if of(row) < 100.0 { 2 } else { 0 };
            writeln!(page, "{:>4} × {:<24} {bar} {:.digits$}", row.callers, row.way, of(row))?;
        }
        writeln!(page)?;
    }
    page.truncate(page.trim_end().len());
    writeln!(page, "\n```")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_outages_is_a_table_without_plots() {
        let report = r#"{"name": "recovery", "what": "faults", "engine": "valkey 9.1.2", "outages": [
            {"fault": "cut", "since": "the cut", "way": "fred", "rounds": 3,
             "recovery_ms": [1.6, 2.4], "gap_ms": [3.0, 4.0], "failed": [1.0, 2.0]}]}"#;
        let mut page = String::new();
        section(&mut page, &serde_json::from_str(report).expect("readable")).expect("written");
        assert!(page.ends_with("| cut | fred | 3 | 2 (2) | the cut | 3 (4) | 1 (2) |\n"), "{page}");
        assert!(!page.contains("```"), "{page}");
    }
}
