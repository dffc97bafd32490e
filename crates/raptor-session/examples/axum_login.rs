//! An axum server with sessions: an anonymous basket, a login, a logout everywhere.
//!
//! Needs `REDIS_URL` and `RAPTOR_SESSION_PEPPERS`; then, on port 3000:
//! `curl -c jar -b jar -X POST localhost:3000/login`, and `curl -b jar localhost:3000/me`.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use raptor_core::{RedisClient, RedisConfig};
use raptor_session::web::{CookiePolicy, LoggedIn, Rejection, SessionHandle, SessionLayer};
use raptor_session::{Changes, Metadata, Peppers, SessionOptions, SessionService};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = RedisClient::connect(RedisConfig::from_env()?).await?;
    let sessions = SessionService::new(client, SessionOptions::new(Peppers::from_env()?))?;
    // Without TLS; in earnest leave the policy at its default.
    let policy = CookiePolicy::insecure("session")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(sessions, policy)).await?;
    Ok(())
}

/// The server's routes.
pub(crate) fn app(sessions: SessionService, policy: CookiePolicy) -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/basket", post(put_tea_into_the_basket))
        .route("/login", post(log_in))
        .route("/me", get(me))
        .route("/greeting", get(greeting))
        .route("/sudo", post(sudo))
        .route("/logout", post(log_out))
        .route("/logout-everywhere", post(log_out_everywhere))
        .layer(SessionLayer::new(sessions).cookie(policy))
}

async fn put_tea_into_the_basket(session: SessionHandle) -> Result<(), Rejection> {
    let basket = Metadata::new().with("basket", &["tea"])?;
    session.begin(&basket).await?;
    Ok(())
}

async fn log_in(session: SessionHandle) -> Result<(), Rejection> {
    // Here a password would be looked at.
    let fields = Metadata::new().with("flash", "welcome")?;
    session.log_in("ann", "acme", &fields).await?;
    Ok(())
}

/// Who is logged in, and with what; the message only once.
async fn me(session: SessionHandle, LoggedIn(data): LoggedIn) -> Result<String, Rejection> {
    let basket = data.get::<Vec<String>>("basket")?.unwrap_or_default();
    let flash = session.take_flash::<String>("flash").await?.unwrap_or_default();
    Ok(format!("{} {basket:?} {flash}", data.user))
}

/// Everybody may come here.
async fn greeting(user: Option<LoggedIn>) -> String {
    user.map_or_else(
        || "hello, stranger".to_owned(),
        |LoggedIn(data)| format!("hello, {}", data.user),
    )
}

/// The user gave the password again: more rights, another token.
async fn sudo(session: SessionHandle, LoggedIn(data): LoggedIn) -> Result<String, Rejection> {
    let rights = Changes::new().set("sudo", &true)?;
    let updated = session.update(rights, Some(data.revision)).await?;
    if !updated.is_done() || !session.rotate(Duration::from_secs(10)).await? {
        return Err(Rejection::Unauthenticated);
    }
    Ok("yes".to_owned())
}

async fn log_out(session: SessionHandle) -> Result<(), Rejection> {
    session.log_out().await?;
    Ok(())
}

async fn log_out_everywhere(
    session: SessionHandle,
    LoggedIn(data): LoggedIn,
) -> Result<String, Rejection> {
    let ended = session.service().revoke_workspace_user(&data.user, &data.workspace).await?;
    session.log_out().await?;
    Ok(ended.to_string())
}
