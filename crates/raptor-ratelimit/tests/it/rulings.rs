//! Reset, block, override and list; and how they sit with what is counted.

use std::time::Duration;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit, MAX_WINDOW, Outcome, Subject};
use raptor_testkit::redis;

use crate::rig::{MINUTE, Rig, START_US, instant, key, subject};

const SECOND: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
const ALL: [Algorithm; 5] =
    [Algorithm::Strict, Algorithm::Log, Algorithm::Bucket, Algorithm::Fixed, Algorithm::Counter];

fn at(us: u64) -> AcquireOptions {
    AcquireOptions::default().now(instant(us)).unwrap()
}

#[tokio::test]
async fn a_reset_forgets_what_was_taken() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limits = [Limit::new(algorithm, 10, MINUTE)?];
        rig.service.reset(&subject(), &limits, &at(START_US)).await?;
        assert!(rig.at(START_US, &limits, 10).await?.is_allowed());
        rig.service.reset(&subject(), &limits, &at(START_US)).await?;
        let decision = rig.at(START_US, &limits, 4).await?;
        assert_eq!(decision.results[0].remaining, 6, "{algorithm:?}");
        assert!(!rig.at(START_US + SECOND, &limits, 7).await?.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_block_denies_until_its_end_and_what_was_counted_stays() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limit = Limit::new(algorithm, 10, HOUR)?;
        let limits = [limit.clone()];
        assert!(rig.at(START_US, &limits, 3).await?.is_allowed());
        rig.service.block(&subject(), &limit, MINUTE, &at(START_US)).await?;
        for passed in [0, 1, 59] {
            let decision = rig.at(START_US + passed * SECOND, &limits, 1).await?;
            let left = MINUTE - Duration::from_secs(passed);
            assert_eq!(decision.outcome, Outcome::Denied { retry_after: left }, "{algorithm:?}");
        }
        let after = rig.at(START_US + 60 * SECOND, &limits, 1).await?;
        assert!(after.is_allowed(), "{algorithm:?}");
        assert_eq!(after.results[0].remaining, 6, "{algorithm:?}");
        // Lifted early.
        rig.service.block(&subject(), &limit, MINUTE, &at(START_US + 60 * SECOND)).await?;
        rig.service.unblock(&subject(), &limit, &at(START_US + 61 * SECOND)).await?;
        assert!(rig.at(START_US + 61 * SECOND, &limits, 1).await?.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_block_stands_before_anything_was_counted_and_alone_denies_a_call_of_several()
-> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(10, MINUTE)?, Limit::bucket(10, MINUTE)?];
    rig.service.block(&subject(), &limits[1], HOUR, &at(START_US)).await?;
    let decision = rig.at(START_US, &limits, 1).await?;
    assert_eq!(decision.outcome, Outcome::Denied { retry_after: HOUR });
    assert!(decision.results[0].allowed && !decision.results[1].allowed);
    assert!(!rig.query::<bool>(redis::cmd("EXISTS").arg(key("60s"))).await?, "nothing was taken");
    Ok(())
}

#[tokio::test]
async fn an_override_counts_instead_of_the_policy_for_its_time() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limit = Limit::new(algorithm, 10, MINUTE)?;
        let limits = [limit.clone()];
        assert!(rig.at(START_US, &limits, 8).await?.is_allowed());
        rig.service.set_override(&subject(), &limit, 20, HOUR, &at(START_US)).await?;
        let decision = rig.at(START_US, &limits, 5).await?;
        let result = &decision.results[0];
        assert!(result.allowed, "{algorithm:?}");
        assert_eq!((result.limit, result.remaining), (20, 7), "{algorithm:?}");
        // Lowered below what is counted.
        rig.service.set_override(&subject(), &limit, 5, HOUR, &at(START_US)).await?;
        let denied = rig.at(START_US, &limits, 1).await?;
        assert_eq!((denied.is_allowed(), denied.results[0].remaining), (false, 0), "{algorithm:?}");
        let cleared = at(START_US + 200 * SECOND);
        rig.service.clear_override(&subject(), &limit, &cleared).await?;
        let decision = rig.at(START_US + 200 * SECOND, &limits, 10).await?;
        assert_eq!((decision.is_allowed(), decision.results[0].limit), (true, 10), "{algorithm:?}");
        // And by itself.
        let start = START_US + 400 * SECOND;
        rig.service.set_override(&subject(), &limit, 3, MINUTE, &at(start)).await?;
        let until_its_end = Outcome::Denied { retry_after: MINUTE };
        assert_eq!(rig.at(start, &limits, 4).await?.outcome, until_its_end, "{algorithm:?}");
        assert_eq!(rig.at(start, &limits, 11).await?.outcome, Outcome::Never, "{algorithm:?}");
        assert!(rig.at(start + 60 * SECOND, &limits, 4).await?.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_denial_under_a_lower_override_names_no_time_after_its_end() -> Result<()> {
    let rig = Rig::start().await?;
    let five = Duration::from_secs(5);
    for algorithm in ALL {
        let limit = Limit::new(algorithm, 100, MINUTE)?;
        let limits = [limit.clone()];
        assert!(rig.at(START_US, &limits, 50).await?.is_allowed());
        rig.service.set_override(&subject(), &limit, 10, five, &at(START_US)).await?;
        for cost in [9, 20] {
            let decision = rig.at(START_US + SECOND, &limits, cost).await?;
            let left = Duration::from_secs(4);
            assert_eq!(decision.outcome, Outcome::Denied { retry_after: left }, "{algorithm:?}");
        }
        let due = rig.at(START_US + 5 * SECOND, &limits, 20).await?;
        assert!(due.is_allowed(), "{algorithm:?}");
        // A block beside it stands for its own time.
        rig.service.set_override(&subject(), &limit, 10, five, &at(START_US)).await?;
        rig.service.block(&subject(), &limit, MINUTE, &at(START_US)).await?;
        let blocked = rig.at(START_US, &limits, 20).await?.outcome;
        assert_eq!(blocked, Outcome::Denied { retry_after: MINUTE }, "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn lists_what_stands_for_a_user_and_nobody_else_s() -> Result<()> {
    let rig = Rig::start().await?;
    let hostile = Subject::new("{u}:\0", "a:{}\r\n")?;
    let limit = Limit::strict(10, MINUTE)?.named(b"n:\xFF{")?;
    let other = Limit::bucket(10, MINUTE)?;
    let now = at(START_US);
    rig.service.block(&hostile, &limit, MINUTE, &now).await?;
    rig.service.set_override(&hostile, &other, 77, HOUR, &now).await?;
    rig.service.block(&subject(), &limit, MINUTE, &now).await?;
    let mut list = rig.service.list("{u}:\0", &now).await?;
    list.sort_by_key(|ruling| ruling.policy.clone());
    assert_eq!(list.len(), 2);
    assert_eq!(
        (&list[0].endpoint[..], &list[0].policy[..]),
        (&b"a:{}\r\n"[..], &b"60s-bucket"[..])
    );
    assert_eq!(list[0].units, Some((77, instant(START_US + 3_600 * SECOND))));
    assert_eq!((list[0].blocked_until, list[1].units), (None, None));
    assert_eq!(list[1].policy, limit.policy());
    assert_eq!(list[1].blocked_until, Some(instant(START_US + 60 * SECOND)));
    assert_eq!(rig.service.list("{u}:\0", &at(START_US + 60 * SECOND)).await?.len(), 1, "over");
    rig.service.unblock(&hostile, &limit, &now).await?;
    assert_eq!(rig.service.list("{u}:\0", &now).await?.len(), 1);
    assert!(rig.service.list("nobody", &now).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn rulings_are_bounded_and_those_that_are_over_make_room() -> Result<()> {
    let rig = Rig::start().await?;
    let block = async |n: usize, us: u64| {
        let limit = Limit::strict(10, MINUTE)?.named(format!("p{n}"))?;
        rig.service.block(&subject(), &limit, MINUTE, &at(us)).await
    };
    for n in 0..1_000 {
        block(n, START_US).await?;
    }
    let error = block(1_000, START_US).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity, "{error}");
    assert_eq!(rig.service.list("u", &at(START_US)).await?.len(), 1_000);
    block(5, START_US).await?;
    block(1_000, START_US + 60 * SECOND).await?;
    Ok(())
}

#[tokio::test]
async fn bad_durations_numbers_and_values_are_typed_errors() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::log(10, MINUTE)?.named("60s")?;
    let (service, who, now) = (&rig.service, &subject(), &at(START_US));
    let errors = [
        service.block(who, &limit, Duration::ZERO, now).await.unwrap_err(),
        service.block(who, &limit, MAX_WINDOW * 2, now).await.unwrap_err(),
        service.set_override(who, &limit, 0, MINUTE, now).await.unwrap_err(),
        service.set_override(who, &limit, 1_001, MINUTE, now).await.unwrap_err(),
        service.list("", now).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    for (value, kind) in [("theirs", ErrorKind::Codec), ("R2S1;", ErrorKind::Codec)] {
        rig.query::<()>(redis::cmd("SET").arg(key("60s")).arg(value)).await?;
        let before = rig.backend.snapshot().await?;
        let error = service.block(who, &limit, MINUTE, now).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{value}: {error}");
        assert!(service.reset(who, std::slice::from_ref(&limit), now).await.is_err());
        assert!(rig.backend.snapshot().await? == before);
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_ruling_is_a_typed_error_and_no_admission() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(10, MINUTE)?];
    let bucket = [Limit::bucket(20, MINUTE)?.burst(5)?.named("60s")?];
    let huge = "9".repeat(17);
    for value in [
        "R1W;0;0;0;".to_owned(),
        "R1W5-3;0;0;0;".to_owned(),
        format!("R1W{huge};{START_US}0;0;0;"),
        format!("R1W-;{huge};0;0;"),
        "R1W0;9007199254740991;0;7;".to_owned(),
        "R1W-;0;0;0".to_owned(),
        "R1W-;0;0;0;junk".to_owned(),
        "R1W-;0;0;0;R1W-;0;0;0;".to_owned(),
        "R1W-;0;0;0;R2S60000000;1;0;1$".to_owned(),
    ] {
        rig.query::<()>(redis::cmd("SET").arg(key("60s")).arg(&value)).await?;
        for limits in [&limits, &bucket] {
            let error = rig.at(START_US, limits, 1).await.unwrap_err();
            let error = error.downcast_ref::<raptor_core::Error>().unwrap();
            assert_eq!(error.kind(), ErrorKind::Codec, "{value}: {error}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_damaged_in_the_list_is_dropped_by_any_reset_of_the_user_s() -> Result<()> {
    let rig = Rig::start().await?;
    let index = "raptorflow:rate~rulings:{u}";
    let [damaged, sound, unused] =
        ["damaged", "sound", "unused"].map(|name| Limit::strict(10, MINUTE).unwrap().named(name));
    let (damaged, sound, unused) = (damaged?, sound?, [unused?]);
    let now = at(START_US);
    let far = format!("-;0;{}", "9".repeat(30));
    for (field, value) in [
        ("e:damaged", "theirs"),
        ("e:damaged", "-;0"),
        ("e:damaged", &far),
        ("damaged", "-;0;1760000000000000"),
        ("e:dam%61ged", "-;0;1760000000000000"),
        ("e:dam%2Dged", "-;0;1760000000000000"),
        ("e:dam%7Eged", "-;0;1760000000000000"),
        ("e:dam%2fged", "-;0;1760000000000000"),
        ("e:d:amaged", "-;0;1760000000000000"),
        ("e:", "-;0;1760000000000000"),
        ("{e}:damaged%", "-;0;1760000000000000"),
    ] {
        rig.service.block(&subject(), &damaged, MINUTE, &now).await?;
        rig.service.set_override(&subject(), &sound, 20, MINUTE, &now).await?;
        rig.query::<i64>(redis::cmd("HSET").arg(index).arg(field).arg(value)).await?;
        let error = rig.service.list("u", &now).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{field} {value}: {error}");
        rig.service.reset(&subject(), &unused, &now).await?;
        let list = rig.service.list("u", &now).await?;
        assert!(list.iter().any(|ruling| ruling.policy == b"sound"), "{field} {value}");
        let denied = rig.at(START_US, std::slice::from_ref(&damaged), 1).await?;
        assert!(!denied.is_allowed(), "{field} {value}: the block stands");
        // Ruled on again it is in the list again; and so it is when it is the one that is reset.
        rig.query::<i64>(redis::cmd("HSET").arg(index).arg("e:damaged").arg("theirs")).await?;
        rig.service.reset(&subject(), std::slice::from_ref(&damaged), &now).await?;
        let list = rig.service.list("u", &now).await?;
        assert!(list.iter().any(|ruling| ruling.policy == b"damaged"), "{field} {value}");
    }
    Ok(())
}

#[tokio::test]
async fn a_newer_layout_of_the_index_is_refused_and_left_alone() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(10, MINUTE)?;
    rig.service.block(&subject(), &limit, MINUTE, &at(START_US)).await?;
    rig.query::<i64>(redis::cmd("HSET").arg("raptorflow:rate~rulings:{u}").arg("v").arg(2)).await?;
    let before = rig.backend.snapshot().await?;
    let error = rig.service.unblock(&subject(), &limit, &at(START_US)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    let error = rig.service.list("u", &at(START_US)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    assert!(rig.backend.snapshot().await? == before);
    Ok(())
}

#[tokio::test]
async fn a_ruling_ends_with_its_time_and_leaves_no_key() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(10, Duration::from_millis(60))?;
    let options = AcquireOptions::default();
    rig.service.block(&subject(), &limit, Duration::from_secs(30), &options).await?;
    let ttl: i64 = rig.query(redis::cmd("PTTL").arg(key("60ms"))).await?;
    assert!((25_000..=30_001).contains(&ttl), "{ttl}");
    let index = "raptorflow:rate~rulings:{u}";
    let ttl: i64 = rig.query(redis::cmd("PTTL").arg(index)).await?;
    assert!((25_000..=30_001).contains(&ttl), "{ttl}");
    rig.service.unblock(&subject(), &limit, &options).await?;
    assert!(!rig.query::<bool>(redis::cmd("EXISTS").arg(key("60ms"))).await?);
    Ok(())
}

#[tokio::test]
async fn what_is_ruled_on_a_name_of_any_bytes_outlives_a_reset_of_another() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(10, MINUTE)?;
    let now = at(START_US);
    for byte in 0..=255_u8 {
        let subject = Subject::new("u", [b'e', byte])?;
        rig.service.block(&subject, &limit, MINUTE, &now).await?;
    }
    rig.service.reset(&subject(), std::slice::from_ref(&limit), &now).await?;
    assert_eq!(rig.service.list("u", &now).await?.len(), 256);
    Ok(())
}
