//! Another token for the same session.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use raptor_core::{Error, ErrorKind, Result};

use crate::places;
use crate::scripts::{Moved, ROTATE, Said, unknown_status};
use crate::service::{SessionService, Step};
use crate::telemetry;
use crate::token::{Address, Presented, SessionToken};

/// How long a logout by the old token is understood, at least.
const POINTER: Duration = Duration::from_secs(60);

/// The longest that an old token may be read after it was rotated.
pub const MAX_GRACE: Duration = Duration::from_secs(60 * 60);

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
    /// harmless, and finishes what was begun.
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
        let outcome = match service.replace(&at, &new, grace).await {
            Err(error) if error.kind() == ErrorKind::Connection => {
                service.replace(&at, &new, grace).await
            }
            other => other,
        };
        let outcome = outcome.map(|rotated| rotated.then_some(new));
        telemetry::operation_ended("rotate", outcome.as_ref().map(telemetry::found));
        outcome
    }
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
    /// Nothing is ever stored under an old token but where it leads. So a request that was under way
    /// loses no update within the grace, a logout is never lost to a rotation, and without a
    /// grace a stolen token is worth nothing but its owner's logout.
    ///
    /// If the link breaks it is sent once more, which is harmless. To repeat it yourself, take a
    /// [`next_token`](Self::next_token) first.
    ///
    /// Cost: two round trips (the new place is sealed for who the session is); O(log sessions of the user).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for too long a grace, or a new token of another
    /// shard; [`TryAgain`](ErrorKind::TryAgain) while a cluster moves the slot; otherwise as
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

    /// Whether the session of `old` is that of `new` now.
    async fn replace(&self, old: &Address, new: &SessionToken, grace: Duration) -> Result<bool> {
        let to = self.address_of(new)?;
        if to.shard != old.shard || to.mac == old.mac {
            return Err(Error::invalid(
                "the new token is not one of next_token for the old one: take it from there",
            ));
        }
        let (head, now_ms) = match self.peek(old).await? {
            Step::Done(found) => found,
            Step::None => return Ok(false),
            Step::Moved(moved) => return self.is_there(&moved, &to).await,
        };
        let readable_ms = now_ms + grace.as_millis() as i64;
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
            .arg(self.seals.origin(&to.mac, &head.origin)?)
            .arg(self.seals.pointer(&old.mac, &to.mac, readable_ms)?);
        match Said::read(call.run().await?)? {
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
