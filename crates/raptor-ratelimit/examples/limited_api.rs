//! A small API whose requests are limited by API key: free and paid tiers from a configuration,
//! header fields and 429 documents from the layer. `tests/it/http.rs` talks to it.
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1 cargo run -p raptor-ratelimit --features tower,toml --example limited_api
//! curl -i -H 'x-api-key: free-ann' -X POST localhost:8080/chat
//! ```

use axum::Router;
use axum::routing::{get, post};
use raptor_core::{RedisClient, RedisConfig};
use raptor_ratelimit::http::{Caller, RateLimitLayer};
use raptor_ratelimit::{Policies, RateLimitService};
use tokio::net::TcpListener;

/// In earnest this is a file, read by `RateLimitService::reload_policies` at the start and on SIGHUP.
const POLICIES: &str = r#"
default_tier = "free"

[tiers.free]
"POST /chat" = [
  { limit = 3, window = "60s", name = "per-minute" },
  { algorithm = "bucket", limit = 100, window = "1h", burst = 10, name = "hourly" },
]

[tiers.paid]
"POST /chat" = [{ limit = 1000, window = "60s", name = "per-minute", outage = "open" }]
"#;

/// The API, with every request limited but those for `/health`.
pub(crate) fn app(service: RateLimitService) -> anyhow::Result<Router> {
    service.set_policies(Policies::from_toml(POLICIES)?);
    let layer = RateLimitLayer::new(service, |request| {
        if request.uri.path() == "/health" {
            return Ok(None);
        }
        // In earnest the key has been verified by now; what names the caller here is its account.
        let key = request.headers.get("x-api-key").map_or(&b"anonymous"[..], |key| key.as_bytes());
        let tier = if key.starts_with(b"paid-") { "paid" } else { "free" };
        let endpoint = format!("{} {}", request.method, request.uri.path());
        Ok(Some(Caller::new(key, endpoint)?.tier(tier)))
    });
    let routes = Router::new().route("/chat", post(async || "hello"));
    Ok(routes.route("/health", get(async || "well")).layer(layer))
}

#[tokio::main]
#[allow(dead_code, reason = "the test has a main of its own")]
#[expect(clippy::print_stdout, reason = "a program says where it listens")]
async fn main() -> anyhow::Result<()> {
    let client = RedisClient::connect(RedisConfig::from_env()?).await?;
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app(RateLimitService::new(client))?).await?;
    Ok(())
}
