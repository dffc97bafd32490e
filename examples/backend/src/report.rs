//! What the user reads at the end: two tables, the usage, and whether the books balance.

use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::batches::BatchRecorder;
use crate::books::Sums;
use crate::replay::Replay;
use crate::server::Spent;
use crate::tally::Service;

/// Differences that are shown; there may be one for each user.
const SHOWN: usize = 20;

/// The tables, and what the services report as usage.
pub(crate) fn tables(
    replay: &Replay,
    spent: Option<Spent>,
    batches: &BatchRecorder,
    reported: Sums,
) -> String {
    let mut out = format!("{}\n{}\n", summary(replay, spent), services(replay, batches));
    for ((service, kind), count) in &replay.tally.errors {
        let _ = writeln!(out, "errors: {service}: {kind}, {} times", grouped((*count).into()));
    }
    for (reason, count) in &replay.tally.reasons {
        let _ = writeln!(out, "failed: {} requests: {reason}", grouped((*count).into()));
    }
    let _ = write!(
        out,
        "usage: {} context and {} generated tokens over {} requests, ${}.{:06}",
        grouped(reported.context),
        grouped(reported.generated),
        grouped(reported.requests),
        grouped(reported.cost_pico / 1_000_000_000_000),
        reported.cost_pico / 1_000_000 % 1_000_000,
    );
    out
}

/// The last line: `books: ok …`, or everything that is wrong.
pub(crate) fn verdict(wrong: &[String]) -> String {
    if wrong.is_empty() {
        return "books: ok: admitted + denied = arrived; the reports equal what was admitted, \
                by tenant, user and model"
            .to_owned();
    }
    let mut out = format!("books: WRONG in {} places", wrong.len());
    for flaw in wrong.iter().take(SHOWN) {
        let _ = write!(out, "\n  {flaw}");
    }
    if wrong.len() > SHOWN {
        let _ = write!(out, "\n  and {} more", wrong.len() - SHOWN);
    }
    out
}

fn summary(replay: &Replay, spent: Option<Spent>) -> Table {
    let tally = &replay.tally;
    let mut table = table();
    let mut row = |name: &str, value: String| {
        table.add_row([name, &value]);
    };
    row("requests", grouped(replay.arrived.into()));
    row("admitted", grouped(tally.admitted.into()));
    row("denied", grouped(tally.denied.into()));
    if tally.failed > 0 {
        row("failed", grouped(tally.failed.into()));
    }
    let seconds = replay.elapsed.as_secs_f64();
    row("time", format!("{seconds:.2} s"));
    row(
        "throughput",
        format!("{} requests/s", grouped((replay.arrived as f64 / seconds.max(1e-9)) as u128)),
    );
    let each = |count: fn(&Spent) -> u64, unit: &str, digits: usize| match &spent {
        Some(spent) if replay.arrived > 0 => {
            format!("{:.digits$}{unit}", count(spent) as f64 / replay.arrived as f64)
        }
        _ => "unknown".to_owned(),
    };
    row("server CPU a request", each(|spent| spent.cpu_us, " µs", 1));
    row("script calls a request", each(|spent| spent.calls, "", 2));
    row("commands a request, in scripts too", each(|spent| spent.commands, "", 1));
    right_align(&mut table, 1..2);
    table
}

fn services(replay: &Replay, batches: &BatchRecorder) -> Table {
    let mut table = table();
    table.set_header(["service", "calls", "p50", "p99", "max", "in one batch", "at most"]);
    for service in Service::ALL {
        let latency = replay.tally.latency(service);
        // What does not ride together has no batches.
        let (mean, largest) = batches.of(&service.to_string()).map_or_else(
            || ("–".to_owned(), "–".to_owned()),
            |batches| (format!("{:.1}", batches.mean), grouped(batches.largest.into())),
        );
        table.add_row([
            service.to_string(),
            grouped(latency.len().into()),
            time(latency.value_at_quantile(0.50)),
            time(latency.value_at_quantile(0.99)),
            time(latency.max()),
            mean,
            largest,
        ]);
    }
    right_align(&mut table, 1..7);
    table
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table
}

fn right_align(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn time(us: u64) -> String {
    format!("{:.2} ms", Duration::from_micros(us).as_secs_f64() * 1e3)
}

/// `22361870` as `22,361,870`.
pub(crate) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (22_361_870, "22,361,870")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn what_is_wrong_is_shown_up_to_a_bound() {
        assert!(verdict(&[]).starts_with("books: ok"));
        let flaws: Vec<String> = (0..25).map(|n| format!("flaw {n}")).collect();
        let text = verdict(&flaws);
        assert!(text.starts_with("books: WRONG in 25 places\n  flaw 0\n"), "{text}");
        assert!(text.ends_with("and 5 more"), "{text}");
    }
}
