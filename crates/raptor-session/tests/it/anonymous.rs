//! Sessions before a login, and the login that makes them a user's.

use raptor_core::{ErrorKind, RedisClient};
use raptor_session::{
    AtCap, Changes, MAX_FIELDS, MAX_METADATA_BYTES, Metadata, SessionOptions, SessionService,
};
use raptor_testkit::{AclRule, Backend};

use crate::support::{Fixture, NOW, config, create, is_alive, peppers};

const DOCUMENT: &str = include_str!("../../../../docs/acl.md");

#[tokio::test]
async fn an_anonymous_session_lives_slides_and_changes_as_others_do() {
    let f = Fixture::start().await;
    let at = |minutes| f.sessions.pinned_at(NOW + time::Duration::minutes(minutes));
    let fields = Metadata::new().with("basket", &["tea"]).expect("a field");
    let token = at(0).create_anonymous(&fields).await.expect("a session");
    for minutes in [20, 40, 60] {
        let session = at(minutes).get_session(&token).await.expect("an answer").expect("alive");
        assert!(session.is_anonymous() && session.workspace.is_empty());
        assert_eq!(session.metadata, fields);
    }
    let changes = Changes::new().set("lang", &"de").expect("a change");
    assert!(at(60).update_session(&token, changes).await.expect("an answer").is_done());
    let new = at(60).rotate_session(&token).await.expect("an answer").expect("rotated");
    let hour = std::time::Duration::from_secs(3_600);
    assert!(at(60).extend_session(&new, hour).await.expect("an answer").is_some());
    assert!(!is_alive(&at(60), &token).await && is_alive(&at(119), &new).await);
    assert!(at(119).delete_session(&new).await.expect("an answer"));
    assert_eq!(f.keys("*session~user:*").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_login_takes_its_fields_along_and_ends_it() {
    let f = Fixture::start().await;
    let fields = Metadata::new().with("basket", &["tea"]).and_then(|m| m.with("role", &"none"));
    let planted = f.sessions.create_anonymous(&fields.expect("fields")).await.expect("a session");
    let own = Metadata::new().with("role", &"admin").expect("a field");
    let token = f.sessions.promote_session(&planted, "ann", "acme", &own).await.expect("a login");
    assert!(!is_alive(&f.sessions, &planted).await, "who planted it has nothing");
    assert!(!f.sessions.delete_session(&planted).await.expect("an answer"), "not even a logout");
    let session = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
    assert_eq!((session.user.as_str(), session.workspace.as_str()), ("ann", "acme"));
    assert_eq!(session.get::<String>("role").expect("a text").as_deref(), Some("admin"));
    assert_eq!(session.get::<Vec<String>>("basket").expect("texts").map(|b| b.len()), Some(1));
}

#[tokio::test]
async fn a_login_over_somebody_elses_session_ends_it_and_takes_nothing_along() {
    let f = Fixture::start().await;
    let fields = Metadata::new().with("role", &"admin").expect("a field");
    let eve = f.sessions.create_session("eve", "acme", &fields).await.expect("a session");
    for old in [eve.expose(), "no token", ""] {
        let token = f.sessions.promote_session(old, "ann", "acme", &Metadata::new()).await;
        let token = token.expect("a login");
        let session = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
        assert_eq!((session.user.as_str(), session.metadata.len()), ("ann", 0));
    }
    assert!(!is_alive(&f.sessions, &eve).await);
    // A login that fails leaves the old one as it was.
    let old = create(&f.sessions, "ann").await;
    assert!(f.sessions.promote_session(&old, "", "acme", &Metadata::new()).await.is_err());
    assert!(is_alive(&f.sessions, &old).await);
}

/// Who cannot end a user's session does not log in over it: its token would live on, and nobody know.
#[tokio::test]
async fn a_login_ends_a_users_session_first_or_does_not_happen() {
    let rule = AclRule::documented(DOCUMENT, "raptor-session").expect("a rule");
    let backend = Backend::with_acl(&rule).await.expect("a server");
    let client = RedisClient::connect(config(backend.url())).await.expect("a connection");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
    let eve = create(&sessions, "eve").await;
    let rotated = sessions.rotate_session(&eve).await.expect("an answer").expect("rotated");
    let nobody = sessions.create_anonymous(&Metadata::new()).await.expect("a session");
    let login = async |old| sessions.promote_session(old, "ann", "acme", &Metadata::new()).await;
    let less = rule.clone().with("-unlink");
    backend.query::<()>(&less.command()).await.expect("set");
    // The older token leads to her session, too.
    for old in [&rotated, &eve] {
        assert_eq!(login(old).await.expect_err("not ended").kind(), ErrorKind::Auth);
    }
    let listed = sessions.list_sessions("ann", "acme", 9, None).await.expect("a page");
    assert!(listed.sessions.is_empty() && is_alive(&sessions, &rotated).await);
    // Nobody's never knew a user: the login stands.
    assert!(is_alive(&sessions, &login(&nobody).await.expect("a login")).await);
    backend.query::<()>(&rule.command()).await.expect("set");
    assert!(is_alive(&sessions, &login(&eve).await.expect("a login")).await);
    assert!(!is_alive(&sessions, &rotated).await);
}

#[tokio::test]
async fn under_a_cap_that_rejects_a_login_over_ones_own_session_takes_its_place() {
    let f = Fixture::start().await;
    let sessions = f.with(SessionOptions::new(peppers()).cap(1, AtCap::Reject));
    let old = create(&sessions, "ann").await;
    let new = sessions.promote_session(&old, "ann", "acme", &Metadata::new()).await;
    assert!(is_alive(&sessions, &new.expect("a login")).await && !is_alive(&sessions, &old).await);
}

#[tokio::test]
async fn a_full_basket_locks_nobody_out_what_has_no_room_stays_behind() {
    let f = Fixture::start().await;
    let own = Metadata::new().with("role", &"admin").and_then(|own| own.with("b001", &"mine"));
    let own = own.expect("fields");
    let many = (0..MAX_FIELDS)
        .try_fold(Metadata::new(), |fields, n| fields.with(format!("b{n:03}"), &n))
        .expect("a full basket");
    let large = "x".repeat(MAX_METADATA_BYTES - 20);
    let large = Metadata::new().with("large", &large).and_then(|fields| fields.with("small", &1));
    for (basket, names) in [(many, MAX_FIELDS), (large.expect("a large basket"), 3)] {
        let old = f.sessions.create_anonymous(&basket).await.expect("a session");
        let new = f.sessions.promote_session(&old, "ann", "acme", &own).await.expect("a login");
        let session = f.sessions.get_session(&new).await.expect("an answer").expect("alive");
        assert_eq!(session.metadata.len(), names);
        let text = |name| session.get::<String>(name).expect("a text");
        assert_eq!(text("role").as_deref(), Some("admin"));
        assert_eq!(text("b001").as_deref(), Some("mine"));
        let has = |name| session.metadata.names().any(|other| other == name);
        assert!(!has("large") && !has("b255") && (has("b254") || has("small")));
    }
}
