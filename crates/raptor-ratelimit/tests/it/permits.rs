//! Permits: never more at once than the most, none lost for longer than they live, and none freed by
//! another's.

use std::time::Duration;

use anyhow::Result;
use raptor_core::{ErrorKind, RedisClient};
use raptor_ratelimit::{
    AcquireOptions, Concurrent, MAX_LIMIT, MAX_WINDOW, Permit, RateLimitService, Subject,
};
use raptor_testkit::{Proxy, Server, eventually, redis};

use crate::rig::{Rig, START_US, config, instant, subject};

const SECOND: u64 = 1_000_000;
const TTL: Duration = Duration::from_secs(30);
const KEY: &str = "raptorflow:rate~permits:{u}:e";

async fn ask(rig: &Rig, max: u64, at: u64) -> Result<Concurrent> {
    let options = AcquireOptions::default().now(instant(at))?;
    Ok(rig.service.concurrent(&subject(), max, TTL, &options).await?)
}

async fn granted(rig: &Rig, max: u64, at: u64) -> Result<Permit> {
    ask(rig, max, at).await?.permit().ok_or_else(|| anyhow::anyhow!("full"))
}

async fn held(rig: &Rig) -> Result<u64> {
    rig.query(redis::cmd("ZCARD").arg(KEY)).await
}

#[tokio::test]
async fn as_many_as_the_most_and_a_release_makes_room() -> Result<()> {
    let rig = Rig::start().await?;
    let first = granted(&rig, 2, START_US).await?;
    let second = granted(&rig, 2, START_US + 10 * SECOND).await?;
    assert_eq!((first.held(), second.held()), (1, 2));
    let Concurrent::Full { retry_after } = ask(&rig, 2, START_US + 11 * SECOND).await? else {
        panic!("three of two");
    };
    assert_eq!(retry_after, Duration::from_secs(19), "when the first expires");
    assert!(first.release().await?);
    assert!(ask(&rig, 2, START_US + 11 * SECOND).await?.permit().is_some());
    drop(second);
    Ok(())
}

#[tokio::test]
async fn an_expired_permit_s_place_is_another_s_and_its_release_frees_nobody() -> Result<()> {
    let rig = Rig::start().await?;
    let expired = granted(&rig, 1, START_US).await?;
    let next = granted(&rig, 1, START_US + 30 * SECOND).await?;
    assert!(!expired.extend(TTL).await?, "too late");
    assert!(!expired.release().await?);
    assert!(ask(&rig, 1, START_US + 31 * SECOND).await?.permit().is_none(), "still the next one's");
    assert!(next.extend(2 * TTL).await?);
    assert!(next.release().await?);
    assert_eq!(held(&rig).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_release_tells_that_the_permit_had_expired_though_nobody_took_its_place() -> Result<()> {
    let rig = Rig::start().await?;
    for (expires, in_time) in [(START_US, false), (START_US + 1, true)] {
        let permit = granted(&rig, 1, START_US).await?;
        let id: Vec<String> = rig.query(redis::cmd("ZRANGE").arg(KEY).arg(0).arg(-1)).await?;
        rig.query::<i64>(redis::cmd("ZADD").arg(KEY).arg(expires).arg(&id[0])).await?;
        assert_eq!(permit.release().await?, in_time, "{expires}");
        assert_eq!(held(&rig).await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn an_extension_holds_the_place_for_longer() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default();
    let mut permits = Vec::new();
    for _ in 0..2 {
        permits.extend(rig.service.concurrent(&subject(), 2, TTL, &options).await?.permit());
    }
    assert!(permits[0].extend(4 * TTL).await?);
    let scores: Vec<(String, f64)> =
        rig.query(redis::cmd("ZRANGE").arg(KEY).arg(0).arg(-1).arg("WITHSCORES")).await?;
    let apart = scores[1].1 - scores[0].1;
    assert!((80e6..=100e6).contains(&apart), "{apart}");
    let ttl: i64 = rig.query(redis::cmd("PTTL").arg(KEY)).await?;
    assert!((110_000..=120_001).contains(&ttl), "as long as the longest: {ttl}");
    Ok(())
}

#[tokio::test]
async fn a_dropped_permit_is_released_in_the_background() -> Result<()> {
    let rig = Rig::start().await?;
    drop(granted(&rig, 1, START_US).await?);
    // A result that nobody looked at is a permit dropped.
    let _ = ask(&rig, 5, START_US).await?;
    eventually("the places to be free", Duration::from_secs(5), || async {
        match held(&rig).await {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_never_hold_more_than_the_most() -> Result<()> {
    let rig = Rig::start().await?;
    let mut tasks = Vec::new();
    for _ in 0..40 {
        let service = rig.service.clone();
        tasks.push(tokio::spawn(async move {
            service.concurrent(&subject(), 7, TTL, &AcquireOptions::default()).await
        }));
    }
    let mut permits = Vec::new();
    for task in tasks {
        permits.extend(task.await??.permit());
    }
    assert_eq!((permits.len(), held(&rig).await?), (7, 7));
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_leaves_no_place_taken() -> Result<()> {
    let server = Server::start().await?;
    let proxy = Proxy::start(server.addr()).await?;
    let client = RedisClient::connect(config(proxy.url())?).await?;
    let service = RateLimitService::new(client);
    let options = AcquireOptions::default();
    let who = subject();
    let ask = || service.concurrent(&who, 1, TTL, &options);
    let first = ask().await?.permit().unwrap();
    assert!(first.release().await?);
    proxy.drop_reply_to(b"take");
    let error = ask().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    eventually("the place to be free", Duration::from_secs(10), || async {
        match ask().await {
            Ok(Concurrent::Granted(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn bad_input_another_type_and_a_newer_layout_are_typed_errors() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default();
    let (service, who) = (&rig.service, &subject());
    for (max, ttl) in [
        (0, TTL),
        (MAX_LIMIT + 1, TTL),
        (1, Duration::ZERO),
        (1, MAX_WINDOW + Duration::from_micros(1)),
        (1, Duration::MAX),
    ] {
        let error = service.concurrent(who, max, ttl, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let huge = Subject::new("u", "e:{}\0")?;
    assert!(service.concurrent(&huge, MAX_LIMIT, MAX_WINDOW, &options).await?.permit().is_some());
    rig.query::<i64>(redis::cmd("ZADD").arg(KEY).arg(0).arg("v2")).await?;
    let error = service.concurrent(who, 1, TTL, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    rig.query::<()>(redis::cmd("SET").arg(KEY).arg("theirs")).await?;
    let error = service.concurrent(who, 1, TTL, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    Ok(())
}
