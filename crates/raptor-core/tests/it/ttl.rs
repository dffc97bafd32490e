//! TTLs: set, read, refreshed on conditions, spread; and the keys that have none, found on every server.

use std::collections::BTreeSet;
use std::time::Duration;

use raptor_core::ttl::{
    Cleanup, Jitter, MAX_TTL, Refresh, RefreshIf, Scope, Ttl, TtlManager, TtlPolicies, TtlPolicy,
};
use raptor_core::{ErrorKind, Family, Key, RedisClient};
use raptor_testkit::Backend;

use crate::fixture;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn backend() -> (Backend, RedisClient) {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    (backend, client)
}

async fn put(client: &RedisClient, key: &Key) {
    client.command("SET").key(key).arg("v").run::<()>().await.expect("SET");
}

/// Whether about `expected` is left.
async fn left(ttl: &TtlManager, key: &Key, expected: Duration) -> bool {
    match ttl.get(key).await.expect("PTTL") {
        Ttl::Remaining(left) => left <= expected && left + MINUTE / 2 > expected,
        Ttl::Missing | Ttl::Persistent => false,
    }
}

#[tokio::test]
async fn ttls_are_set_read_and_taken_away() {
    let (_backend, client) = backend().await;
    let (ttl, key) = (client.ttl(), Key::raw("k"));
    assert_eq!(ttl.get(&key).await.expect("PTTL"), Ttl::Missing);
    assert!(!ttl.set_ttl(&key, HOUR).await.expect("no such key"));
    assert!(!ttl.persist(&key).await.expect("no such key"));
    put(&client, &key).await;
    assert_eq!(ttl.get(&key).await.expect("PTTL"), Ttl::Persistent);
    assert!(!ttl.persist(&key).await.expect("it has none"));
    assert!(ttl.set_ttl(&key, HOUR).await.expect("PEXPIRE"));
    assert!(left(&ttl, &key, HOUR).await);
    assert!(ttl.persist(&key).await.expect("PERSIST"));
    assert_eq!(ttl.get(&key).await.expect("PTTL"), Ttl::Persistent);
    for bad in [Duration::ZERO, MAX_TTL + MINUTE, Duration::MAX] {
        let error = ttl.set_ttl(&key, bad).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        let error = ttl.refresh_if(&key, bad, RefreshIf::Exists).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    }
    assert_eq!(ttl.get(&key).await.expect("PTTL"), Ttl::Persistent, "it was left alone");
    assert!(ttl.set_ttl(&key, MAX_TTL).await.expect("the longest"));
    assert!(left(&ttl, &key, MAX_TTL).await);
    // The shortest: gone when the server says so.
    assert!(ttl.set_ttl(&key, Duration::from_nanos(1)).await.expect("the shortest"));
    let gone = async || ttl.get(&key).await.expect("PTTL") == Ttl::Missing;
    fixture::until(Duration::from_secs(5), "the key to expire", gone).await.expect("expires");
}

#[tokio::test]
async fn a_refresh_depends_on_what_is_left() {
    let (_backend, client) = backend().await;
    let (ttl, key) = (client.ttl(), Key::raw("k"));
    let conditions = [RefreshIf::Exists, RefreshIf::Below(HOUR), RefreshIf::Longer];
    for condition in conditions {
        let refresh = ttl.refresh_if(&key, HOUR, condition).await.expect("runs");
        assert_eq!(refresh, Refresh::Kept(Ttl::Missing), "{condition:?}");
    }
    put(&client, &key).await;
    for condition in [RefreshIf::Below(HOUR), RefreshIf::Longer] {
        let refresh = ttl.refresh_if(&key, HOUR, condition).await.expect("runs");
        assert_eq!(refresh, Refresh::Kept(Ttl::Persistent), "{condition:?}");
    }
    for (had, new, condition, refreshed) in [
        (HOUR, 2 * HOUR, RefreshIf::Exists, true),
        (HOUR, HOUR / 2, RefreshIf::Exists, true),
        (HOUR, 2 * HOUR, RefreshIf::Below(HOUR / 2), false),
        (HOUR, 2 * HOUR, RefreshIf::Below(HOUR + MINUTE), true),
        (HOUR, HOUR / 2, RefreshIf::Below(HOUR + MINUTE), true),
        (HOUR, 2 * HOUR, RefreshIf::Longer, true),
        (HOUR, HOUR / 2, RefreshIf::Longer, false),
    ] {
        assert!(ttl.set_ttl(&key, had).await.expect("PEXPIRE"));
        let refresh = ttl.refresh_if(&key, new, condition).await.expect("runs");
        assert_eq!(refresh == Refresh::Refreshed, refreshed, "{had:?} {new:?} {condition:?}");
        let expected = if refreshed { new } else { had };
        assert!(left(&ttl, &key, expected).await, "{had:?} {new:?} {condition:?}");
    }
}

#[tokio::test]
async fn a_policy_says_what_a_family_is_due() {
    let (_backend, client) = backend().await;
    let policy =
        TtlPolicy::new(HOUR).and_then(|policy| policy.max(HOUR + MINUTE)).expect("a policy");
    let policy = policy.jitter(Jitter::new(0.5).expect("a fraction"));
    let ttl = client.ttl().with_policies(TtlPolicies::new().family(&Family::RATE, policy));
    let key = client.keys().key(&Family::RATE, "u", &["e"]).expect("a key");
    put(&client, &key).await;
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        assert!(ttl.apply_policy(&key).await.expect("PEXPIRE"));
        let Ttl::Remaining(left) = ttl.get(&key).await.expect("PTTL") else { panic!("no TTL") };
        assert!(left > HOUR / 2 - MINUTE && left <= HOUR + MINUTE, "{left:?}");
        seen.insert(left);
    }
    assert!(seen.len() > 5, "spread: {seen:?}");
    let error = ttl.set_ttl(&key, 2 * HOUR).await.expect_err("above the longest");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    let raw = Key::raw(key.bytes());
    let error = ttl.set_ttl(&raw, 2 * HOUR).await.expect_err("the same key, of the same family");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(ttl.set_ttl(&key, MINUTE).await.expect("below it"));
    client.command("PERSIST").key(&key).run::<()>().await.expect("PERSIST");
    let found = ttl.cleanup_expired(Scope::Family(&Family::RATE), Cleanup::Report, 10_000, None);
    let found = found.await.expect("looks").leaks;
    assert_eq!(found.iter().map(Key::family).collect::<Vec<_>>(), [Some("rate")]);
    // A family without a policy, and a key without a family: the configured default, no bound.
    let other = client.keys().key(&Family::USAGE, "w", &["p"]).expect("a key");
    for key in [other, Key::raw("raw")] {
        put(&client, &key).await;
        assert!(ttl.apply_policy(&key).await.expect("PEXPIRE"));
        assert!(left(&ttl, &key, client.config().default_ttl()).await);
        assert!(ttl.set_ttl(&key, 1_000 * HOUR).await.expect("no bound"));
    }
}

#[tokio::test]
async fn a_lost_reply_to_setting_a_ttl_may_be_repeated_and_one_to_taking_it_away_is_unknown() {
    let (_server, proxy, client) = fixture::proxied().await;
    let (ttl, key) = (client.ttl(), Key::raw("k"));
    put(&client, &key).await;
    proxy.drop_reply_to(b"PEXPIRE");
    assert!(ttl.set_ttl(&key, HOUR).await.expect_err("lost").is_retryable());
    fixture::reconnected(&client).await;
    assert!(left(&ttl, &key, HOUR).await, "it ran");
    proxy.drop_reply_to(b"PERSIST");
    let error = ttl.persist(&key).await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
}

/// Looks through everything, a bounded piece at a time.
async fn pass(
    ttl: &TtlManager,
    scope: Scope<'_>,
    cleanup: Cleanup,
    budget: u32,
) -> (BTreeSet<Key>, u64, u32) {
    let (mut leaks, mut matched, mut calls, mut cursor) = (BTreeSet::new(), 0, 0, None);
    loop {
        let report = ttl.cleanup_expired(scope, cleanup, budget, cursor).await.expect("looks");
        // SCAN looks at whole buckets, so a few more than asked for.
        assert!(report.matched <= u64::from(budget) + 500, "{} of {budget}", report.matched);
        leaks.extend(report.leaks);
        matched += report.matched;
        calls += 1;
        match report.next {
            Some(next) => cursor = Some(next),
            None => return (leaks, matched, calls),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_without_a_ttl_are_found_on_every_server_and_only_those_get_one() {
    let (backend, client) = backend().await;
    let ttl = client.ttl();
    let mut pipeline = client.pipeline();
    let mut leaking = BTreeSet::new();
    let mut expiring = Vec::new();
    for n in 0..3_000 {
        let key = client.keys().key(&Family::RATE, format!("u{n}"), &["e"]).expect("a key");
        let set = client.command("SET").key(&key).arg("v");
        pipeline.push(if n % 3 == 0 { set } else { set.arg("EX").arg(7_200) });
        if n % 3 == 0 {
            leaking.insert(key)
        } else {
            expiring.push(key);
            true
        };
        let other = client.keys().key(&Family::USAGE, format!("w{n}"), &["p"]).expect("a key");
        pipeline.push(client.command("HSET").key(&other).args(["f", "v"]));
    }
    assert!(pipeline.execute().await.expect("sent").iter().all(Result::is_ok));
    let scope = Scope::Family(&Family::RATE);
    // A dry run needs no policy, and changes nothing.
    let (found, matched, calls) = pass(&ttl, scope, Cleanup::Report, 1_000).await;
    assert!(found == leaking, "{} of {}", found.len(), leaking.len());
    assert!(matched >= 3_000 && calls >= 5, "{matched} {calls}");
    let error = ttl.cleanup_expired(scope, Cleanup::Repair, 10, None).await.expect_err("no policy");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    let error = ttl.cleanup_expired(scope, Cleanup::Report, 0, None).await.expect_err("no budget");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");

    let policy =
        TtlPolicy::new(HOUR).expect("a policy").jitter(Jitter::new(0.5).expect("a fraction"));
    let ttl = ttl.with_policies(TtlPolicies::new().family(&Family::RATE, policy));
    let (found, ..) = pass(&ttl, scope, Cleanup::Repair, 700).await;
    assert!(found == leaking, "the dry run changed nothing");
    let (found, ..) = pass(&ttl, scope, Cleanup::Repair, u32::MAX).await;
    assert!(found.is_empty(), "all have one now");
    for key in leaking.iter().step_by(50) {
        let Ttl::Remaining(left) = ttl.get(key).await.expect("PTTL") else { panic!("no TTL") };
        assert!(left >= HOUR / 2 - MINUTE && left <= HOUR + HOUR / 2, "{left:?}");
    }
    for key in expiring.iter().step_by(50) {
        assert!(left(&ttl, key, 2 * HOUR).await, "what had one keeps it");
    }
    // Other families were left alone; a pattern reaches them, within the prefix.
    let policy = TtlPolicy::new(MINUTE).expect("a policy");
    let alien = Key::raw("usage:alien");
    put(&client, &alien).await;
    let (found, ..) = pass(&ttl, Scope::Pattern("usage:*", policy), Cleanup::Repair, 100_000).await;
    assert_eq!(found.len(), 3_000);
    assert_eq!(ttl.get(&alien).await.expect("PTTL"), Ttl::Persistent);
    // The work was where the keys are.
    let sizes: Vec<i64> =
        backend.query_all(&raptor_testkit::redis::cmd("DBSIZE")).await.expect("DBSIZE");
    println!("keys by server: {sizes:?}");
}
