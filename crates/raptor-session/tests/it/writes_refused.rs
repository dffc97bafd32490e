//! A server that takes no writes, for want of memory or of replicas: reads go on, and what must write says so.

use raptor_core::{ErrorKind, RedisClient};
use raptor_session::{AtCap, Changes, SessionService};
use raptor_testkit::{Server, redis};
use time::Duration;
use tokio::task::JoinSet;

use crate::support::{NOW, config, create, options};

struct Fixture {
    server: Server,
    sessions: SessionService,
}

impl Fixture {
    async fn start() -> Self {
        let server = Server::builder().start().await.expect("a server");
        let client = RedisClient::connect(config(server.url())).await.expect("a connection");
        let options = options(600_000, 3_600_000).cap(100, AtCap::EvictOldest);
        Self { server, sessions: SessionService::new(client, options).expect("a service") }
    }

    async fn set(&self, name: &str, value: &str) {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(name).arg(value);
        let _: String = self.server.query(&set).await.expect("set");
    }

    fn at(&self, minutes: i64) -> SessionService {
        self.sessions.pinned_at(NOW + Duration::minutes(minutes))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_answer_and_do_not_slide_and_writes_are_typed_errors() {
    let refusals = [
        ("maxmemory", "1", "0", ErrorKind::Capacity),
        ("min-replicas-to-write", "1", "0", ErrorKind::TryAgain),
    ];
    for (name, on, off, kind) in refusals {
        let f = Fixture::start().await;
        let mut tokens = Vec::new();
        for n in 0..40 {
            // Some are due to slide at minute 5 and some at 20, with their absolute deadlines reached; some have ended.
            let born = [5, 0, -6, -50][n % 4];
            tokens.push(create(&f.at(born), "ann").await);
            if born == -50 {
                for minutes in [-45, -40, -31, -22, -13, -4, 1] {
                    let alive = f.at(minutes).get_session(&tokens[n]).await.expect("an answer");
                    assert!(alive.is_some());
                }
            }
        }
        f.set(name, on).await;
        let mut reads = JoinSet::new();
        for (n, token) in tokens.iter().cloned().enumerate() {
            let sessions = f.at(5);
            reads.spawn(async move { (n, sessions.get_session(&token).await) });
        }
        for (n, outcome) in reads.join_all().await {
            let session = outcome.unwrap_or_else(|error| panic!("{name}, {n}: {error}"));
            let ends = session.map(|session| (session.expires_at - NOW).whole_minutes());
            let unslid = [Some(15), Some(10), None, Some(10)][n % 4];
            // The end of one that had ended needs no memory, and lets those slide that are read after it in one call.
            let is_slid = name == "maxmemory" && n % 4 == 1 && ends == Some(15);
            assert!(ends == unslid || is_slid, "{name}, {n}: {ends:?}");
        }
        let token = &tokens[0];
        let changes = Changes::new().set("n", &1).expect("a change");
        let hour = std::time::Duration::from_secs(3_600);
        let refused = [
            f.at(5).update_session(token, changes).await.map(|_| ()),
            f.at(5).extend_session(token, hour).await.map(drop),
            f.at(5).rotate_session(token).await.map(drop),
            f.at(5).create_session("ann", "acme", &Default::default()).await.map(drop),
            f.at(5).delete_session(token).await.map(drop),
        ];
        for (n, outcome) in refused.into_iter().enumerate() {
            match outcome {
                Err(error) => {
                    assert_eq!(error.kind(), kind, "{name}, {n}: {error}");
                    #[cfg(feature = "tower")]
                    assert!(
                        matches!(error.into(), raptor_session::web::Rejection::StoreAway(_)),
                        "it is a 503"
                    );
                }
                // A logout and a rotation begin with what needs no memory.
                Ok(()) => assert!([2, 4].contains(&n) && name == "maxmemory", "{name}, {n}"),
            }
        }
        f.set(name, off).await;
        for (n, token) in tokens.iter().enumerate().skip(1) {
            let session = f.at(5).get_session(token).await.expect("an answer");
            let ends = session.map(|session| (session.expires_at - NOW).whole_minutes());
            assert_eq!(ends, [Some(15), Some(15), None, Some(10)][n % 4], "{name}, {n}");
        }
    }
}

/// A list takes off the index what is gone: not then, and it is told all the same.
#[tokio::test]
async fn a_list_answers_and_leaves_the_index_alone() {
    let f = Fixture::start().await;
    let gone = create(&f.sessions, "ann").await;
    create(&f.sessions, "ann").await;
    let keys: Vec<String> = {
        let mut keys = redis::cmd("KEYS");
        keys.arg("*session:*");
        f.server.query(&keys).await.expect("keys")
    };
    for key in keys {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(&key);
        let _: i64 = f.server.query(&unlink).await.expect("gone");
        if f.sessions.get_session(&gone).await.expect("an answer").is_none() {
            break;
        }
        create(&f.sessions, "ann").await;
    }
    f.set("min-replicas-to-write", "1").await;
    let listed = f.sessions.list_sessions("ann", "acme", 10, None).await.expect("a list");
    assert!(!listed.sessions.is_empty());
    f.set("min-replicas-to-write", "0").await;
    let again = f.sessions.list_sessions("ann", "acme", 10, None).await.expect("a list");
    assert_eq!(again.sessions.len(), listed.sessions.len());
}

/// Else a process that only reads would stay with a master that was replaced.
#[tokio::test]
async fn a_replica_s_refusal_is_told_to_the_client() {
    let f = Fixture::start().await;
    let token = create(&f.at(0), "ann").await;
    let mut demote = redis::cmd("REPLICAOF");
    demote.arg("127.0.0.1").arg(1);
    let _: String = f.server.query(&demote).await.expect("a replica");
    assert!(f.at(0).get_session(&token).await.expect("what writes nothing is read").is_some());
    let due = f.at(5).get_session(&token).await.expect_err("it is to slide");
    assert_eq!(due.kind(), ErrorKind::TryAgain, "{due}");
}
