//! Another token for the same session.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use raptor_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::places;
use crate::scripts::{Moved, ROTATE, Said, unknown_status};
use crate::service::{SessionService, Step};
use crate::telemetry;
use crate::token::{Address, Presented, SessionToken};
use crate::update::Peeked;

/// How long a logout by the old token is understood, at least.
const POINTER: Duration = Duration::from_secs(60);

/// The longest that an old token may be read after it was rotated.
pub const MAX_GRACE: Duration = Duration::from_secs(60 * 60);

/// The first pause before an answer that was lost is asked for again; each is twice the last.
const PAUSE: Duration = Duration::from_millis(10);

/// A rotation to be awaited: [`SessionService::rotate_session`].
#[derive(Debug)]
#[must_use = "a rotation does nothing until it is awaited"]
pub struct Rotate<'a> {
    service: &'a SessionService,
    token: Presented<'a>,
    to: Option<&'a SessionToken>,
    grace: Duration,
}

impl<'a> Rotate<'a> {
    /// How long the old token still serves requests that are under way, up to [`MAX_GRACE`]; not at all
    /// unless told.
    ///
    /// It reads the session under its new token, and updates it there. Whoever else has the old
    /// token can do so too: leave it at zero when the rotation follows a suspicion, and else at the length
    /// of a page's requests.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Under this token, of [`SessionService::next_token`]: a repeat with the same one after an error is
    /// harmless, and finishes what was begun, for at least 60 s.
    pub fn to(mut self, token: &'a SessionToken) -> Self {
        self.to = Some(token);
        self
    }

    async fn run(self) -> Result<Option<SessionToken>> {
        let Self { service, token, to, grace } = self;
        if grace > MAX_GRACE {
            return Err(Error::invalid(format!(
                "a grace of {grace:?} is longer than {MAX_GRACE:?}: an old token is to end"
            )));
        }
        let Some(at) = service.address(token) else {
            telemetry::operation_ended("rotate", Ok(telemetry::NOT_A_TOKEN));
            return Ok(None);
        };
        let new = match to {
            Some(token) => token.clone(),
            None => SessionToken::mint(at.shard, service.options.peppers.newest())?,
        };
        let outcome = service.replace_insisting(&at, &new, grace).await;
        let outcome = match outcome {
            Ok(rotated) => Ok(rotated.then_some(new)),
            // Nobody else knows the token that the session may have by now.
            Err((error, Ran::Perhaps)) if to.is_none() => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "the session may have another token that nobody was told: take a next_token before \
                 you rotate, and repeat it with that",
            )
            .with_source(error)),
            Err((error, _)) => Err(error),
        };
        telemetry::operation_ended("rotate", outcome.as_ref().map(telemetry::found));
        outcome
    }
}

fn out_of_time(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!(
            "the session was not rotated within {timeout:?}; a repeat with its next_token is harmless"
        ),
    )
}

/// Whether a rotation may have happened whose answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    No,
    Perhaps,
}

impl<'a> IntoFuture for Rotate<'a> {
    type Output = Result<Option<SessionToken>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl SessionService {
    /// Gives a session another token: when its user's rights grow, and every now and then. Everything
    /// else stays: id, fields, revision, deadlines, its place in the index. `None` if there is no session, or
    /// somebody else rotated this token: of concurrent rotations of one token exactly one succeeds.
    ///
    /// What the old token is good for then:
    ///
    /// | | in its [grace](Rotate::grace) (zero unless told) | after it |
    /// | --- | --- | --- |
    /// | get, extend, update, take a flash | the session under its new token | no such session |
    /// | rotate | no such session; with the same [`to`](Rotate::to) once more the same answer | the same |
    /// | delete | ends the session, for at least 60 s | for at least 60 s |
    ///
    /// A grace ends with that of the next rotation: after A to B with an hour and B to C without any, A is
    /// dead. A rotation by [`to`](Rotate::to) that is repeated after its new token was rotated too is `None`.
    ///
    /// Nothing is ever stored under an old token but where it leads. So a request that was under way
    /// loses no update within the grace, a logout is never lost to a rotation, and without a
    /// grace a stolen token is worth nothing but its owner's logout.
    ///
    /// An answer that is lost is asked for again, which is harmless under the same new token, until the
    /// command timeout has passed. If there is none by then, the session stands under its old token or under
    /// the new one. Who must not lose a login takes a [`next_token`](Self::next_token) first and rotates
    /// [`to`](Rotate::to) it: a repeat within 60 s (the grace, if that is longer) finishes the rotation or
    /// says that it has happened, and [`get_session`](Self::get_session) by that token tells at any time.
    /// Within its grace the old token serves meanwhile.
    ///
    /// Cost: two round trips (the new place is sealed for who the session is); O(log sessions of the user).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for too long a grace, or a new token of another
    /// shard; [`TryAgain`](ErrorKind::TryAgain) while a cluster moves the slot;
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) when it may have happened and the new token was not given
    /// by [`to`](Rotate::to): the old one serves for its grace, and then its user logs in again; otherwise as
    /// [`get_session`](Self::get_session).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// // Ann gave her password again, to see the bills.
    /// match sessions.rotate_session(cookie).grace(Duration::from_secs(10)).await? {
    ///     Some(token) => println!("Set-Cookie: …"),
    ///     None => println!("please log in"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rotate_session<'a>(&'a self, token: impl Into<Presented<'a>>) -> Rotate<'a> {
        Rotate { service: self, token: token.into(), to: None, grace: Duration::ZERO }
    }

    /// A new token in the shard of this one, for a rotation that can be repeated; `None` for what cannot be
    /// a token. Sends nothing.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when the operating system gives no random bytes.
    pub fn next_token<'a>(&self, token: impl Into<Presented<'a>>) -> Result<Option<SessionToken>> {
        let at = self.address(token.into());
        at.map(|at| SessionToken::mint(at.shard, self.options.peppers.newest())).transpose()
    }

    /// As [`replace`](Self::replace), asked again and again while the answer may have been lost, all of it
    /// within the command timeout.
    async fn replace_insisting(
        &self,
        old: &Address,
        new: &SessionToken,
        grace: Duration,
    ) -> Result<bool, (Error, Ran)> {
        let (began, timeout) = (Instant::now(), self.client.config().command_timeout());
        let (mut ran, mut pause) = (Ran::No, PAUSE);
        loop {
            let replace = self.replace(old, new, grace, &mut ran);
            let error = match tokio::time::timeout_at(began + timeout, replace).await {
                Ok(Ok(rotated)) => return Ok(rotated),
                Ok(Err(error)) => error,
                Err(_) => return Err((out_of_time(timeout), ran)),
            };
            // What never left, and cannot, is told at once.
            let is_lost = error.kind() == ErrorKind::Connection || ran == Ran::Perhaps;
            if !is_lost || !error.is_retryable() || began.elapsed() + pause >= timeout {
                return Err((error, ran));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Whether the session of `old` is that of `new` now.
    async fn replace(
        &self,
        old: &Address,
        new: &SessionToken,
        grace: Duration,
        ran: &mut Ran,
    ) -> Result<bool> {
        let to = self.address_of(new)?;
        if to.shard != old.shard || to.mac == old.mac {
            return Err(Error::invalid(
                "the new token is not one of next_token for the old one: take it from there",
            ));
        }
        let Peeked { head, now_ms, is_sealed } = match self.peek(old).await? {
            Step::Done(found) => found,
            Step::None => return Ok(false),
            Step::Moved(moved) => return self.is_there(&moved, &to).await,
        };
        let readable_ms = now_ms + grace.as_millis() as i64;
        let (mut seal, mut pointer) = (Vec::new(), Vec::new());
        // What is in the clear stays so: nobody knows who wrote it.
        if is_sealed {
            seal = self.seals.origin(&to.mac, &head.origin)?;
            pointer = self.seals.pointer(&old.mac, &to.mac, readable_ms, &head.origin)?;
        }
        let call = self
            .client
            .script(&ROTATE)
            .idempotent()
            .key(&places::session(self.client.keys(), old)?)
            .key(&places::session(self.client.keys(), &to)?)
            .arg(self.now_arg())
            .arg(head.origin.id.to_string())
            .arg(readable_ms)
            .arg(POINTER.as_millis() as i64)
            .arg(seal)
            .arg(pointer);
        // Dropped while it is under way, it may have run as well.
        let before = std::mem::replace(ran, Ran::Perhaps);
        let reply = call.run().await;
        let is_lost =
            |error: &Error| matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout);
        if !reply.as_ref().is_err_and(is_lost) {
            *ran = before;
        }
        match Said::read(reply?)? {
            Said::Of(status, _) if status == "ok" => Ok(true),
            Said::Of(status, _) if status == "dup" => Err(Error::invalid(
                "the new token has a session already: take a new one from next_token",
            )),
            Said::Of(..) => Err(unknown_status()),
            // Somebody was faster; or it was ended.
            Said::None(_) | Said::Moved(_) => Ok(false),
        }
    }

    /// After a rotation: whether it was this one, and its session lives.
    async fn is_there(&self, moved: &Moved, to: &Address) -> Result<bool> {
        if moved.to != to.mac {
            return Ok(false);
        }
        Ok(matches!(self.peek(to).await?, Step::Done(_)))
    }
}
