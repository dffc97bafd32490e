//! The metrics of core, by the `metrics` façade, and its debug log; `docs/telemetry.md` lists all
//! of Raptor's.

mod commands;

use std::time::Duration;

use metrics::{counter, histogram};

use crate::error::ErrorKind;

pub(crate) use self::commands::{CALLER_GONE, CommandLog, families, subscribed};

/// A metric as `docs/telemetry.md` lists it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels and the values they can take.
    pub labels: &'static str,
    /// What it says.
    pub what: &'static str,
}

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric {
        name: CALLS,
        kind: "counter",
        labels: "outcome: ok, or the kind of the error",
        what: "calls to the server, as their callers saw them end",
    },
    Metric {
        name: CALL_SECONDS,
        kind: "histogram",
        labels: "",
        what: "time from a call to its outcome, resends included",
    },
    Metric {
        name: RESENDS,
        kind: "counter",
        labels: "reason: moved, ask, tryagain, loading, clusterdown, masterdown, readonly, noscript, unsent",
        what: "requests that a server refused, or that were never sent, and that were sent again",
    },
    Metric { name: CONNECTIONS, kind: "counter", labels: "", what: "connections made" },
    Metric {
        name: CONNECTIONS_LOST,
        kind: "counter",
        labels: "reason: closed, misfit, no sign of life, renewed",
        what: "connections that ended or were given up",
    },
    Metric {
        name: MISFITS,
        kind: "counter",
        labels: "",
        what: "replies that belonged to another request; each closed its connection",
    },
    Metric {
        name: TOPOLOGY_CHANGES,
        kind: "counter",
        labels: "topology: cluster, sentinel",
        what: "changes of the slot map, or of the master",
    },
    Metric {
        name: BATCH,
        kind: "histogram",
        labels: "script: the script's name",
        what: "operations that rode together in one call",
    },
    Metric {
        name: BATCH_REFUSED,
        kind: "counter",
        labels: "script: the script's name",
        what: "operations refused because too many were waiting",
    },
];

const CALLS: &str = "raptor_core_calls_total";
const CALL_SECONDS: &str = "raptor_core_call_seconds";
const RESENDS: &str = "raptor_core_resends_total";
const CONNECTIONS: &str = "raptor_core_connections_total";
const CONNECTIONS_LOST: &str = "raptor_core_connections_lost_total";
const MISFITS: &str = "raptor_core_reply_misfits_total";
const BATCH: &str = "raptor_core_batch_operations";
const BATCH_REFUSED: &str = "raptor_core_batch_refused_total";
const TOPOLOGY_CHANGES: &str = "raptor_core_topology_changes_total";

/// Counts a call by its outcome, and gives that as it is shown.
pub(crate) fn call_ended(outcome: Result<(), ErrorKind>, took: Duration) -> &'static str {
    let outcome = shown(outcome);
    counter!(CALLS, "outcome" => outcome).increment(1);
    histogram!(CALL_SECONDS).record(took.as_secs_f64());
    outcome
}

fn shown(outcome: Result<(), ErrorKind>) -> &'static str {
    outcome.map_or_else(ErrorKind::as_str, |()| "ok")
}

pub(crate) fn resent(reason: &'static str) {
    counter!(RESENDS, "reason" => reason).increment(1);
}

pub(crate) fn connected() {
    counter!(CONNECTIONS).increment(1);
}

pub(crate) fn connection_lost(reason: &'static str) {
    counter!(CONNECTIONS_LOST, "reason" => reason).increment(1);
}

pub(crate) fn reply_misfit() {
    counter!(MISFITS).increment(1);
}

pub(crate) fn topology_changed(topology: &'static str) {
    counter!(TOPOLOGY_CHANGES, "topology" => topology).increment(1);
}

pub(crate) fn batch_sent(script: &'static str, operations: usize) {
    histogram!(BATCH, "script" => script).record(operations as f64);
}

pub(crate) fn batch_refused(script: &'static str) {
    counter!(BATCH_REFUSED, "script" => script).increment(1);
}
