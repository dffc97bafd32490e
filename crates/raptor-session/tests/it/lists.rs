//! A user's list of sessions: by pages, without tokens, and clean after it.

use std::collections::BTreeSet;
use std::time::Duration;

use raptor_core::ErrorKind;
use raptor_session::{Metadata, PageCursor, SessionService, Ulid};
use raptor_testkit::redis;

use crate::support::{Fixture, NOW, create, is_alive, options};

async fn ids(sessions: &SessionService, page: usize) -> (BTreeSet<Ulid>, usize) {
    let (mut ids, mut pages, mut after) = (BTreeSet::new(), 0, None);
    loop {
        let page = sessions.list_sessions("ann", "acme", page, after.as_ref()).await;
        let page = page.expect("a page");
        pages += 1;
        ids.extend(page.sessions.iter().map(|session| session.id));
        match page.next {
            Some(next) => after = Some(next.to_string().parse().expect("a cursor")),
            None => return (ids, pages),
        }
    }
}

#[tokio::test]
async fn pages_show_each_session_once_and_no_token() {
    let f = Fixture::start().await;
    let at = |seconds| f.sessions.pinned_at(NOW + Duration::from_secs(seconds));
    let mut tokens = Vec::new();
    for n in 0..25 {
        tokens.push(create(&at(n), "ann").await);
    }
    create(&at(0), "bob").await;
    for (page, pages) in [(100, 1), (25, 2), (10, 3), (1, 26)] {
        assert_eq!((ids(&at(30), page).await.0.len(), ids(&at(30), page).await.1), (25, pages));
    }
    let page = at(30).list_sessions("ann", "acme", 100, None).await.expect("a page");
    let shown = format!("{page:?}");
    assert!(tokens.iter().all(|token| !shown.contains(&token.expose()[4..20])), "{shown}");
    let ends: Vec<_> = page.sessions.iter().map(|session| session.expires_at).collect();
    assert!(ends.is_sorted());
    assert_eq!(page.sessions[0].last_seen_at, NOW, "a list is no use");
    for page in [0, 101] {
        let error = f.sessions.list_sessions("ann", "acme", page, None).await;
        assert_eq!(error.expect_err("refused").kind(), ErrorKind::InvalidInput);
    }
    for bad in ["", "-inf", "nan", "1e9", "(1", "99999999999999999999999999"] {
        assert!(bad.parse::<PageCursor>().is_err(), "{bad}");
    }
}

/// All logged in at one moment, and used while somebody turns pages: those that are used move to the end.
#[tokio::test]
async fn none_is_missed_that_lives_throughout() {
    let f = Fixture::start().await;
    let at = |seconds| f.sessions.pinned_at(NOW + Duration::from_secs(seconds));
    let mut tokens = Vec::new();
    for _ in 0..30 {
        tokens.push(create(&at(0), "ann").await);
    }
    assert_eq!(ids(&at(1), 7).await.0.len(), 30, "more on a page where they share the deadline");
    for (n, token) in tokens.iter().enumerate() {
        assert!(is_alive(&at(n as u64 * 2 + 2), token).await);
    }
    let (mut seen, mut after, mut second) = (BTreeSet::new(), None, 100);
    loop {
        let page = at(second).list_sessions("ann", "acme", 4, after.as_ref()).await;
        let page = page.expect("a page");
        seen.extend(page.sessions.iter().map(|session| session.id));
        let Some(next) = page.next else { break };
        after = Some(next);
        second += 2;
        if second < 140 {
            assert!(is_alive(&at(second), &tokens[(second as usize - 100) % 30]).await);
        }
    }
    assert_eq!(seen.len(), 30);
}

#[tokio::test]
async fn a_list_takes_off_the_index_what_is_gone() {
    let f = Fixture::start().await;
    let sessions = f.with(options(60_000, 3_600_000));
    let at = |seconds| sessions.pinned_at(NOW + Duration::from_secs(seconds));
    create(&at(0), "ann").await;
    create(&at(30), "ann").await;
    let gone = f.keys("*session:*").await;
    let last = create(&at(30), "ann").await;
    let index = f.keys("*session~user:*").await.remove(0);
    f.run(redis::cmd("DEL").arg(&gone[0])).await;
    f.run(redis::cmd("DEL").arg(&gone[1])).await;
    let page = at(70).list_sessions("ann", "acme", 10, None).await.expect("a page");
    assert_eq!(page.sessions.len(), 1);
    assert_eq!(f.int(redis::cmd("ZCARD").arg(&index)).await, 1);
    let id = page.sessions[0].id;
    for (user, id, was) in [("bob", id, false), ("ann", Ulid::nil(), false), ("ann", id, true)] {
        let deleted = at(70).delete_session_by_id(user, "acme", id).await;
        assert_eq!(deleted.expect("an answer"), was);
    }
    assert!(!is_alive(&at(70), &last).await);
    let page = at(70).list_sessions("ann", "acme", 10, None).await.expect("a page");
    assert_eq!((page.sessions.len(), page.next), (0, None));
    let fields = Metadata::new();
    assert!(f.sessions.create_session("ann", "acme", &fields).await.is_ok());
}

#[tokio::test]
async fn an_index_is_counted_and_swept() {
    let f = Fixture::start().await;
    let sessions = f.with(options(60_000, 3_600_000));
    let at = |seconds| sessions.pinned_at(NOW + Duration::from_secs(seconds));
    create(&at(0), "ann").await;
    create(&at(0), "ann").await;
    let gone = f.keys("*session:*").await;
    create(&at(30), "ann").await;
    let counted = async || {
        let index = at(70).inspect_user("ann", "acme").await.expect("an answer");
        (index.alive, index.ended)
    };
    assert_eq!(counted().await, (1, 2));
    assert_eq!(at(70).sweep_user("ann", "acme").await.expect("an answer"), 0, "they are there");
    for key in gone {
        f.run(redis::cmd("DEL").arg(key)).await;
    }
    for swept in [2, 0] {
        assert_eq!(at(70).sweep_user("ann", "acme").await.expect("an answer"), swept);
        assert_eq!(counted().await, (1, 0));
    }
    assert_eq!(at(70).sweep_user("nobody", "acme").await.expect("an answer"), 0);
    assert!(at(70).inspect_user("", "acme").await.is_err());
}
