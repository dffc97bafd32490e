//! Sessions before a login, and the login that makes them a user's.

use raptor_session::{Changes, Metadata};

use crate::support::{Fixture, NOW, create, is_alive};

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
