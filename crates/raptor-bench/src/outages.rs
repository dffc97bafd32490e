//! What faults cost a steady caller, way by way: the table of a bench that measures recovery.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{Cell as Field, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use raptor_testkit::Engine;

use crate::steady::Outage;
use crate::{Filter, report};

/// A bench of faults under way: what was measured so far.
#[derive(serde::Serialize)]
pub struct Outages {
    name: &'static str,
    what: &'static str,
    engine: String,
    outages: Vec<Row>,
    #[serde(skip)]
    filter: Filter,
}

/// The rounds of one way under one fault: median and worst of each.
#[derive(serde::Serialize)]
struct Row {
    fault: &'static str,
    since: &'static str,
    way: &'static str,
    rounds: usize,
    recovery_ms: [f64; 2],
    gap_ms: [f64; 2],
    failed: [f64; 2],
}

impl Outages {
    /// A bench called `name`; `what` says in a sentence what it measures.
    ///
    /// `None` when this program was started to be tested, not to measure.
    #[must_use]
    pub fn new(name: &'static str, what: &'static str, engine: &Engine) -> Option<Self> {
        let filter = Filter::of_args()?;
        let engine = report::engine(engine.to_string());
        Some(Self { name, what, engine, outages: Vec::new(), filter })
    }

    /// Whether the command line asks for `fault`.
    #[must_use]
    pub fn wants(&self, fault: &str) -> bool {
        self.filter.wants(fault)
    }

    /// Keeps what a way's rounds showed under `fault`; recovery was counted `since` then.
    pub fn add(
        &mut self,
        fault: &'static str,
        since: &'static str,
        way: &'static str,
        rounds: &[Outage],
    ) {
        let ms = |of: fn(&Outage) -> Duration| {
            median_and_worst(rounds.iter().map(|outage| of(outage).as_secs_f64() * 1e3))
        };
        self.outages.push(Row {
            fault,
            since,
            way,
            rounds: rounds.len(),
            recovery_ms: ms(|outage| outage.recovery),
            gap_ms: ms(|outage| outage.gap),
            failed: median_and_worst(rounds.iter().map(|outage| outage.failed as f64)),
        });
    }

    /// Prints what was measured, and writes it beside cargo's other output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<()> {
        self.print();
        if self.filter.is_none() { report::save(self.name, &self) } else { Ok(()) }
    }

    #[expect(clippy::print_stdout, reason = "a bench speaks by printing")]
    fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            "fault",
            "way",
            "rounds",
            "recovery ms (worst)",
            "counted since",
            "longest gap ms (worst)",
            "failed calls (worst)",
        ]);
        for row in &self.outages {
            let both = |[median, worst]: [f64; 2]| {
                let text = format!("{median:.0} ({worst:.0})");
                Field::new(text).set_alignment(CellAlignment::Right)
            };
            table.add_row([
                Field::new(row.fault),
                Field::new(row.way),
                Field::new(row.rounds),
                both(row.recovery_ms),
                Field::new(row.since),
                both(row.gap_ms),
                both(row.failed),
            ]);
        }
        println!("{}: {}\n{}\n{table}", self.name, self.what, self.engine);
    }
}

fn median_and_worst(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    [at(values.len() / 2), at(values.len().saturating_sub(1))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_told_beside_the_median() {
        assert_eq!(median_and_worst([3.0, 9.0, 1.0].into_iter()), [3.0, 9.0]);
        assert_eq!(median_and_worst(std::iter::empty()), [0.0, 0.0]);
    }
}
