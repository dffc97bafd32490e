//! A cluster's slot in the middle of a migration: the session's key on one side, its user's index on the other.

use raptor_core::{ErrorKind, RedisClient};
use raptor_session::{Metadata, SessionService};
use raptor_testkit::{Cluster, redis};
use time::Duration;

use crate::support::{NOW, config, create, is_alive, options};

const MINUTE: Duration = Duration::minutes(1);

/// What has moved to the new owner while the rest is still at the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Sessions,
    Index,
}

struct Fixture {
    cluster: Cluster,
    slot: u16,
    from: usize,
    to: usize,
    client: RedisClient,
}

impl Fixture {
    async fn start() -> Self {
        let cluster = Cluster::builder().start().await.expect("a cluster");
        let client = RedisClient::connect(config(cluster.url())).await.expect("a connection");
        // The shard of user `ann` in workspace `acme`, see shard.rs.
        let slot = Cluster::slot_of(b"{s066}");
        let from = cluster.owner_of_slot(slot).await.expect("an owner");
        Self { cluster, slot, from, to: (from + 1) % 3, client }
    }

    /// Sessions that live for so many minutes unused.
    fn sessions(&self, idle_minutes: u64) -> SessionService {
        let idle_ms = idle_minutes * 60_000;
        SessionService::new(self.client.clone(), options(idle_ms, 12 * 60 * 60_000))
            .expect("a service")
    }

    /// Opens the slot and moves one of its two families of keys.
    async fn split(&self, moved: Moved) {
        self.cluster.begin_migration(self.slot, self.to).await.expect("begins");
        let keys = match moved {
            Moved::Sessions => self.keys(self.from, "*session:*").await,
            Moved::Index => self.keys(self.from, "*session~user:*").await,
        };
        for key in keys {
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(self.cluster.node(self.to).port());
            migrate.arg(key).arg(0).arg(5_000);
            let answer: String = self.cluster.node(self.from).query(&migrate).await.expect("moves");
            assert_eq!(answer, "OK");
        }
    }

    async fn finish(&self) {
        while self.cluster.move_keys(self.slot, self.to, 100).await.expect("moves") > 0 {}
        self.cluster.finish_migration(self.slot, self.to).await.expect("finishes");
        assert!(self.keys(self.from, "*").await.is_empty());
    }

    async fn keys(&self, node: usize, glob: &str) -> Vec<String> {
        self.cluster.node(node).query(redis::cmd("KEYS").arg(glob)).await.expect("keys")
    }

    /// The scores in the index, after the migration.
    async fn scores(&self) -> Vec<i64> {
        let index = self.keys(self.to, "*session~user:*").await.remove(0);
        let mut range = redis::cmd("ZRANGE");
        range.arg(index).arg(0).arg(-1).arg("WITHSCORES");
        let members: Vec<(String, i64)> =
            self.cluster.node(self.to).query(&range).await.expect("members");
        members.into_iter().map(|(_, score)| score).collect()
    }
}

fn ms(at: time::OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1_000_000) as i64
}

#[tokio::test]
async fn sessions_are_read_and_ended_while_their_index_is_at_the_old_owner() {
    split_and_joined_again(Moved::Sessions).await;
}

#[tokio::test]
async fn sessions_are_read_and_ended_while_their_index_is_at_the_new_owner() {
    split_and_joined_again(Moved::Index).await;
}

async fn split_and_joined_again(moved: Moved) {
    let f = Fixture::start().await;
    let (sessions, short) = (f.sessions(30), f.sessions(5));
    let kept = create(&sessions.pinned_at(NOW), "ann").await;
    let deleted = create(&sessions.pinned_at(NOW), "ann").await;
    let ended = create(&short.pinned_at(NOW), "ann").await;
    assert_eq!(f.keys(f.from, "*{s066}*").await.len(), 4);
    f.split(moved).await;

    // Read, and not prolonged past what the index says.
    let during = sessions.pinned_at(NOW + MINUTE * 10);
    let session = during.get_session(&kept).await.expect("an answer").expect("alive");
    assert_eq!((session.user.as_str(), session.workspace.as_str()), ("ann", "acme"));
    assert_eq!(session.last_seen_at, NOW + MINUTE * 10);
    assert_eq!(session.expires_at, NOW + MINUTE * 30);
    assert!(during.delete_session(&deleted).await.expect("an answer"));
    assert!(!is_alive(&during, &deleted).await);
    assert!(!during.delete_session(&deleted).await.expect("an answer"));
    assert!(!is_alive(&during, &ended).await, "its deadline holds");
    let at_hand = [f.keys(f.from, "*session:*").await, f.keys(f.to, "*session:*").await].concat();
    assert_eq!(at_hand.len(), 1, "of three sessions one lives: {at_hand:?}");
    f.finish().await;

    // The index is as it was, and says no less than the session itself.
    assert_eq!(f.scores().await, [5, 30, 30].map(|minutes| ms(NOW + MINUTE * minutes)));
    let session = sessions.pinned_at(NOW + MINUTE * 20).get_session(&kept).await;
    let session = session.expect("an answer").expect("alive");
    assert_eq!(session.expires_at, NOW + MINUTE * 50, "it slides again");
    // The entries of the ended and of the deleted one end with their scores.
    assert_eq!(f.scores().await, [5, 30, 50].map(|minutes| ms(NOW + MINUTE * minutes)));
    let at = sessions.pinned_at(NOW + MINUTE * 30);
    assert!(is_alive(&at, &kept).await);
    assert_eq!(at.list_sessions("ann", "acme", 9, None).await.expect("a page").sessions.len(), 1);
    assert_eq!(f.scores().await, [ms(NOW + MINUTE * 60)]);
    assert!(sessions.pinned_at(NOW).delete_session(&kept).await.expect("an answer"));
    assert!(f.keys(f.to, "*").await.is_empty());
}

/// Found by the index where that is at hand, else from pointer to pointer.
#[tokio::test]
async fn a_logout_by_an_old_token_meanwhile_is_a_logout() {
    for moved in [Moved::Index, Moved::Sessions] {
        let f = Fixture::start().await;
        let sessions = f.sessions(30);
        let first = create(&sessions, "ann").await;
        let mut last = first.clone();
        for _ in 0..3 {
            last = sessions.rotate_session(&last).await.expect("an answer").expect("rotated");
        }
        f.split(moved).await;
        assert!(sessions.delete_session(&first).await.expect("an answer"), "{moved:?}");
        assert!(!is_alive(&sessions, &last).await);
        f.finish().await;
        assert!(!is_alive(&sessions, &last).await);
    }
}

/// Refused again and again until its time was over; on a busy machine the last attempt may still be on its way then.
fn assert_retryable(error: &raptor_core::Error) {
    let kinds = [ErrorKind::TryAgain, ErrorKind::Timeout];
    assert!(kinds.contains(&error.kind()) && error.is_retryable(), "{error}");
}

/// A login writes both keys, so no owner can run it until the slot is whole again.
#[tokio::test]
async fn a_login_meanwhile_is_a_retryable_error_and_writes_nothing() {
    let f = Fixture::start().await;
    create(&f.sessions(30), "ann").await;
    f.split(Moved::Index).await;
    let refused = f.sessions(30).create_session("ann", "acme", &Metadata::new()).await;
    assert_retryable(&refused.expect_err("the slot is split"));
    f.finish().await;
    assert_eq!(f.keys(f.to, "*").await.len(), 2);
    create(&f.sessions(30), "ann").await;
}

/// What keeps the index true cannot be done without it; what is about one key alone can.
#[tokio::test]
async fn rotations_lists_and_revocations_meanwhile_are_retryable_and_updates_go_on() {
    for moved in [Moved::Index, Moved::Sessions] {
        let f = Fixture::start().await;
        let sessions = f.sessions(30);
        let token = create(&sessions, "ann").await;
        f.split(moved).await;
        let fields = Metadata::new().with("n", &1).expect("a field");
        assert!(sessions.update_session(&token, &fields).await.expect("an answer").is_done());
        let refused = [
            sessions.rotate_session(&token).await.map(drop),
            sessions.list_sessions("ann", "acme", 9, None).await.map(drop),
            sessions.revoke_workspace_user("ann", "acme").await.map(drop),
        ];
        // By a clock that takes it for ended; the sweep then looks for it where it is not, or not at all.
        let ahead = sessions.pinned_at(time::OffsetDateTime::now_utc() + MINUTE * 60);
        match ahead.sweep_user("ann", "acme").await {
            Err(error) => assert_retryable(&error),
            Ok(taken_off) => assert_eq!(taken_off, 0),
        }
        for (n, outcome) in refused.into_iter().enumerate() {
            match outcome {
                Err(error) => assert_retryable(&error),
                // To who asks where the index is not, nobody is listed: nothing was done.
                Ok(()) => assert!(n > 0, "{n}, {moved:?}"),
            }
        }
        f.finish().await;
        assert!(is_alive(&sessions, &token).await, "{moved:?}");
        assert_eq!(sessions.revoke_workspace_user("ann", "acme").await.expect("an answer"), 1);
        assert!(!is_alive(&sessions, &token).await);
    }
}
