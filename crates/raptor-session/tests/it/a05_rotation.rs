//! Acceptance 5: rotate → old token dead (or readable for its grace, never writable), data and deadline kept; two
//! concurrent rotations → one succeeds.

use std::time::Duration;

use raptor_core::ErrorKind;
use raptor_session::{Changes, MAX_GRACE, Metadata, SessionToken, Updated};
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, NOW, create, is_alive};

fn change() -> Changes {
    Changes::new().set("n", &1).expect("a change")
}

#[tokio::test]
async fn data_deadlines_and_id_are_kept_and_the_old_token_is_dead() {
    let f = Fixture::start().await;
    let fields = Metadata::new().with("role", &"admin").expect("a field");
    let start = f.sessions.pinned_at(NOW);
    let old = start.create_session("ann", "acme", &fields).await.expect("a session");
    let before = start.get_session(&old).await.expect("an answer").expect("alive");
    let later = f.sessions.pinned_at(NOW + Duration::from_secs(60));
    let new = later.rotate_session(&old).await.expect("an answer").expect("rotated");
    assert_ne!(new.expose(), old.expose());

    let after = start.get_session(&new).await.expect("an answer").expect("alive");
    assert_eq!(after, before, "the rotation slides nothing either");
    assert!(!is_alive(&later, &old).await);
    let keys = f.dump().await;
    assert_eq!(later.update_session(&old, change()).await.expect("an answer"), Updated::Gone);
    assert_eq!(later.take_flash::<String>(&old, "role").await.expect("an answer"), None);
    assert_eq!(later.extend_session(&old, MAX_GRACE).await.expect("an answer"), None);
    assert!(later.rotate_session(&old).await.expect("an answer").is_none());
    assert_eq!(f.dump().await, keys, "nothing was written by the old token");
    // The index lists the new one, and it slides.
    let slid = later.get_session(&new).await.expect("an answer").expect("alive");
    assert_eq!(slid.expires_at, NOW + Duration::from_secs(60 + 1_800));
    assert_eq!(later.revoke_workspace_user("ann", "acme").await.expect("an answer"), 1);
}

#[tokio::test]
async fn in_its_grace_the_old_token_reads_and_updates_the_session_under_its_new_one() {
    let f = Fixture::start().await;
    let at = |seconds| f.sessions.pinned_at(NOW + Duration::from_secs(seconds));
    let old = create(&at(0), "ann").await;
    let grace = Duration::from_secs(10);
    let new = at(0).rotate_session(&old).grace(grace).await.expect("an answer").expect("rotated");
    let pointer = f.dump().await;
    let pointer = pointer.iter().min_by_key(|(_, value)| value.len()).expect("the pointer");
    let updated = at(9).update_session(&old, change()).await.expect("an answer");
    assert_eq!(updated, Updated::Done { revision: 2 });
    assert_eq!(f.dump().await.get(pointer.0), Some(pointer.1), "nothing is stored under it");
    let by_old = at(9).get_session(&old).await.expect("an answer").expect("readable");
    assert_eq!(at(9).get_session(&new).await.expect("an answer"), Some(by_old));
    assert!(at(9).rotate_session(&old).await.expect("an answer").is_none());

    assert!(!is_alive(&at(10), &old).await);
    assert_eq!(at(10).update_session(&old, change()).await.expect("an answer"), Updated::Gone);
    assert!(is_alive(&at(10), &new).await);
    let error = at(0).rotate_session(&new).grace(Duration::MAX).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_logout_by_an_old_token_follows_its_pointer_for_a_minute_and_over_several_rotations() {
    let f = Fixture::start().await;
    let first = create(&f.sessions, "ann").await;
    let mut last = first.clone();
    for _ in 0..5 {
        last = f.sessions.rotate_session(&last).await.expect("an answer").expect("rotated");
    }
    for key in f.keys("*session:*").await {
        let ttl_ms = f.int(redis::cmd("PTTL").arg(&key)).await;
        assert!(ttl_ms > 50_000, "{ttl_ms}");
    }
    assert!(!is_alive(&f.sessions, &first).await && is_alive(&f.sessions, &last).await);
    assert!(f.sessions.delete_session(&first).await.expect("an answer"));
    assert!(!is_alive(&f.sessions, &last).await);
    assert!(!f.sessions.delete_session(&first).await.expect("an answer"));
    assert_eq!(f.keys("*session~user:*").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_pointer_that_leads_in_a_circle_or_nowhere_is_an_end() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let key = f.keys("*session:*").await.remove(0);
    let mac = key.rsplit(':').next().expect("a mac");
    f.run(redis::cmd("HDEL").arg(&key).arg("h")).await;
    f.run(redis::cmd("HSET").arg(&key).arg(">").arg(mac).arg("g").arg("9999999999999")).await;
    let error = f.sessions.get_session(&token).await.expect_err("a circle");
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    f.run(redis::cmd("HSET").arg(&key).arg(">").arg("x".repeat(43))).await;
    assert!(!is_alive(&f.sessions, &token).await);
    f.run(redis::cmd("HSET").arg(&key).arg(">").arg("../etc")).await;
    let error = f.sessions.delete_session(&token).await.expect_err("no mac");
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_rotations_exactly_one_succeeds() {
    let f = Fixture::start().await;
    for grace in [0, 10] {
        for _ in 0..100 {
            let old = create(&f.sessions, "ann").await;
            let mut rotations = JoinSet::new();
            for _ in 0..2 {
                let (sessions, old) = (f.sessions.clone(), old.clone());
                let grace = Duration::from_secs(grace);
                rotations.spawn(async move { sessions.rotate_session(&old).grace(grace).await });
            }
            let rotated = rotations.join_all().await;
            let rotated: Vec<SessionToken> =
                rotated.into_iter().filter_map(|rotated| rotated.expect("an answer")).collect();
            assert_eq!(rotated.len(), 1);
            assert!(is_alive(&f.sessions, &rotated[0]).await);
        }
    }
}

#[tokio::test]
async fn a_repeat_under_the_same_new_token_is_harmless() {
    let f = Fixture::start().await;
    let old = create(&f.sessions, "ann").await;
    let new = f.sessions.next_token(&old).expect("random bytes").expect("a token");
    for _ in 0..3 {
        let rotated = f.sessions.rotate_session(&old).to(&new).await.expect("an answer");
        assert_eq!(rotated.as_ref().map(SessionToken::expose), Some(new.expose()));
    }
    assert_eq!(f.keys("*session:*").await.len(), 2);
    assert!(is_alive(&f.sessions, &new).await);
    // Once the session has ended, it is not said to be there.
    assert!(f.sessions.delete_session(&new).await.expect("an answer"));
    assert!(f.sessions.rotate_session(&old).to(&new).await.expect("an answer").is_none());
    // Neither to a token of another shard, nor onto a session that is there.
    let (one, other) = (create(&f.sessions, "ann").await, create(&f.sessions, "ann").await);
    let far = create(&f.sessions, "bob").await;
    for taken in [&other, &far, &one] {
        let error = f.sessions.rotate_session(&one).to(taken).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert!(is_alive(&f.sessions, &one).await && is_alive(&f.sessions, &other).await);
    assert!(f.sessions.next_token("no token").expect("an answer").is_none());
}

#[tokio::test]
async fn revoking_others_by_an_old_token_spares_the_session_that_it_leads_to() {
    let f = Fixture::start().await;
    let old = create(&f.sessions, "ann").await;
    let other = create(&f.sessions, "ann").await;
    let new = f.sessions.rotate_session(&old).await.expect("an answer").expect("rotated");
    let revoked = f.sessions.revoke_workspace_user("ann", "acme").except(&old).await;
    assert_eq!(revoked.expect("an answer"), 1);
    assert!(is_alive(&f.sessions, &new).await && !is_alive(&f.sessions, &other).await);
}
