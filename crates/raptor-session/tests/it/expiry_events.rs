//! Expiry events: at least once for each session that ended by itself, and never for one that was ended.

use raptor_core::ErrorKind;
use raptor_session::{AtCap, Metadata, SessionService};
use raptor_testkit::redis;
use time::Duration;

use crate::support::{Fixture, NOW, create, is_alive, options};

/// Of ann and bob in acme; see shard.rs.
const SHARDS: [u8; 2] = [66, 226];

fn at(sessions: &SessionService, minutes: i64) -> SessionService {
    sessions.pinned_at(NOW + Duration::minutes(minutes))
}

fn told(f: &Fixture) -> SessionService {
    f.with(options(10 * 60_000, 60 * 60_000).expiry_events())
}

async fn ended(sessions: &SessionService) -> Vec<(String, time::OffsetDateTime)> {
    let mut all = Vec::new();
    for shard in SHARDS {
        let ended = sessions.ended_sessions(shard, 100).await.expect("an answer");
        all.extend(ended.into_iter().map(|ended| (ended.user, ended.ended_at)));
    }
    all
}

#[tokio::test]
async fn an_end_is_told_until_it_is_acknowledged_and_moves_with_the_deadline() {
    let f = Fixture::start().await;
    let sessions = told(&f);
    let ann = create(&at(&sessions, 0), "ann").await;
    let bob = create(&at(&sessions, 0), "bob").await;
    // Nobody's own options matter, the session's do.
    assert!(is_alive(&at(&f.sessions, 5), &ann).await);
    assert_eq!(ended(&at(&sessions, 9)).await, []);
    let minute = |minutes| NOW + Duration::minutes(minutes);
    let extended = at(&sessions, 5).extend_session(&bob, std::time::Duration::from_secs(600)).await;
    assert_eq!(extended.expect("an answer"), Some(minute(15)));
    let both = [("ann".to_owned(), minute(15)), ("bob".to_owned(), minute(15))];
    for _ in 0..2 {
        assert_eq!(ended(&at(&sessions, 15)).await, both);
    }
    let due = at(&sessions, 20).ended_sessions(SHARDS[0], 1).await.expect("an answer");
    assert_eq!((due[0].workspace.as_str(), due.len()), ("acme", 1));
    for _ in 0..2 {
        sessions.acknowledge_ended(&due).await.expect("an answer");
        assert_eq!(ended(&at(&sessions, 20)).await, both[1..]);
    }
}

#[tokio::test]
async fn what_was_ended_by_a_call_is_not_told_and_what_was_evicted_is() {
    let f = Fixture::start().await;
    let sessions = told(&f);
    let one = create(&at(&sessions, 0), "ann").await;
    create(&at(&sessions, 0), "bob").await;
    assert!(at(&sessions, 1).delete_session(&one).await.expect("an answer"));
    let revoked = sessions.revoke_workspace_user("bob", "acme").await;
    assert_eq!(revoked.expect("an answer"), 1);
    assert_eq!(ended(&at(&sessions, 100)).await, []);
    // A rotation is no end.
    let two = create(&at(&sessions, 0), "ann").await;
    let two = at(&sessions, 0).rotate_session(&two).await.expect("an answer").expect("rotated");
    assert_eq!(ended(&at(&sessions, 1)).await, []);
    let options = options(10 * 60_000, 60 * 60_000).cap(1, AtCap::EvictOldest);
    let capped = f.with(options);
    create(&at(&capped, 2), "ann").await;
    assert!(!is_alive(&at(&sessions, 2), &two).await);
    let evicted = [("ann".to_owned(), NOW + Duration::minutes(2))];
    assert_eq!(ended(&at(&sessions, 2)).await, evicted, "and the one of others is not told");
    assert_eq!(ended(&at(&sessions, 200)).await, evicted);
}

/// What cannot be one of ours is in nobody's way, and leaves the agenda.
#[tokio::test]
async fn a_member_that_nobody_can_read_does_not_hide_the_ends_behind_it() {
    let f = Fixture::start().await;
    let sessions = told(&f);
    create(&at(&sessions, 0), "ann").await;
    let agenda = f.keys("*session~ended:*").await.remove(0);
    let id = "01JD0000000000000000000000";
    let foreign = ["garbage", "", id, &format!("{id} acme"), &format!("{id} :acme:ann%"), "x :a:b"];
    for (at, member) in foreign.iter().enumerate() {
        f.run(redis::cmd("ZADD").arg(&agenda).arg(at).arg(member)).await;
    }
    f.run(redis::cmd("ZADD").arg(&agenda).arg("-inf").arg(format!("{id} :acme:ann"))).await;
    f.run(redis::cmd("ZADD").arg(&agenda).arg("1.5").arg(format!("{id} :acme:eve"))).await;
    let due = at(&sessions, 100).ended_sessions(SHARDS[0], 1).await.expect("an answer");
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].user, "ann");
    assert_eq!(due[0].ended_at, NOW + Duration::minutes(10));
    sessions.acknowledge_ended(&due).await.expect("an answer");
    assert_eq!(f.keys("*session~ended:*").await, Vec::<String>::new());
}

#[tokio::test]
async fn an_anonymous_end_is_told() {
    let f = Fixture::start().await;
    let sessions = told(&f);
    at(&sessions, 0).create_anonymous(&Metadata::new()).await.expect("a session");
    let mut found = Vec::new();
    for shard in 0..=255 {
        let due = at(&sessions, 60).ended_sessions(shard, 10).await.expect("an answer");
        found.extend(due);
    }
    assert_eq!((found.len(), found[0].user.as_str()), (1, ""));
}

#[tokio::test]
async fn an_end_that_nobody_asked_for_is_forgotten_after_a_week() {
    let f = Fixture::start().await;
    let sessions = told(&f);
    create(&at(&sessions, 0), "ann").await;
    let week = 7 * 24 * 60;
    create(&at(&sessions, week + 11), "ann").await;
    assert_eq!(ended(&at(&sessions, week + 11)).await, [], "a week has passed");
    for count in [0, 1_001] {
        let error = sessions.ended_sessions(0, count).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
