//! Who rotates a stolen session on and on outruns neither its owner's logout nor the exception of a revocation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raptor_core::{ErrorKind, Keyring};
use raptor_session::{MAX_GRACE, Metadata, SessionOptions, SessionService, SessionToken};
use raptor_testkit::redis;

use crate::support::{Fixture, create, is_alive, peppers};

async fn rotate(sessions: &SessionService, token: &SessionToken) -> SessionToken {
    sessions.rotate_session(token).await.expect("an answer").expect("rotated")
}

async fn rotate_often(sessions: &SessionService, first: &SessionToken, n: u32) -> SessionToken {
    let mut last = first.clone();
    for _ in 0..n {
        last = rotate(sessions, &last).await;
    }
    last
}

fn sealed() -> SessionOptions {
    let keyring = Keyring::parse("k:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=");
    SessionOptions::new(peppers()).keyring(keyring.expect("a keyring"))
}

#[tokio::test]
async fn a_logout_and_an_exception_by_the_first_token_find_the_session_after_1100_rotations() {
    let f = Fixture::start().await;
    let first = create(&f.sessions, "ann").await;
    let last = rotate_often(&f.sessions, &first, 1_100).await;
    let other = create(&f.sessions, "ann").await;
    let revoked = f.sessions.revoke_workspace_user("ann", "acme").except(&first).await;
    assert_eq!(revoked.expect("revoked"), 1);
    assert!(is_alive(&f.sessions, &last).await && !is_alive(&f.sessions, &other).await);
    assert!(f.sessions.delete_session(&first).await.expect("an answer"));
    assert!(!is_alive(&f.sessions, &last).await);
    assert_eq!(f.keys("*session~user:*").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_wins_against_a_thief_who_rotates_meanwhile() {
    let f = Fixture::start().await;
    for options in [SessionOptions::new(peppers()), sealed()] {
        let sessions = f.with(options);
        let first = create(&sessions, "ann").await;
        let mut last = rotate(&sessions, &first).await;
        let (done, thief) = (AtomicBool::new(false), sessions.clone());
        let steal = async {
            loop {
                let is_over = done.load(Ordering::Acquire);
                match thief.rotate_session(&last).await.expect("an answer") {
                    Some(next) => last = next,
                    None => break,
                }
                assert!(!is_over, "begun after the logout");
            }
        };
        let log_out = async {
            // In the middle of it.
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(sessions.delete_session(&first).await.expect("an answer"));
            done.store(true, Ordering::Release);
        };
        tokio::join!(steal, log_out);
        assert!(!is_alive(&sessions, &last).await);
    }
}

/// What is in no index is followed from pointer to pointer.
#[tokio::test]
async fn a_session_of_nobody_and_one_that_its_index_lost_end_by_an_old_token_too() {
    let f = Fixture::start().await;
    let first = f.sessions.create_anonymous(&Metadata::new()).await.expect("a session");
    let last = rotate_often(&f.sessions, &first, 40).await;
    assert!(f.sessions.delete_session(&first).await.expect("an answer"));
    assert!(!is_alive(&f.sessions, &last).await);

    for damage in ["DEL", "SET", "ZADD"] {
        let first = create(&f.sessions, "ann").await;
        let last = rotate_often(&f.sessions, &first, 40).await;
        let index = f.keys("*session~user:*").await.remove(0);
        f.run(redis::cmd("DEL").arg(&index)).await;
        match damage {
            "SET" => f.run(redis::cmd("SET").arg(&index).arg("foreign")).await,
            "ZADD" => f.run(redis::cmd("ZADD").arg(&index).arg("+inf").arg("v2")).await,
            _ => {}
        }
        assert!(f.sessions.delete_session(&first).await.expect("an answer"), "{damage}");
        assert!(!is_alive(&f.sessions, &last).await);
        f.run(redis::cmd("DEL").arg(&index)).await;
    }
}

#[tokio::test]
async fn among_thousands_of_a_users_sessions_that_end_together_the_one_is_found() {
    let f = Fixture::start().await;
    let first = create(&f.sessions, "ann").await;
    let last = rotate_often(&f.sessions, &first, 2).await;
    let index = f.keys("*session~user:*").await.remove(0);
    let mut add = redis::cmd("ZADD");
    add.arg(&index);
    // Before it, in several pages; those that are gone are in its way only.
    for n in 0..12_000 {
        add.arg(n / 3).arg(format!("{n:043}"));
    }
    f.run(&add).await;
    assert!(f.sessions.delete_session(&first).await.expect("an answer"));
    assert!(!is_alive(&f.sessions, &last).await);
}

#[tokio::test]
async fn graces_are_followed_over_sixty_four_rotations_and_then_the_error_says_what_to_do() {
    let f = Fixture::start().await;
    let first = create(&f.sessions, "ann").await;
    let mut last = first.clone();
    let more = async |last: &SessionToken| {
        let rotated = f.sessions.rotate_session(last).grace(MAX_GRACE).await;
        rotated.expect("an answer").expect("rotated")
    };
    for _ in 0..63 {
        last = more(&last).await;
    }
    assert!(is_alive(&f.sessions, &first).await);
    last = more(&last).await;
    let error = f.sessions.get_session(&first).await.expect_err("too often");
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("shorter grace"), "{error}");
    assert!(is_alive(&f.sessions, &last).await);
    assert!(f.sessions.delete_session(&first).await.expect("an answer"));
}

/// Whose session a pointer leads to is sealed with it.
#[tokio::test]
async fn a_pointer_rewritten_to_name_anothers_session_ends_nothing() {
    let f = Fixture::start().await;
    let sessions = f.with(sealed());
    let ann = create(&sessions, "ann").await;
    let session = sessions.get_session(&ann).await.expect("an answer").expect("alive");
    let anns = f.keys("*session:*").await;
    let eve = create(&sessions, "ann").await;
    let eves = f.keys("*session:*").await.into_iter().find(|key| !anns.contains(key));
    let eves = eves.expect("a session");
    rotate(&sessions, &eve).await;
    let named = format!("{} :acme:ann", session.id);
    f.run(redis::cmd("HSET").arg(&eves).arg("i").arg(named)).await;
    let error = sessions.delete_session(&eve).await.expect_err("altered");
    assert_eq!(error.kind(), ErrorKind::Codec);
    f.run(redis::cmd("HDEL").arg(&eves).arg("i")).await;
    let revoke = sessions.revoke_workspace_user("ann", "acme").except(&eve).await;
    assert_eq!(revoke.expect_err("altered").kind(), ErrorKind::Codec);
    assert!(is_alive(&sessions, &ann).await);
}
