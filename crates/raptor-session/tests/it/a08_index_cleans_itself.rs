//! Acceptance 8: 1,000 sessions reach their end → their users' indexes are gone without a sweeper.

use std::time::Duration;

use raptor_testkit::redis;

use crate::support::{Fixture, NOW, create, is_alive, options};

/// The only test that waits for real time: the expiry of keys is the server's own.
#[tokio::test]
async fn when_all_sessions_have_ended_the_index_is_gone() {
    let f = Fixture::start().await;
    let sessions = f.with(options(1_500, 60_000));
    let mut logins = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        let sessions = sessions.clone();
        logins.spawn(async move { create(&sessions, ["ann", "bob", "eve"][n % 3]).await });
    }
    let tokens = logins.join_all().await;
    assert_eq!(f.keys("*session~user:*").await.len(), 3);
    // The slide of one keeps its index, the end of the others leaves it. The newest: on a busy machine the first has
    // ended by now.
    assert!(is_alive(&sessions, &tokens[999]).await);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !f.keys("*").await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "keys stay: {:?}", f.keys("*").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn scores_move_with_the_slide_and_the_ended_are_pruned() {
    let f = Fixture::start().await;
    let sessions = f.with(options(120_000, 3_600_000));
    let token = create(&sessions.pinned_at(NOW), "ann").await;
    let kept = f.keys("*session:*").await;
    for _ in 0..5 {
        create(&sessions.pinned_at(NOW), "ann").await;
    }
    let index = f.keys("*session~user:*").await.remove(0);
    assert_eq!(f.int(redis::cmd("ZCARD").arg(&index)).await, 6);

    let at = NOW + time::Duration::seconds(90);
    assert!(is_alive(&sessions.pinned_at(at), &token).await);
    let newest: Vec<(String, f64)> = f
        .backend
        .query(redis::cmd("ZRANGE").arg(&index).arg(-1).arg(-1).arg("WITHSCORES"))
        .await
        .expect("a member");
    let deadline = at + time::Duration::seconds(120);
    assert_eq!(newest[0].1, (deadline.unix_timestamp_nanos() / 1_000_000) as f64);

    // The others have ended by now, and the server forgets them; a list or a login of the same user takes them off the
    // index.
    for key in f.keys("*session:*").await {
        if !kept.contains(&key) {
            f.run(redis::cmd("DEL").arg(key)).await;
        }
    }
    let at = sessions.pinned_at(NOW + time::Duration::seconds(120));
    assert_eq!(f.int(redis::cmd("ZCARD").arg(&index)).await, 6);
    let page = at.list_sessions("ann", "acme", 10, None).await.expect("a page");
    assert_eq!(page.sessions.len(), 1);
    assert_eq!(f.int(redis::cmd("ZCARD").arg(&index)).await, 1);
    f.run(redis::cmd("DEL").arg(&kept[0])).await;
    create(&sessions.pinned_at(NOW + time::Duration::seconds(600)), "ann").await;
    assert_eq!(f.int(redis::cmd("ZCARD").arg(&index)).await, 1);
}

/// The index lives as long as its longest-lived session: both write and use prolong it, neither shortens it.
#[tokio::test]
async fn the_index_outlives_each_of_its_sessions() {
    let f = Fixture::start().await;
    let sessions = f.with(options(60_000, 600_000));
    let token = create(&sessions, "ann").await;
    let index = f.keys("*session~user:*").await.remove(0);
    let is_minute = |ms: i64| (55_000..=60_000).contains(&ms);
    assert!(is_minute(f.int(redis::cmd("PTTL").arg(&index)).await));
    f.run(redis::cmd("PEXPIRE").arg(&index).arg(10_000)).await;
    create(&sessions, "ann").await;
    assert!(is_minute(f.int(redis::cmd("PTTL").arg(&index)).await));
    f.run(redis::cmd("PEXPIRE").arg(&index).arg(10_000)).await;
    let soon = time::OffsetDateTime::now_utc() + time::Duration::seconds(3);
    assert!(is_alive(&sessions.pinned_at(soon), &token).await);
    assert!(is_minute(f.int(redis::cmd("PTTL").arg(&index)).await));
    create(&f.with(options(1_000, 1_000)), "ann").await;
    assert!(is_minute(f.int(redis::cmd("PTTL").arg(&index)).await));
}

#[tokio::test]
async fn a_session_taken_off_the_index_is_neither_put_back_nor_prolonged_by_its_use() {
    let f = Fixture::start().await;
    let sessions = f.with(options(120_000, 3_600_000));
    let token = create(&sessions.pinned_at(NOW), "ann").await;
    let index = f.keys("*session~user:*").await.remove(0);
    f.run(redis::cmd("DEL").arg(&index)).await;
    let at = |ms| sessions.pinned_at(NOW + time::Duration::milliseconds(ms));
    assert!(is_alive(&at(119_999), &token).await);
    assert!(!is_alive(&at(120_000), &token).await);
    assert_eq!(f.keys("*session~user:*").await, Vec::<String>::new());
}

#[tokio::test]
async fn users_and_workspaces_have_indexes_of_their_own() {
    let f = Fixture::start().await;
    for (user, workspace) in [("b:c", "a"), ("c", "a:b"), ("{x}", "a"), ("\0", "a"), ("a", "b:c")] {
        let fields = raptor_session::Metadata::new();
        let token = f.sessions.create_session(user, workspace, &fields).await.expect("a session");
        let session = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
        assert_eq!((session.user.as_str(), session.workspace.as_str()), (user, workspace));
    }
    assert_eq!(f.keys("*session~user:*").await.len(), 5);
}
