//! The metrics of this crate, by the `metrics` façade; `docs/telemetry.md` lists all of Raptor's.

use std::time::Duration;

use metrics::{counter, histogram};
use raptor_core::telemetry::Metric;

use crate::decision::Outcome;

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric {
        name: DECISIONS,
        kind: "counter",
        labels: "outcome: allowed, denied, never",
        what: "decisions of `acquire` by the server",
    },
    Metric {
        name: LOCAL,
        kind: "counter",
        labels: "source: denied (a moment ago), degraded (an outage); outcome: allowed, denied, never",
        what: "decisions of `acquire` without the server",
    },
    Metric {
        name: LEASED,
        kind: "counter",
        labels: "",
        what: "units leased from the server to be handed out by this process",
    },
    Metric {
        name: ACQUIRE_SECONDS,
        kind: "histogram",
        labels: "",
        what: "time of an `acquire` that the server decided",
    },
];

const DECISIONS: &str = "raptor_ratelimit_decisions_total";
const LOCAL: &str = "raptor_ratelimit_local_decisions_total";
const LEASED: &str = "raptor_ratelimit_leased_units_total";
const ACQUIRE_SECONDS: &str = "raptor_ratelimit_acquire_seconds";

pub(crate) fn decided(outcome: Outcome, took: Duration) {
    counter!(DECISIONS, "outcome" => label(outcome)).increment(1);
    histogram!(ACQUIRE_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn decided_locally(source: &'static str, outcome: Outcome) {
    counter!(LOCAL, "source" => source, "outcome" => label(outcome)).increment(1);
}

pub(crate) fn leased(units: u64) {
    counter!(LEASED).increment(units);
}

fn label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied { .. } => "denied",
        Outcome::Never => "never",
    }
}
