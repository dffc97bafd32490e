//! Foreign data and newer layouts: typed errors, and what is stored stays as it is.

use raptor_core::{ErrorKind, Result};
use raptor_session::{Changes, Metadata, SessionService, SessionToken};
use raptor_testkit::redis;

use crate::support::{Fixture, create, is_alive};

/// So much later that a read slides.
fn later(sessions: &SessionService) -> SessionService {
    sessions.pinned_at(time::OffsetDateTime::now_utc() + time::Duration::minutes(1))
}

/// The head with some of its words replaced.
async fn set_head(f: &Fixture, key: &str, at: usize, word: &str) {
    let head: String = f.backend.query(redis::cmd("HGET").arg(key).arg("h")).await.expect("a head");
    let mut words: Vec<&str> = head.split(' ').collect();
    words[at] = word;
    f.run(redis::cmd("HSET").arg(key).arg("h").arg(words.join(" "))).await;
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_left_alone() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let key = f.keys("*session:*").await.remove(0);
    set_head(&f, &key, 0, "2").await;
    let before = f.dump().await;
    for error in every_call(&f.sessions, &token).await {
        assert_eq!(error.expect_err("newer").kind(), ErrorKind::Codec);
    }
    assert_eq!(f.dump().await, before);
}

/// All that a token is good for.
async fn every_call(sessions: &SessionService, token: &SessionToken) -> [Result<()>; 6] {
    let changes = Changes::new().set("n", &1).expect("a change");
    let hour = std::time::Duration::from_secs(3_600);
    [
        sessions.get_session(token).await.map(drop),
        sessions.update_session(token, changes).await.map(|_| ()),
        sessions.take_flash::<u8>(token, "n").await.map(drop),
        sessions.extend_session(token, hour).await.map(drop),
        sessions.rotate_session(token).await.map(drop),
        sessions.delete_session(token).await.map(drop),
    ]
}

/// An index has no field for its version: a newer one holds a member that no session can be.
#[tokio::test]
async fn an_index_of_a_newer_layout_is_refused_and_left_alone_and_stops_no_logout() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let index = f.keys("*session~user:*").await.remove(0);
    f.run(redis::cmd("ZADD").arg(&index).arg("+inf").arg("v2")).await;
    let before = f.dump().await;
    let login = f.sessions.create_session("ann", "acme", &Metadata::new()).await;
    let list = f.sessions.list_sessions("ann", "acme", 10, None).await;
    let revoke = f.sessions.revoke_workspace_user("ann", "acme").await;
    let rotate = f.sessions.rotate_session(&token).await;
    let get = later(&f.sessions).get_session(&token).await;
    for error in
        [login.map(drop), list.map(drop), revoke.map(drop), rotate.map(drop), get.map(drop)]
    {
        let error = error.expect_err("newer");
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("newer layout"), "{error}");
    }
    assert_eq!(f.dump().await, before);
    let eve = create(&f.sessions, "eve").await;
    assert!(is_alive(&f.sessions, &eve).await, "others are not hurt");

    assert!(f.sessions.delete_session(&token).await.expect("an answer"));
    let after = f.dump().await;
    assert_eq!(after.get(&index), before.get(&index));
    assert!(before.keys().any(|key| key != &index && !after.contains_key(key)), "it is gone");
}

#[tokio::test]
async fn foreign_data_under_a_sessions_key_is_a_typed_error() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let key = f.keys("*session:*").await.remove(0);
    let genuine: String =
        f.backend.query(redis::cmd("HGET").arg(&key).arg("h")).await.expect("a head");
    for at in 0..10 {
        set_head(&f, &key, at, "?").await;
        let before = f.dump().await;
        for outcome in every_call(&f.sessions, &token).await {
            let error = outcome.expect_err("foreign");
            assert_eq!(error.kind(), ErrorKind::Codec, "word {at}: {error}");
        }
        assert_eq!(f.dump().await, before);
        f.run(redis::cmd("HSET").arg(&key).arg("h").arg(&genuine)).await;
    }
    assert!(is_alive(&f.sessions, &token).await);
    f.run(redis::cmd("HSET").arg(&key).arg("x").arg("foreign")).await;
    f.run(redis::cmd("HDEL").arg(&key).arg("h")).await;
    for outcome in every_call(&f.sessions, &token).await {
        assert_eq!(outcome.expect_err("foreign").kind(), ErrorKind::Codec);
    }
    f.run(redis::cmd("SET").arg(&key).arg("foreign")).await;
    let before = f.dump().await;
    for outcome in every_call(&f.sessions, &token).await {
        assert_eq!(outcome.expect_err("foreign").kind(), ErrorKind::WrongType);
    }
    assert_eq!(f.dump().await, before);
}

#[tokio::test]
async fn an_index_of_the_wrong_type_stops_logins_whole_and_never_a_logout() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let index = f.keys("*session~user:*").await.remove(0);
    f.run(redis::cmd("SET").arg(&index).arg("foreign")).await;
    let before = f.dump().await;
    let error = f.sessions.create_session("ann", "acme", &Metadata::new()).await;
    assert_eq!(error.expect_err("foreign").kind(), ErrorKind::WrongType);
    let revoke = f.sessions.revoke_workspace_user("ann", "acme").await;
    let rotate = f.sessions.rotate_session(&token).await;
    let get = later(&f.sessions).get_session(&token).await;
    for outcome in [revoke.map(drop), rotate.map(drop), get.map(drop)] {
        assert_eq!(outcome.expect_err("foreign").kind(), ErrorKind::WrongType);
    }
    assert_eq!(f.dump().await, before);
    assert!(f.sessions.delete_session(&token).await.expect("an answer"));
    assert_eq!(f.keys("*session:*").await, Vec::<String>::new());
}

/// Who can write to Redis cannot send a session's slide to a key outside the index family.
#[tokio::test]
async fn a_stored_suffix_cannot_leave_the_index_family() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let key = f.keys("*session:*").await.remove(0);
    f.run(redis::cmd("ZADD").arg("victim").arg(1).arg("m")).await;
    for suffix in ["victim", ":x}victim:y", "}:{victim"] {
        set_head(&f, &key, 10, suffix).await;
        let before = f.dump().await;
        let read = later(&f.sessions).get_session(&token).await;
        assert_eq!(read.expect_err("foreign").kind(), ErrorKind::Codec);
        assert_eq!(f.dump().await, before);
    }
    assert_eq!(f.int(redis::cmd("ZCARD").arg("victim")).await, 1);
}
