//! Data of a newer layout: a typed error, and what is stored stays as it is.

use raptor_core::{ErrorKind, Result};
use raptor_ops::usage::{Dimension, PeriodRule, Recorded, UsageEvent};
use raptor_testkit::redis;

use crate::support::{Fixture, NOW, event, id_at, period};

fn attributed(n: u128) -> UsageEvent {
    event(n).user("ann").agent("a").input(7)
}

fn refused<T>(outcome: Result<T>, what: &str) {
    let Err(error) = outcome else { panic!("{what} was not refused") };
    assert_eq!(error.kind(), ErrorKind::Codec, "{what}: {error}");
    assert!(error.to_string().contains("newer layout"), "{what}: {error}");
}

/// `usage`; and `usage~by` and `usage~names`, which are covered by their period's totals.
#[tokio::test]
async fn totals_of_a_newer_layout_cover_all_keys_of_their_period() {
    let f = Fixture::start().await;
    let totals = "raptorflow:usage:{acme}:2026-03";
    let month = period(PeriodRule::MONTH, NOW);
    for others in [false, true] {
        f.run_everywhere(&redis::cmd("FLUSHALL")).await;
        if others {
            let _ = f.usage.record(&attributed(1)).await.expect("charged");
            let keys = f.dump().await.into_keys();
            let keys: Vec<_> = keys.map(|key| String::from_utf8_lossy(&key).into_owned()).collect();
            let of = |family| keys.iter().any(|key| key.contains(family));
            assert!(of(":usage~by:{acme}:2026-03:user") && of(":usage~names:{acme}:2026-03:user"));
        }
        f.run(redis::cmd("HSET").arg(totals).arg("v").arg("2").arg("i").arg("5")).await;
        let before = f.dump().await;
        refused(f.usage.record(&attributed(2)).await, "record");
        refused(f.usage.report("acme", &month).await, "report");
        for dimension in [Dimension::Model, Dimension::Agent, Dimension::User] {
            let page = f.usage.breakdown("acme", &month, dimension, None, 10).await;
            refused(page, "breakdown");
        }
        assert_eq!(f.dump().await, before);
    }
    let other = UsageEvent::new("other", "mini").with_id(id_at(NOW, 1)).input(1);
    let _ = f.usage.record(&other).await.expect("another workspace is not hurt");
}

/// `usage~seen`: a set of a newer layout holds a member that no id can be.
#[tokio::test]
async fn seen_ids_of_a_newer_layout_are_believed_neither_way() {
    let f = Fixture::start().await;
    let _ = f.usage.record(&attributed(1)).await.expect("charged");
    let keys = f.backend.keys::<String>("*usage~seen:*").await.expect("keys");
    assert_eq!(keys.len(), 1);
    f.run(redis::cmd("SADD").arg(&keys[0]).arg("v2")).await;
    let before = f.dump().await;
    refused(f.usage.record(&attributed(1)).await, "a duplicate");
    refused(f.usage.record(&attributed(2)).await, "a new event");
    assert_eq!(f.dump().await, before);
    f.run(redis::cmd("SREM").arg(&keys[0]).arg("v2")).await;
    let again = f.usage.record(&attributed(1)).await.expect("an answer");
    assert_eq!(again, Recorded::Duplicate);
}
