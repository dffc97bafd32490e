//! The store for tower-sessions: what that project expects of one, by its own layer and directly.

use raptor_core::Keyring;
use raptor_session::{MAX_METADATA_BYTES, Peppers, RaptorStore, SessionOptions};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tower_sessions::SessionStore;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::Error;

use crate::http::{Browser, serve};
use crate::support::{Fixture, peppers};

#[allow(dead_code, reason = "the example's `main`")]
#[path = "../../examples/axum_tower_sessions.rs"]
mod axum_tower_sessions;

fn record(minutes: i64) -> Record {
    let data = [("n".to_owned(), 7.into())].into_iter().collect();
    let expiry_date = OffsetDateTime::now_utc() + Duration::minutes(minutes);
    Record { id: Id::default(), data, expiry_date }
}

/// The server keeps whole milliseconds.
fn is_same(one: &Record, other: &Record) -> bool {
    let apart = (one.expiry_date - other.expiry_date).abs();
    one.id == other.id && one.data == other.data && apart < Duration::milliseconds(1)
}

const OLD: &str = "old:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NEW: &str = "new:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

fn store(f: &Fixture, peppers: &str) -> RaptorStore {
    let peppers = Peppers::parse(peppers).expect("peppers");
    RaptorStore::new(f.with(SessionOptions::new(peppers)))
}

#[tokio::test]
async fn create_save_load_and_delete_do_what_is_expected() {
    let f = Fixture::start().await;
    let sealed = Keyring::parse("a:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=").expect("keys");
    let sealed = f.with(SessionOptions::new(peppers()).keyring(sealed));
    for store in [RaptorStore::new(f.sessions.clone()), RaptorStore::new(sealed)] {
        let mut one = record(5);
        assert_eq!(store.load(&one.id).await.expect("an answer"), None);
        store.create(&mut one).await.expect("created");
        let loaded = store.load(&one.id).await.expect("an answer").expect("there");
        assert!(is_same(&loaded, &one), "{loaded:?}");
        // An id that is taken is nobody else's: the new one gets another.
        let mut other = Record { id: one.id, ..record(9) };
        store.create(&mut other).await.expect("created");
        assert_ne!(other.id, one.id);
        assert!(is_same(&store.load(&one.id).await.expect("an answer").expect("there"), &one));
        // Saved: whole, and with its new end, later or sooner.
        for minutes in [60, 1] {
            one.data.insert(format!("after {minutes}"), "x".into());
            one.expiry_date = OffsetDateTime::now_utc() + Duration::minutes(minutes);
            store.save(&one).await.expect("saved");
            assert!(is_same(&store.load(&one.id).await.expect("an answer").expect("there"), &one));
        }
        store.delete(&one.id).await.expect("deleted");
        store.delete(&one.id).await.expect("a repeat is harmless");
        assert_eq!(store.load(&one.id).await.expect("an answer"), None);
        store.delete(&other.id).await.expect("deleted");
        assert_eq!(f.keys("*").await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_save_after_the_end_brings_nothing_back() {
    let f = Fixture::start().await;
    let store = RaptorStore::new(f.sessions.clone());
    let mut one = record(5);
    store.save(&one).await.expect("no error");
    assert_eq!(f.keys("*").await, Vec::<String>::new(), "a save creates nothing");
    store.create(&mut one).await.expect("created");
    store.delete(&one.id).await.expect("deleted");
    store.save(&one).await.expect("no error");
    assert_eq!(f.keys("*").await, Vec::<String>::new());
    // An end in the past is an end.
    let mut past = record(-1);
    store.create(&mut past).await.expect("no error");
    assert_eq!(store.load(&past.id).await.expect("an answer"), None);
    let mut one = record(5);
    store.create(&mut one).await.expect("created");
    one.expiry_date = OffsetDateTime::now_utc() - Duration::minutes(1);
    store.save(&one).await.expect("saved");
    assert_eq!(f.keys("*").await, Vec::<String>::new());
}

#[tokio::test]
async fn an_older_pepper_still_finds_its_records_and_too_large_ones_are_refused() {
    let f = Fixture::start().await;
    let mut one = record(5);
    store(&f, OLD).create(&mut one).await.expect("created");
    let during = store(&f, &format!("{NEW},{OLD}"));
    one.data.insert("more".into(), 1.into());
    during.save(&one).await.expect("saved");
    assert!(is_same(&during.load(&one.id).await.expect("an answer").expect("there"), &one));
    assert_eq!(store(&f, NEW).load(&one.id).await.expect("an answer"), None);
    one.data.insert("huge".into(), "x".repeat(MAX_METADATA_BYTES).into());
    let error = during.save(&one).await.expect_err("too large");
    assert!(matches!(error, Error::Encode(_)), "{error}");
    during.delete(&one.id).await.expect("deleted");
    assert_eq!(f.keys("*").await, Vec::<String>::new());
    // The id is the secret in the cookie: not in Redis, nor is anything that it can be made from.
    let mut one = record(5);
    during.create(&mut one).await.expect("created");
    let (text, bytes) = (one.id.to_string(), one.id.0.to_le_bytes());
    for (key, value) in f.dump().await {
        for secret in [text.as_bytes(), &bytes[..8]] {
            let holds = |stored: &[u8]| stored.windows(secret.len()).any(|part| part == secret);
            assert!(!holds(key.as_bytes()) && !holds(&value));
        }
    }
}

#[tokio::test]
async fn an_id_that_is_taken_under_an_older_pepper_is_taken() {
    let f = Fixture::start().await;
    let mut one = record(5);
    store(&f, OLD).create(&mut one).await.expect("created");
    let during = store(&f, &format!("{NEW},{OLD}"));
    let mut other = Record { id: one.id, ..record(9) };
    during.create(&mut other).await.expect("created");
    assert_ne!(other.id, one.id);
    assert!(is_same(&during.load(&one.id).await.expect("an answer").expect("there"), &one));
}

#[tokio::test]
async fn what_is_stored_can_be_loaded_however_deep_it_is() {
    let f = Fixture::start().await;
    let store = RaptorStore::new(f.sessions.clone());
    let nested = |depth: usize| {
        (0..depth).fold(Value::Null, |inner, n| match n % 2 {
            0 => Value::Array(vec![inner]),
            _ => [("k".to_owned(), inner)].into_iter().collect(),
        })
    };
    let mut one = record(5);
    store.create(&mut one).await.expect("created");
    let mut deepest = 0;
    for depth in [1, 100, 124, 125, 126, 127, 128, 1_000] {
        one.data.insert("deep".into(), nested(depth));
        match store.save(&one).await {
            Ok(()) => deepest = depth,
            Err(error) => assert!(matches!(error, Error::Encode(_)), "{error}"),
        }
        let loaded = store.load(&one.id).await.expect("readable").expect("there");
        assert_eq!(loaded.data["deep"], nested(deepest), "{depth}");
    }
    assert_eq!(deepest, 126, "as deep as serde_json reads");
    let mut new = Record { data: one.data.clone(), ..record(5) };
    assert!(matches!(store.create(&mut new).await, Err(Error::Encode(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_own_layer_counts_forgets_cycles_and_flushes() {
    let f = Fixture::start().await;
    let mut ann = Browser::new(serve(axum_tower_sessions::app(f.sessions.clone())).await);
    assert!(ann.get("/").await.header("set-cookie").is_none());
    for n in 1..=3 {
        assert_eq!(ann.get("/count").await.body, n.to_string());
    }
    let mut bogus = Browser { cookie: Some("id=AAAAAAAAAAAAAAAAAAAAAA".into()), ..ann.clone() };
    assert_eq!(bogus.get("/count").await.body, "1");
    assert_ne!(bogus.cookie.as_deref(), Some("id=AAAAAAAAAAAAAAAAAAAAAA"), "an id of ours");

    let mut before = ann.clone();
    assert_eq!(ann.get("/cycle").await.status, 200);
    assert_ne!(ann.cookie, before.cookie);
    assert_eq!(ann.get("/count").await.body, "4", "the data is kept");
    assert_eq!(before.get("/count").await.body, "1", "the old id is dead");
    assert_eq!(ann.get("/forget").await.body, "Some(4)");
    assert_eq!(ann.get("/count").await.body, "1");
    let mut before = ann.clone();
    assert_eq!(ann.get("/flush").await.status, 200);
    assert_eq!(before.get("/forget").await.body, "None");
}
