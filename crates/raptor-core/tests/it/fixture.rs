//! Clients of private servers.

use std::time::Duration;

use raptor_core::config::RedisConfigBuilder;
use raptor_core::{RedisClient, RedisConfig};
use raptor_testkit::{Proxy, Server};

/// Settings on the driver that the test run chose.
pub(crate) fn settings(url: impl Into<String>) -> RedisConfigBuilder {
    RedisConfig::builder().url(url).driver(raptor_testkit::driver().expect("a driver"))
}

pub(crate) fn config(url: impl Into<String>) -> RedisConfig {
    settings(url).build().expect("good settings")
}

pub(crate) async fn client(url: &str) -> RedisClient {
    RedisClient::connect(config(url)).await.expect("connects")
}

/// A server, and a client of it.
pub(crate) async fn server() -> (Server, RedisClient) {
    let server = Server::start().await.expect("a server starts");
    let client = client(&server.url()).await;
    (server, client)
}

/// A server, a fault proxy before it, and a client through the proxy.
pub(crate) async fn proxied() -> (Server, Proxy, RedisClient) {
    let server = Server::start().await.expect("a server starts");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy starts");
    let client = client(&proxy.url()).await;
    (server, proxy, client)
}

/// What another client sees.
pub(crate) async fn seen(server: &Server, key: &str) -> i64 {
    let n: Option<i64> =
        server.query(raptor_testkit::redis::cmd("GET").arg(key)).await.expect("GET");
    n.unwrap_or_default()
}

/// `5 ×` slack for a duration of the specification.
pub(crate) fn slack(specified: Duration) -> Duration {
    specified * 5
}

/// Waits until `probe` holds.
pub(crate) async fn until(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> bool,
) -> Result<(), String> {
    let started = tokio::time::Instant::now();
    while !probe().await {
        if started.elapsed() > limit {
            return Err(format!("waited {limit:?} for {what}"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Waits until calls run again.
pub(crate) async fn reconnected(client: &RedisClient) {
    let ping = async || client.command("PING").run::<()>().await.is_ok();
    until(Duration::from_secs(20), "a new connection", ping).await.expect("reconnects");
}
