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
        what: "decisions of `acquire`",
    },
    Metric {
        name: ACQUIRE_SECONDS,
        kind: "histogram",
        labels: "",
        what: "time of an `acquire` that ended in a decision",
    },
];

const DECISIONS: &str = "raptor_ratelimit_decisions_total";
const ACQUIRE_SECONDS: &str = "raptor_ratelimit_acquire_seconds";

pub(crate) fn decided(outcome: Outcome, took: Duration) {
    let outcome = match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied { .. } => "denied",
        Outcome::Never => "never",
    };
    counter!(DECISIONS, "outcome" => outcome).increment(1);
    histogram!(ACQUIRE_SECONDS).record(took.as_secs_f64());
}
