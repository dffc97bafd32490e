//! The figures as a table and as JSON.

use anyhow::Result;
use comfy_table::{Cell as Field, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::load::Cell;

/// All that one bench measured.
#[derive(serde::Serialize)]
pub(crate) struct Report {
    name: &'static str,
    what: &'static str,
    engine: String,
    pub(crate) rows: Vec<Row>,
}

/// The median of a way's rounds.
#[derive(serde::Serialize)]
pub(crate) struct Row {
    workload: String,
    way: &'static str,
    callers: usize,
    operations_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_us: f64,
    client_cpu_us: f64,
    commands: f64,
}

impl Row {
    pub(crate) fn new(workload: &str, way: &'static str, callers: usize, rounds: &[Cell]) -> Self {
        let median = |of: fn(&Cell) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            workload: workload.to_owned(),
            way,
            callers,
            operations_per_second: median(|cell| cell.operations_per_second),
            p50_us: median(|cell| cell.p50_us),
            p99_us: median(|cell| cell.p99_us),
            server_cpu_us: median(|cell| cell.server_cpu_us),
            client_cpu_us: median(|cell| cell.client_cpu_us),
            commands: median(|cell| cell.commands),
        }
    }
}

impl Report {
    pub(crate) fn new(name: &'static str, what: &'static str, engine: String) -> Self {
        Self { name, what, engine: self::engine(engine), rows: Vec::new() }
    }

    #[expect(clippy::print_stdout, reason = "a bench speaks by printing")]
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            "workload",
            "callers",
            "way",
            "ops/s",
            "p50 µs",
            "p99 µs",
            "server CPU µs/op",
            "client CPU µs/op",
            "commands/op",
        ]);
        for row in &self.rows {
            let number = |value: f64, digits: usize| {
                Field::new(format!("{value:.digits$}")).set_alignment(CellAlignment::Right)
            };
            table.add_row([
                Field::new(&row.workload),
                number(row.callers as f64, 0),
                Field::new(row.way),
                number(row.operations_per_second, 0),
                number(row.p50_us, 0),
                number(row.p99_us, 0),
                number(row.server_cpu_us, 2),
                number(row.client_cpu_us, 2),
                number(row.commands, 2),
            ]);
        }
        println!("{}: {}\n{}", self.name, self.what, self.engine);
        println!("{table}");
    }

    pub(crate) fn save(&self) -> Result<()> {
        save(self.name, self)
    }
}

/// Where the engine lies on this machine is nobody's business.
pub(crate) fn engine(told: String) -> String {
    told.split(" (").next().unwrap_or_default().to_owned()
}

/// Under `target/bench`, found from where cargo put this program.
#[expect(clippy::print_stdout, reason = "a bench speaks by printing")]
pub(crate) fn save(name: &str, report: &impl serde::Serialize) -> Result<()> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).unwrap_or(&program);
    let path = target.join("bench").join(format!("{name}.json"));
    std::fs::create_dir_all(path.parent().unwrap_or(target))?;
    std::fs::write(&path, serde_json::to_vec_pretty(report)?)?;
    println!("as JSON: {}", path.display());
    Ok(())
}
