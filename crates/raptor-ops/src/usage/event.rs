//! One usage event: what was used by whom, under an id whose time is the event's.

use raptor_core::{Error, Result};
use time::OffsetDateTime;
use ulid::Ulid;

/// The longest model, agent or user name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The highest count of one kind in one event, and its highest cost in micro-dollars: 10¹⁵.
pub const MAX_COUNT: u64 = 1_000_000_000_000_000;

/// How much was used, by kind. Each token counts once: cached input is not part of `input`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Input (prompt, context) tokens that were not cached.
    pub input: u64,
    /// Output (generated) tokens.
    pub output: u64,
    /// Input tokens out of the provider's prompt cache.
    pub cached: u64,
    /// Requests.
    pub requests: u64,
}

/// One event to charge. A repeat under the same id, even from another process, is charged once.
///
/// The id is a ULID and its time is the event's: make the event once and record *that* one again
/// when an attempt fails. Names may hold any bytes of UTF-8, 1 to [`MAX_NAME_BYTES`] long; they
/// are checked when the event is recorded.
///
/// ```
/// use raptor_ops::usage::UsageEvent;
/// let event = UsageEvent::new("acme", "gpt-4o-mini").user("ann").agent("mail").input(900).output(40);
/// assert_eq!(event.counts().requests, 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    id: Ulid,
    workspace: String,
    model: String,
    agent: Option<String>,
    user: Option<String>,
    counts: Counts,
}

impl UsageEvent {
    /// One request to `model` for `workspace`, now by this machine's clock, under a new random id.
    pub fn new(workspace: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            id: new_id(),
            workspace: workspace.into(),
            model: model.into(),
            agent: None,
            user: None,
            counts: Counts { requests: 1, ..Counts::default() },
        }
    }

    /// Under this id, which also says when it happened.
    #[must_use]
    pub fn with_id(mut self, id: Ulid) -> Self {
        self.id = id;
        self
    }

    /// On behalf of this user; otherwise it counts as unattributed.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// By this agent; otherwise it counts as unattributed.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// With so many input tokens that were not cached.
    #[must_use]
    pub fn input(mut self, tokens: u64) -> Self {
        self.counts.input = tokens;
        self
    }

    /// With so many output tokens.
    #[must_use]
    pub fn output(mut self, tokens: u64) -> Self {
        self.counts.output = tokens;
        self
    }

    /// With so many cached input tokens.
    #[must_use]
    pub fn cached(mut self, tokens: u64) -> Self {
        self.counts.cached = tokens;
        self
    }

    /// With so many requests; 1 unless told.
    #[must_use]
    pub fn requests(mut self, requests: u64) -> Self {
        self.counts.requests = requests;
        self
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> Ulid {
        self.id
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// How much was used.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Model, agent, user in the script's order; empty is unattributed.
    pub(super) fn names(&self) -> [&str; 3] {
        [
            &self.model,
            self.agent.as_deref().unwrap_or_default(),
            self.user.as_deref().unwrap_or_default(),
        ]
    }

    /// When it happened, in milliseconds since 1970.
    pub(super) fn at_ms(&self) -> i64 {
        // A ULID has 48 bits of time.
        self.id.timestamp_ms() as i64
    }

    /// When it happened.
    ///
    /// # Errors
    /// `InvalidInput` for an id whose time is past the year 9999.
    pub(super) fn at(&self) -> Result<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.at_ms()) * 1_000_000)
            .map_err(|_| Error::invalid("the event id's time is past the year 9999"))
    }

    /// Refuses what cannot be charged whatever is stored.
    pub(super) fn validate(&self) -> Result<()> {
        let names = [
            ("model", Some(&self.model)),
            ("agent", self.agent.as_ref()),
            ("user", self.user.as_ref()),
        ];
        for (what, name) in names {
            let Some(name) = name else { continue };
            if name.is_empty() {
                return Err(Error::invalid(format!("an event's {what} name is empty")));
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(Error::invalid(format!(
                    "an event's {what} name has {} bytes, more than {MAX_NAME_BYTES}",
                    name.len()
                )));
            }
        }
        let Counts { input, output, cached, requests } = self.counts;
        let counts = [input, output, cached, requests];
        if counts.iter().any(|&count| count > MAX_COUNT) {
            return Err(Error::invalid(format!(
                "an event counts more than {MAX_COUNT} of one kind"
            )));
        }
        if counts.iter().all(|&count| count == 0) {
            return Err(Error::invalid("an event counts nothing: no tokens and no requests"));
        }
        Ok(())
    }
}

fn new_id() -> Ulid {
    Ulid::generate()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_charged_is_refused() {
        let event = || UsageEvent::new("w", "m");
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for (why, bad) in [
            ("empty model", UsageEvent::new("w", "")),
            ("empty user", event().user("")),
            ("empty agent", event().agent("")),
            ("long model", UsageEvent::new("w", long.clone())),
            ("long user", event().user(long.clone())),
            ("long agent", event().agent(long)),
            ("overflow", event().input(MAX_COUNT + 1)),
            ("overflow", event().requests(u64::MAX)),
            ("nothing", event().requests(0)),
        ] {
            assert!(bad.validate().is_err(), "{why}");
        }
        assert!(event().user("x".repeat(MAX_NAME_BYTES)).input(MAX_COUNT).validate().is_ok());
    }

    #[test]
    fn the_time_is_the_ids() {
        let event = UsageEvent::new("w", "m").with_id(Ulid::from_parts(1_768_471_200_123, 7));
        assert_eq!(event.at_ms(), 1_768_471_200_123);
        assert_eq!(event.at().map(OffsetDateTime::millisecond).ok(), Some(123));
        assert!(UsageEvent::new("w", "m").with_id(Ulid::from_bytes([255; 16])).at().is_err());
    }
}
