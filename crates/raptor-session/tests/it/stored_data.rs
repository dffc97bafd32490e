//! Foreign data and newer layouts: typed errors, and what is stored stays as it is.

use raptor_core::ErrorKind;
use raptor_session::Metadata;
use raptor_testkit::redis;

use crate::support::{Fixture, create, is_alive};

#[tokio::test]
async fn a_newer_layout_is_refused_and_left_alone() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let key = f.keys("*session:*").await.remove(0);
    f.run(redis::cmd("HSET").arg(&key).arg("v").arg("2")).await;
    let before = f.dump().await;
    let error = f.sessions.get_session(&token).await.expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Codec);
    let error = f.sessions.delete_session(&token).await.expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(f.dump().await, before);
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
    for error in [login.map(drop), f.sessions.get_session(&token).await.map(drop)] {
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
    for (field, value) in
        [("v", "x"), ("a", ""), ("i", "soon"), ("x", "-"), ("id", "?"), ("r", "one")]
    {
        let genuine: Option<String> =
            f.backend.query(redis::cmd("HGET").arg(&key).arg(field)).await.expect("a value");
        f.run(redis::cmd("HSET").arg(&key).arg(field).arg(value)).await;
        let error = f.sessions.get_session(&token).await.expect_err("foreign");
        assert_eq!(error.kind(), ErrorKind::Codec, "{field}");
        f.run(redis::cmd("HSET").arg(&key).arg(field).arg(genuine)).await;
    }
    assert!(is_alive(&f.sessions, &token).await);
    f.run(redis::cmd("HDEL").arg(&key).arg("v")).await;
    assert_eq!(f.sessions.get_session(&token).await.expect_err("foreign").kind(), ErrorKind::Codec);
    assert_eq!(
        f.sessions.delete_session(&token).await.expect_err("foreign").kind(),
        ErrorKind::Codec
    );
    f.run(redis::cmd("SET").arg(&key).arg("foreign")).await;
    let before = f.dump().await;
    assert_eq!(
        f.sessions.get_session(&token).await.expect_err("foreign").kind(),
        ErrorKind::WrongType
    );
    let error = f.sessions.delete_session(&token).await.expect_err("foreign");
    assert_eq!(error.kind(), ErrorKind::WrongType);
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
    assert_eq!(
        f.sessions.get_session(&token).await.expect_err("foreign").kind(),
        ErrorKind::WrongType
    );
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
    f.run(redis::cmd("HSET").arg(&key).arg("n").arg("victim")).await;
    assert!(is_alive(&f.sessions, &token).await);
    assert_eq!(f.int(redis::cmd("ZCARD").arg("victim")).await, 1);
}
