//! Foreign data under any one key: a typed error, and nothing is half-charged.

use raptor_core::ErrorKind;
use raptor_ops::usage::{PeriodRule, UsageEvent};
use raptor_testkit::redis;

use crate::support::{Fixture, NOW, event};

fn attributed(n: u128) -> UsageEvent {
    event(n).user("ann").agent("a").input(7)
}

#[tokio::test]
async fn a_wrong_type_on_any_one_key_charges_nothing() {
    let f = Fixture::start().await;
    let _ = f.usage.record(&attributed(1)).await.expect("charged");
    let keys: Vec<Vec<u8>> = f.dump().await.into_keys().collect();
    assert_eq!(keys.len(), 15);
    for key in keys {
        f.run_everywhere(&redis::cmd("FLUSHALL")).await;
        f.run(redis::cmd("SET").arg(&key).arg("foreign")).await;
        let before = f.dump().await;
        let error = f.usage.record(&attributed(1)).await.expect_err("wrong type");
        assert_eq!(error.kind(), ErrorKind::WrongType, "{}", String::from_utf8_lossy(&key));
        assert_eq!(f.dump().await, before, "{}", String::from_utf8_lossy(&key));
        // The event was not remembered: once repaired it is charged.
        f.run(redis::cmd("DEL").arg(&key)).await;
        let _ = f.usage.record(&attributed(1)).await.expect("charged");
        assert_eq!(f.report("acme", PeriodRule::DAY).await.totals.counts.input, 7);
    }
}

#[tokio::test]
async fn foreign_values_in_a_field_charge_nothing() {
    let f = Fixture::start().await;
    for (key, field) in [
        ("raptorflow:usage:{acme}:2026-03", "i"),
        ("raptorflow:usage:{acme}:2026-03", "p"),
        ("raptorflow:usage~by:{acme}:2026-03:user", "i:ann"),
    ] {
        for foreign in ["-5", "abc", "", "1.5", " 1", "1000000000000"] {
            if foreign.len() == 13 && field != "p" {
                continue;
            }
            f.run_everywhere(&redis::cmd("FLUSHALL")).await;
            f.run(redis::cmd("HSET").arg(key).arg(field).arg(foreign)).await;
            let before = f.dump().await;
            let error = f.usage.record(&attributed(1)).await.expect_err("foreign");
            assert_eq!(error.kind(), ErrorKind::Codec, "{key} {field} {foreign:?}");
            assert_eq!(f.dump().await, before);
        }
    }
}

#[tokio::test]
async fn reports_say_wrong_type_too() {
    let f = Fixture::start().await;
    f.run(redis::cmd("SET").arg("raptorflow:usage~by:{acme}:2026-03:user").arg("foreign")).await;
    f.run(redis::cmd("ZADD").arg("raptorflow:usage~names:{acme}:2026-03:user").arg(0).arg("ann"))
        .await;
    let period = PeriodRule::MONTH.period_at(NOW).expect("a period");
    let error = f.usage.report("acme", &period).await.expect_err("foreign");
    assert_eq!(error.kind(), ErrorKind::WrongType);
}
