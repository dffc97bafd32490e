//! A reply that is lost: what the caller is told, and that a repeat does what the docs say.

use raptor_core::{ErrorKind, RedisClient};
use raptor_session::{Changes, Metadata, SessionOptions, SessionService};
use raptor_testkit::{Proxy, Server, redis};

use crate::support::{config, create, peppers};

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
    let keep = b"60000"; // stands in the request that rotates, and in no other
    proxy.drop_reply_to(keep);
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
