//! The service: creates sessions, reads and slides them, ends them; each in one round trip.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use raptor_core::keys::NO_PARTS;
use raptor_core::{Error, ErrorKind, Family, Key, RedisClient, Reply, Result, Script};
use time::OffsetDateTime;
use ulid::Ulid;

use crate::data::{SessionData, corrupt};
use crate::metadata::Metadata;
use crate::options::SessionOptions;
use crate::shard::{shard_of, tag};
use crate::telemetry;
use crate::token::{Address, Presented, SessionToken};

static CREATE: LazyLock<Script> =
    LazyLock::new(|| Script::new("session.create", include_str!("lua/create.lua")));
static GET: LazyLock<Script> =
    LazyLock::new(|| Script::new("session.get", include_str!("lua/get.lua")));
static DELETE: LazyLock<Script> =
    LazyLock::new(|| Script::new("session.delete", include_str!("lua/delete.lua")));

/// Sessions on Redis. Cheap to clone.
///
/// *Guaranteed:* Redis holds no token, and no key but by [`create_session`](Self::create_session):
/// once [`delete_session`](Self::delete_session) has answered, no race brings the session back.
/// A session ends at its idle or absolute deadline by the server's clock, to the millisecond.
///
/// *Not guaranteed:* anything if the server evicts keys or loses acknowledged writes.
///
/// A store that does not answer is an error, never "no session": do not clear a cookie for it.
#[derive(Clone, Debug)]
pub struct SessionService {
    client: RedisClient,
    options: Arc<SessionOptions>,
    now: Option<OffsetDateTime>,
}

impl SessionService {
    /// A service over this client.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) when the timeouts contradict each other.
    pub fn new(client: RedisClient, options: SessionOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { client, options: Arc::new(options), now: None })
    }

    /// The same service for which it is always `now`, for tests and models: the server's clock
    /// is not asked. Keys still expire in real time, as long after the call as after `now`.
    #[must_use]
    pub fn pinned_at(&self, now: OffsetDateTime) -> Self {
        Self { now: Some(now), ..self.clone() }
    }

    /// Starts a session of `user` in `workspace` and returns the token that names it.
    ///
    /// If the link breaks while it is sent, it is sent once more under the same token, which is
    /// harmless. An error after that may leave behind a session whose token nobody knows; it ends
    /// by its idle timeout.
    ///
    /// Cost: one round trip; O(fields + log sessions of the user).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty or over-long (512 bytes) user or
    /// workspace; [`Codec`](ErrorKind::Codec) for an index of the user in a newer layout; otherwise
    /// the connection's errors, [`TryAgain`](ErrorKind::TryAgain) also after the command timeout
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
            let token =
                SessionToken::mint(shard_of(workspace, user), self.options.peppers.newest())?;
            let id = new_id()?;
            match self.store(&token, id, user, workspace, metadata).await {
                Err(error) if error.kind() == ErrorKind::Connection => {
                    self.store(&token, id, user, workspace, metadata).await?;
                }
                other => other?,
            }
            Ok(token)
        }
        .await;
        telemetry::operation_ended("create", outcome.as_ref().map(|_| "ok"));
        outcome
    }

    /// Reads the session of a token and slides its idle deadline; `None` if there is none.
    ///
    /// What cannot be a token of ours (malformed, truncated, of an unknown pepper, of any length)
    /// is `None` without a call to the server.
    ///
    /// A session that its user's index does not list is read and keeps its deadline, so that none
    /// outlives what the index says of it: while a cluster moves the slot and has the index at
    /// the other owner (the next call after that slides again), or if the index was lost.
    ///
    /// Cost: one round trip; O(fields + log sessions of the user).
    ///
    /// # Errors
    /// [`Codec`](ErrorKind::Codec) for a session, or an index of its user, in a newer layout, or for
    /// foreign data under its key; otherwise the connection's errors. A repeat is harmless.
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
        let Some(address) = Address::of(token.into(), &self.options.peppers) else {
            telemetry::operation_ended("get", Ok("not_a_token"));
            return Ok(None);
        };
        let outcome = self.read_and_slide(&address).await;
        let label = |data: &Option<SessionData>| if data.is_some() { "ok" } else { "none" };
        telemetry::operation_ended("get", outcome.as_ref().map(label));
        outcome
    }

    /// Ends the session of a token; `false` if there was none (left).
    ///
    /// Once it has answered, no call that runs or comes later brings the session back. After a
    /// lost reply, delete again: `false` then says that the first attempt, or a deadline, ended it.
    /// An index that is not at hand (a cluster in the middle of moving the slot), not an index or in
    /// a newer layout is left alone: an entry that stays behind ends with its score, the deadline it
    /// had.
    ///
    /// Cost: one round trip; O(log sessions of the user). No call for what cannot be a token.
    ///
    /// # Errors
    /// As of [`SessionService::get_session`].
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// let was_logged_in = sessions.delete_session(cookie).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_session<'a>(&self, token: impl Into<Presented<'a>>) -> Result<bool> {
        let Some(address) = Address::of(token.into(), &self.options.peppers) else {
            telemetry::operation_ended("delete", Ok("not_a_token"));
            return Ok(false);
        };
        let outcome = self.delete(&address).await;
        let label = |&deleted: &bool| if deleted { "ok" } else { "none" };
        telemetry::operation_ended("delete", outcome.as_ref().map(label));
        outcome
    }

    async fn store(
        &self,
        token: &SessionToken,
        id: Ulid,
        user: &str,
        workspace: &str,
        metadata: &Metadata,
    ) -> Result<()> {
        let address = Address::of(token.into(), &self.options.peppers).ok_or_else(corrupt)?;
        let keys = Keys::new(&self.client, &address)?;
        let tag = tag(address.shard);
        let index = self.client.keys().key(&Family::SESSION_USER, &tag, &[workspace, user])?;
        let suffix = index.as_bytes().strip_prefix(keys.index_head.as_bytes()).unwrap_or_default();

        let mut call = self
            .client
            .script(&CREATE)
            .idempotent()
            .key(&keys.session)
            .key(&index)
            .arg(self.now_arg())
            .arg(self.options.idle.as_millis() as i64)
            .arg(self.options.absolute.as_millis() as i64)
            .arg(address.mac.as_str())
            .arg(id.to_string())
            .arg(user)
            .arg(workspace)
            .arg(suffix);
        for (name, value) in metadata.stored() {
            call = call.arg(format!("f:{name}")).arg(value);
        }
        let reply: Vec<String> = call.run::<Vec<String>>().await?;
        match reply.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["ok"] => Ok(()),
            // The same bits again can only be our own earlier attempt. If it is not, the random
            // source is broken, and handing out the token would give away another's session.
            ["dup", held, of_user, in_workspace]
                if held == id.to_string() && of_user == user && in_workspace == workspace =>
            {
                Ok(())
            }
            ["dup", ..] => Err(Error::new(
                ErrorKind::Server,
                "a new token exists already: the system's random source repeats itself",
            )),
            [other, ..] => Err(refused(other)),
            [] => Err(unknown_status()),
        }
    }

    async fn read_and_slide(&self, address: &Address) -> Result<Option<SessionData>> {
        let keys = Keys::new(&self.client, address)?;
        let reply: Vec<Reply> = self
            .client
            .script(&GET)
            .idempotent()
            .key(&keys.session)
            .arg(self.now_arg())
            .arg(keys.index_head.as_bytes())
            .arg(address.mac.as_str())
            .run::<Vec<Reply>>()
            .await?;
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        match next().decode::<String>()?.as_str() {
            "ok" => {
                let (last_seen_ms, deadline_ms) =
                    (next().decode::<i64>()?, next().decode::<i64>()?);
                let fields = next().decode::<Vec<Bytes>>()?;
                SessionData::decode(fields, last_seen_ms, deadline_ms).map(Some)
            }
            "none" => Ok(None),
            other => Err(refused(other)),
        }
    }

    async fn delete(&self, address: &Address) -> Result<bool> {
        let keys = Keys::new(&self.client, address)?;
        let reply: Vec<String> = self
            .client
            .script(&DELETE)
            .idempotent()
            .key(&keys.session)
            .arg(self.now_arg())
            .arg(keys.index_head.as_bytes())
            .arg(address.mac.as_str())
            .run::<Vec<String>>()
            .await?;
        match reply.first().map_or("", String::as_str) {
            "deleted" => Ok(true),
            "none" => Ok(false),
            other => Err(refused(other)),
        }
    }

    fn now_arg(&self) -> String {
        self.now
            .map_or_else(String::new, |now| (now.unix_timestamp_nanos() / 1_000_000).to_string())
    }
}

/// What a token alone can name.
struct Keys {
    session: Key,
    /// `…session~user:{sNNN}`; a session's own hash holds the rest of its index's name.
    index_head: Key,
}

impl Keys {
    fn new(client: &RedisClient, address: &Address) -> Result<Self> {
        let tag = tag(address.shard);
        Ok(Self {
            session: client.keys().key(&Family::SESSION, &tag, &[&address.mac])?,
            index_head: client.keys().key(&Family::SESSION_USER, &tag, NO_PARTS)?,
        })
    }
}

fn refused(status: &str) -> Error {
    match status {
        "layout" => Error::codec(
            "this session, or its user's index, is stored in a newer layout: update this process",
        ),
        "corrupt" => corrupt(),
        _ => unknown_status(),
    }
}

fn unknown_status() -> Error {
    Error::new(ErrorKind::Protocol, "unknown status of a session operation")
}

/// An id that sorts by time; its randomness is the operating system's too.
fn new_id() -> Result<Ulid> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the operating system gave no random bytes")
            .with_source(error)
    })?;
    let now_ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    Ok(Ulid::from_parts(now_ms as u64, u128::from_be_bytes(random)))
}

#[cfg(test)]
mod tests {
    use raptor_core::RedisConfig;
    use raptor_testkit::Server;

    use super::*;
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
        let (id, fields) = (new_id().expect("an id"), Metadata::new());
        for _ in 0..2 {
            sessions.store(&token, id, "ann", "acme", &fields).await.expect("stored");
        }
        let session = sessions.get_session(&token).await.expect("an answer").expect("alive");
        assert_eq!((session.id, session.revision), (id, 1));
        for (id, user) in [(new_id().expect("an id"), "ann"), (id, "eve")] {
            let error = sessions.store(&token, id, user, "acme", &fields).await;
            assert_eq!(error.expect_err("another's").kind(), ErrorKind::Server);
        }
    }
}
