//! Reads made at the same time ride in one call, and each gets what is its own.

use raptor_core::ErrorKind;
use raptor_session::Metadata;
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, NOW, create, script_calls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_all_clones_ride_together_and_keep_their_own_clock() {
    let f = Fixture::start().await;
    let at = |seconds| f.sessions.pinned_at(NOW + time::Duration::seconds(seconds));
    // One user's, so that on a cluster too they are in one slot.
    let mut tokens = Vec::new();
    for n in 0..60_i64 {
        let fields = Metadata::new().with("n", &n).expect("a field");
        tokens.push(at(n).create_session("ann", "acme", &fields).await.expect("a session"));
    }
    let before = script_calls(&f).await;
    let mut reads = JoinSet::new();
    for n in 0..600_i64 {
        let (sessions, token) = (at(60 + n % 60), tokens[n as usize % 60].clone());
        reads.spawn(async move { (n % 60, sessions.get_session(&token).await) });
    }
    for (n, outcome) in reads.join_all().await {
        let session = outcome.expect("an answer").expect("alive");
        assert_eq!(session.get::<i64>("n").expect("a number"), Some(n));
        assert_eq!(session.last_seen_at, NOW + time::Duration::seconds(60 + n));
        assert_eq!(session.expires_at, session.last_seen_at + time::Duration::minutes(30));
    }
    let calls = script_calls(&f).await - before;
    assert!(calls < 150, "600 reads in {calls} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_riders_wrong_type_is_its_alone() {
    let f = Fixture::start().await;
    let bad = create(&f.sessions, "ann").await;
    let key = f.keys("*session:*").await.remove(0);
    f.run(redis::cmd("SET").arg(&key).arg("foreign")).await;
    let good = create(&f.sessions, "ann").await;
    let ended = create(&f.sessions, "ann").await;
    assert!(f.sessions.delete_session(&ended).await.expect("an answer"));
    let mut reads = JoinSet::new();
    for n in 0..300 {
        let (sessions, token) = (f.sessions.clone(), [&bad, &good, &ended][n % 3].clone());
        reads.spawn(async move { (n % 3, sessions.get_session(&token).await) });
    }
    for (which, outcome) in reads.join_all().await {
        match which {
            0 => assert_eq!(outcome.expect_err("foreign").kind(), ErrorKind::WrongType),
            1 => assert!(outcome.expect("an answer").is_some()),
            _ => assert!(outcome.expect("an answer").is_none()),
        }
    }
}
