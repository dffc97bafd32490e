//! Acceptance 3: delete during update → gone and no key; delete against get+slide, 10k races → never alive again.

use raptor_session::{Changes, Updated};
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, create, is_alive};

const RACES: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_session_is_never_alive_again() {
    let f = Fixture::start().await;
    let mut racers = JoinSet::new();
    for racer in 0..16 {
        let sessions = f.sessions.clone();
        racers.spawn(async move {
            for race in (racer..RACES).step_by(16) {
                let token = create(&sessions, &format!("user {}", race % 50)).await;
                let later = sessions
                    .pinned_at(time::OffsetDateTime::now_utc() + time::Duration::seconds(10));
                let get = || later.get_session(&token);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_during_a_delete_is_done_before_it_or_gone() {
    let f = Fixture::start().await;
    let mut racers = JoinSet::new();
    for racer in 0..16 {
        let sessions = f.sessions.clone();
        racers.spawn(async move {
            for race in 0..100 {
                let token = create(&sessions, &format!("user {racer}")).await;
                let change = || Changes::new().set("n", &race).expect("a change");
                let (first, deleted, second) = tokio::join!(
                    async { sessions.update_session(&token, change()).await },
                    sessions.delete_session(&token),
                    async { sessions.update_session(&token, change()).if_revision(1).await },
                );
                assert!(deleted.expect("an answer"));
                for updated in [first, second] {
                    let _ = updated.expect("an answer");
                }
                let after = sessions.update_session(&token, change()).await.expect("an answer");
                assert_eq!(after, Updated::Gone);
            }
        });
    }
    racers.join_all().await;
    assert_eq!(f.keys("*").await, Vec::<String>::new());
}
