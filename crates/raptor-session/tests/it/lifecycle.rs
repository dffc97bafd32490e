//! Create, get, delete as a user sees them; rotation of peppers; scripts flushed in between.

use raptor_core::ErrorKind;
use raptor_session::{Metadata, Peppers, SessionOptions};
use raptor_testkit::redis;

use crate::support::{Fixture, create, is_alive};

#[tokio::test]
async fn a_session_holds_what_it_was_given() {
    let f = Fixture::start().await;
    let fields = Metadata::new()
        .with("roles", &["admin", "billing"])
        .and_then(|m| m.with("v", "a field named like one of ours"))
        .and_then(|m| m.with("f:\0{é}", &vec![0_u8, 255]))
        .and_then(|m| m.with("big", &u64::MAX))
        .expect("fields");
    let token = f.sessions.create_session("ann", "acme", &fields).await.expect("a session");
    for _ in 0..2 {
        let session = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
        assert_eq!((session.user.as_str(), session.workspace.as_str()), ("ann", "acme"));
        assert_eq!(session.metadata, fields);
        assert_eq!(session.metadata.get::<u64>("big").ok().flatten(), Some(u64::MAX));
        assert_eq!(session.revision, 1);
    }
    assert!(f.sessions.delete_session(&token).await.expect("an answer"));
    assert!(!f.sessions.delete_session(&token).await.expect("an answer"));
    assert!(!is_alive(&f.sessions, &token).await);
    assert_eq!(f.keys("*").await, Vec::<String>::new());
}

#[tokio::test]
async fn sessions_of_a_user_are_independent() {
    let f = Fixture::start().await;
    let (one, other) = (create(&f.sessions, "ann").await, create(&f.sessions, "ann").await);
    assert!(f.sessions.delete_session(&one).await.expect("an answer"));
    assert!(is_alive(&f.sessions, &other).await && !is_alive(&f.sessions, &one).await);
}

#[tokio::test]
async fn script_flush_goes_unseen() {
    let f = Fixture::start().await;
    let flush = async || f.run_everywhere(redis::cmd("SCRIPT").arg("FLUSH")).await;
    for _ in 0..3 {
        flush().await;
        let token = create(&f.sessions, "ann").await;
        flush().await;
        assert!(is_alive(&f.sessions, &token).await);
        flush().await;
        assert!(f.sessions.delete_session(&token).await.expect("an answer"));
    }
}

#[tokio::test]
async fn a_new_pepper_keeps_old_sessions_and_dropping_one_ends_its_sessions() {
    let f = Fixture::start().await;
    let old = "old:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let new = "new:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
    let service = |list: &str| f.with(SessionOptions::new(Peppers::parse(list).expect("peppers")));
    let (before, during, after) = (service(old), service(&format!("{new},{old}")), service(new));
    let token = create(&before, "ann").await;
    let newer = create(&during, "ann").await;
    assert!(is_alive(&during, &token).await && is_alive(&during, &newer).await);
    assert!(!is_alive(&after, &token).await && is_alive(&after, &newer).await);
    assert!(!is_alive(&before, &newer).await);
    // Same id, other secret: another MAC, no session.
    assert!(!is_alive(&service(&new.replace("new:", "old:")), &token).await);
}

#[tokio::test]
async fn hostile_users_and_workspaces_are_typed_errors_and_write_nothing() {
    let f = Fixture::start().await;
    let long = "x".repeat(10 * 1_024);
    for (user, workspace) in
        [("", "acme"), ("ann", ""), (long.as_str(), "acme"), ("ann", long.as_str())]
    {
        let outcome = f.sessions.create_session(user, workspace, &Metadata::new()).await;
        assert_eq!(outcome.expect_err("refused").kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(f.keys("*").await, Vec::<String>::new());
}
