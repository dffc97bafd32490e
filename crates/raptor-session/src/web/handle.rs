//! The session of one request: asked for when it is wanted, once, and changed on the way.

use std::fmt;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use raptor_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::cookie::CookiePolicy;
use crate::changes::Changes;
use crate::data::SessionData;
use crate::head::unreadable;
use crate::metadata::Metadata;
use crate::service::{By, SessionService};
use crate::token::SessionToken;
use crate::update::Updated;

/// The session of one request. Cheap to clone; an extension of the request, and an extractor of axum's.
///
/// What sets or clears the cookie (a login, a beginning, a rotation, a logout) goes before the response's head:
/// once that is sent, or given up, it is [`InvalidInput`](ErrorKind::InvalidInput), and the store is not asked.
/// So do it in the handler, not in a body that is streamed; what reads and updates goes on working there. A
/// head waits for a change that is under way, for as long as the command timeout.
///
/// Its `Debug` shows no token.
#[derive(Clone)]
pub struct SessionHandle {
    inner: Arc<Inner>,
}

struct Inner {
    service: SessionService,
    policy: CookiePolicy,
    state: Mutex<State>,
    /// Shared by the changes that are under way; the head takes it whole.
    before_head: RwLock<()>,
}

#[derive(Default)]
struct State {
    /// What the browser sent, or was given since.
    token: Option<Zeroizing<String>>,
    /// What the store said of it; an error is asked again.
    loaded: Option<Option<SessionData>>,
    /// The cookie that the response is to set.
    cookie: Option<HeaderValue>,
    /// The token of a rotation that was begun and may have happened.
    next: Option<SessionToken>,
    /// Grows with each change, so that nothing is kept that was read before one.
    changes: u64,
    /// The response's head has gone, or there will be none: no cookie can be set any longer.
    is_too_late: bool,
}

impl State {
    fn changed(&mut self) {
        self.loaded = None;
        self.changes += 1;
    }

    fn become_of(&mut self, token: Option<Zeroizing<String>>, cookie: Option<HeaderValue>) {
        (self.token, self.cookie, self.next) = (token, cookie, None);
        self.changed();
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle").finish_non_exhaustive()
    }
}

impl SessionHandle {
    pub(super) fn new(
        service: SessionService,
        policy: CookiePolicy,
        token: Option<String>,
    ) -> Self {
        let state = State { token: token.map(Zeroizing::new), ..State::default() };
        let (state, before_head) = (Mutex::new(state), RwLock::default());
        Self { inner: Arc::new(Inner { service, policy, state, before_head }) }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &SessionService {
        &self.inner.service
    }

    /// The session, as it was when this request first asked; `None` if there is none. No call without a
    /// cookie, and one for all who ask one after the other.
    ///
    /// # Errors
    /// As [`SessionService::get_session`]; the next one asks again.
    pub async fn load(&self) -> Result<Option<SessionData>> {
        let Some(token) = self.token() else { return Ok(None) };
        let (loaded, changes) = self.with(|state| (state.loaded.clone(), state.changes));
        if let Some(loaded) = loaded {
            return Ok(loaded);
        }
        let session = self.inner.service.get_session(&**token).await?;
        self.with(|state| {
            if state.changes == changes {
                state.loaded = Some(session.clone());
            }
        });
        Ok(session)
    }

    /// Logs a user in: a new session, a new cookie, and the end of what was there before, whose fields come
    /// along if it was nobody's ([`SessionService::promote_session`]).
    ///
    /// # Errors
    /// As [`SessionService::promote_session`]; the cookie stays as it was, though what it names may have ended.
    pub async fn log_in(&self, user: &str, workspace: &str, metadata: &Metadata) -> Result<()> {
        let _under_way = self.before_the_head().await?;
        let service = &self.inner.service;
        let created = match self.token() {
            Some(old) => service.promote_session(&**old, user, workspace, metadata).await,
            None => service.create_session(user, workspace, metadata).await,
        };
        self.with(State::changed);
        self.give_new(created?).await
    }

    /// Begins an anonymous session where there is none, and sets the cookie.
    ///
    /// None begins over a session that may be alive. By a token that another request rotated, within the minute
    /// (or the grace) in which that is known, it is a [`TryAgain`](ErrorKind::TryAgain): the browser has the new
    /// cookie by now or gets it with that request's response, and this one's would log the user out. The same
    /// cannot be told of a token that a login replaced: such a one is dead at once, like any that ended. So
    /// begin where the browser waits for the answer, not in what a page asks for on the side.
    ///
    /// What is damaged is no session; what is stored in a newer layout, or sealed with a key that this process
    /// has not, is an error.
    ///
    /// Cost: as [`load`](Self::load) if there is a session; else one more round trip for the beginning, and one
    /// if a token was sent.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`SessionService::create_anonymous`]; [`TryAgain`](ErrorKind::TryAgain) also
    /// after a rotation, see above: repeat it with the new cookie. The cookie stays as it was.
    pub async fn begin(&self, metadata: &Metadata) -> Result<()> {
        let _under_way = self.before_the_head().await?;
        let is_there = match self.load().await {
            Err(error) if unreadable(&error) => false,
            loaded => loaded?.is_some(),
        };
        if is_there {
            return Ok(());
        }
        if self.lives_elsewhere().await? {
            return Err(Error::new(
                ErrorKind::TryAgain,
                "the session was rotated by another request: repeat this one with the new cookie",
            ));
        }
        let token = self.inner.service.create_anonymous(metadata).await?;
        self.give_new(token).await
    }

    /// Changes fields ([`SessionService::update_session`]), at a revision if one is given.
    ///
    /// # Errors
    /// As of that; [`Updated::Gone`] without a cookie.
    pub async fn update(
        &self,
        changes: impl Into<Changes>,
        if_revision: Option<u64>,
    ) -> Result<Updated> {
        let Some(token) = self.token() else { return Ok(Updated::Gone) };
        let update = self.inner.service.update_session(&**token, changes);
        let updated = match if_revision {
            Some(revision) => update.if_revision(revision).await,
            None => update.await,
        };
        self.with(State::changed);
        updated
    }

    /// Takes a field once ([`SessionService::take_flash`]).
    ///
    /// # Errors
    /// As of that.
    pub async fn take_flash<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>> {
        let Some(token) = self.token() else { return Ok(None) };
        let taken = self.inner.service.take_flash(&**token, field).await;
        self.with(State::changed);
        taken
    }

    /// Gives the session another token, and the browser its cookie; `false` if there is no session, or another
    /// request rotated it just now ([`SessionService::rotate_session`]).
    ///
    /// A lost answer is asked for again, and the whole ends within the command timeout. After an error this
    /// handle can be asked once more: it goes on with the same new token, so it finishes what was begun. Else
    /// the session may stand under a token that nobody has, and its user has to log in again at the end of
    /// the grace.
    ///
    /// # Errors
    /// As of that; the cookie stays as it was.
    pub async fn rotate(&self, grace: Duration) -> Result<bool> {
        let _under_way = self.before_the_head().await?;
        let service = &self.inner.service;
        let Some(token) = self.token() else { return Ok(false) };
        let next = match self.with(|state| state.next.clone()) {
            Some(next) => next,
            None => match service.next_token(&**token)? {
                Some(next) => self.with(|state| state.next.insert(next).clone()),
                None => return Ok(false),
            },
        };
        let rotation = service.rotate_session(&**token).grace(grace).to(&next).into_future();
        match rotation.await? {
            Some(new) => self.give(&new).map(|()| true),
            None => Ok(false),
        }
    }

    /// Ends the session and clears the cookie; `false` if there was none (left).
    ///
    /// # Errors
    /// As [`SessionService::delete_session`]: the session may be alive, and the cookie is not cleared, for a
    /// user who is told so can log out again.
    pub async fn log_out(&self) -> Result<bool> {
        let _under_way = self.before_the_head().await?;
        let Some(token) = self.token() else { return Ok(false) };
        let deleted = self.inner.service.delete_session(&**token).await?;
        let cookie = self.inner.policy.clear();
        self.with(|state| state.become_of(None, cookie));
        Ok(deleted)
    }

    /// Ends when no change is under way that may still set the cookie, or its time is over.
    pub(super) async fn settle(&self) {
        let whole = timeout(self.inner.service.client.config().command_timeout(), async {
            let _whole = self.inner.before_head.write().await;
            self.with(|state| state.is_too_late = true);
        });
        // One that takes longer finds out when it wants to set it.
        let _ = whole.await;
    }

    /// The cookie that the response is to set; nothing sets one after this.
    pub(super) fn end_head(&self) -> Option<HeaderValue> {
        self.with(|state| {
            state.is_too_late = true;
            state.cookie.take()
        })
    }

    /// Keeps the head back until a change is made; or it is gone.
    async fn before_the_head(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let under_way = self.inner.before_head.read().await;
        match self.with(|state| state.is_too_late) {
            true => Err(too_late()),
            false => Ok(under_way),
        }
    }

    /// Whether another request gave the session another token under which it lives.
    async fn lives_elsewhere(&self) -> Result<bool> {
        let (token, service) = (self.token(), &self.inner.service);
        let at = token.as_ref().and_then(|token| service.address((&***token).into()));
        let Some(at) = at else { return Ok(false) };
        let peek = |at| async move { service.peek(&at).await };
        match service.follow(at, By::Pointer, peek).await {
            Err(error) if unreadable(&error) => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    /// What was begun while the head went is ended: nobody has its token.
    async fn give_new(&self, token: SessionToken) -> Result<()> {
        let given = self.give(&token);
        if given.is_err() {
            let _ = self.inner.service.delete_session(&token).await;
        }
        given
    }

    fn give(&self, token: &SessionToken) -> Result<()> {
        let cookie = self.inner.policy.set(token);
        let token = Some(Zeroizing::new(token.expose().to_owned()));
        self.with(|state| {
            if state.is_too_late {
                return Err(too_late());
            }
            state.become_of(token, cookie);
            Ok(())
        })
    }

    fn token(&self) -> Option<Zeroizing<String>> {
        self.with(|state| state.token.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.inner.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn too_late() -> Error {
    Error::invalid(
        "the response's head is sent, and no cookie can be set: change the session before you answer",
    )
}
