//! The rules of docs/acl.md for core's tools are enough, and each word of them is needed: without one
//! the first operation that needs it ends in a typed error and has written nothing.

use std::time::Duration;

use raptor_core::atomic::{Increment, Removal, Swap};
use raptor_core::ttl::{Cleanup, Refresh, RefreshIf, Scope, Ttl, TtlPolicy};
use raptor_core::{Codec, ErrorKind, Expiry, Incoming, Key, RedisClient, Reply, Result, Script};
use raptor_testkit::{AclRule, Backend, redis};

use crate::fixture;

const DOCUMENT: &str = include_str!("../../../../docs/acl.md");
const HOUR: Duration = Duration::from_secs(3600);

/// What one tool can be asked for, each with a part that the others do not reach.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Get,
    AtomicGet,
    CompareAndSet(Expiry),
    GetAndSet(Expiry),
    SetIfAbsent,
    CompareAndDelete,
    Increment(Expiry),
    UpdateTyped,
    SetTtl,
    GetTtl,
    Persist,
    Refresh,
    Report,
    Repair,
    AtomicPipeline,
    UsersScript,
}

use Operation::{
    AtomicGet, AtomicPipeline, CompareAndDelete, CompareAndSet, Get, GetAndSet, GetTtl, Persist,
    Refresh as RefreshTtl, Repair, Report, SetIfAbsent, SetTtl, UpdateTyped, UsersScript,
};

const TOOLS: [(&str, &[Operation]); 6] = [
    ("core.get", &[Get]),
    (
        "core.atomic",
        &[
            AtomicGet,
            CompareAndSet(Expiry::Keep),
            CompareAndSet(Expiry::In(HOUR)),
            GetAndSet(Expiry::Never),
            SetIfAbsent,
            CompareAndDelete,
            Operation::Increment(Expiry::Keep),
            Operation::Increment(Expiry::In(HOUR)),
            Operation::Increment(Expiry::Never),
            UpdateTyped,
        ],
    ),
    ("core.ttl", &[SetTtl, GetTtl, Persist, RefreshTtl]),
    ("core.cleanup", &[Report, Repair]),
    ("core.pipeline", &[AtomicPipeline]),
    ("core.script", &[UsersScript]),
];

/// A script as docs/acl.md shows it.
const USERS: &str = "
    local function need(...)
      if redis.acl_check_cmd and not redis.acl_check_cmd(...) then redis.call(...) end
    end
    need('PEXPIRE', KEYS[1], ARGV[1])
    local n = redis.call('INCR', KEYS[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    return n";

struct Fixture {
    backend: Backend,
    admin: RedisClient,
    limited: RedisClient,
}

fn key(name: &str) -> Key {
    Key::raw(format!("app:{{t}}:{name}"))
}

fn documented(tool: &str) -> AclRule {
    AclRule::documented(DOCUMENT, tool).unwrap_or_else(|| panic!("no rule for {tool}"))
}

impl Fixture {
    async fn start() -> Self {
        let backend = Backend::with_acl(&AclRule::parse("-@all")).await.expect("a server");
        let client = async |url: String| {
            // So that the prefix of a cleanup is the application's.
            let config = fixture::settings(url).key_prefix("app:");
            RedisClient::connect(config.build().expect("a config")).await.expect("connects")
        };
        let admin = client(backend.nodes()[0].url()).await;
        let limited = client(backend.url()).await;
        Self { backend, admin, limited }
    }

    async fn allow(&self, rule: &AclRule) {
        self.backend.query::<()>(&rule.command()).await.expect("a user");
    }

    /// What the operations find: a number, a value without a TTL, and a typed value. No script is
    /// known to the server.
    async fn prepare(&self) {
        self.backend.query::<()>(&redis::cmd("FLUSHALL")).await.expect("flushes");
        let typed = Codec::default().encode(&key("typed"), &7_u32).expect("encoded");
        let set = |name| self.admin.command("SET").key(&key(name));
        for call in [set("n").arg(5).arg("EX").arg(60), set("v").arg("v"), set("typed").arg(typed)]
        {
            call.run::<()>().await.expect("SET");
        }
        self.backend.query::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await.expect("flushes");
    }

    async fn act(&self, operation: Operation) -> Result<()> {
        let client = &self.limited;
        let (atomic, ttl) = (client.atomic(), client.ttl());
        let (n, v, new) = (key("n"), key("v"), key("new"));
        match operation {
            Get => assert_eq!(client.get(&n).await?.as_deref(), Some(&b"5"[..])),
            AtomicGet => assert_eq!(atomic.get(&v).await?.as_deref(), Some(&b"v"[..])),
            CompareAndSet(expiry) => {
                assert_eq!(
                    atomic.compare_and_set(&v, Some(b"v"), "w", expiry).await?,
                    Swap::Swapped
                );
            }
            GetAndSet(expiry) => {
                let before = atomic.get_and_set(&v, "w", expiry).await?;
                assert_eq!(before.as_deref(), Some(&b"v"[..]));
            }
            SetIfAbsent => assert!(atomic.set_if_absent(&new, "w", Expiry::In(HOUR)).await?),
            CompareAndDelete => {
                assert_eq!(atomic.compare_and_delete(&v, b"v").await?, Removal::Deleted);
            }
            Operation::Increment(expiry) => {
                let sum = atomic.increment(&n, 2, 0..=10, expiry).await?;
                assert_eq!(sum, Increment::Value(7));
            }
            UpdateTyped => {
                let (codec, typed) = (Codec::default(), key("typed"));
                let values = atomic.values(&codec);
                let add = |n: Option<u32>| n.unwrap_or_default() + 1;
                assert_eq!(values.update(&typed, Expiry::Keep, add).await?, 8);
            }
            SetTtl => assert!(ttl.set_ttl(&v, HOUR).await?),
            GetTtl => assert_eq!(ttl.get(&v).await?, Ttl::Persistent),
            Persist => assert!(ttl.persist(&n).await?),
            RefreshTtl => {
                let refresh = ttl.refresh_if(&n, HOUR, RefreshIf::Longer).await?;
                assert_eq!(refresh, Refresh::Refreshed);
            }
            Report | Repair => {
                let scope = Scope::Pattern("*", TtlPolicy::new(HOUR)?);
                let cleanup = if operation == Report { Cleanup::Report } else { Cleanup::Repair };
                let report = ttl.cleanup_expired(scope, cleanup, 1_000, None).await?;
                assert_eq!((report.matched, report.leaks.len()), (3, 2));
            }
            AtomicPipeline => {
                let pipeline = client.pipeline().command("SET").key(&new).arg("w");
                let pipeline = pipeline.command("EXPIRE").key(&new).arg(60);
                let pipeline = pipeline.command("INCRBY").key(&n).arg(i64::MAX - 5);
                let ((), expires, sum) = pipeline.atomic().run::<((), bool, i64)>().await?;
                assert_eq!((expires, sum), (true, i64::MAX));
            }
            UsersScript => {
                let script = Script::new("test.users", USERS);
                assert_eq!(client.script(&script).key(&n).arg(60_000).run::<i64>().await?, 6);
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn each_documented_rule_is_enough() {
    let f = Fixture::start().await;
    for (tool, operations) in TOOLS {
        f.allow(&documented(tool)).await;
        for &operation in operations {
            f.prepare().await;
            let before = f.backend.snapshot().await.expect("a snapshot");
            f.act(operation).await.unwrap_or_else(|error| panic!("{operation:?}: {error}"));
            let reads = matches!(operation, Get | AtomicGet | GetTtl | Report);
            let after = f.backend.snapshot().await.expect("a snapshot");
            assert_eq!(after == before, reads, "{operation:?}");
        }
    }
}

#[tokio::test]
async fn one_word_less_is_a_typed_error_and_nothing_is_written() {
    let f = Fixture::start().await;
    for (tool, operations) in TOOLS {
        for (word, less) in documented(tool).each_without() {
            f.allow(&less).await;
            let mut missed = 0;
            for &operation in operations {
                f.prepare().await;
                let before = f.backend.snapshot().await.expect("a snapshot");
                let outcome = f.act(operation).await;
                let after = f.backend.snapshot().await.expect("a snapshot");
                let Err(error) = outcome else { continue };
                missed += 1;
                let what = format!("{tool}: {operation:?} without {word}: {error}");
                // To read a sum beyond 2^53 back is a right of its own: it ran, and says so.
                if (operation, word.as_str()) == (AtomicPipeline, "+get") {
                    assert_eq!(error.kind(), ErrorKind::Codec, "{what}");
                    continue;
                }
                assert_eq!(error.kind(), ErrorKind::Auth, "{what}");
                assert!(!error.is_retryable() && after == before, "{what}");
            }
            assert!(missed > 0, "{tool}: no operation needs {word}");
        }
    }
}

/// Pipelined, each command is a call of its own: what is allowed runs.
#[tokio::test]
async fn a_pipelined_command_that_is_forbidden_fails_alone() {
    let f = Fixture::start().await;
    f.allow(&AclRule::parse("~app:* resetchannels -@all +set +incrby")).await;
    f.prepare().await;
    let (n, new) = (key("n"), key("new"));
    let pipeline = f.limited.pipeline().command("SET").key(&new).arg("w");
    let pipeline = pipeline.command("EXPIRE").key(&new).arg(60);
    let pipeline = pipeline.command("LRANGE").key(&new).arg(0).arg(-1);
    let pipeline = pipeline.command("SET").key(&Key::raw("foreign")).arg("w");
    let results = pipeline.command("INCRBY").key(&n).arg(1).execute().await.expect("sent");
    for (nth, result) in results.into_iter().enumerate() {
        match (nth, result) {
            (0 | 4, result) => drop(result.expect("allowed")),
            (_, result) => assert_eq!(result.expect_err("forbidden").kind(), ErrorKind::Auth),
        }
    }
    let after = f.backend.snapshot().await.expect("a snapshot");
    assert!(after.contains_key(new.as_bytes()) && !after.contains_key(&b"foreign"[..]));
}

#[tokio::test]
async fn an_atomic_pipeline_says_which_command_is_forbidden_and_runs_none() {
    let f = Fixture::start().await;
    f.allow(&AclRule::parse("~app:* resetchannels -@all +eval +evalsha +set +incrby")).await;
    f.prepare().await;
    let before = f.backend.snapshot().await.expect("a snapshot");
    let (n, new) = (key("n"), key("new"));
    let pipeline = f.limited.pipeline().command("SET").key(&new).arg("w");
    let pipeline = pipeline.command("EXPIRE").key(&new).arg(60);
    let results = pipeline.command("INCRBY").key(&n).arg(1).atomic().execute().await;
    let texts: Vec<String> = results
        .expect("sent")
        .into_iter()
        .map(|result| {
            let error = result.expect_err("nothing ran");
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            error.to_string()
        })
        .collect();
    assert!(texts[0].contains("may not run command 2") && texts[2] == texts[0], "{texts:?}");
    assert!(texts[1].contains("server answered"), "{texts:?}");
    let log: redis::Value = f.backend.query(redis::cmd("ACL").arg("LOG")).await.expect("a log");
    assert!(format!("{log:?}").contains("expire"), "{log:?}");
    assert!(f.backend.snapshot().await.expect("a snapshot") == before);
}

/// What the ACL cannot be asked about fails alone, as it does without an ACL.
#[tokio::test]
async fn malformed_commands_of_an_atomic_pipeline_fail_alone() {
    let f = Fixture::start().await;
    for rule in ["~* -@all +@all", "~app:* resetchannels +@all"] {
        f.allow(&AclRule::parse(rule)).await;
        f.prepare().await;
        let mut pipeline = f.limited.pipeline();
        let bad: [&[&str]; 7] = [
            &["NONSENSE", "x"],
            &["SET"],
            &["ZUNION", "99", "app:{t}:n"],
            &["ZUNION", "x"],
            &["XREAD", "STREAMS"],
            &["XGROUP"],
            &["OBJECT", "NOTHING", "app:{t}:n"],
        ];
        for words in bad {
            pipeline.push(f.limited.command(words[0]).args(words[1..].iter().copied()));
        }
        pipeline.push(f.limited.command("INCRBY").key(&key("n")).arg(1));
        let mut results = pipeline.atomic().execute().await.expect("sent");
        let last = results.pop().expect("a result").expect("it ran");
        assert_eq!(last, Reply::Int(6), "{rule}");
        for (words, result) in bad.iter().zip(results) {
            let error = result.expect_err(words[0]);
            assert_eq!(error.kind(), ErrorKind::Server, "{words:?} under {rule}: {error}");
        }
    }
}

#[tokio::test]
async fn a_subscription_needs_its_channel_and_subscribe_and_no_ping() {
    const RULE: &str = "resetkeys resetchannels &app:* -@all +subscribe";
    let f = Fixture::start().await;
    f.allow(&AclRule::parse(RULE)).await;
    let mut subscription = f.limited.subscribe(["app:news"]).await.expect("subscribes");
    // Quiet so long that it was asked for a sign of life, which was refused.
    let refused = async || {
        let log: redis::Value = f.backend.query(redis::cmd("ACL").arg("LOG")).await.expect("a log");
        format!("{log:?}").contains("ping")
    };
    fixture::until(Duration::from_secs(20), "a PING", refused).await.expect("asked");
    f.admin.command("PUBLISH").arg("app:news").arg("x").run::<()>().await.expect("PUBLISH");
    let message = Incoming::Message { channel: "app:news".into(), payload: "x".into() };
    assert_eq!(subscription.next().await, Some(message), "no gap");
    for (word, less) in AclRule::parse(RULE).each_without() {
        f.allow(&less).await;
        let Err(error) = f.limited.subscribe(["app:news"]).await else {
            panic!("subscribed without {word}")
        };
        assert_eq!(error.kind(), ErrorKind::Auth, "{word}: {error}");
    }
}
