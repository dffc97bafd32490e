//! Acceptance 3: delete against get+slide, thousands of races → never alive again, and no key left.

use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, create, is_alive};

const RACES: usize = 4_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_session_is_never_alive_again() {
    let f = Fixture::start().await;
    let mut racers = JoinSet::new();
    for racer in 0..16 {
        let sessions = f.sessions.clone();
        racers.spawn(async move {
            for race in (racer..RACES).step_by(16) {
                let token = create(&sessions, &format!("user {}", race % 50)).await;
                let get = || sessions.get_session(&token);
                let (before, first, deleted, second, after) =
                    tokio::join!(get(), get(), sessions.delete_session(&token), get(), get());
                assert!(deleted.expect("an answer"), "it was alive until then");
                for outcome in [before, first, second, after] {
                    let _ = outcome.expect("an answer");
                }
                assert!(!is_alive(&sessions, &token).await);
                assert!(!sessions.delete_session(&token).await.expect("an answer"));
            }
        });
        if racer % 4 == 0 {
            f.run_everywhere(redis::cmd("SCRIPT").arg("FLUSH")).await;
        }
    }
    racers.join_all().await;
    assert_eq!(f.keys("*").await, Vec::<String>::new());
}
