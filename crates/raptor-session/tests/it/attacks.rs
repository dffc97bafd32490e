//! What a stranger who knew the promises tried, and found.

use raptor_core::{ErrorKind, Keyring};
use raptor_session::{Changes, Metadata, SessionOptions, SessionService, SessionToken};
use raptor_testkit::redis;
use time::Duration;

use crate::support::{Fixture, NOW, create, is_alive, options, peppers};

fn keyring() -> Keyring {
    Keyring::parse("k:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=").expect("a keyring")
}

async fn login(sessions: &SessionService, user: &str) -> SessionToken {
    let fields = Metadata::new().with("secret", &format!("{user}'s")).expect("a field");
    sessions.create_session(user, "acme", &fields).await.expect("a session")
}

/// The key of the session that is there besides `others`.
async fn new_key(f: &Fixture, others: &[String]) -> String {
    let keys = f.keys("*session:*").await;
    keys.into_iter().find(|key| !others.contains(key)).expect("a session")
}

fn tag(key: &str) -> &str {
    key.split(['{', '}']).nth(1).expect("a tag")
}

/// A session of another user on the shard of `key`, and its key.
async fn neighbour(f: &Fixture, sessions: &SessionService, key: &str) -> (SessionToken, String) {
    for n in 0.. {
        let before = f.keys("*session:*").await;
        let token = login(sessions, &format!("eve{n}")).await;
        let found = new_key(f, &before).await;
        if tag(&found) == tag(key) {
            return (token, found);
        }
        assert!(sessions.delete_session(&token).await.expect("an answer"));
    }
    unreachable!("shards are few")
}

#[tokio::test]
async fn an_idle_deadline_put_off_by_hand_outlives_no_absolute_one() {
    let f = Fixture::start().await;
    for options in [options(60_000, 60_000), options(60_000, 60_000).keyring(keyring())] {
        let sessions = f.with(options);
        let before = f.keys("*session:*").await;
        let token = login(&sessions.pinned_at(NOW), "ann").await;
        let key = new_key(&f, &before).await;
        let head: String = f.backend.query(redis::cmd("HGET").arg(&key).arg("h")).await.unwrap();
        let mut words: Vec<&str> = head.split(' ').collect();
        words[2] = "9999999999999";
        f.run(redis::cmd("HSET").arg(&key).arg("h").arg(words.join(" "))).await;
        f.run(redis::cmd("PERSIST").arg(&key)).await;
        let late = sessions.pinned_at(NOW + Duration::seconds(61));
        let listed = late.list_sessions("ann", "acme", 10, None).await.expect("a page");
        assert!(listed.sessions.is_empty());
        let changes = Changes::new().set("a", &1).expect("a change");
        assert!(!late.update_session(&token, changes).await.expect("an answer").is_done());
        assert!(late.rotate_session(&token).await.expect("an answer").is_none());
        assert!(!is_alive(&late, &token).await);
    }
}

#[tokio::test]
async fn a_session_copied_under_ones_own_token_gives_no_flash_and_is_not_extended() {
    let f = Fixture::start().await;
    let sessions = f.with(SessionOptions::new(peppers()).keyring(keyring()));
    let _ann = login(&sessions, "ann").await;
    let anns = new_key(&f, &[]).await;
    let (eve, eves) = neighbour(&f, &sessions, &anns).await;
    let all: Vec<Vec<u8>> = f.backend.query(redis::cmd("HGETALL").arg(&anns)).await.unwrap();
    f.run(redis::cmd("DEL").arg(&eves)).await;
    f.run(redis::cmd("HSET").arg(&eves).arg(all)).await;
    assert!(sessions.take_flash::<String>(&eve, "secret").await.is_err());
    assert!(sessions.extend_session(&eve, std::time::Duration::from_secs(9)).await.is_err());
    assert!(sessions.get_session(&eve).await.is_err());
}

#[tokio::test]
async fn an_index_that_names_anothers_session_shows_and_ends_nothing_of_it() {
    let f = Fixture::start().await;
    let ann = login(&f.sessions, "ann").await;
    let anns = new_key(&f, &[]).await;
    let (eve, eves) = neighbour(&f, &f.sessions, &anns).await;
    let name = f.sessions.get_session(&eve).await.expect("an answer").expect("alive").user;
    let index = format!("{}~user:{{{}}}:acme:{name}", eves.split(":{").next().unwrap(), tag(&eves));
    let mac = anns.rsplit(':').next().expect("a mac");
    f.run(redis::cmd("ZADD").arg(&index).arg("9999999999999").arg(mac)).await;
    f.run(redis::cmd("ZADD").arg(&index).arg("9999999999999").arg("garbage")).await;
    let listed = f.sessions.list_sessions(&name, "acme", 10, None).await.expect("a page");
    let users: Vec<_> = listed.sessions.iter().map(|session| &session.user).collect();
    assert_eq!(users, [&name]);
    assert_eq!(f.sessions.revoke_workspace_user(&name, "acme").await.expect("revoked"), 1);
    assert!(is_alive(&f.sessions, &ann).await && !is_alive(&f.sessions, &eve).await);
}

/// As if it was rotated between the two calls of a list: the index still names the old one.
#[tokio::test]
async fn a_session_that_is_rotated_under_a_list_is_listed_and_can_be_ended_by_its_id() {
    let f = Fixture::start().await;
    let old = login(&f.sessions, "ann").await;
    let olds = new_key(&f, &[]).await;
    let new = f.sessions.rotate_session(&old).await.expect("an answer").expect("rotated");
    let index = f.keys("*session~user*").await.remove(0);
    f.run(redis::cmd("DEL").arg(&index)).await;
    let mac = olds.rsplit(':').next().expect("a mac");
    f.run(redis::cmd("ZADD").arg(&index).arg("9999999999999").arg(mac)).await;
    let listed = f.sessions.list_sessions("ann", "acme", 10, None).await.expect("a page");
    assert_eq!(listed.sessions.len(), 1);
    let id = listed.sessions[0].id;
    assert!(f.sessions.delete_session_by_id("ann", "acme", id).await.expect("an answer"));
    assert!(!is_alive(&f.sessions, &new).await);
}

#[tokio::test]
async fn a_logout_and_an_exception_follow_more_rotations_than_a_thief_has_patience_for() {
    let f = Fixture::start().await;
    let first = login(&f.sessions, "ann").await;
    let mut last = first.clone();
    for _ in 0..40 {
        last = f.sessions.rotate_session(&last).await.expect("an answer").expect("rotated");
    }
    let other = create(&f.sessions, "ann").await;
    let revoked = f.sessions.revoke_workspace_user("ann", "acme").except(&first);
    assert_eq!(revoked.await.expect("revoked"), 1);
    assert!(is_alive(&f.sessions, &last).await && !is_alive(&f.sessions, &other).await);
    assert!(f.sessions.delete_session(&first).await.expect("an answer"));
    assert!(!is_alive(&f.sessions, &last).await);
}

#[tokio::test]
async fn a_session_that_cannot_be_read_locks_nobody_out_of_a_login() {
    let f = Fixture::start().await;
    let old = f.sessions.create_anonymous(&Metadata::new()).await.expect("a session");
    // With a keyring, what is not sealed is refused.
    let sessions = f.with(SessionOptions::new(peppers()).keyring(keyring()));
    assert!(sessions.get_session(&old).await.is_err());
    let new = sessions.promote_session(&old, "ann", "acme", &Metadata::new()).await;
    assert!(is_alive(&sessions, &new.expect("a login")).await);
    assert!(!is_alive(&f.sessions, &old).await, "it was ended all the same");
}

/// Longer than the server's integers: found out before anything is written, not by the write after the first.
#[tokio::test]
async fn a_head_with_a_number_of_thirty_digits_is_damage_and_nothing_is_written() {
    let f = Fixture::start().await;
    let sessions = f.with(options(60_000, 3_600_000).expiry_events());
    let token = login(&sessions.pinned_at(NOW), "ann").await;
    let key = new_key(&f, &[]).await;
    let head: String = f.backend.query(redis::cmd("HGET").arg(&key).arg("h")).await.unwrap();
    // Seen, deadline, idle, absolute, revision, bytes, created.
    for at in 1..=7 {
        for number in ["9".repeat(30), "9".repeat(400), "9007199254740993".to_owned()] {
            let mut words: Vec<&str> = head.split(' ').collect();
            words[at] = &number;
            f.run(redis::cmd("HSET").arg(&key).arg("h").arg(words.join(" "))).await;
            let before = f.dump().await;
            let later = sessions.pinned_at(NOW + Duration::seconds(30));
            let changes = Changes::new().set("a", &1).expect("a change");
            let minute = std::time::Duration::from_secs(60);
            let outcomes = [
                later.get_session(&token).await.map(drop),
                later.update_session(&token, changes).await.map(|_| ()),
                later.take_flash::<String>(&token, "secret").await.map(drop),
                later.extend_session(&token, minute).await.map(drop),
                later.rotate_session(&token).await.map(drop),
                later.list_sessions("ann", "acme", 10, None).await.map(drop),
                later.delete_session(&token).await.map(drop),
            ];
            for (call, outcome) in outcomes.into_iter().enumerate() {
                let error = outcome.expect_err("damaged");
                assert_eq!(error.kind(), ErrorKind::Codec, "word {at}, call {call}: {error}");
            }
            assert_eq!(f.dump().await, before, "word {at}, {number}");
        }
    }
    // A revocation ends it all the same.
    assert_eq!(sessions.revoke_workspace_user("ann", "acme").await.expect("revoked"), 1);
}
