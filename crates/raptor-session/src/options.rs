//! How sessions are kept: their two timeouts and the peppers of their tokens.

use std::time::Duration;

use raptor_core::{Error, ErrorKind, Result};

use crate::pepper::Peppers;

/// No deadline is further away: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How a [`SessionService`](crate::SessionService) keeps sessions.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
    pub(crate) peppers: Peppers,
}

impl SessionOptions {
    /// With these peppers: idle timeout 30 minutes, absolute timeout 12 hours.
    #[must_use]
    pub fn new(peppers: Peppers) -> Self {
        let minute = Duration::from_secs(60);
        Self { idle: 30 * minute, absolute: 12 * 60 * minute, peppers }
    }

    /// How long a session lives unused: 1 ms to the absolute timeout.
    ///
    /// Both timeouts are stored with each session when it is created.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// How long a session lives however it is used: up to ten years.
    #[must_use]
    pub fn absolute(mut self, absolute: Duration) -> Self {
        self.absolute = absolute;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let bad = |why: &str| Err(Error::new(ErrorKind::Config, why));
        if self.idle < Duration::from_millis(1) {
            return bad("the idle timeout of sessions is below one millisecond");
        }
        if self.idle > self.absolute {
            return bad("the idle timeout of sessions is longer than the absolute one");
        }
        if self.absolute > LONGEST {
            return bad("the absolute timeout of sessions is longer than ten years");
        }
        Ok(())
    }
}
