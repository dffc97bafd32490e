//! The session of one request: asked for when it is wanted, once, and changed on the way.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use raptor_core::Result;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::cookie::CookiePolicy;
use crate::changes::Changes;
use crate::data::SessionData;
use crate::head::unreadable;
use crate::metadata::Metadata;
use crate::service::SessionService;
use crate::token::SessionToken;
use crate::update::Updated;

/// The session of one request. Cheap to clone; an extension of the request, and an extractor of axum's.
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
        Self { inner: Arc::new(Inner { service, policy, state: Mutex::new(state) }) }
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
    /// As [`SessionService::promote_session`]; the cookie stays as it was.
    pub async fn log_in(&self, user: &str, workspace: &str, metadata: &Metadata) -> Result<()> {
        let service = &self.inner.service;
        let token = match self.token() {
            Some(old) => service.promote_session(&**old, user, workspace, metadata).await?,
            None => service.create_session(user, workspace, metadata).await?,
        };
        self.give(&token);
        Ok(())
    }

    /// Begins an anonymous session where there is none.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`SessionService::create_anonymous`].
    pub async fn begin(&self, metadata: &Metadata) -> Result<()> {
        let there = match self.load().await {
            Err(error) if unreadable(&error) => false,
            loaded => loaded?.is_some(),
        };
        if !there {
            let token = self.inner.service.create_anonymous(metadata).await?;
            self.give(&token);
        }
        Ok(())
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
    /// A lost answer is asked for again until the command timeout has passed. After an error this handle can be
    /// asked once more: it goes on with the same new token, so it finishes what was begun. Else the
    /// session may stand under a token that nobody has, and its user has to log in again at the end of the
    /// grace.
    ///
    /// # Errors
    /// As of that; the cookie stays as it was.
    pub async fn rotate(&self, grace: Duration) -> Result<bool> {
        let service = &self.inner.service;
        let Some(token) = self.token() else { return Ok(false) };
        let next = match self.with(|state| state.next.clone()) {
            Some(next) => next,
            None => match service.next_token(&**token)? {
                Some(next) => self.with(|state| state.next.insert(next).clone()),
                None => return Ok(false),
            },
        };
        let rotated = service.rotate_session(&**token).grace(grace).to(&next).await?;
        if let Some(new) = &rotated {
            self.give(new);
        }
        Ok(rotated.is_some())
    }

    /// Ends the session and clears the cookie; `false` if there was none (left).
    ///
    /// # Errors
    /// As [`SessionService::delete_session`]: the session may be alive, and the cookie is not cleared, for a
    /// user who is told so can log out again.
    pub async fn log_out(&self) -> Result<bool> {
        let Some(token) = self.token() else { return Ok(false) };
        let deleted = self.inner.service.delete_session(&**token).await?;
        let cookie = self.inner.policy.clear();
        self.with(|state| state.become_of(None, cookie));
        Ok(deleted)
    }

    /// The cookie that the response is to set.
    pub(super) fn take_cookie(&self) -> Option<HeaderValue> {
        self.with(|state| state.cookie.take())
    }

    fn give(&self, token: &SessionToken) {
        let cookie = self.inner.policy.set(token);
        let token = Some(Zeroizing::new(token.expose().to_owned()));
        self.with(|state| state.become_of(token, cookie));
    }

    fn token(&self) -> Option<Zeroizing<String>> {
        self.with(|state| state.token.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.inner.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
