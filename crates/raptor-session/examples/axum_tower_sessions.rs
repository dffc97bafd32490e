//! An axum server that uses tower-sessions, with Raptor as its store.
//!
//! Needs `REDIS_URL` and `RAPTOR_SESSION_PEPPERS`; then, on port 3000:
//! `curl -c jar -b jar localhost:3000/count`, as often as you like.

use axum::Router;
use axum::routing::get;
use raptor_core::{RedisClient, RedisConfig};
use raptor_session::{Peppers, RaptorStore, SessionOptions, SessionService};
use tower_sessions::{Expiry, Session, SessionManagerLayer, session};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = RedisClient::connect(RedisConfig::from_env()?).await?;
    let sessions = SessionService::new(client, SessionOptions::new(Peppers::from_env()?))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(sessions)).await?;
    Ok(())
}

/// The server's routes.
pub(crate) fn app(sessions: SessionService) -> Router {
    // Without TLS; in earnest leave `with_secure` out.
    let layer = SessionManagerLayer::new(RaptorStore::new(sessions))
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(time::Duration::minutes(30)));
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/count", get(count))
        .route("/forget", get(forget))
        .route("/cycle", get(cycle))
        .route("/flush", get(flush))
        .layer(layer)
}

type Failure = axum::http::StatusCode;

fn failed(_: session::Error) -> Failure {
    Failure::INTERNAL_SERVER_ERROR
}

async fn count(session: Session) -> Result<String, Failure> {
    let count = session.get::<u32>("count").await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert("count", count).await.map_err(failed)?;
    Ok(count.to_string())
}

async fn forget(session: Session) -> Result<String, Failure> {
    let count = session.remove::<u32>("count").await.map_err(failed)?;
    Ok(format!("{count:?}"))
}

/// Another id for the same data: at a login.
async fn cycle(session: Session) -> Result<(), Failure> {
    session.cycle_id().await.map_err(failed)
}

/// The end of the session: at a logout.
async fn flush(session: Session) -> Result<(), Failure> {
    session.flush().await.map_err(failed)
}
