//! A reply that is lost: what the caller is told, and that a repeat does what the docs say.

use std::time::Duration;

use raptor_core::{ErrorKind, RedisClient, RedisConfig};
use raptor_session::{Changes, Metadata, SessionOptions, SessionService};
use raptor_testkit::{Fault, Proxy, Server, redis};

use crate::support::{config, create, peppers};

/// How long a pointer stays: in the request that rotates, and in no other.
const ROTATES: &[u8] = b"60000";

#[tokio::test]
async fn reads_and_logouts_are_repeated_by_the_caller_and_logins_by_the_service() {
    let server = Server::start().await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
    // So that the server knows all scripts, and what is lost below has run.
    let known = create(&sessions, "ann").await;
    assert!(sessions.get_session(&known).await.expect("an answer").is_some());
    assert!(sessions.delete_session(&known).await.expect("an answer"));

    let calls = proxy.count_requests(b"EVALSHA");
    proxy.drop_reply_to(b"EVALSHA");
    let fields = Metadata::new().with("n", &7).expect("a field");
    let token = sessions.create_session("ann", "acme", &fields).await.expect("its own repeat");
    assert_eq!(calls.get(), 2);
    let keys: Vec<String> = server.query(redis::cmd("KEYS").arg("*session:*")).await.expect("keys");
    assert_eq!(keys.len(), 1, "two attempts are one session");

    proxy.drop_reply_to(b"EVALSHA");
    let error = sessions.get_session(&token).await.expect_err("no answer");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error}");
    assert_eq!(calls.get(), 3, "not sent again by itself");
    let session = sessions.get_session(&token).await.expect("an answer").expect("alive");
    assert_eq!(session.metadata, fields);

    proxy.drop_reply_to(b"EVALSHA");
    let error = sessions.delete_session(&token).await.expect_err("no answer");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error}");
    assert!(!sessions.delete_session(&token).await.expect("an answer"), "the first one ended it");
    assert!(!proxy.is_armed());
}

/// A rotation is finished by its own repeat under the same new token; an update is not sent again, for its revision
/// would tell of two.
#[tokio::test]
async fn a_rotation_survives_a_lost_reply_and_an_update_is_of_unknown_outcome() {
    let server = Server::start().await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
    let changes = || Changes::new().set("n", &1).expect("a change");
    let known = create(&sessions, "bob").await;
    assert!(sessions.update_session(&known, changes()).await.expect("an answer").is_done());
    let known = sessions.rotate_session(&known).await.expect("an answer").expect("rotated");
    assert!(sessions.delete_session(&known).await.expect("an answer"));

    let old = create(&sessions, "ann").await;
    proxy.drop_reply_to(ROTATES);
    let new = sessions.rotate_session(&old).await.expect("its own repeat").expect("rotated");
    assert!(!proxy.is_armed(), "a reply was lost");
    assert!(sessions.get_session(&new).await.expect("an answer").is_some());
    assert!(sessions.get_session(&old).await.expect("an answer").is_none());

    proxy.drop_reply_to(b"f:n");
    let error = sessions.update_session(&new, changes()).await.expect_err("no answer");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::OutcomeUnknown, false), "{error}");
    let session = sessions.get_session(&new).await.expect("an answer").expect("alive");
    assert_eq!(session.revision, 2, "it has run, once");
}

/// The first reply is lost after it has rotated, the next ones while it is asked what came of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_whose_replies_are_lost_again_and_again_is_asked_for_under_the_same_token() {
    let server = Server::start().await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
    let known = create(&sessions, "bob").await;
    assert!(sessions.rotate_session(&known).await.expect("an answer").is_some());

    let old = create(&sessions, "ann").await;
    let lost = proxy.count_requests(b"EVALSHA");
    proxy.drop_reply_to(ROTATES);
    let rotation = tokio::spawn({
        let (sessions, old) = (sessions.clone(), old.clone());
        async move { sessions.rotate_session(&old).await }
    });
    for _ in 0..3 {
        while proxy.is_armed() && !rotation.is_finished() {
            tokio::task::yield_now().await;
        }
        proxy.drop_reply_to(b"EVALSHA");
    }
    let new = rotation.await.expect("ended").expect("asked again").expect("rotated");
    assert!(!proxy.is_armed() && lost.get() >= 5, "four replies were lost: {}", lost.get());
    assert!(sessions.get_session(&new).await.expect("an answer").is_some());
    assert!(sessions.get_session(&old).await.expect("an answer").is_none());
}

/// Until the deadline of a call, and no longer; then it is the caller's to finish it, under the token that it took.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_never_answered_is_finished_later_by_who_took_the_token_first() {
    let server = Server::start().await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let timeout = Duration::from_millis(600);
    let driver = raptor_testkit::driver().expect("a driver");
    let config = RedisConfig::builder().url(proxy.url()).driver(driver).command_timeout(timeout);
    let client = RedisClient::connect(config.build().expect("a config")).await.expect("connects");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
    let known = create(&sessions, "bob").await;
    assert!(sessions.rotate_session(&known).await.expect("an answer").is_some());

    for (grace, has_taken) in [(0, true), (10, true), (10, false)] {
        let old = create(&sessions, "ann").await;
        let next = sessions.next_token(&old).expect("random bytes").expect("a token");
        proxy.drop_reply_to(ROTATES);
        let rotation = tokio::spawn({
            let (sessions, old, next) = (sessions.clone(), old.clone(), next.clone());
            async move {
                let rotate = sessions.rotate_session(&old).grace(Duration::from_secs(grace));
                if has_taken { rotate.to(&next).await } else { rotate.await }
            }
        });
        while proxy.is_armed() && !rotation.is_finished() {
            tokio::task::yield_now().await;
        }
        proxy.set(Fault::Refuse);
        proxy.cut();
        let error = rotation.await.expect("ended").expect_err("no answer");
        proxy.set(Fault::Pass);
        while sessions.get_session(&known).await.is_err() {}
        let kind = error.kind();
        assert_eq!(error.is_retryable(), has_taken, "{error}");
        assert_eq!(kind == ErrorKind::OutcomeUnknown, !has_taken, "{error}");
        if has_taken {
            // It has run, and says so as often as it is asked.
            for _ in 0..2 {
                let new = sessions.rotate_session(&old).to(&next).await.expect("an answer");
                assert_eq!(new.expect("rotated").expose(), next.expose());
            }
            assert!(sessions.get_session(&next).await.expect("an answer").is_some());
        } else {
            assert!(sessions.rotate_session(&old).await.expect("an answer").is_none());
        }
        // The old token serves for its grace, and a logout by it is one.
        let readable = sessions.get_session(&old).await.expect("an answer").is_some();
        assert_eq!(readable, grace > 0);
        assert!(sessions.delete_session(&old).await.expect("an answer"));
        assert!(sessions.get_session(&next).await.expect("an answer").is_none());
    }
}
