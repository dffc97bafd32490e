//! Debug mode: one log event a call, which says what was sent and never what was in it.

use std::time::Duration;

use super::shown;
use crate::error::{Error, Result};
use crate::keys::Key;

/// What filters know these events by.
const TARGET: &str = "raptor_core::commands";

/// The outcome of a call whose caller went away before its end.
pub(crate) const CALLER_GONE: &str = "caller_gone";

/// One call as it is logged.
pub(crate) struct CommandLog {
    pub(crate) families: String,
    pub(crate) keys: usize,
    pub(crate) arguments: usize,
    /// Of keys and arguments.
    pub(crate) bytes: usize,
    pub(crate) operations: Option<usize>,
}

impl CommandLog {
    pub(crate) fn write(&self, command: &str, outcome: &str, took: Duration, resends: u32) {
        tracing::debug!(
            target: TARGET,
            command,
            families = self.families,
            keys = self.keys,
            arguments = self.arguments,
            bytes = self.bytes,
            operations = self.operations,
            outcome,
            took_us = took.as_micros() as u64,
            resends,
            "command"
        );
    }
}

/// Logs that a subscription was asked for.
pub(crate) fn subscribed<T>(channels: &[String], outcome: &Result<T>, took: Duration) {
    let outcome = shown(outcome.as_ref().map(drop).map_err(Error::kind));
    tracing::debug!(
        target: TARGET,
        command = "SUBSCRIBE",
        channels = channels.len(),
        bytes = channels.iter().map(String::len).sum::<usize>(),
        outcome,
        took_us = took.as_micros() as u64,
        "command"
    );
}

/// The families of `keys`, each once: `usage~seen usage raw`.
pub(crate) fn families(keys: &[Key]) -> String {
    let mut families: Vec<&str> = Vec::new();
    for key in keys {
        let family = key.family().unwrap_or("raw");
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families.join(" ")
}
