//! Futures that are dropped after their call was sent: what they make untrue is forgotten all the same.

use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use raptor_core::RedisClient;
use raptor_ratelimit::{AcquireOptions, Limit, RateLimitService};
use raptor_testkit::{Fault, Proxy, Server};

use crate::rig::{config, subject};

#[tokio::test]
async fn a_refund_reset_or_word_dropped_midway_leaves_no_denial_in_memory() -> Result<()> {
    let server = Server::start().await?;
    let proxy = Proxy::start(server.addr()).await?;
    let client = RedisClient::connect(config(proxy.url())?).await?;
    let service = &RateLimitService::new(client);
    let (who, options) = (&subject(), &AcquireOptions::default());
    for what in ["refund", "reset", "unblock"] {
        // So that the server knows the scripts.
        let limit = &Limit::strict(1, Duration::from_secs(600))?.named(what)?;
        let limits = std::slice::from_ref(limit);
        service.unblock(who, limit, options).await?;
        let mut first = service.acquire(who, limits, options).await?;
        let receipt = first.receipt.take().unwrap();
        if what == "unblock" {
            service.reset(who, limits, options).await?;
            service.block(who, limit, Duration::from_secs(600), options).await?;
        }
        assert!(!service.acquire(who, limits, options).await?.is_allowed(), "{what}");
        let calls = proxy.count_requests(b"EVALSHA");
        proxy.set(Fault::Delay(Duration::from_millis(200)));
        {
            let mut word = pin!(async {
                match what {
                    "refund" => service.refund(receipt).await.map(|_| ()),
                    "reset" => service.reset(who, limits, options).await,
                    _ => service.unblock(who, limit, options).await,
                }
            });
            while calls.get() == 0 {
                tokio::select! {
                    biased;
                    done = &mut word => panic!("{what} was answered at once: {done:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        proxy.set(Fault::Pass);
        assert!(service.acquire(who, limits, options).await?.is_allowed(), "{what}");
    }
    Ok(())
}
