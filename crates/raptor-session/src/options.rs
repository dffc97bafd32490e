//! How sessions are kept: timeouts, peppers, the cap of a user's sessions, encryption, events.

use std::time::Duration;

use raptor_core::codec::Plaintext;
use raptor_core::{Error, ErrorKind, Keyring, Result};

use crate::pepper::Peppers;

/// No deadline is further away: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The largest cap of a user's sessions.
pub const MAX_CAP: u32 = 1_000;

/// What a login does when its user has as many sessions as the cap allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AtCap {
    /// Ends those unused for the longest, as exact as [`get_session`](crate::SessionService::get_session)
    /// says; of more than 256, those among the 256 that would end first.
    EvictOldest,
    /// Fails with [`TooManySessions`](crate::TooManySessions) and changes nothing.
    Reject,
}

/// How a [`SessionService`](crate::SessionService) keeps sessions.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
    pub(crate) peppers: Peppers,
    pub(crate) cap: Option<(u32, AtCap)>,
    pub(crate) keyring: Option<Keyring>,
    pub(crate) plaintext: Plaintext,
    pub(crate) expiry_events: bool,
}

impl SessionOptions {
    /// With these peppers: idle timeout 30 minutes, absolute timeout 12 hours, no cap, no encryption, no
    /// events.
    #[must_use]
    pub fn new(peppers: Peppers) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            idle: 30 * minute,
            absolute: 12 * 60 * minute,
            peppers,
            cap: None,
            keyring: None,
            plaintext: Plaintext::Refuse,
            expiry_events: false,
        }
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

    /// How many live sessions a user may have in a workspace, 1 to [`MAX_CAP`], and what a login at that
    /// number does. Holds at the moment of a login, for any number of concurrent ones.
    #[must_use]
    pub fn cap(mut self, sessions: u32, at_cap: AtCap) -> Self {
        self.cap = Some((sessions, at_cap));
        self
    }

    /// Encrypts each field, and authenticates each session's user, workspace and deadlines.
    ///
    /// A login and an update then take two round trips instead of one. Sessions from before are refused
    /// unless [`plaintext`](Self::plaintext) accepts them.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Whether sessions that are not sealed are accepted although there is a keyring: while those from
    /// before it live. They stay in the clear, also when they are changed or rotated: anybody who can write to
    /// Redis could plant one then, and it is refused with them afterwards.
    #[must_use]
    pub fn plaintext(mut self, plaintext: Plaintext) -> Self {
        self.plaintext = plaintext;
        self
    }

    /// Keeps an account of new sessions that reach their end or are evicted, for
    /// [`ended_sessions`](crate::SessionService::ended_sessions) to tell.
    #[must_use]
    pub fn expiry_events(mut self) -> Self {
        self.expiry_events = true;
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
        if self.cap.is_some_and(|(cap, _)| !(1..=MAX_CAP).contains(&cap)) {
            return bad("the cap of a user's sessions is out of range: 1 to 1,000");
        }
        Ok(())
    }
}
