//! With a keyring: fields unreadable, and whatever is altered, swapped or planted a typed error.

use std::time::Duration;

use raptor_core::codec::Plaintext;
use raptor_core::{ErrorKind, Keyring, RedisClient, RedisConfig};
use raptor_session::{Changes, Metadata, SessionOptions, SessionService, SessionToken};
use raptor_testkit::{Server, redis};

use crate::support::{Fixture, is_alive, peppers};

const OLD: &str = "old:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=";
const NEW: &str = "new:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

fn sealed(keys: &str) -> SessionOptions {
    SessionOptions::new(peppers()).keyring(Keyring::parse(keys).expect("a keyring"))
}

async fn login(sessions: &SessionService, user: &str) -> SessionToken {
    let fields = Metadata::new().with("email", &format!("{user}@example.org"));
    let fields = fields.and_then(|m| m.with("phone", &"555-0100")).expect("fields");
    sessions.create_session(user, "acme", &fields).await.expect("a session")
}

async fn email(sessions: &SessionService, token: &SessionToken) -> Option<String> {
    let session = sessions.get_session(token).await.expect("an answer")?;
    session.get("email").expect("a text")
}

/// The key of the session that is there besides `others`.
async fn new_key(f: &Fixture, others: &[String]) -> String {
    let keys = f.keys("*session:*").await;
    keys.into_iter().find(|key| !others.contains(key)).expect("a session")
}

async fn copy_field(f: &Fixture, from: (&str, &str), to: (&str, &str)) {
    let value: Vec<u8> =
        f.backend.query(redis::cmd("HGET").arg(from.0).arg(from.1)).await.expect("a value");
    f.run(redis::cmd("HSET").arg(to.0).arg(to.1).arg(value)).await;
}

#[tokio::test]
async fn what_is_stored_shows_no_value_and_everything_works() {
    let f = Fixture::start().await;
    let sessions = f.with(sealed(OLD));
    let token = login(&sessions, "ann").await;
    let changes = Changes::new().set("card", &"4242 4242").and_then(|c| c.remove("phone"));
    let updated = sessions.update_session(&token, changes.expect("changes")).await;
    assert!(updated.expect("an answer").is_done());
    let dump = f.dump().await;
    for plain in [&b"ann@example"[..], b"4242"] {
        let holds = |value: &Vec<u8>| value.windows(plain.len()).any(|window| window == plain);
        assert!(!dump.values().any(holds), "{}", plain.escape_ascii());
    }
    let session = sessions.get_session(&token).await.expect("an answer").expect("alive");
    assert_eq!(session.get::<String>("card").expect("a text").as_deref(), Some("4242 4242"));
    let listed = sessions.list_sessions("ann", "acme", 10, None).await.expect("a page");
    assert_eq!(listed.sessions[0].metadata, session.metadata);
    let taken: Option<String> = sessions.take_flash(&token, "card").await.expect("an answer");
    assert_eq!(taken.as_deref(), Some("4242 4242"));
    // A rotation seals anew; also the pointer, which the old token follows.
    let grace = Duration::from_secs(60);
    let new = sessions.rotate_session(&token).grace(grace).await.expect("an answer");
    let new = new.expect("rotated");
    for token in [&new, &token] {
        assert_eq!(email(&sessions, token).await.as_deref(), Some("ann@example.org"));
    }
    assert!(sessions.delete_session(&token).await.expect("an answer"));
    assert!(!is_alive(&sessions, &new).await);
}

#[tokio::test]
async fn values_swapped_between_fields_or_sessions_are_a_typed_error() {
    let f = Fixture::start().await;
    let sessions = f.with(sealed(OLD));
    let ann = login(&sessions, "ann").await;
    let anns = new_key(&f, &[]).await;
    login(&sessions, "eve").await;
    let eves = new_key(&f, std::slice::from_ref(&anns)).await;
    for from in [(&*anns, "f:phone"), (&*eves, "f:email")] {
        copy_field(&f, (&anns, "f:email"), (&anns, "kept")).await;
        copy_field(&f, from, (&anns, "f:email")).await;
        let error = sessions.get_session(&ann).await.expect_err("swapped");
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        let taken = sessions.take_flash::<String>(&ann, "email").await.expect_err("swapped");
        assert_eq!(taken.kind(), ErrorKind::Codec);
        copy_field(&f, (&anns, "kept"), (&anns, "f:email")).await;
    }
    f.run(redis::cmd("HDEL").arg(&anns).arg("kept")).await;
    assert!(email(&sessions, &ann).await.is_some());
    // In the clear, where there is a keyring: somebody planted it.
    f.run(redis::cmd("HSET").arg(&anns).arg("f:email").arg(&b"\x01\xa3eve"[..])).await;
    assert_eq!(sessions.get_session(&ann).await.expect_err("planted").kind(), ErrorKind::Codec);
}

#[tokio::test]
async fn altered_users_and_deadlines_and_copies_under_another_key_are_a_typed_error() {
    let f = Fixture::start().await;
    let sessions = f.with(sealed(OLD));
    let ann = login(&sessions, "ann").await;
    let anns = new_key(&f, &[]).await;
    let head: String =
        f.backend.query(redis::cmd("HGET").arg(&anns).arg("h")).await.expect("a head");
    // idle, absolute, created, suffix
    for (at, word) in [(3, "1"), (4, "9999999999999"), (7, "1"), (10, ":acme:eve")] {
        let mut words: Vec<&str> = head.split(' ').collect();
        words[at] = word;
        f.run(redis::cmd("HSET").arg(&anns).arg("h").arg(words.join(" "))).await;
        let error = sessions.get_session(&ann).await.expect_err("altered");
        assert_eq!(error.kind(), ErrorKind::Codec, "{at}: {error}");
        let rotated = sessions.rotate_session(&ann).await.expect_err("altered");
        assert_eq!(rotated.kind(), ErrorKind::Codec);
    }
    f.run(redis::cmd("HSET").arg(&anns).arg("h").arg(&head)).await;

    // Eve, who can write to Redis, puts ann's session under the key of her own token, or a pointer to it.
    let eve = sessions.create_session("eve", "acme", &Metadata::new()).await.expect("a session");
    let eves = new_key(&f, std::slice::from_ref(&anns)).await;
    f.run(redis::cmd("DEL").arg(&eves)).await;
    let all: Vec<Vec<u8>> =
        f.backend.query(redis::cmd("HGETALL").arg(&anns)).await.expect("a hash");
    f.run(redis::cmd("HSET").arg(&eves).arg(all)).await;
    assert_eq!(sessions.get_session(&eve).await.expect_err("a copy").kind(), ErrorKind::Codec);
    f.run(redis::cmd("DEL").arg(&eves)).await;
    let mac = anns.rsplit(':').next().expect("a mac");
    let mut pointer = redis::cmd("HSET");
    f.run(pointer.arg(&eves).arg(">").arg(mac).arg("g").arg("9999999999999")).await;
    let changes = Changes::new().set("n", &1).expect("a change");
    let before = f.dump().await;
    assert_eq!(sessions.get_session(&eve).await.expect_err("planted").kind(), ErrorKind::Codec);
    let update = sessions.update_session(&eve, changes).await;
    assert_eq!(update.expect_err("planted").kind(), ErrorKind::Codec);
    let delete = sessions.delete_session(&eve).await;
    assert_eq!(delete.expect_err("planted").kind(), ErrorKind::Codec);
    assert_eq!(f.dump().await, before);
    assert!(is_alive(&sessions, &ann).await);
}

#[tokio::test]
async fn a_grace_cannot_be_prolonged_by_who_writes_to_redis() {
    let f = Fixture::start().await;
    let sessions = f.with(sealed(OLD));
    let old = login(&sessions, "ann").await;
    let key = new_key(&f, &[]).await;
    sessions.rotate_session(&old).await.expect("an answer").expect("rotated");
    assert!(!is_alive(&sessions, &old).await);
    f.run(redis::cmd("HSET").arg(&key).arg("g").arg("9999999999999")).await;
    assert_eq!(sessions.get_session(&old).await.expect_err("altered").kind(), ErrorKind::Codec);
}

#[tokio::test]
async fn keys_rotate_and_a_missing_one_is_named() {
    let f = Fixture::start().await;
    let (before, during, after) =
        (f.with(sealed(OLD)), f.with(sealed(&format!("{NEW},{OLD}"))), f.with(sealed(NEW)));
    let token = login(&before, "ann").await;
    assert!(email(&during, &token).await.is_some());
    let error = after.get_session(&token).await.expect_err("no key");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`old`"), "{error}");
    let error = f.sessions.get_session(&token).await.expect_err("no keyring");
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn sessions_from_before_encryption_live_on_where_that_is_accepted() {
    let f = Fixture::start().await;
    let token = login(&f.sessions, "ann").await;
    let strict = f.with(sealed(NEW));
    assert_eq!(strict.get_session(&token).await.expect_err("plain").kind(), ErrorKind::Codec);
    let lenient = f.with(sealed(NEW).plaintext(Plaintext::Accept));
    assert!(email(&lenient, &token).await.is_some());
    // It stays what it was, however it is used.
    let changes = Changes::new().set("n", &1).expect("a change");
    assert!(lenient.update_session(&token, changes).await.expect("an answer").is_done());
    let grace = Duration::from_secs(60);
    let new = lenient.rotate_session(&token).grace(grace).await.expect("an answer");
    let new = new.expect("rotated");
    for token in [&token, &new] {
        for sessions in [&lenient, &f.sessions] {
            assert!(email(sessions, token).await.is_some());
        }
        assert_eq!(strict.get_session(token).await.expect_err("plain").kind(), ErrorKind::Codec);
    }
    assert!(lenient.delete_session(&token).await.expect("an answer"));
    assert!(!is_alive(&lenient, &new).await);
}

/// Else who writes to Redis while plaintext is accepted could have it sealed for the time after.
#[tokio::test]
async fn what_was_planted_in_the_clear_is_never_sealed_and_opens_nothing_that_is() {
    let f = Fixture::start().await;
    let strict = f.with(sealed(NEW));
    let lenient = f.with(sealed(NEW).plaintext(Plaintext::Accept));
    let ann = login(&strict, "ann").await;
    let anns = new_key(&f, &[]).await;
    let head: String = f.backend.query(redis::cmd("HGET").arg(&anns).arg("h")).await.unwrap();
    // Eve makes her session that of ann, in the clear, with a sealed field of ann's.
    let eve = login(&strict, "ann").await;
    let eves = new_key(&f, std::slice::from_ref(&anns)).await;
    f.run(redis::cmd("DEL").arg(&eves)).await;
    f.run(redis::cmd("HSET").arg(&eves).arg("h").arg(&head)).await;
    // What she sets there opens nowhere else, as it would if it were sealed for ann's id.
    let changes = Changes::new().set("email", &"eve@example.org").expect("a change");
    assert!(lenient.update_session(&eve, changes).await.expect("an answer").is_done());
    copy_field(&f, (&anns, "f:email"), (&anns, "kept")).await;
    copy_field(&f, (&eves, "f:email"), (&anns, "f:email")).await;
    for sessions in [&strict, &lenient] {
        let error = sessions.get_session(&ann).await.expect_err("planted");
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    }
    copy_field(&f, (&anns, "kept"), (&anns, "f:email")).await;
    assert_eq!(email(&strict, &ann).await.as_deref(), Some("ann@example.org"));
    // Nor is she told what is sealed for it.
    copy_field(&f, (&anns, "f:phone"), (&eves, "f:phone")).await;
    assert_eq!(lenient.get_session(&eve).await.expect_err("ann's").kind(), ErrorKind::Codec);
    let taken = lenient.take_flash::<String>(&eve, "phone").await.expect_err("ann's");
    assert_eq!(taken.kind(), ErrorKind::Codec);
    let new = lenient.rotate_session(&eve).await.expect("an answer").expect("rotated");
    for token in [&eve, &new] {
        assert_eq!(strict.get_session(token).await.expect_err("plain").kind(), ErrorKind::Codec);
    }
}

#[tokio::test]
async fn what_is_copied_under_another_prefix_is_refused() {
    // A server of its own: no ACL lets one service write under two prefixes.
    let server = Server::start().await.expect("a server");
    let under = async |prefix: &str| {
        let driver = raptor_testkit::driver().expect("a driver");
        let config = RedisConfig::builder().url(server.url()).driver(driver).key_prefix(prefix);
        let client = RedisClient::connect(config.build().expect("a config")).await;
        SessionService::new(client.expect("a connection"), sealed(OLD)).expect("a service")
    };
    let (sessions, other) = (under("one:").await, under("other:").await);
    let (token, old) = (login(&sessions, "ann").await, login(&sessions, "ann").await);
    let new = sessions.rotate_session(&old).await.expect("an answer").expect("rotated");
    let keys: Vec<String> =
        server.query(redis::cmd("KEYS").arg("one:session*")).await.expect("keys");
    for key in keys {
        let copy = key.replacen("one:", "other:", 1);
        let _: bool = server.query(redis::cmd("COPY").arg(&key).arg(copy)).await.expect("copied");
    }
    for token in [&token, &new] {
        assert_eq!(other.get_session(token).await.expect_err("a copy").kind(), ErrorKind::Codec);
        assert!(is_alive(&sessions, token).await);
    }
    assert_eq!(other.delete_session(&old).await.expect_err("a copy").kind(), ErrorKind::Codec);
    // Nor a field alone, into a session of the same id.
    let fields = other.take_flash::<String>(&token, "email").await;
    assert_eq!(fields.expect_err("a copy").kind(), ErrorKind::Codec);
}

/// While a keyring comes in, some processes have none: they change nothing that they cannot read.
#[tokio::test]
async fn a_process_without_the_keyring_changes_no_sealed_session() {
    let f = Fixture::start().await;
    let keyed = f.with(sealed(NEW).plaintext(Plaintext::Accept));
    let token = login(&keyed, "ann").await;
    let before = f.dump().await;
    let changes = Changes::new().set("theme", &"dark").expect("a change");
    let removal = Changes::new().remove("email").expect("a change");
    for outcome in [
        f.sessions.update_session(&token, changes).await.map(drop),
        f.sessions.update_session(&token, removal).await.map(drop),
        f.sessions.take_flash::<String>(&token, "email").await.map(drop),
        f.sessions.extend_session(&token, Duration::from_secs(7_200)).await.map(drop),
        f.sessions.rotate_session(&token).await.map(drop),
    ] {
        assert_eq!(outcome.expect_err("sealed").kind(), ErrorKind::Config);
    }
    assert_eq!(f.dump().await, before);
    assert_eq!(email(&keyed, &token).await.as_deref(), Some("ann@example.org"));
    assert_eq!(
        keyed.list_sessions("ann", "acme", 10, None).await.expect("a list").sessions.len(),
        1
    );
}
