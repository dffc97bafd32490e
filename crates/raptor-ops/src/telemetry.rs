//! Every metric of this crate: its name, kind and labels, in one table that a check can read.

use std::time::Duration;

use metrics::{counter, histogram};
use raptor_core::Result;
use raptor_core::telemetry::Metric;

use crate::usage::{OutOfWindow, Recorded};

/// Usage events by what became of them.
///
/// Label `outcome`: `charged`, `duplicate`, `too_late`, `ahead` (of the server's clock), or the
/// error's kind (`invalid_input`, `wrong_type`, `timeout` …).
pub const USAGE_EVENTS: &str = "raptor_usage_events_total";

/// How long `UsageService::record` took, in seconds, whatever came of it.
pub const USAGE_RECORD_SECONDS: &str = "raptor_usage_record_seconds";

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric {
        name: USAGE_EVENTS,
        kind: "counter",
        labels: "outcome: charged, duplicate, too_late, ahead, or the kind of the error",
        what: "usage events by what became of them",
    },
    Metric {
        name: USAGE_RECORD_SECONDS,
        kind: "histogram",
        labels: "",
        what: "time to record one usage event, whatever came of it",
    },
];

pub(crate) fn usage_recorded(outcome: &Result<Recorded>, took: Duration) {
    let outcome = match outcome {
        Ok(Recorded::Charged(_)) => "charged",
        Ok(Recorded::Duplicate) => "duplicate",
        Err(error) => match OutOfWindow::of(error) {
            Some(OutOfWindow::TooLate { .. }) => "too_late",
            Some(OutOfWindow::Ahead { .. }) => "ahead",
            None => error.kind().as_str(),
        },
    };
    counter!(USAGE_EVENTS, "outcome" => outcome).increment(1);
    histogram!(USAGE_RECORD_SECONDS).record(took.as_secs_f64());
}
