//! Acceptance 7: `revoke_user` of 100 sessions → all dead in at most 3 commands; `except(token)` → exactly 1 alive.

use raptor_core::ErrorKind;
use raptor_session::{Metadata, SessionService, SessionToken};
use tokio::task::JoinSet;

use crate::support::{Fixture, is_alive, script_calls};

async fn log_in(sessions: &SessionService, workspace: &'static str, n: usize) -> Vec<SessionToken> {
    let mut logins = JoinSet::new();
    for _ in 0..n {
        let sessions = sessions.clone();
        logins.spawn(async move {
            sessions.create_session("ann", workspace, &Metadata::new()).await.expect("a session")
        });
    }
    logins.join_all().await
}

async fn alive(sessions: &SessionService, tokens: &[SessionToken]) -> usize {
    let mut alive = 0;
    for token in tokens {
        alive += usize::from(is_alive(sessions, token).await);
    }
    alive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_sessions_end_in_at_most_three_commands() {
    let f = Fixture::start().await;
    let mut tokens = log_in(&f.sessions, "acme", 100).await;
    let elsewhere = log_in(&f.sessions, "initech", 1).await;
    // So that the server knows the scripts.
    tokens.extend(log_in(&f.sessions, "acme", 1).await);
    let one = f.sessions.revoke_workspace_user("ann", "acme").except(&tokens[0]);
    assert_eq!(one.await.expect("an answer"), 100);
    tokens.extend(log_in(&f.sessions, "acme", 99).await);
    let before = script_calls(&f).await;
    let revoked = f.sessions.revoke_user("ann", ["acme"]).await.expect("an answer");
    assert_eq!(revoked, 100);
    assert!(script_calls(&f).await - before <= 3);
    assert_eq!(alive(&f.sessions, &tokens).await, 0);
    assert_eq!(alive(&f.sessions, &elsewhere).await, 1);
    assert_eq!(f.keys("*session:*").await.len(), 1);
    assert_eq!(f.keys("*session~user:*").await.len(), 1);
    tokens.extend(log_in(&f.sessions, "acme", 2).await);
    let revoked = f.sessions.revoke_user("ann", ["acme", "initech", "nowhere"]).await;
    assert_eq!(revoked.expect("an answer"), 3, "in all of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_but_one_and_many_in_bounded_calls() {
    let f = Fixture::start().await;
    let tokens = log_in(&f.sessions, "acme", 1_200).await;
    let before = script_calls(&f).await;
    let revoke = f.sessions.revoke_workspace_user("ann", "acme").except(&tokens[700]);
    assert_eq!(revoke.await.expect("an answer"), 1_199);
    assert!((7..=10).contains(&(script_calls(&f).await - before)), "500 at a call");
    assert_eq!(alive(&f.sessions, &tokens).await, 1);
    assert!(is_alive(&f.sessions, &tokens[700]).await);
    // What is no token, or another's, spares nobody.
    let revoke = f.sessions.revoke_workspace_user("ann", "acme").except("no token");
    assert_eq!(revoke.await.expect("an answer"), 1);
    let error = f.sessions.revoke_workspace_user("", "acme").await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_wins_against_reads_and_updates() {
    let f = Fixture::start().await;
    for _ in 0..20 {
        let tokens = log_in(&f.sessions, "acme", 10).await;
        let mut others = JoinSet::new();
        for token in &tokens {
            let (sessions, token) = (f.sessions.clone(), token.clone());
            others.spawn(async move {
                let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(1);
                let _ = sessions.pinned_at(soon).get_session(&token).await.expect("an answer");
                let fields = Metadata::new().with("n", &1).expect("a field");
                let _ = sessions.update_session(&token, fields).await.expect("an answer");
            });
        }
        assert_eq!(f.sessions.revoke_workspace_user("ann", "acme").await.expect("an answer"), 10);
        others.join_all().await;
        assert_eq!(f.keys("*").await, Vec::<String>::new());
    }
}
