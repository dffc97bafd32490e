//! A clock that jumps ahead and back: whatever was asked meanwhile, each live session stays in its user's index, and the
//! index outlives it. So a logout everywhere reaches all of them.

use std::collections::BTreeSet;

use raptor_core::Result;
use raptor_session::{AtCap, Metadata, SessionService, SessionToken};
use raptor_testkit::redis;
use time::Duration;

use crate::support::{Fixture, NOW, create, is_alive, options};

/// So far ahead that all have ended by it.
const AHEAD: Duration = Duration::hours(2);

/// What may take entries off an index.
async fn ask_all(f: &Fixture, now: &SessionService) -> Result<()> {
    now.list_sessions("ann", "acme", 10, None).await?;
    now.inspect_user("ann", "acme").await?;
    now.sweep_user("ann", "acme").await?;
    let capped = options(60_000, 3_600_000).cap(50, AtCap::Reject);
    let token = now.with_options(capped)?.create_session("ann", "acme", &Metadata::new()).await?;
    now.delete_session(&token).await?;
    assert!(!f.keys("*session~user:*").await.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_hides_no_session_from_a_logout_everywhere() {
    let f = Fixture::start().await;
    let sessions = f.with(options(60_000, 3_600_000));
    let start = sessions.pinned_at(NOW);
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(create(&start, "ann").await);
    }
    ask_all(&f, &sessions.pinned_at(NOW + AHEAD)).await.expect("answers");
    let page = start.list_sessions("ann", "acme", 10, None).await.expect("a page");
    assert_eq!(page.sessions.len(), 5);
    for token in &tokens {
        assert!(is_alive(&start, token).await, "nothing was ended by a look");
    }
    assert_eq!(start.revoke_workspace_user("ann", "acme").await.expect("revoked"), 5);
    for token in &tokens {
        assert!(!is_alive(&start, token).await);
    }
    assert_eq!(f.keys("*session*").await, Vec::<String>::new());
}

/// The score is what an index says of a session, the head is what holds.
#[tokio::test]
async fn a_live_session_that_its_index_takes_for_ended_gets_its_score_back_and_counts() {
    for ask in 0..3 {
        let f = Fixture::start().await;
        let sessions = f.with(options(60_000, 3_600_000).cap(2, AtCap::Reject)).pinned_at(NOW);
        let token = create(&sessions, "ann").await;
        let index = f.keys("*session~user:*").await.remove(0);
        let mac =
            f.keys("*session:*").await.remove(0).rsplit(':').next().expect("a mac").to_owned();
        f.run(redis::cmd("ZADD").arg(&index).arg(1).arg(&mac)).await;
        match ask {
            0 => {
                let page = sessions.list_sessions("ann", "acme", 10, None).await.expect("a page");
                assert_eq!(page.sessions.len(), 1);
            }
            1 => assert_eq!(sessions.sweep_user("ann", "acme").await.expect("an answer"), 0),
            _ => {
                create(&sessions, "ann").await;
                let third = sessions.create_session("ann", "acme", &Metadata::new()).await;
                assert!(third.is_err(), "two are alive");
            }
        }
        let score = f.int(redis::cmd("ZSCORE").arg(&index).arg(&mac)).await;
        let deadline = NOW + Duration::minutes(1);
        assert_eq!(i128::from(score), deadline.unix_timestamp_nanos() / 1_000_000, "{ask}");
        assert!(sessions.revoke_workspace_user("ann", "acme").await.expect("revoked") > 0);
        assert!(!is_alive(&sessions, &token).await);
    }
}

/// Also where the score is so low that no clock takes it for alive.
#[tokio::test]
async fn a_revocation_ends_what_the_index_lists_with_any_score() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let index = f.keys("*session~user:*").await.remove(0);
    let mac = f.keys("*session:*").await.remove(0).rsplit(':').next().expect("a mac").to_owned();
    for score in ["0", "-1", "-inf"] {
        f.run(redis::cmd("ZADD").arg(&index).arg(score).arg(&mac)).await;
    }
    assert_eq!(f.sessions.revoke_workspace_user("ann", "acme").await.expect("revoked"), 1);
    assert!(!is_alive(&f.sessions, &token).await);
}

/// Steps of a clock that goes anywhere, between calls that write; none may leave a session that its index does not
/// list, or that outlives it.
#[tokio::test]
async fn at_any_clock_every_session_there_is_stands_in_an_index_that_outlives_it() {
    let f = Fixture::start().await;
    let sessions = f.with(options(60_000, 300_000).cap(6, AtCap::EvictOldest));
    let mut random = 7_u64;
    let mut below = |n: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let mut tokens: Vec<SessionToken> = Vec::new();
    for step in 0..150 {
        let now = sessions.pinned_at(NOW + Duration::milliseconds(below(200_000) as i64));
        let picked = (!tokens.is_empty()).then(|| below(tokens.len() as u64) as usize);
        match (below(8), picked) {
            (0 | 1, _) | (_, None) => tokens.push(create(&now, "ann").await),
            (2 | 3, Some(n)) => drop(now.get_session(&tokens[n]).await.expect("an answer")),
            (4, Some(n)) => {
                let by = std::time::Duration::from_secs(below(200) + 1);
                now.extend_session(&tokens[n], by).await.expect("an answer");
            }
            (5, Some(n)) => {
                if let Some(new) = now.rotate_session(&tokens[n]).await.expect("an answer") {
                    tokens[n] = new;
                }
            }
            (6, _) => drop(now.list_sessions("ann", "acme", 3, None).await.expect("a page")),
            _ => drop(now.sweep_user("ann", "acme").await.expect("an answer")),
        }
        let mut listed = BTreeSet::new();
        let mut index_ends = 0;
        if let Some(index) = f.keys("*session~user:*").await.pop() {
            let range = redis::cmd("ZRANGE").arg(&index).arg(0).arg(-1).clone();
            let members: Vec<String> = f.backend.query(&range).await.expect("members");
            listed.extend(members);
            index_ends = f.int(redis::cmd("PEXPIRETIME").arg(&index)).await;
        }
        for key in f.keys("*session:*").await {
            if f.int(redis::cmd("HEXISTS").arg(&key).arg("h")).await == 1 {
                let mac = key.rsplit(':').next().expect("a mac");
                assert!(listed.contains(mac), "step {step}: a session is in no index");
                let ends = f.int(redis::cmd("PEXPIRETIME").arg(&key)).await;
                assert!(ends <= index_ends, "step {step}: {ends} > {index_ends}");
            }
        }
    }
}
