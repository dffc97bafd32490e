//! A reply that is lost: all who rode learn that the outcome is unknown, and nothing is taken twice.

use anyhow::Result;
use raptor_core::{ErrorKind, RedisClient};
use raptor_ratelimit::{AcquireOptions, Limit, RateLimitService, Subject};
use raptor_testkit::{Proxy, Server};

use crate::rig::{MINUTE, START_US, config, instant, subject};

struct Rig {
    _server: Server,
    proxy: Proxy,
    service: RateLimitService,
}

async fn proxied() -> Result<Rig> {
    let server = Server::start().await?;
    let proxy = Proxy::start(server.addr()).await?;
    let client = RedisClient::connect(config(proxy.url())?).await?;
    Ok(Rig { _server: server, proxy, service: RateLimitService::new(client) })
}

#[tokio::test]
async fn a_lost_reply_is_an_unknown_outcome_and_takes_at_most_once() -> Result<()> {
    let Rig { proxy, service, .. } = &proxied().await?;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_batch_runs_at_most_once_and_each_rider_is_told() -> Result<()> {
    const CALLERS: usize = 256;
    // The first call of all, and one in which many ride.
    for (needle, riders) in [(&b"EVALSHA"[..], 1), (b"{user-200}", 2)] {
        let Rig { proxy, service, .. } = &proxied().await?;
        let limits = [Limit::strict(10, MINUTE)?];
        let who = |n: usize| Subject::new(format!("user-{n}"), "e");
        let acquire =
            async |who: Subject| service.acquire(&who, &limits, &AcquireOptions::default()).await;
        assert!(acquire(subject()).await?.is_allowed());
        proxy.drop_reply_to(needle);
        let mut callers = Vec::new();
        for n in 0..CALLERS {
            let (service, limits, who) = (service.clone(), limits.clone(), who(n)?);
            callers.push(tokio::spawn(async move {
                service.acquire(&who, &limits, &AcquireOptions::default()).await
            }));
        }
        let mut outcomes = Vec::new();
        for caller in callers {
            outcomes.push(caller.await?);
        }
        // Whatever meets the ending connection is told as much; an answer comes from the next one.
        while acquire(subject()).await.is_err() {
            tokio::task::yield_now().await;
        }
        let mut unknown = 0;
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let next = acquire(who(n)?).await?;
            let taken = 9 - next.results[0].remaining;
            match outcome {
                Ok(decision) => assert_eq!((decision.results[0].remaining, taken), (9, 1), "{n}"),
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                    assert!(taken <= 1, "{n} was executed {taken} times");
                    unknown += 1;
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{n}: {error:?}");
                    assert_eq!(taken, 0, "{n} was said not to have run");
                }
            }
        }
        assert!(!proxy.is_armed() && unknown >= riders, "{unknown} riders of a lost call");
    }
    Ok(())
}
