//! Acceptance 6: cap 3, 20 concurrent logins → 3 alive; rejecting → a typed error, and nothing changed.

use std::time::Duration;

use raptor_core::ErrorKind;
use raptor_session::{AtCap, Metadata, SessionOptions, SessionService, TooManySessions};
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, NOW, create, is_alive, options, peppers};

fn capped(f: &Fixture, cap: u32, at_cap: AtCap) -> SessionService {
    f.with(SessionOptions::new(peppers()).cap(cap, at_cap))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_concurrent_logins_three_are_alive() {
    let f = Fixture::start().await;
    for at_cap in [AtCap::EvictOldest, AtCap::Reject] {
        let sessions = capped(&f, 3, at_cap);
        let mut logins = JoinSet::new();
        for _ in 0..20 {
            let sessions = sessions.clone();
            logins.spawn(async move {
                sessions.create_session(&format!("{at_cap:?}"), "acme", &Metadata::new()).await
            });
        }
        let (mut alive, mut rejected) = (0, 0);
        for login in logins.join_all().await {
            match login {
                Ok(token) => alive += usize::from(is_alive(&sessions, &token).await),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Capacity);
                    assert_eq!(TooManySessions::of(&error).map(|why| why.cap), Some(3));
                    rejected += 1;
                }
            }
        }
        assert_eq!((alive, rejected), (3, if at_cap == AtCap::Reject { 17 } else { 0 }));
        let index = f.keys(&format!("*session~user:*{at_cap:?}")).await.remove(0);
        assert_eq!(f.int(redis::cmd("ZCARD").arg(index)).await, 3);
    }
}

#[tokio::test]
async fn rejecting_changes_nothing_and_an_end_makes_room() {
    let f = Fixture::start().await;
    let sessions = capped(&f, 2, AtCap::Reject);
    let first = create(&sessions, "ann").await;
    create(&sessions, "ann").await;
    let before = f.dump().await;
    let error = sessions.create_session("ann", "acme", &Metadata::new()).await;
    let error = error.expect_err("full");
    assert!(TooManySessions::of(&error).is_some(), "{error}");
    assert_eq!(f.dump().await, before);
    create(&sessions, "bob").await;
    assert!(sessions.delete_session(&first).await.expect("an answer"));
    create(&sessions, "ann").await;
    // A session that vanished without its index is no session.
    let key = f.keys("*session:{s066}*").await.remove(0);
    f.run(redis::cmd("DEL").arg(key)).await;
    create(&sessions, "ann").await;
    assert!(sessions.create_session("ann", "acme", &Metadata::new()).await.is_err());
}

#[tokio::test]
async fn the_one_unused_for_the_longest_is_evicted_and_one_that_is_gone_before_it() {
    let f = Fixture::start().await;
    let sessions = capped(&f, 3, AtCap::EvictOldest);
    let at = |seconds| sessions.pinned_at(NOW + Duration::from_secs(seconds));
    let (one, two, three) =
        (create(&at(0), "ann").await, create(&at(1), "ann").await, create(&at(2), "ann").await);
    assert!(is_alive(&at(10), &one).await);
    let four = create(&at(11), "ann").await;
    for (token, alive) in [(&one, true), (&two, false), (&three, true), (&four, true)] {
        assert_eq!(is_alive(&at(11), token).await, alive);
    }
    // Ended ones do not count: by now only the last is alive.
    assert!(is_alive(&at(1_000), &four).await);
    let (five, six) = (create(&at(2_000), "ann").await, create(&at(2_001), "ann").await);
    for token in [&four, &five, &six] {
        assert!(is_alive(&at(2_002), token).await);
    }
}

/// By the server's clock, several within a millisecond.
#[tokio::test]
async fn logins_in_a_row_evict_in_their_order() {
    let f = Fixture::start().await;
    let sessions = capped(&f, 5, AtCap::EvictOldest);
    let mut tokens = Vec::new();
    for _ in 0..40 {
        tokens.push(create(&sessions, "ann").await);
    }
    for (n, token) in tokens.iter().enumerate() {
        assert_eq!(is_alive(&sessions, token).await, n >= 35, "{n}");
    }
}

#[tokio::test]
async fn a_cap_that_was_lowered_far_is_met_by_the_next_login() {
    let f = Fixture::start().await;
    let mut logins = JoinSet::new();
    for _ in 0..600 {
        let sessions = f.sessions.clone();
        logins.spawn(async move { create(&sessions, "ann").await });
    }
    logins.join_all().await;
    let token = create(&capped(&f, 3, AtCap::EvictOldest), "ann").await;
    assert_eq!(f.keys("*session:*").await.len(), 3);
    assert!(is_alive(&f.sessions, &token).await);
    let none = options(1_000, 1_000).cap(0, AtCap::Reject);
    let error = SessionService::new(f.client.clone(), none).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// Once its idle deadline is its absolute one, a use moves no deadline any more: it is a use all the same.
#[tokio::test]
async fn the_session_in_use_is_not_evicted_in_its_last_hours_and_lists_say_when_it_was_used() {
    let f = Fixture::start().await;
    for idle_ms in [600_000, 3_600_000] {
        let capped = options(idle_ms, 3_600_000).cap(2, AtCap::EvictOldest);
        let sessions = f.with(capped);
        let at = |minutes: u64| NOW + Duration::from_secs(60 * minutes);
        let on = |minutes| sessions.pinned_at(at(minutes));
        let user = format!("ann {idle_ms}");
        let used = create(&on(0), &user).await;
        for minutes in [9, 18, 27, 36, 45] {
            assert!(is_alive(&on(minutes), &used).await);
        }
        // Its deadline comes first, and it is used last.
        let unused = create(&on(50), &user).await;
        for minutes in [52, 54] {
            assert!(is_alive(&on(minutes), &used).await);
        }
        let listed = on(54).list_sessions(&user, "acme", 10, None).await.expect("a page");
        let seen: Vec<_> = listed.sessions.iter().map(|session| session.last_seen_at).collect();
        assert!(seen.contains(&at(54)) && seen.contains(&at(50)), "{seen:?}");
        let new = create(&on(55), &user).await;
        for (token, alive) in [(&used, true), (&unused, false), (&new, true)] {
            assert_eq!(is_alive(&on(55), token).await, alive);
        }
    }
}
