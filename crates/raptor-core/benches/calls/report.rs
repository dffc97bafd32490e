//! The figures as a table, a plot and JSON.

use anyhow::Result;
use comfy_table::{Cell as Field, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::load::Cell;

/// The median of a way's rounds.
#[derive(serde::Serialize)]
pub(crate) struct Row {
    workload: &'static str,
    way: &'static str,
    callers: usize,
    operations_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_us_per_operation: f64,
    commands_per_operation: f64,
}

impl Row {
    pub(crate) fn new(
        workload: &'static str,
        way: &'static str,
        callers: usize,
        rounds: Vec<Cell>,
    ) -> Self {
        let median = |of: fn(&Cell) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            workload,
            way,
            callers,
            operations_per_second: median(|cell| cell.operations_per_second),
            p50_us: median(|cell| cell.p50_us),
            p99_us: median(|cell| cell.p99_us),
            server_cpu_us_per_operation: median(|cell| cell.server_cpu_us),
            commands_per_operation: median(|cell| cell.commands),
        }
    }
}

pub(crate) fn print(rows: &[Row]) {
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
        "commands/op",
    ]);
    for row in rows {
        let number = |value: f64, digits: usize| {
            Field::new(format!("{value:.digits$}")).set_alignment(CellAlignment::Right)
        };
        table.add_row([
            Field::new(row.workload),
            number(row.callers as f64, 0),
            Field::new(row.way),
            number(row.operations_per_second, 0),
            number(row.p50_us, 0),
            number(row.p99_us, 0),
            number(row.server_cpu_us_per_operation, 2),
            number(row.commands_per_operation, 2),
        ]);
    }
    println!("{table}");
    println!("server CPU an operation, µs");
    let most = rows.iter().map(|row| row.server_cpu_us_per_operation).fold(1e-9, f64::max);
    for row in rows {
        let bar = "█".repeat((row.server_cpu_us_per_operation / most * 60.0).ceil() as usize);
        let label = format!("{} · {} · {}", row.workload, row.callers, row.way);
        println!("{label:>42} {bar} {:.1}", row.server_cpu_us_per_operation);
    }
}

/// Under `target/bench`, found from where cargo put this program.
pub(crate) fn save(rows: &[Row]) -> Result<()> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).unwrap_or(&program);
    let path = target.join("bench").join("calls.json");
    std::fs::create_dir_all(path.parent().unwrap_or(target))?;
    std::fs::write(&path, serde_json::to_vec_pretty(rows)?)?;
    println!("as JSON: {}", path.display());
    Ok(())
}
