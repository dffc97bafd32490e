//! A reply that is lost: the caller learns that the outcome is unknown, and nothing is taken twice.

use anyhow::Result;
use raptor_core::{ErrorKind, RedisClient, RedisConfig};
use raptor_ratelimit::{AcquireOptions, Limit, RateLimitService};
use raptor_testkit::{Proxy, Server};

use crate::rig::{MINUTE, START_US, instant, subject};

#[tokio::test]
async fn a_lost_reply_is_an_unknown_outcome_and_takes_at_most_once() -> Result<()> {
    let server = Server::start().await?;
    let proxy = Proxy::start(server.addr()).await?;
    let client = RedisClient::connect(RedisConfig::from_url(proxy.url())?).await?;
    let service = RateLimitService::new(client);
    let limits = [Limit::strict(10, MINUTE)?];
    let options = AcquireOptions::default().now(instant(START_US))?;
    let who = subject();
    let acquire = || service.acquire(&who, &limits, &options);
    // So that the server knows the script, and the call whose reply is lost has run.
    assert_eq!(acquire().await?.results[0].remaining, 9);

    proxy.drop_reply_to(b"EVALSHA");
    let calls = proxy.count_requests(b"EVALSHA");
    let error = acquire().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::OutcomeUnknown, false), "{error}");
    assert_eq!((calls.get(), proxy.is_armed()), (1, false));
    assert_eq!(acquire().await?.results[0].remaining, 7, "taken once");
    assert_eq!(calls.get(), 2, "not sent again");
    Ok(())
}
