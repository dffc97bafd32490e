//! Every metric of this crate: its name, kind and labels, in one table that a check can read.

use metrics::counter;
use raptor_core::Error;
use raptor_core::telemetry::Metric;

/// Session operations by what came of them.
///
/// Label `operation`: `create`, `get`, `update`, `take_flash`, `extend`, `rotate`, `delete`, `list`,
/// `revoke`, `ended`, `acknowledge`, `inspect`, `sweep`. Label `outcome`: `ok`; `none` (no such session); `conflict` (another
/// revision); `not_a_token` (refused without a call); or the error's kind.
pub const SESSION_OPERATIONS: &str = "raptor_session_operations_total";

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[Metric {
    name: SESSION_OPERATIONS,
    kind: "counter",
    labels: "operation: create, get, update, take_flash, extend, rotate, delete, list, revoke, ended, \
             acknowledge, inspect, sweep; outcome: ok, none, conflict, not_a_token, or the kind of the error",
    what: "session operations by what came of them",
}];

/// The outcome of what cost no call.
pub(crate) const NOT_A_TOKEN: &str = "not_a_token";

pub(crate) fn found<T>(what: &Option<T>) -> &'static str {
    if what.is_some() { "ok" } else { "none" }
}

pub(crate) fn operation_ended(operation: &'static str, outcome: Result<&'static str, &Error>) {
    let outcome = outcome.unwrap_or_else(|error| error.kind().as_str());
    counter!(SESSION_OPERATIONS, "operation" => operation, "outcome" => outcome).increment(1);
}
