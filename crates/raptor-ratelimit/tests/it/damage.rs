//! Values that are not ours, of each algorithm: a typed error or a decision, never a script that fails, and
//! never more than the limit.

use std::time::Duration;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit};
use raptor_testkit::redis;

use crate::rig::{MINUTE, Random, Rig, START_US, instant, key, subject};

const SECOND: u64 = 1_000_000;
const ALL: [Algorithm; 5] =
    [Algorithm::Strict, Algorithm::Log, Algorithm::Bucket, Algorithm::Fixed, Algorithm::Counter];

/// What random hands do to a value.
fn damaged(value: &[u8], random: &mut Random) -> Vec<u8> {
    let mut value = value.to_vec();
    for _ in 0..=random.below(2) {
        let at = random.below(value.len() as u64) as usize;
        match random.below(7) {
            0 => value[at] = b"0123456789;/,*$<-}RW"[random.below(20) as usize],
            1 => drop(value.remove(at)),
            2 => value.truncate(at.max(1)),
            3 => drop(value.splice(at..at, b"9".repeat(1 + random.below(400) as usize))),
            4 => value.extend_from_within(at..),
            5 => drop(value.splice(0..0, *b"R1W-;0;0;7;")),
            _ => value[at] = random.below(256) as u8,
        }
        if value.is_empty() {
            value.push(b'R');
        }
    }
    value
}

#[tokio::test]
async fn damaged_states_are_typed_errors_or_decisions_within_the_limit() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let mut random = Random(11);
        let limit = Limit::new(algorithm, 20, MINUTE)?.named("p")?;
        rig.query::<i64>(redis::cmd("DEL").arg(key("p"))).await?;
        for n in 0..12 {
            let _ = rig.at(START_US + n * SECOND, std::slice::from_ref(&limit), 1 + n % 2).await?;
        }
        let sound: Vec<u8> = rig.query(redis::cmd("GET").arg(key("p"))).await?;
        let (mut errors, mut decisions) = (0, 0);
        for _ in 0..1_000 {
            let value = damaged(&sound, &mut random);
            rig.query::<()>(redis::cmd("SET").arg(key("p")).arg(&value)).await?;
            let now = START_US + random.below(100 * SECOND);
            let cost = 1 + random.below(20);
            let text = String::from_utf8_lossy(&value).into_owned();
            match rig.at(now, std::slice::from_ref(&limit), cost).await {
                Ok(mut decision) => {
                    decisions += 1;
                    assert!(decision.results[0].remaining <= 20, "{text}");
                    if let Some(receipt) = decision.receipt.take() {
                        // Damage that lies deeper may be met only now.
                        match rig.service.refund(receipt).await {
                            Ok(refund) => assert!(refund.units[0] <= cost, "{text}"),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Codec, "{text}"),
                        }
                    }
                }
                Err(error) => {
                    errors += 1;
                    let error = error.downcast_ref::<raptor_core::Error>().unwrap();
                    assert_eq!(error.kind(), ErrorKind::Codec, "{algorithm:?} {text}: {error}");
                }
            }
        }
        assert!(errors > 50 && decisions > 20, "{algorithm:?}: {errors}, {decisions}");
    }
    Ok(())
}

#[tokio::test]
async fn whatever_is_written_has_a_ttl() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default();
    let who = subject();
    for algorithm in ALL {
        let limit = Limit::new(algorithm, 20, MINUTE)?.named(algorithm.as_str())?;
        let limits = [limit.clone()];
        for step in 0..6 {
            match step {
                0 | 4 => drop(rig.service.acquire(&who, &limits, &options).await?),
                1 => {
                    let mut taken = rig.service.acquire(&who, &limits, &options).await?;
                    rig.service.refund(taken.receipt.take().unwrap()).await?;
                }
                2 => rig.service.reset(&who, &limits, &options).await?,
                3 => rig.service.set_override(&who, &limit, 30, MINUTE, &options).await?,
                _ => drop(rig.service.charge(&who, &limits, &options).await?),
            }
            let ttl: i64 = rig.query(redis::cmd("PTTL").arg(key(algorithm.as_str()))).await?;
            assert!((1..=200_000).contains(&ttl), "{algorithm:?} after step {step}: {ttl}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_algorithm_s_state_stays_small() -> Result<()> {
    let rig = Rig::start().await?;
    for (algorithm, most) in ALL.into_iter().zip([300, 12_000, 80, 60, 60]) {
        let limits = [Limit::new(algorithm, 1_000, MINUTE)?.named("p")?];
        rig.service.reset(&subject(), &limits, &AcquireOptions::default()).await?;
        for n in 0..1_000 {
            let now = START_US + n * 59_000;
            assert!(rig.at(now, &limits, 1).await?.is_allowed(), "{algorithm:?} {n}");
        }
        let bytes: usize = rig.query(redis::cmd("STRLEN").arg(key("p"))).await?;
        assert!(bytes <= most, "{algorithm:?}: {bytes}");
        let options = AcquireOptions::default().now(instant(START_US + 600 * SECOND))?;
        rig.service.reset(&subject(), &limits, &options).await?;
        rig.query::<i64>(redis::cmd("DEL").arg(key("p"))).await?;
    }
    let tiny = Limit::log(1, Duration::from_millis(1))?;
    assert!(rig.one(&tiny).await?.is_allowed());
    Ok(())
}
