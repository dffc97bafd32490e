//! Acceptance 9: without a server each limit decides as it was told to, quickly, and says so.

use std::time::{Duration, Instant};

use anyhow::Result;
use raptor_core::{ErrorKind, RedisClient};
use raptor_ratelimit::{AcquireOptions, Decision, Limit, Outage, Outcome, RateLimitService};
use raptor_testkit::{Server, eventually};

use crate::rig::{MINUTE, config, subject};

/// 100 ms, with the slack that a busy machine needs.
const QUICK: Duration = Duration::from_millis(500);

async fn start() -> Result<(Server, RateLimitService)> {
    let server = Server::start().await?;
    let client = RedisClient::connect(config(server.url())?).await?;
    Ok((server, RateLimitService::new(client)))
}

fn limit(name: &str, outage: Outage) -> Limit {
    Limit::strict(100, MINUTE).unwrap().named(name).unwrap().on_outage(outage)
}

async fn quickly(service: &RateLimitService, limits: &[Limit]) -> Result<Decision> {
    let asked = Instant::now();
    let decision = service.acquire(&subject(), limits, &AcquireOptions::default()).await?;
    assert!(asked.elapsed() < QUICK, "{:?}", asked.elapsed());
    Ok(decision)
}

async fn decides_alone(service: &RateLimitService) -> Result<()> {
    for _ in 0..30 {
        let decision = quickly(service, &[limit("open", Outage::Open)]).await?;
        assert!(decision.is_allowed() && decision.degraded && decision.receipt.is_none());
        let decision = quickly(service, &[limit("closed", Outage::Closed)]).await?;
        assert!(matches!(decision.outcome, Outcome::Denied { .. }) && decision.degraded);
    }
    let mut allowed = 0;
    for _ in 0..100 {
        let decision = quickly(service, &[limit("local", Outage::local(4))]).await?;
        allowed += u32::from(decision.is_allowed());
        assert!(decision.degraded);
    }
    assert_eq!(allowed, 25, "a quarter of 100");
    let both = [limit("local-2", Outage::local(4)), limit("closed", Outage::Closed)];
    assert!(!quickly(service, &both).await?.is_allowed());
    assert_eq!(quickly(service, &both[..1]).await?.results[0].remaining, 24, "took nothing");
    Ok(())
}

#[tokio::test]
async fn acceptance_9_a_killed_server_opens_closes_or_leaves_a_share() -> Result<()> {
    let (server, service) = start().await?;
    assert!(!quickly(&service, &[limit("open", Outage::Open)]).await?.degraded);
    server.kill()?;
    decides_alone(&service).await?;
    // And when it is back, it decides again.
    server.restart().await?;
    let back = || async {
        match quickly(&service, &[limit("open", Outage::Open)]).await {
            Ok(decision) if !decision.degraded => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually("the server to be asked again", Duration::from_secs(20), back).await?;
    Ok(())
}

#[tokio::test]
async fn acceptance_9_a_server_that_hangs_is_waited_for_no_longer_than_the_deadline() -> Result<()>
{
    let (server, service) = start().await?;
    assert!(!quickly(&service, &[limit("open", Outage::Open)]).await?.degraded);
    server.stop()?;
    decides_alone(&service).await?;
    server.cont()?;
    Ok(())
}

#[tokio::test]
async fn one_limit_that_fails_on_an_outage_makes_the_call_an_error_and_takes_no_share() -> Result<()>
{
    let (server, service) = start().await?;
    server.kill()?;
    let fails = limit("fail", Outage::Fail);
    for other in [Outage::Open, Outage::Closed, Outage::local(4)] {
        let other = limit("other", other);
        for limits in [[other.clone(), fails.clone()], [fails.clone(), other]] {
            let options = AcquireOptions::default();
            let error = service.acquire(&subject(), &limits, &options).await.unwrap_err();
            let kinds = [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    }
    let alone = quickly(&service, &[limit("other", Outage::local(4))]).await?;
    assert_eq!(alone.results[0].remaining, 24, "nothing was taken of the share");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_the_data_is_no_outage() -> Result<()> {
    let (server, service) = start().await?;
    let mut command = raptor_testkit::redis::cmd("SET");
    server.query::<()>(command.arg(crate::rig::key("open")).arg("theirs")).await?;
    for _ in 0..10 {
        let limits = [limit("open", Outage::Open)];
        let error =
            service.acquire(&subject(), &limits, &AcquireOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_full_or_lost_its_counts_admits_afresh_and_says_no_lie() -> Result<()> {
    let (server, service) = start().await?;
    let limits = [limit("full", Outage::Closed)];
    let mut config = raptor_testkit::redis::cmd("CONFIG");
    config.arg("SET").arg("maxmemory").arg("1");
    server.query::<()>(&config).await?;
    let decision = quickly(&service, &limits).await?;
    assert!(!decision.is_allowed() && decision.degraded, "full: closed");
    let mut config = raptor_testkit::redis::cmd("CONFIG");
    config.arg("SET").arg("maxmemory").arg("0");
    server.query::<()>(&config).await?;
    assert!(quickly(&service, &limits).await?.is_allowed());
    server.query::<()>(&raptor_testkit::redis::cmd("FLUSHALL")).await?;
    assert_eq!(quickly(&service, &limits).await?.results[0].remaining, 99);
    Ok(())
}
