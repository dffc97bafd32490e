//! Sessions that begin: of a user, of nobody yet, and of a user who was nobody before.

use std::error::Error as StdError;
use std::fmt;

use raptor_core::{Error, ErrorKind, Result};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use ulid::Ulid;

use crate::data::SessionData;
use crate::head::{NOBODY, Origin, corrupt, is_for_others, unreadable};
use crate::metadata::Metadata;
use crate::options::AtCap;
use crate::places::{self, Index};
use crate::scripts::{CREATE, PEEK, Said, number, unknown_status};
use crate::service::SessionService;
use crate::telemetry;
use crate::token::{Presented, SessionToken};

/// How long an end stays to be told; see [`SessionService::ended_sessions`].
pub(crate) const TOLD_FOR_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// Calls in which a login evicts those above a cap that was lowered.
const ROUNDS: usize = 64;

/// Why a login was refused: its user has as many sessions as the cap allows.
///
/// It is the source of the error, whose kind is [`Capacity`](ErrorKind::Capacity).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooManySessions {
    /// The cap.
    pub cap: u32,
}

impl TooManySessions {
    /// Whether an error is this one.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        error.source()?.downcast_ref()
    }
}

impl fmt::Display for TooManySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the user has as many live sessions as the cap allows, {}", self.cap)
    }
}

impl StdError for TooManySessions {}

/// A session to be stored.
pub(crate) struct New<'a> {
    pub(crate) id: Ulid,
    /// Nobody's has none.
    pub(crate) index: Option<Index>,
    pub(crate) metadata: &'a Metadata,
}

impl SessionService {
    /// Starts a session of `user` in `workspace` and returns the token that names it.
    ///
    /// If the link breaks while it is sent, it is sent once more under the same token, which is
    /// harmless, for the rest of the command timeout. An error after that may leave behind a session whose token nobody knows; it ends
    /// by its idle timeout.
    ///
    /// With a [cap](crate::SessionOptions::cap) it evicts or refuses, exactly: concurrent logins of one
    /// user never leave more than the cap alive.
    ///
    /// Cost: one round trip, two with a keyring (the sealed deadline is by the server's clock);
    /// O(fields + log sessions of the user), and at the cap O(cap).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty or over-long (512 bytes) user or
    /// workspace; [`Capacity`](ErrorKind::Capacity) with the source [`TooManySessions`] at the cap, if that
    /// rejects: nothing was changed; [`Codec`](ErrorKind::Codec) for an index of the user in a newer layout;
    /// otherwise the connection's errors, [`TryAgain`](ErrorKind::TryAgain) also after the command timeout
    /// while a cluster moves the user's slot: a login writes two keys of it.
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService) -> raptor_core::Result<()> {
    /// use raptor_session::Metadata;
    /// let fields = Metadata::new().with("role", &"admin")?;
    /// let token = sessions.create_session("ann", "acme", &fields).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_session(
        &self,
        user: &str,
        workspace: &str,
        metadata: &Metadata,
    ) -> Result<SessionToken> {
        let outcome = async {
            let index = Index::new(self.client.keys(), workspace, user)?;
            let token = SessionToken::mint(index.shard, self.options.peppers.newest())?;
            let new = New { id: self.new_id()?, index: Some(index), metadata };
            self.store_insisting(&token, &new).await?;
            Ok(token)
        }
        .await;
        telemetry::operation_ended("create", outcome.as_ref().map(|_| "ok"));
        outcome
    }

    /// Starts a session of nobody yet: for a basket, a language, a form's token.
    ///
    /// It is in no index and under no cap, lives in a random shard, and knows neither user nor workspace.
    /// [`promote_session`](Self::promote_session) makes it a user's at the login.
    ///
    /// Cost and errors: as [`create_session`](Self::create_session).
    pub async fn create_anonymous(&self, metadata: &Metadata) -> Result<SessionToken> {
        let outcome = async {
            let token = SessionToken::mint(random::<1>()?[0], self.options.peppers.newest())?;
            let new = New { id: self.new_id()?, index: None, metadata };
            self.store_insisting(&token, &new).await?;
            Ok(token)
        }
        .await;
        telemetry::operation_ended("create", outcome.as_ref().map(|_| "ok"));
        outcome
    }

    /// The login of somebody who has a session already: starts a new one and ends the old, so that a token
    /// which somebody planted before the login is worth nothing after it.
    ///
    /// The fields of an anonymous session move along, as far as there is room beside those of `metadata`, by
    /// name: one of a name that `metadata` has, or that would be past [`MAX_FIELDS`](crate::MAX_FIELDS) or
    /// [`MAX_METADATA_BYTES`](crate::MAX_METADATA_BYTES), is left behind. Those of a session that was
    /// somebody's do not. The old token is not readable for a while, as after a rotation: it is dead.
    ///
    /// The shard changes with the user, so these are three steps. Over an anonymous session: read, create,
    /// delete. What is written to it between the first and the last is lost. If the last fails the login
    /// stands all the same, and the old session, which never knew the user, ends by its idle timeout.
    /// Over any other, and over an anonymous one that is gone or was rotated: read, delete, create, so that no login leaves a user's session behind, and under a
    /// cap that rejects it makes room if it was this user's.
    ///
    /// What cannot be read (damage, a key that is missing here, a newer layout) brings nothing along and locks
    /// nobody out; it is ended like a user's, unless it is damaged or in a newer layout: then it may stay,
    /// until its deadline. An old token of it whose pointer needs a key that is missing here leaves it alive too.
    ///
    /// Cost: one round trip for each step.
    ///
    /// # Errors
    /// As of [`get_session`](Self::get_session) and [`delete_session`](Self::delete_session): nobody is logged
    /// in, and the old session is as it was, unless the answer to its end was lost. As of
    /// [`create_session`](Self::create_session): then an anonymous session is as it was, and any other has ended,
    /// but not for [`InvalidInput`](ErrorKind::InvalidInput). A repeat is as harmless as that of a login.
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// # use raptor_session::Metadata;
    /// let token = sessions.promote_session(cookie, "ann", "acme", &Metadata::new()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn promote_session<'a>(
        &self,
        token: impl Into<Presented<'a>>,
        user: &str,
        workspace: &str,
        metadata: &Metadata,
    ) -> Result<SessionToken> {
        let old = token.into();
        // What cannot be a user ends nobody's session.
        Index::new(self.client.keys(), workspace, user)?;
        let cannot_be_read = |error: &Error| unreadable(error) || is_for_others(error);
        let nobodys = match self.get_session(old).await {
            Ok(session) => session.filter(SessionData::is_anonymous),
            Err(error) if cannot_be_read(&error) => None,
            Err(error) => return Err(error),
        };
        if let Some(before) = nobodys {
            let fields = metadata.clone().filled_up_from(&before.metadata);
            let token = self.create_session(user, workspace, &fields).await?;
            // Its outcome is counted; the login has happened.
            let _ = self.delete_session(old).await;
            return Ok(token);
        }
        match self.delete_session(old).await {
            Err(error) if !cannot_be_read(&error) => return Err(error),
            _ => {}
        }
        self.create_session(user, workspace, metadata).await
    }

    async fn store_insisting(&self, token: &SessionToken, new: &New<'_>) -> Result<()> {
        let by = Instant::now() + self.client.config().command_timeout();
        for _ in 0..ROUNDS {
            let stored = match self.store(token, new).await {
                Err(error) if error.kind() == ErrorKind::Connection => {
                    timeout_at(by, self.store(token, new)).await.unwrap_or(Err(error))
                }
                other => other,
            };
            if stored? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::TryAgain, "the cap was lowered too far for one login: repeat it"))
    }

    /// Stores it; `false` when there is more to evict first.
    pub(crate) async fn store(&self, token: &SessionToken, new: &New<'_>) -> Result<bool> {
        let New { id, index, metadata } = new;
        let at = self.address_of(token)?;
        let session = places::session(self.client.keys(), &at)?;
        let suffix = index.as_ref().map_or(NOBODY, Index::suffix);
        let idle_ms = self.options.idle.as_millis() as i64;
        let whole_ms = self.options.absolute.as_millis() as i64;
        let (mut created, mut seal) = (String::new(), Vec::new());
        if self.seals.is_on() {
            let created_ms = self.time_at(&session).await?;
            let absolute_ms = created_ms + whole_ms;
            let suffix = suffix.to_owned();
            let origin = Origin { id: *id, created_ms, idle_ms, absolute_ms, suffix };
            created = created_ms.to_string();
            seal = self.seals.origin(&at.mac, &origin)?;
        }
        let mut fields = Vec::with_capacity(metadata.len());
        for (name, value) in metadata.stored() {
            fields.push((name, self.seals.field(*id, name, value)?));
        }
        let (cap, at_cap) = match (index, self.options.cap) {
            (Some(_), Some((cap, AtCap::Reject))) => (cap, "reject"),
            (Some(_), Some((cap, _))) => (cap, "evict"),
            _ => (0, "evict"),
        };

        let mut call = self.client.script(&CREATE).idempotent().key(&session);
        if let Some(index) = index {
            call = call.key(&index.key);
        }
        call = call
            .arg(self.now_arg())
            .arg(idle_ms)
            .arg(whole_ms)
            .arg(created)
            .arg(id.to_string())
            .arg(suffix)
            .arg(if self.options.expiry_events { "e" } else { "-" })
            .arg(cap)
            .arg(at_cap)
            .arg(metadata.bytes())
            .arg(TOLD_FOR_MS)
            .arg(seal);
        for (name, value) in fields {
            call = call.arg(format!("f:{name}")).arg(value);
        }
        let (status, items) = match Said::read(call.run().await?)? {
            Said::Of(status, items) => (status, items),
            _ => return Err(unknown_status()),
        };
        match (&status[..], &items[..]) {
            (b"ok", _) => Ok(true),
            (b"again", _) => Ok(false),
            // The same bits again can only be our own earlier attempt. If it is not, the random
            // source is broken, and handing out the token would give away another's session.
            (b"dup", [held, of]) if *held == id.to_string() && *of == *suffix => Ok(true),
            (b"dup", _) => Err(Error::new(
                ErrorKind::Server,
                "a new token exists already: the system's random source repeats itself",
            )),
            (b"full", _) => Err(Error::new(
                ErrorKind::Capacity,
                "the user has as many live sessions as the cap allows: end one of them first",
            )
            .with_source(TooManySessions { cap })),
            (b"late", _) => Err(Error::new(
                ErrorKind::Unavailable,
                "the session would have ended before it was stored: the server is too slow",
            )),
            _ => Err(unknown_status()),
        }
    }

    /// The server's time, asked where the session is to be.
    async fn time_at(&self, session: &raptor_core::Key) -> Result<i64> {
        if let Some(now_ms) = self.now_ms() {
            return Ok(now_ms);
        }
        let call = self.client.script(&PEEK).idempotent().key(session).arg("");
        match Said::read(call.run().await?)? {
            Said::None(items) => number(items.first().ok_or_else(corrupt)?),
            Said::Of(_, items) => number(items.first().ok_or_else(corrupt)?),
            Said::Moved(moved) => Ok(moved.now_ms),
        }
    }

    /// An id that sorts by time; its randomness is the operating system's too.
    pub(crate) fn new_id(&self) -> Result<Ulid> {
        let now_ms = self
            .now_ms()
            .unwrap_or((OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64);
        Ok(Ulid::from_parts(now_ms as u64, u128::from_be_bytes(random()?)))
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut random = [0_u8; N];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the operating system gave no random bytes")
            .with_source(error)
    })?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use raptor_core::{RedisClient, RedisConfig};
    use raptor_testkit::Server;

    use super::*;
    use crate::options::SessionOptions;
    use crate::pepper::Peppers;

    /// What `create_session` does after a broken link, without the broken link.
    #[tokio::test]
    async fn storing_the_same_token_again_is_one_session_and_never_anothers() {
        let server = Server::start().await.expect("a server");
        let driver = raptor_testkit::driver().expect("a driver");
        let config = RedisConfig::builder().url(server.url()).driver(driver);
        let config = config.build().expect("a config");
        let client = RedisClient::connect(config).await.expect("a connection");
        let peppers = Peppers::parse(&format!("k:{}", "QUFB".repeat(11))).expect("peppers");
        let sessions =
            SessionService::new(client, SessionOptions::new(peppers.clone())).expect("a service");
        let token = SessionToken::mint(7, peppers.newest()).expect("random bytes");
        let (id, fields) = (sessions.new_id().expect("an id"), Metadata::new());
        let new = |id, user| {
            let index = Index::new(sessions.client.keys(), "acme", user).expect("an index");
            // In the shard of the token, whatever the user's is.
            let shard = crate::shard::tag(7);
            let family = &raptor_core::Family::SESSION_USER;
            let key = sessions.client.keys().key(family, shard, &["acme", user]).expect("a key");
            New { id, index: Some(Index { key, ..index }), metadata: &fields }
        };
        for _ in 0..2 {
            assert!(sessions.store(&token, &new(id, "ann")).await.expect("stored"));
        }
        let session = sessions.get_session(&token).await.expect("an answer").expect("alive");
        assert_eq!((session.id, session.revision), (id, 1));
        for (id, user) in [(sessions.new_id().expect("an id"), "ann"), (id, "eve")] {
            let error = sessions.store(&token, &new(id, user)).await;
            assert_eq!(error.expect_err("another's").kind(), ErrorKind::Server);
        }
    }
}
