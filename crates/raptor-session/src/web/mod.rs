//! Sessions over HTTP (feature `tower`): a layer, what handlers do with it, and the cookie between.
//!
//! | file | one idea |
//! | --- | --- |
//! | layer.rs | [`SessionLayer`]: gives each request a handle, and its response the cookie that changed |
//! | handle.rs | [`SessionHandle`]: the session of one request, asked for when it is wanted |
//! | extract.rs | [`LoggedIn`]: a handler that needs a user says so in its arguments |
//! | cookie.rs | [`CookiePolicy`]: what the cookie is called and how it is guarded |
//!
//! *When the store is away:* what asks for the session gets an error, never "no session"; the extractors
//! answer 503 with `Retry-After`, and the cookie stays as it is, so everybody is still logged in when the
//! store is back. A request that does not ask is not hurt, and costs no call.
//!
//! The cookie is set by a login, a rotation and the beginning of an anonymous session
//! ([`SessionHandle::begin`]), and cleared by a logout that succeeded; by nothing else. A token that names no session
//! any longer is left alone: while it was rotated another response may be on its way with the new one, and
//! clearing would log the user out. For the same reason nothing begins by a token that was just rotated: that
//! is an error, which the extractors' [`Rejection`] answers with 503 and `Retry-After`. Of a token that a login
//! replaced nothing stays by which it could be told; see there.
//!
//! It goes with the response's head: who changes the session later, in a body that is streamed or a task that
//! outlives the request, gets an error before anything has happened. If the handler panics there is no response
//! to carry it, and it is lost: a layer that makes panics a response belongs inside of this one.
//!
//! A response that carries it is for one browser: unless its `Cache-Control` says `private` or `no-store`, it
//! is made `no-store`, and a `CDN-Cache-Control` is taken off.
//!
//! ```no_run
//! use axum::Router;
//! use axum::routing::{get, post};
//! use raptor_core::Error;
//! use raptor_session::web::{LoggedIn, Rejection, SessionHandle, SessionLayer};
//! use raptor_session::{Metadata, SessionService};
//!
//! async fn me(LoggedIn(session): LoggedIn) -> String {
//!     session.user
//! }
//!
//! async fn log_in(session: SessionHandle) -> Result<(), Rejection> {
//!     // … after the password was found right.
//!     Ok(session.log_in("ann", "acme", &Metadata::new()).await?)
//! }
//!
//! fn app(sessions: SessionService) -> Router {
//!     Router::new()
//!         .route("/me", get(me))
//!         .route("/login", post(log_in))
//!         .layer(SessionLayer::new(sessions))
//! }
//! ```

mod cookie;
mod extract;
mod handle;
mod layer;

pub use cookie::{CookiePolicy, SameSite};
pub use extract::{LoggedIn, Rejection};
pub use handle::SessionHandle;
pub use layer::{SessionFuture, SessionLayer, SessionMiddleware};
