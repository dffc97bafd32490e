//! The service: its options over one client, and how a call finds the session of a token.

use std::sync::Arc;

use raptor_core::{Coalescer, Error, ErrorKind, RedisClient, Result};
use time::OffsetDateTime;

use crate::head::corrupt;
use crate::options::SessionOptions;
use crate::reads::{self, Get};
use crate::scripts::{Moved, Said};
use crate::seal::Seals;
use crate::token::{Address, Presented, SessionToken, is_mac};

/// How many rotations a token is followed over, each within the grace of the last.
pub(crate) const HOPS: usize = 64;
/// How far a logout follows that no index helps.
const HOPS_TO_END: usize = 1_024;

/// Sessions on Redis. Cheap to clone; concurrent reads of all clones ride together.
///
/// *Guaranteed:* Redis holds no token, and no key but by a login and a rotation: once
/// [`delete_session`](Self::delete_session) has answered, no race brings the session back. A session
/// ends at its absolute deadline, and unused at its idle one, by the server's clock, to the millisecond.
///
/// *Not guaranteed:* anything if the server evicts keys or loses acknowledged writes.
///
/// A store that does not answer is an error, never "no session": do not clear a cookie for it.
///
/// What a token is good for after it was rotated is told at [`rotate_session`](Self::rotate_session).
#[derive(Clone, Debug)]
pub struct SessionService {
    pub(crate) client: RedisClient,
    pub(crate) options: Arc<SessionOptions>,
    pub(crate) seals: Seals,
    reads: Coalescer<Get>,
    now: Option<OffsetDateTime>,
}

/// What may be done by an old token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Whatever is done while it may be read.
    Grace,
    /// What ends the session, as long as the pointer stands.
    Pointer,
}

impl SessionService {
    /// A service over this client. Sends nothing.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) when the options contradict each other.
    pub fn new(client: RedisClient, options: SessionOptions) -> Result<Self> {
        options.validate()?;
        let reads = Coalescer::with_limits(Get, reads::limits());
        let seals = Seals::new(options.keyring.as_ref(), options.plaintext, client.keys());
        Ok(Self { client, options: Arc::new(options), seals, reads, now: None })
    }

    /// The same service under other options; reads of both ride together.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(&self, options: SessionOptions) -> Result<Self> {
        let other = Self::new(self.client.clone(), options)?;
        Ok(Self { reads: self.reads.clone(), now: self.now, ..other })
    }

    /// The same service for which it is always `now` (from 1970 on), for tests and models: the server's
    /// clock is not asked. Keys still expire in real time, as long after the call as after `now`.
    #[must_use]
    pub fn pinned_at(&self, now: OffsetDateTime) -> Self {
        Self { now: Some(now), ..self.clone() }
    }

    /// Where the session of a token is; `None` for what cannot be a token.
    pub(crate) fn address(&self, token: Presented<'_>) -> Option<Address> {
        Address::of(token, &self.options.peppers)
    }

    /// Where the session of a token is that was minted here.
    pub(crate) fn address_of(&self, token: &SessionToken) -> Result<Address> {
        self.address(token.into()).ok_or_else(|| {
            Error::invalid("the token is of no pepper that is configured: mint it by this service")
        })
    }

    pub(crate) fn now_ms(&self) -> Option<i64> {
        self.now.map(|now| (now.unix_timestamp_nanos() / 1_000_000) as i64)
    }

    pub(crate) fn now_arg(&self) -> String {
        self.now_ms().map_or_else(String::new, |now| now.to_string())
    }

    pub(crate) fn reads(&self) -> &Coalescer<Get> {
        &self.reads
    }

    /// Asks about the session at `at`, and where it went if it was rotated; `None` when there is none.
    pub(crate) async fn follow<T, F>(
        &self,
        mut at: Address,
        by: By,
        ask: impl Fn(Address) -> F,
    ) -> Result<Option<T>>
    where
        F: Future<Output = Result<Step<T>>>,
    {
        for _ in 0..if by == By::Pointer { HOPS_TO_END } else { HOPS } {
            match ask(at.clone()).await? {
                Step::Done(done) => return Ok(Some(done)),
                Step::None => return Ok(None),
                Step::Moved(moved) => match self.next(&at, &moved, by)? {
                    Some(next) => at = next,
                    None => return Ok(None),
                },
            }
        }
        Err(Error::new(
            ErrorKind::Codec,
            "the token was rotated more often than it is followed: rotate less often or with a \
             shorter grace, and ask by the newest token",
        ))
    }

    /// Refuses a pointer that no rotation made.
    pub(crate) fn check(&self, at: &Address, moved: &Moved) -> Result<()> {
        if !is_mac(&moved.to) {
            return Err(corrupt());
        }
        self.seals.check_pointer(&at.mac, moved)
    }

    /// Where a pointer leads whoever may follow it.
    fn next(&self, at: &Address, moved: &Moved, by: By) -> Result<Option<Address>> {
        self.check(at, moved)?;
        let may = by == By::Pointer || moved.now_ms < moved.readable_ms;
        Ok(may.then(|| Address { shard: at.shard, mac: moved.to.clone() }))
    }
}

/// What came of asking at one place.
pub(crate) enum Step<T> {
    Done(T),
    None,
    Moved(Moved),
}

impl Step<()> {
    /// A script's answer as a step: its own status and items are read by `done`.
    pub(crate) fn of<T>(
        said: Said,
        done: impl FnOnce(&[u8], Vec<bytes::Bytes>) -> Result<T>,
    ) -> Result<Step<T>> {
        Ok(match said {
            Said::Of(status, items) => Step::Done(done(&status, items)?),
            Said::None(_) => Step::None,
            Said::Moved(moved) => Step::Moved(moved),
        })
    }
}
