//! What stands at the key: its size and life, and values that are not ours.

use std::time::Duration;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::Limit;
use raptor_testkit::redis;

use crate::rig::{MINUTE, Rig, START_US, key};

const SECOND: u64 = 1_000_000;

#[tokio::test]
async fn after_script_flush_the_count_goes_on() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(2, MINUTE)?;
    assert!(rig.one(&limit).await?.is_allowed());
    rig.backend.query_all::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await?;
    assert!(rig.one(&limit).await?.is_allowed());
    assert!(!rig.one(&limit).await?.is_allowed());
    Ok(())
}

#[tokio::test]
async fn another_type_is_a_typed_error_and_stays_as_it_was() -> Result<()> {
    let rig = Rig::start().await?;
    rig.query::<i64>(redis::cmd("LPUSH").arg(key("60s")).arg("theirs")).await?;
    let error = rig.one(&Limit::strict(2, MINUTE)?).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    let kept: Vec<String> = rig.query(redis::cmd("LRANGE").arg(key("60s")).arg(0).arg(-1)).await?;
    assert_eq!(kept, ["theirs"]);
    Ok(())
}

#[tokio::test]
async fn a_foreign_or_damaged_value_is_a_typed_error_and_no_admission() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(100, MINUTE)?];
    let head = START_US / SECOND;
    let ok = format!("R1S60000000;{head};3;2<3$");
    for (value, want) in [
        (String::new(), None),
        ("5".into(), None),
        ("R1S60000000".into(), None),
        ("R2S60000000;1;0;1$".into(), None),
        ("R1T60000000;1;0;1$".into(), None),
        (format!("R1S60000000;{head};3;2<3"), None),
        (format!("R1S60000000;{head};3;2<3$x"), None),
        (format!("R1S60000000;{head};9007199254740992;2<3$"), None),
        (format!("R1S60000000;{head};-3;2<3$"), None),
        (format!("R1S60000000;{head};{};2<3$", "9".repeat(400)), None),
        (format!("R1S0;{head};3;2<3$"), None),
        (format!("R1S60000000;{head};3;2<3{}$", "<".repeat(3_000)), None),
        ("\0".repeat(100), None),
        (ok, Some(94)),
    ] {
        rig.query::<()>(redis::cmd("SET").arg(key("60s")).arg(&value)).await?;
        match (rig.at(START_US, &limits, 1).await, want) {
            (Ok(decision), Some(left)) => assert_eq!(decision.results[0].remaining, left),
            (Err(error), None) => {
                let error = error.downcast_ref::<raptor_core::Error>().unwrap();
                assert_eq!(error.kind(), ErrorKind::Codec, "{value}: {error}");
                let kept: String = rig.query(redis::cmd("GET").arg(key("60s"))).await?;
                assert_eq!(kept, value);
            }
            (got, want) => panic!("{value}: {got:?}, not {want:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_left_alone_and_takes_nothing_of_the_other_limits()
-> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(100, MINUTE)?, Limit::strict(100, MINUTE * 2)?];
    assert!(rig.at(START_US, &limits, 1).await?.is_allowed());
    let newer = format!("R2S60000000;{};3;2<3$", START_US / SECOND);
    rig.query::<()>(redis::cmd("SET").arg(key("60s")).arg(&newer)).await?;
    let before = rig.backend.snapshot().await?;
    let error = rig.at(START_US, &limits, 1).await.unwrap_err();
    let error = error.downcast_ref::<raptor_core::Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    assert!(error.to_string().contains("newer"), "{error}");
    assert!(rig.backend.snapshot().await? == before);
    Ok(())
}

#[tokio::test]
async fn damage_behind_the_head_is_found_when_it_is_reached() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(10, MINUTE)?];
    let head = START_US / SECOND;
    for body in ["<x", "!3", "<1=1", "<4", ""] {
        let value = format!("R1S60000000;{head};3;7{body}$");
        rig.query::<()>(redis::cmd("SET").arg(key("60s")).arg(&value)).await?;
        // Full, so the walk for retry_after meets it; and later so does the one that lets go.
        for (later, cost) in [(0, 10), (60, 10)] {
            let error = rig.at(START_US + later * SECOND, &limits, cost).await.unwrap_err();
            let error = error.downcast_ref::<raptor_core::Error>().unwrap();
            assert_eq!(error.kind(), ErrorKind::Codec, "{body}: {error}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_idle_key_vanishes_after_a_window_and_a_bucket() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(100, MINUTE)?;
    for _ in 0..12 {
        assert!(rig.one(&limit).await?.is_allowed());
        let ttl: i64 = rig.query(redis::cmd("PTTL").arg(key("60s"))).await?;
        assert!((55_000..=61_002).contains(&ttl), "{ttl}");
    }
    let short = Limit::strict(1, Duration::from_millis(60))?;
    assert!(rig.one(&short).await?.is_allowed());
    let ttl: i64 = rig.query(redis::cmd("PTTL").arg(key("60ms"))).await?;
    assert!(ttl <= 63, "{ttl}");
    Ok(())
}

#[tokio::test]
async fn a_denied_call_writes_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(3, MINUTE)?];
    assert!(rig.at(START_US, &limits, 3).await?.is_allowed());
    let before: String = rig.query(redis::cmd("GET").arg(key("60s"))).await?;
    for later in [0, 1, 30, 60] {
        assert!(!rig.at(START_US + later * SECOND, &limits, 1).await?.is_allowed());
    }
    let after: String = rig.query(redis::cmd("GET").arg(key("60s"))).await?;
    assert_eq!(before, after);
    Ok(())
}

#[tokio::test]
async fn a_full_window_stays_small() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(1_000_000, MINUTE)?];
    for i in 0..200 {
        assert!(rig.at(START_US + i * SECOND, &limits, 123).await?.is_allowed());
    }
    let bytes: usize = rig.query(redis::cmd("STRLEN").arg(key("60s"))).await?;
    assert!(bytes <= 300, "{bytes}");
    Ok(())
}

/// Whatever the server's numbers are: other versions read the same text.
#[tokio::test]
async fn a_bucket_s_state_is_written_in_whole_decimals() -> Result<()> {
    let rig = Rig::start().await?;
    let year = Duration::from_secs(366 * 86_400);
    for (limit, window, tat, fraction) in [
        (7, MINUTE, START_US + 8_571_428, 4),
        (1, year, START_US + 366 * 86_400 * SECOND, 0),
        (90_000_007, MINUTE, START_US, 60_000_000),
    ] {
        let limits = [Limit::bucket(limit, window)?.named("p")?];
        assert!(rig.at(START_US, &limits, 1).await?.is_allowed());
        let state: String = rig.query(redis::cmd("GET").arg(key("p"))).await?;
        let window_us = window.as_micros();
        assert_eq!(state, format!("R1G{limit}/{window_us};{START_US};{tat};{fraction}$"));
        rig.query::<i64>(redis::cmd("DEL").arg(key("p"))).await?;
    }
    Ok(())
}
