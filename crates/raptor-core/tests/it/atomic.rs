//! Compare-and-set and its kin: on bytes, on typed and encrypted values, at every edge; many callers
//! at once are in `atomic_contention`.

use std::time::Duration;

use bytes::Bytes;
use raptor_core::atomic::{Increment, Removal, Swap};
use raptor_core::ttl::Ttl;
use raptor_core::{Codec, CodecOptions, ErrorKind, Expiry, Key, Keyring, RedisClient};
use raptor_testkit::{Backend, redis};

use crate::atomic_contention::Account;
use crate::fixture;

const HOUR: Duration = Duration::from_secs(3600);
const ANY: std::ops::RangeInclusive<i64> = i64::MIN..=i64::MAX;

pub(crate) async fn backend() -> (Backend, RedisClient) {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    (backend, client)
}

pub(crate) fn encrypting() -> Codec {
    let keyring =
        Keyring::parse("k:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=").expect("a keyring");
    Codec::new(CodecOptions::default().keyring(keyring)).expect("a codec")
}

async fn put(client: &RedisClient, key: &Key, value: &str) {
    client.command("SET").key(key).arg(value).run::<()>().await.expect("SET");
}

#[tokio::test]
async fn compare_and_set_swaps_what_is_expected_and_nothing_else() {
    let (_backend, client) = backend().await;
    let atomic = client.atomic();
    let key = Key::raw("k");
    let swap = async |expected: Option<&[u8]>, new: &[u8]| {
        atomic.compare_and_set(&key, expected, new, Expiry::Keep).await.expect("runs")
    };
    assert_eq!(swap(Some(b""), b"x").await, Swap::Mismatch(None), "missing is not empty");
    // All bytes, lengths across the frame's own ways of telling things apart.
    let odd: Vec<u8> = (0..=255).collect();
    assert_eq!(swap(None, b"").await, Swap::Swapped);
    assert_eq!(swap(None, b"x").await, Swap::Mismatch(Some(Bytes::new())), "empty is not missing");
    assert_eq!(swap(Some(b""), &odd).await, Swap::Swapped);
    assert_eq!(swap(Some(&odd[..255]), b"x").await, Swap::Mismatch(Some(odd.clone().into())));
    assert_eq!(swap(Some(&odd), b"message").await, Swap::Swapped);
    assert_eq!(swap(Some(b"x"), b"y").await, Swap::Mismatch(Some("message".into())));
    let big = vec![7; 1 << 20];
    assert_eq!(swap(Some(b"message"), &big).await, Swap::Swapped);
    assert_eq!(swap(Some(&big), b"small").await, Swap::Swapped);
    assert_eq!(atomic.get(&key).await.expect("GET"), Some("small".into()));
    for _ in 0..2 {
        let removal = atomic.compare_and_delete(&key, b"big").await.expect("runs");
        assert_eq!(removal, Removal::Mismatch(Some("small".into())));
    }
    assert_eq!(atomic.compare_and_delete(&key, b"small").await.expect("runs"), Removal::Deleted);
    let gone = atomic.compare_and_delete(&key, b"small").await.expect("runs");
    assert_eq!(gone, Removal::Mismatch(None));
    let previous =
        async |new: &str| atomic.get_and_set(&key, new, Expiry::Keep).await.expect("runs");
    assert_eq!(previous("one").await, None);
    assert_eq!(previous("two").await, Some("one".into()));
    assert!(!atomic.set_if_absent(&key, "three", Expiry::Keep).await.expect("runs"));
    assert_eq!(previous("x").await, Some("two".into()));
}

#[tokio::test]
async fn a_ttl_is_kept_taken_set_or_given_to_what_is_new() {
    let (_backend, client) = backend().await;
    let (atomic, ttl) = (client.atomic(), client.ttl());
    let has = async |key: &Key| matches!(ttl.get(key).await.expect("PTTL"), Ttl::Remaining(left) if left <= HOUR);
    for (which, existed, had, expiry, expected) in [
        (0, false, false, Expiry::Keep, false),
        (1, true, true, Expiry::Keep, true),
        (2, true, false, Expiry::Keep, false),
        (3, true, true, Expiry::Never, false),
        (4, false, false, Expiry::In(HOUR), true),
        (5, true, false, Expiry::In(HOUR), true),
        (6, false, false, Expiry::Created(HOUR), true),
        (7, true, false, Expiry::Created(HOUR), false),
        (8, true, true, Expiry::Created(HOUR), true),
    ] {
        for operation in ["compare_and_set", "get_and_set", "increment"] {
            let key = Key::raw(format!("{operation}:{which}"));
            if existed {
                put(&client, &key, "1").await;
            }
            if had {
                assert!(ttl.set_ttl(&key, HOUR / 2).await.expect("PEXPIRE"));
            }
            let expected_value = existed.then_some(&b"1"[..]);
            match operation {
                "compare_and_set" => {
                    let swap = atomic.compare_and_set(&key, expected_value, "2", expiry).await;
                    assert_eq!(swap.expect("runs"), Swap::Swapped);
                }
                "get_and_set" => drop(atomic.get_and_set(&key, "2", expiry).await.expect("runs")),
                _ => drop(atomic.increment(&key, 1, ANY, expiry).await.expect("runs")),
            }
            assert_eq!(has(&key).await, expected, "{operation} {which}");
        }
    }
    let key = Key::raw("absent");
    assert!(atomic.set_if_absent(&key, "v", Expiry::In(HOUR)).await.expect("runs"));
    assert!(has(&key).await);
    for ttl in [Duration::ZERO, Duration::MAX] {
        for expiry in [Expiry::In(ttl), Expiry::Created(ttl)] {
            let error = atomic.compare_and_set(&key, None, "v", expiry).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let error = atomic.set_if_absent(&key, "v", expiry).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}

/// Held against integers of 128 bits, at the edges of what a double and an `i64` can hold.
#[tokio::test]
async fn increments_are_exact_within_their_bounds_and_leave_what_would_leave_them() {
    let (_backend, client) = backend().await;
    let atomic = client.atomic();
    let key = Key::raw("n");
    let edge = 1_i64 << 53;
    let points = [
        i64::MIN,
        i64::MIN + 1,
        -edge - 1,
        -edge,
        -10_000_000_001,
        -10,
        -1,
        0,
        1,
        9,
        99,
        9_999_999_999,
        edge - 1,
        edge,
        edge + 1,
        i64::MAX - 1,
        i64::MAX,
    ];
    let steps = [i64::MIN, -edge - 1, -1, 0, 1, 2, edge, edge + 1, i64::MAX];
    let bounds =
        [ANY, 0..=i64::MAX, -edge..=edge, edge + 1..=i64::MAX, i64::MIN..=i64::MIN, -5..=100];
    let mut cases = Vec::new();
    for current in points {
        for by in steps {
            for bounds in bounds.clone() {
                cases.push((current, by, bounds));
            }
        }
    }
    for (current, by, bounds) in &cases {
        put(&client, &key, &current.to_string()).await;
        let sum = i128::from(*current) + i128::from(*by);
        let expected = match i64::try_from(sum) {
            Ok(sum) if bounds.contains(&sum) => Increment::Value(sum),
            _ => Increment::OutOfBounds { current: *current },
        };
        let got = atomic.increment(&key, *by, bounds.clone(), Expiry::Keep).await.expect("runs");
        assert_eq!(got, expected, "{current} + {by} within {bounds:?}");
        let stored: i64 = client.command("GET").key(&key).run().await.expect("GET");
        let after = if let Increment::Value(sum) = expected { sum } else { *current };
        assert_eq!(stored, after, "{current} + {by} within {bounds:?}");
    }
    println!("{} increments at the edges", cases.len());
    let missing = Key::raw("missing");
    let out = atomic.increment(&missing, 5, 10..=20, Expiry::Keep).await.expect("runs");
    assert_eq!(out, Increment::OutOfBounds { current: 0 });
    assert!(atomic.get(&missing).await.expect("GET").is_none(), "nothing was made");
    let sum = atomic.increment(&missing, -5, ANY, Expiry::Keep).await.expect("runs");
    assert_eq!(sum, Increment::Value(-5));
    let none = std::ops::RangeInclusive::new(2, 1);
    let error = atomic.increment(&key, 1, none, Expiry::Keep).await.expect_err("no bounds");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for text in [
        "",
        "x",
        "1.5",
        "+1",
        "01",
        "-0",
        " 1",
        "1 ",
        "1e3",
        "-",
        "0x10",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999",
        "100000000000000000000",
    ] {
        put(&client, &key, text).await;
        let error = atomic.increment(&key, 1, ANY, Expiry::Keep).await.expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Codec, "{text}: {error:?}");
        let stored: Option<String> = client.command("GET").key(&key).run().await.expect("GET");
        assert_eq!(stored.as_deref(), Some(text), "left alone");
    }
}

#[tokio::test]
async fn another_type_is_wrong_type_and_is_left_alone() {
    let (_backend, client) = backend().await;
    let (atomic, key, codec) = (client.atomic(), Key::raw("list"), Codec::default());
    client.command("RPUSH").key(&key).arg("x").run::<()>().await.expect("RPUSH");
    let values = atomic.values(&codec);
    let keep = Expiry::Keep;
    let outcomes = [
        atomic.get(&key).await.map(drop),
        atomic.compare_and_set(&key, None, "v", keep).await.map(drop),
        atomic.compare_and_set(&key, Some(b"x"), "v", Expiry::In(HOUR)).await.map(drop),
        atomic.get_and_set(&key, "v", Expiry::Never).await.map(drop),
        atomic.increment(&key, 1, ANY, Expiry::In(HOUR)).await.map(drop),
        atomic.compare_and_delete(&key, b"x").await.map(drop),
        values.compare_and_set(&key, Some(&1), &2, keep).await.map(drop),
        values.update(&key, keep, |n: Option<i32>| n.unwrap_or(0)).await.map(drop),
    ];
    for (at, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.expect_err("a list").kind(), ErrorKind::WrongType, "{at}");
    }
    assert!(!atomic.set_if_absent(&key, "v", keep).await.expect("there is a key"));
    let list: Vec<String> =
        client.command("LRANGE").key(&key).args(["0", "-1"]).run().await.expect("LRANGE");
    assert_eq!(list, ["x"]);
    assert_eq!(client.ttl().get(&key).await.expect("PTTL"), Ttl::Persistent);
}

#[tokio::test]
async fn typed_values_are_compared_decoded_and_swapped_by_their_bytes() {
    let (_backend, client) = backend().await;
    let (atomic, key, codec) = (client.atomic(), Key::raw("v"), encrypting());
    let values = atomic.values(&codec);
    let account = |balance| Account { owner: "Ada".into(), balance };
    let keep = Expiry::Keep;
    assert_eq!(values.get::<Account>(&key).await.expect("reads"), None);
    let swap = values.compare_and_set(&key, Some(&account(1)), &account(2), keep).await;
    assert_eq!(swap.expect("runs"), Swap::Mismatch(None));
    assert!(values.set_if_absent(&key, &account(1), keep).await.expect("runs"));
    assert!(!values.set_if_absent(&key, &account(9), keep).await.expect("runs"));
    // An equal value in other bytes: of another nonce, then of another format.
    let one = codec.encode(&key, &account(1)).expect("encodes");
    assert_ne!(atomic.get(&key).await.expect("GET"), Some(one));
    let swap = values.compare_and_set(&key, Some(&account(1)), &account(2), keep).await;
    assert_eq!(swap.expect("runs"), Swap::Swapped);
    let swap = values.compare_and_set(&key, Some(&account(1)), &account(3), keep).await;
    assert_eq!(swap.expect("runs"), Swap::Mismatch(Some(account(2))));
    let swap = values.compare_and_set(&key, None, &account(3), keep).await;
    assert_eq!(swap.expect("runs"), Swap::Mismatch(Some(account(2))));
    let before = values.get_and_set(&key, &account(4), keep).await.expect("runs");
    assert_eq!(before, Some(account(2)));
    let removal = values.compare_and_delete(&key, &account(2)).await.expect("runs");
    assert_eq!(removal, Removal::Mismatch(Some(account(4))));
    let removal = values.compare_and_delete(&key, &account(4)).await.expect("runs");
    assert_eq!(removal, Removal::Deleted);
    let removal = values.compare_and_delete(&key, &account(4)).await.expect("runs");
    assert_eq!(removal, Removal::Mismatch(None));
    // What cannot be read is not overwritten, by anything that would have to read it.
    put(&client, &key, "garbage").await;
    let outcomes = [
        values.compare_and_set(&key, Some(&account(1)), &account(2), keep).await.map(drop),
        values.compare_and_set(&key, None, &account(2), keep).await.map(drop),
        values.get_and_set(&key, &account(2), keep).await.map(drop),
        values.update(&key, keep, |_: Option<Account>| account(2)).await.map(drop),
        values.compare_and_delete(&key, &account(2)).await.map(drop),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.expect_err("garbage").kind(), ErrorKind::Codec);
    }
    assert_eq!(atomic.get(&key).await.expect("GET").as_deref(), Some(&b"garbage"[..]));
}

#[tokio::test]
async fn a_lost_reply_leaves_the_outcome_unknown_and_is_not_repeated() {
    let (server, proxy, client) = fixture::proxied().await;
    let (atomic, key) = (client.atomic(), Key::raw("n"));
    put(&client, &key, "0").await;
    // Known to the server, so that the reply that is dropped is to the call itself.
    let _ = atomic.increment(&key, 0, ANY, Expiry::Keep).await.expect("runs");
    let _ = atomic.compare_and_set(&key, None, "", Expiry::Keep).await.expect("runs");
    proxy.drop_reply_to(b"EVALSHA");
    let error = atomic.increment(&key, 1, ANY, Expiry::Keep).await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    fixture::reconnected(&client).await;
    assert_eq!(fixture::seen(&server, "n").await, 1);
    proxy.drop_reply_to(b"EVALSHA");
    let lost = atomic.compare_and_set(&key, Some(b"1"), "5", Expiry::Keep).await;
    assert_eq!(lost.expect_err("lost").kind(), ErrorKind::OutcomeUnknown);
    fixture::reconnected(&client).await;
    assert_eq!(fixture::seen(&server, "n").await, 5);
    proxy.drop_reply_to(b"NX");
    let lost = atomic.set_if_absent(&Key::raw("m"), "7", Expiry::Keep).await;
    assert_eq!(lost.expect_err("lost").kind(), ErrorKind::OutcomeUnknown);
    fixture::reconnected(&client).await;
    assert_eq!(fixture::seen(&server, "m").await, 7);
}

#[tokio::test]
async fn at_maxmemory_writes_are_capacity_and_reads_and_deletes_work() {
    let (server, client) = fixture::server().await;
    let (atomic, codec) = (client.atomic(), Codec::default());
    let values = atomic.values(&codec);
    let (key, n, typed) = (Key::raw("k"), Key::raw("n"), Key::raw("t"));
    put(&client, &key, "v").await;
    put(&client, &n, "1").await;
    assert!(values.set_if_absent(&typed, &1, Expiry::In(HOUR)).await.expect("runs"));
    let set = async |name: &str, value: &str| {
        let mut config = redis::cmd("CONFIG");
        server.query::<()>(config.arg("SET").arg(name).arg(value)).await.expect("CONFIG");
    };
    set("maxmemory-policy", "noeviction").await;
    set("maxmemory", "1").await;
    let keep = Expiry::Keep;
    let refused = [
        atomic.compare_and_set(&key, Some(b"v"), "w", keep).await.map(drop),
        atomic.compare_and_set(&Key::raw("new"), None, "w", Expiry::In(HOUR)).await.map(drop),
        atomic.get_and_set(&key, "w", keep).await.map(drop),
        atomic.set_if_absent(&Key::raw("new"), "w", keep).await.map(drop),
        atomic.increment(&n, 1, ANY, Expiry::In(HOUR)).await.map(drop),
        values.compare_and_set(&typed, Some(&1), &2, keep).await.map(drop),
        values.update(&typed, keep, |_: Option<i32>| 2).await.map(drop),
        client.pipeline().command("SET").key(&key).arg("w").atomic().run::<((),)>().await.map(drop),
        client.pipeline().command("SET").key(&key).arg("w").run::<((),)>().await.map(drop),
    ];
    for (at, outcome) in refused.into_iter().enumerate() {
        let error = outcome.expect_err("full");
        assert_eq!(error.kind(), ErrorKind::Capacity, "{at}: {error:?}");
    }
    assert_eq!(atomic.get(&key).await.expect("GET"), Some("v".into()));
    assert_eq!(values.get::<i32>(&typed).await.expect("GET"), Some(1));
    let out = atomic.increment(&n, 1, 0..=1, keep).await.expect("looks");
    assert_eq!(out, Increment::OutOfBounds { current: 1 });
    let swap = atomic.compare_and_set(&key, Some(b"x"), "w", keep).await.expect("looks");
    assert_eq!(swap, Swap::Mismatch(Some("v".into())));
    assert!(client.ttl().set_ttl(&n, HOUR).await.expect("PEXPIRE"));
    assert!(client.ttl().persist(&n).await.expect("PERSIST"));
    assert_eq!(atomic.compare_and_delete(&key, b"v").await.expect("DEL"), Removal::Deleted);
    assert_eq!(values.compare_and_delete(&typed, &1).await.expect("DEL"), Removal::Deleted);
    assert_eq!(fixture::seen(&server, "n").await, 1, "nothing was written");
    assert_eq!(client.ttl().get(&n).await.expect("PTTL"), Ttl::Persistent);
}
