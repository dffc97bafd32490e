//! Overrides beside a changed algorithm, and what a denial promises when the override ends before it.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit, MAX_LIMIT, Outcome};
use raptor_testkit::redis;

use crate::rig::{MINUTE, Random, Rig, START_US, instant, key, micros, subject};

const SECOND: u64 = 1_000_000;
const ALL: [Algorithm; 5] =
    [Algorithm::Strict, Algorithm::Log, Algorithm::Bucket, Algorithm::Fixed, Algorithm::Counter];

fn at(us: u64) -> AcquireOptions {
    AcquireOptions::default().now(instant(us)).unwrap()
}

#[tokio::test]
async fn a_number_beyond_another_algorithm_s_range_counts_as_its_largest() -> Result<()> {
    let rig = Rig::start().await?;
    for units in [10_000, MAX_LIMIT] {
        for algorithm in ALL {
            let name = format!("{units}-{algorithm:?}");
            let was = Limit::strict(10, MINUTE)?.named(&name)?;
            rig.service.set_override(&subject(), &was, units, MINUTE * 5, &at(START_US)).await?;
            let limits = [Limit::new(algorithm, 10, MINUTE)?.named(&name)?];
            let most = match algorithm {
                Algorithm::Log => units.min(1_000),
                Algorithm::Bucket => units.min(94_906_265),
                Algorithm::Counter => units.min(MAX_LIMIT / 10_000),
                _ => units,
            };
            // More entries than a log of any size has room for.
            for taken in 1..=1_000 {
                let decision = rig.at(START_US + taken, &limits, 1).await?;
                let result = &decision.results[0];
                assert!(result.allowed, "{name} {taken}");
                assert_eq!(result.limit, most, "{name}");
                if algorithm != Algorithm::Bucket {
                    assert_eq!(result.remaining, most - taken, "{name}");
                }
            }
            let whole = rig.at(START_US + 1_000, &limits, most).await?;
            assert!(matches!(whole.outcome, Outcome::Denied { .. }), "{name}: {whole:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_override_never_makes_a_bucket_that_cannot_be_told_exactly() -> Result<()> {
    let rig = Rig::start().await?;
    // A low rate leaves a large burst on its way for longer than any clock counts; and an odd one is of too
    // many parts.
    let day = MINUTE * 60 * 24;
    let slow = Limit::bucket(10_000_000, day)?.named("slow")?.burst(10_000_001)?;
    let large = Limit::bucket(1_000_000, MINUTE)?.named("large")?.burst(100_000_000)?;
    for (limit, units) in [(slow.clone(), 1), (slow, 94_906_201), (large, 94_906_201)] {
        let was = Limit::strict(1, day)?.named(limit.policy())?;
        rig.service.reset(&subject(), std::slice::from_ref(&was), &at(START_US)).await?;
        rig.service.set_override(&subject(), &was, units, MINUTE * 60, &at(START_US)).await?;
        let limits = [limit];
        let burst = rig.at(START_US, &limits, 1).await?.results[0].remaining;
        assert!((1..100_000_000).contains(&burst), "{burst}");
        assert!(rig.at(START_US, &limits, burst).await?.is_allowed());
        let outcome = rig.at(START_US, &limits, 1).await?.outcome;
        let Outcome::Denied { retry_after } = outcome else { panic!("{outcome:?}") };
        let due = START_US + micros(retry_after);
        assert!(!rig.at(due - 1, &limits, 1).await?.is_allowed());
        assert!(rig.at(due, &limits, 1).await?.is_allowed());
    }
    Ok(())
}

/// Over random overrides, costs and blocks: denied until the very microsecond that the answer named,
/// whoever asked and was denied in between.
#[tokio::test]
async fn a_denial_under_an_override_holds_to_the_microsecond_beyond_its_end() -> Result<()> {
    let rig = Rig::start().await?;
    let mut beyond = 0;
    for algorithm in ALL {
        for seed in 0..60 {
            let mut random = Random(seed);
            let name = format!("{algorithm:?}-{seed}");
            let limit = Limit::new(algorithm, 100, MINUTE)?.named(&name)?;
            let limits = [limit.clone()];
            let mut now = START_US + random.below(60 * SECOND);
            let units = [3, 40, 150, 400][random.below(4) as usize];
            let stands = Duration::from_micros(SECOND + random.below(90 * SECOND));
            let before = random.below(100);
            if before > 0 {
                assert!(rig.at(now, &limits, before).await?.is_allowed());
            }
            now += random.below(SECOND);
            rig.service.set_override(&subject(), &limit, units, stands, &at(now)).await?;
            if random.below(3) == 0 {
                let blocked = Duration::from_micros(1 + random.below(100 * SECOND));
                rig.service.block(&subject(), &limit, blocked, &at(now)).await?;
            }
            let ends = now + micros(stands);
            for _ in 0..4 {
                now += random.below(SECOND / 5);
                let _ = rig.at(now, &limits, 1 + random.below(units)).await?;
            }
            let cost = 1 + random.below(100);
            let Outcome::Denied { retry_after } = rig.at(now, &limits, cost).await?.outcome else {
                continue;
            };
            let due = now + micros(retry_after);
            beyond += u32::from(due > ends);
            let mut polls: Vec<u64> = (0..3).map(|_| now + random.below(due - now)).collect();
            polls.extend([due - 1, ends.min(due - 1)]);
            polls.sort_unstable();
            for poll in polls.into_iter().skip(random.below(5) as usize) {
                let decision = rig.at(poll, &limits, cost).await?;
                let after = Duration::from_micros(due - poll);
                let until = Outcome::Denied { retry_after: after };
                assert_eq!(
                    decision.outcome,
                    until,
                    "{name} {cost} at {}",
                    poll as i64 - ends as i64
                );
            }
            assert!(rig.at(due, &limits, cost).await?.is_allowed(), "{name} {cost} {units}");
        }
    }
    assert!(beyond > 50, "{beyond}");
    Ok(())
}

#[tokio::test]
async fn what_only_a_raised_override_could_admit_and_does_not_in_its_time_is_never() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limit = Limit::new(algorithm, 10, MINUTE)?;
        let limits = [limit.clone()];
        let five = Duration::from_secs(5);
        rig.service.set_override(&subject(), &limit, 20, five, &at(START_US)).await?;
        assert!(rig.at(START_US, &limits, 20).await?.is_allowed(), "{algorithm:?}");
        let outcome = rig.at(START_US, &limits, 15).await?.outcome;
        assert_eq!(outcome, Outcome::Never, "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_taken_under_a_raised_override_stays_counted_when_it_is_over() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::bucket(10, MINUTE * 60)?.burst(5)?.named("p")?;
    let options = AcquireOptions::default();
    let (limits, brief) = ([limit.clone()], Duration::from_millis(100));
    rig.service.set_override(&subject(), &limit, 1_000_000, brief, &options).await?;
    let five = AcquireOptions::default().cost(5)?;
    assert!(rig.service.acquire(&subject(), &limits, &five).await?.is_allowed());
    let ttl: u64 = rig.query(redis::cmd("PTTL").arg(key("p"))).await?;
    assert!(ttl > 30 * 60_000 - 10_000, "as long as the policy counts it: {ttl}");
    Ok(())
}

/// Who looks once the override is over does not begin the wait anew.
#[tokio::test]
async fn a_look_after_an_override_makes_nobody_wait_longer() -> Result<()> {
    let rig = Rig::start().await?;
    for looks in [0, 1, 5] {
        let limits = [Limit::bucket(10, MINUTE)?.named(format!("{looks}"))?];
        let till = START_US + 60 * SECOND;
        let (user, now) = (subject(), at(START_US));
        rig.service.set_override(&user, &limits[0], 1_000, MINUTE, &now).await?;
        assert!(rig.at(till - 2_000, &limits, 1_000).await?.is_allowed());
        let denied = rig.at(till - 1_000, &limits, 10).await?;
        let Outcome::Denied { retry_after } = denied.outcome else { panic!("{denied:?}") };
        let due = till - 1_000 + micros(retry_after);
        for look in 1..=looks {
            let now = till + (due - till) / (looks + 1) * look;
            assert!(!rig.at(now, &limits, 1).await?.is_allowed());
            let seen = rig.service.peek(&user, &limits, &at(now)).await?;
            assert!(micros(seen.results[0].reset_after) <= due - now, "{looks}: {seen:?}");
        }
        assert!(rig.at(due, &limits, 10).await?.is_allowed(), "after {looks} looks");
    }
    Ok(())
}
