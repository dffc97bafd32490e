//! Extractors: a handler says in its arguments what it needs of the session.

use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use raptor_core::{Error, ErrorKind};

use super::handle::SessionHandle;
use crate::data::SessionData;
use crate::login::TooManySessions;

/// The session of a user who is logged in; nobody else comes to the handler. As `Option` it lets everybody
/// in, and is still an error when the store is away.
#[derive(Clone, Debug)]
pub struct LoggedIn(pub SessionData);

/// Why a request goes no further.
#[derive(Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// 401: nobody is logged in.
    Unauthenticated,
    /// 409: the user has as many sessions as the cap allows.
    TooManySessions,
    /// 503, with `Retry-After`: the store did not answer. The user may well be logged in; the cookie stays.
    StoreAway(Error),
    /// 500: the store answered with something else than a session, or the input cannot be used.
    Failed(Error),
    /// 500: there is no [`SessionLayer`](super::SessionLayer) around the handler.
    NoLayer,
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        match error.kind() {
            _ if TooManySessions::of(&error).is_some() => Self::TooManySessions,
            ErrorKind::Unavailable
            | ErrorKind::OutcomeUnknown
            | ErrorKind::Timeout
            | ErrorKind::Connection
            | ErrorKind::Capacity
            | ErrorKind::TryAgain => Self::StoreAway(error),
            _ => Self::Failed(error),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthenticated => "please log in",
            Self::TooManySessions => "too many sessions; log out elsewhere first",
            Self::StoreAway(_) => "sessions are not available now; try again",
            Self::Failed(_) | Self::NoLayer => "sessions do not work",
        })
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::StoreAway(error) | Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::TooManySessions => StatusCode::CONFLICT,
            Self::StoreAway(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) | Self::NoLayer => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // The text tells nothing of the error: that is for logs.
        let mut response = (status, format!("{self}\n")).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SessionHandle {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or(Rejection::NoLayer)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LoggedIn {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let session = <Option<Self>>::from_request_parts(parts, state).await?;
        session.ok_or(Rejection::Unauthenticated)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for LoggedIn {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        let handle =
            <SessionHandle as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        let session = handle.load().await?;
        Ok(session.filter(|session| !session.is_anonymous()).map(Self))
    }
}
