//! A session in use: read and slid, put off, ended.

use std::time::Duration;

use raptor_core::{Error, Result};
use time::OffsetDateTime;

use crate::data::SessionData;
use crate::head::{Head, corrupt, instant};
use crate::places::{self, Index};
use crate::reads::Wanted;
use crate::scripts::{DELETE, EXPEL, EXTEND, Said, number, text, unknown_status};
use crate::service::{By, SessionService, Step};
use crate::telemetry;
use crate::token::{Address, Presented};
use crate::users::who;

/// Sessions of a user that a logout by an old token looks at in one call.
const LOOKED_AT: usize = 1_000;

impl SessionService {
    /// Reads the session of a token and slides its idle deadline; `None` if there is none.
    ///
    /// What cannot be a token of ours (malformed, truncated, of an unknown pepper, of any length)
    /// is `None` without a call to the server. Reads of concurrent callers ride in one call.
    ///
    /// The slide is written when it moves the deadline by a 64th of the idle timeout, or by a second where
    /// that is less. So a session ends up to that much earlier than its idle timeout after its last
    /// use, and never later; a session that is read more often costs the server no writes. As exact is the
    /// time of its last use in a [list](Self::list_sessions), and by it a [cap](crate::SessionOptions::cap)
    /// evicts: in a user's session it is also written where the deadline does not move any more.
    ///
    /// A server that takes no writes (its memory is full, its replicas or its disk are away) is read all the
    /// same: the session then keeps its deadline, and ends there if that lasts.
    ///
    /// A session that its user's index does not list is read and keeps its deadline, so that none
    /// outlives what the index says of it: while a cluster moves the slot and has the index at
    /// the other owner (the next call after that slides again), or if the index was lost.
    ///
    /// By an old token, while it may be read, this reads the session under its newest one, at one more round
    /// trip for each rotation; over more than 64 of them it is an error: rotate less often, or with a
    /// shorter grace.
    ///
    /// Cost: one round trip; O(fields + log sessions of the user).
    ///
    /// # Errors
    /// [`Codec`](raptor_core::ErrorKind::Codec) for a session, or an index of its user, in a newer layout,
    /// for foreign data under its key, and for what does not open with the keyring: a field that was
    /// altered or belongs to another session or name, a user, workspace or deadline that is not the sealed
    /// one; [`Config`](raptor_core::ErrorKind::Config) when it is sealed and the key is missing; otherwise
    /// the connection's errors. A repeat is harmless.
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// match sessions.get_session(cookie).await? {
    ///     Some(session) => println!("{} until {}", session.user, session.expires_at),
    ///     None => println!("please log in"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_session<'a>(
        &self,
        token: impl Into<Presented<'a>>,
    ) -> Result<Option<SessionData>> {
        let Some(at) = self.address(token.into()) else {
            telemetry::operation_ended("get", Ok(telemetry::NOT_A_TOKEN));
            return Ok(None);
        };
        let outcome = self.follow(at, By::Grace, |at| self.read_and_slide(at)).await;
        telemetry::operation_ended("get", outcome.as_ref().map(telemetry::found));
        outcome
    }

    /// Puts off a session's idle deadline once: it then lives at least `by` from now, or to its absolute
    /// deadline where that comes first. Never back. Gives the deadline; `None` if there is no session.
    ///
    /// Later reads slide on as ever, from the moment at which that gives more.
    ///
    /// Cost: one round trip; O(log sessions of the user).
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for less than a millisecond;
    /// [`TryAgain`](raptor_core::ErrorKind::TryAgain) while a cluster moves the slot and has the index at the
    /// other owner; otherwise as [`get_session`](Self::get_session). A repeat is harmless.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// // "Stay logged in": two weeks without a visit, if the absolute timeout allows.
    /// let until = sessions.extend_session(cookie, Duration::from_secs(14 * 86_400)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn extend_session<'a>(
        &self,
        token: impl Into<Presented<'a>>,
        by: Duration,
    ) -> Result<Option<OffsetDateTime>> {
        // Beyond the longest absolute timeout, so that it is all the same.
        let by_ms = by.as_millis().min(1 << 40);
        if by_ms == 0 {
            return Err(Error::invalid("a session is extended by less than a millisecond"));
        }
        let Some(at) = self.address(token.into()) else {
            telemetry::operation_ended("extend", Ok(telemetry::NOT_A_TOKEN));
            return Ok(None);
        };
        let extend = async |at: Address| {
            let session = places::session(self.client.keys(), &at)?;
            let call = self.client.script(&EXTEND).idempotent().key(&session);
            let call = call.arg(self.now_arg()).arg(by_ms as u64).arg(self.seals.arg());
            let said = call.run().await?;
            Step::of(Said::read(said)?, |_, items| {
                let [deadline_ms, head, seal] = &items[..] else { return Err(unknown_status()) };
                self.seals.check_origin(&at.mac, &Head::parse(head)?.origin, seal)?;
                instant(number(deadline_ms)?)
            })
        };
        let outcome = self.follow(at, By::Grace, extend).await;
        telemetry::operation_ended("extend", outcome.as_ref().map(telemetry::found));
        outcome
    }

    /// Ends the session of a token; `false` if there was none (left).
    ///
    /// Once it has answered, no call that runs or comes later brings the session back. After a
    /// lost reply, delete again: `false` then says that the first attempt, or a deadline, ended it.
    /// An index that is not at hand (a cluster in the middle of moving the slot), not an index or in
    /// a newer layout is left alone: an entry that stays behind leaves it with a later login or
    /// list.
    ///
    /// By an old token this ends the session under its newest one, for 60 s or as long as the old one may be
    /// read: a logout that was under way while the token was rotated is a logout. However often it was
    /// rotated, and even while it is: a user's session is found by its id. (One of nobody is followed from
    /// token to token, over 1,024 rotations.) The old token stays what it was, dead.
    ///
    /// Cost: one round trip; O(log sessions of the user). By an old token two, O(sessions of the user), and
    /// one more for each 1,000 of them. No call for what cannot be a token.
    ///
    /// # Errors
    /// As of [`SessionService::get_session`], but that nothing is decrypted.
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// let was_logged_in = sessions.delete_session(cookie).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_session<'a>(&self, token: impl Into<Presented<'a>>) -> Result<bool> {
        let Some(at) = self.address(token.into()) else {
            telemetry::operation_ended("delete", Ok(telemetry::NOT_A_TOKEN));
            return Ok(false);
        };
        let outcome = self.end(at).await;
        telemetry::operation_ended("delete", outcome.as_ref().map(telemetry::found));
        Ok(outcome?.is_some())
    }

    /// Ends the session of `at`, wherever it is by now; `None` when there is none.
    pub(crate) async fn end(&self, at: Address) -> Result<Option<()>> {
        let moved = match self.delete_at(at.clone()).await? {
            Step::Done(()) => return Ok(Some(())),
            Step::None => return Ok(None),
            Step::Moved(moved) => moved,
        };
        self.check(&at, &moved)?;
        match self.expel(at.shard, &moved.whose).await? {
            Some(ended) => Ok(ended.then_some(())),
            // Nobody's, or one that its index does not list: from pointer to pointer.
            None => self.follow(at, By::Pointer, |at| self.delete_at(at)).await,
        }
    }

    /// Ends the session of this "id suffix" through its user's index; whether it was alive, or `None` when it
    /// is not to be found so.
    async fn expel(&self, shard: u8, whose: &[u8]) -> Result<Option<bool>> {
        let Ok((id, workspace, user)) = who(whose) else { return Ok(None) };
        let Ok(index) = Index::new(self.client.keys(), &workspace, &user) else { return Ok(None) };
        if index.shard != shard {
            return Ok(None);
        }
        let mut from = "-inf".to_owned();
        loop {
            let call = self.client.script(&EXPEL).idempotent().key(&index.key);
            let call = call.arg(self.now_arg()).arg(id.to_string()).arg(&from).arg(LOOKED_AT);
            match Said::read(call.run().await?)? {
                Said::None(_) => return Ok(Some(false)),
                Said::Of(status, _) if status == "deleted" => return Ok(Some(true)),
                Said::Of(status, _) if status == "absent" => return Ok(None),
                Said::Of(status, items) if status == "more" => {
                    from = text(items.first().ok_or_else(unknown_status)?)?.to_owned();
                }
                _ => return Err(unknown_status()),
            }
        }
    }

    pub(crate) async fn delete_at(&self, at: Address) -> Result<Step<()>> {
        let session = places::session(self.client.keys(), &at)?;
        let call = self.client.script(&DELETE).idempotent().key(&session);
        let said = call.arg(self.now_arg()).run().await?;
        Step::of(Said::read(said)?, |_, _| Ok(()))
    }

    pub(crate) async fn read_and_slide(&self, at: Address) -> Result<Step<SessionData>> {
        let wanted = Wanted {
            session: places::session(self.client.keys(), &at)?,
            now: self.now_arg().into(),
        };
        let answer = self.reads().submit(&self.client, wanted).await?;
        let now_ms = self.now_ms().unwrap_or(answer.now_ms);
        Step::of(Said::read(answer.session)?, |status, mut items| {
            if status != b"h" {
                return Err(corrupt());
            }
            items.insert(0, bytes::Bytes::from_static(b"h"));
            let session = SessionData::read(&items, &at.mac, &self.seals)?;
            let last_seen_at = session.last_seen_at.max(instant(now_ms)?);
            Ok(SessionData { last_seen_at, ..session })
        })
    }
}
