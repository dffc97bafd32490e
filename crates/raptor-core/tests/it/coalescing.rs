//! The coalescer: operations ride together, and each gets what is its own.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::FutureExt;
use raptor_core::{
    BatchLimits, Call, Coalescer, ErrorKind, Key, RedisClient, Reply, Result, Script, Vectorised,
    Weight,
};
use raptor_testkit::{Cluster, redis};

use crate::fixture::{self, until};

/// Counts keys up; each operation fails alone.
static INCR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "test.incr_many",
        "local out = {'ok'}
         for i = 1, #KEYS do
           local n = redis.pcall('INCR', KEYS[i])
           out[i + 1] = type(n) == 'table' and 'wrongtype' or n
         end
         if ARGV[1] == 'slow' then
           for _ = 1, 500000 do end
         end
         return out",
    )
});

pub(crate) struct Incr {
    pub(crate) slow: bool,
}

impl Vectorised for Incr {
    type Op = Key;
    type Out = i64;

    fn script(&self) -> &Script {
        &INCR
    }

    fn key<'op>(&self, op: &'op Key) -> &'op Key {
        op
    }

    fn weight(&self, op: &Key) -> Weight {
        Weight { arguments: 1, bytes: op.as_bytes().len() }
    }

    fn write<'c>(&self, ops: &[Key], call: Call<'c>) -> Call<'c> {
        let call = ops.iter().fold(call, |call, key| call.key(key));
        call.arg(if self.slow { "slow" } else { "" })
    }

    fn read(&self, ops: &[Key], reply: Reply) -> Result<Vec<Result<i64>>> {
        let replies: Vec<Reply> = reply.decode()?;
        Ok(replies
            .into_iter()
            .skip(1)
            .zip(ops)
            .map(|(reply, _)| match reply {
                Reply::Int(n) => Ok(n),
                _ => Err(raptor_core::Error::new(ErrorKind::WrongType, "not a number")),
            })
            .collect())
    }
}

pub(crate) fn coalescer(slow: bool) -> Arc<Coalescer<Incr>> {
    Arc::new(Coalescer::new(Incr { slow }))
}

async fn calls_of(server: &raptor_testkit::Server) -> u64 {
    let info: String = server.query(redis::cmd("INFO").arg("commandstats")).await.expect("INFO");
    let calls = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_prefix("calls=")?.split(',').next()?.parse::<u64>().ok()
    };
    calls("cmdstat_evalsha:").unwrap_or(0) + calls("cmdstat_eval:").unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_operations_one_percent_on_a_wrong_type_half_of_the_callers_dropped() {
    let (server, client) = fixture::server().await;
    server.query::<()>(redis::cmd("RPUSH").arg("bad").arg("x")).await.expect("RPUSH");
    let incr = coalescer(false);
    let callers: Vec<_> = (0..10_000_usize)
        .map(|n| {
            let (client, incr) = (client.clone(), incr.clone());
            tokio::spawn(async move {
                let bad = n % 100 == 0;
                let key = Key::raw(if bad { "bad".to_owned() } else { format!("n:{n}") });
                let outcome = incr.submit(&client, key).await;
                match outcome {
                    Ok(1) => assert!(!bad),
                    Err(error) if error.kind() == ErrorKind::WrongType => assert!(bad),
                    other => panic!("{n}: {other:?}"),
                }
            })
        })
        .collect();
    for (n, caller) in callers.into_iter().enumerate() {
        if n % 2 == 1 {
            caller.abort();
            let _ = caller.await;
        } else {
            caller.await.expect("exactly those fail");
        }
    }
    // Nobody counted anything twice, the dropped ones included.
    for n in (1..10_000).step_by(499) {
        let seen = fixture::seen(&server, &format!("n:{n}")).await;
        assert!((0..=1).contains(&seen), "{n}: {seen}");
    }
    assert_eq!(incr.submit(&client, Key::raw("after")).await.expect("all is well"), 1);
    assert_eq!(incr.waiting(), 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_leaves_together_and_a_lone_caller_goes_at_once() {
    let (server, client) = fixture::server().await;
    let incr = coalescer(true);
    let before = calls_of(&server).await;
    for n in 1..=5 {
        assert_eq!(incr.submit(&client, Key::raw("lone")).await.expect("runs"), n);
    }
    let lone = calls_of(&server).await - before;
    assert!((5..=6).contains(&lone), "one call each, and one to bring the script: {lone}");
    let before = calls_of(&server).await;
    let callers: Vec<_> = (0..512)
        .map(|_| {
            let (client, incr) = (client.clone(), incr.clone());
            tokio::spawn(async move { incr.submit(&client, Key::raw("all")).await })
        })
        .collect();
    let mut counts = Vec::new();
    for caller in callers {
        counts.push(caller.await.expect("ends").expect("runs"));
    }
    counts.sort_unstable();
    assert!(counts.into_iter().eq(1..=512), "each counted once");
    let together = calls_of(&server).await - before;
    assert!(together <= 40, "512 operations in {together} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_reply_is_lost_is_never_sent_again_and_all_its_riders_are_told() {
    let (server, proxy, client) = fixture::proxied().await;
    let incr = coalescer(true);
    incr.submit(&client, Key::raw("warm")).await.expect("runs");
    let callers: Vec<_> = (0..256)
        .map(|n| {
            let (client, incr) = (client.clone(), incr.clone());
            tokio::spawn(async move { (n, incr.submit(&client, Key::raw(format!("n:{n}"))).await) })
        })
        .collect();
    proxy.drop_reply_to(b"n:200");
    let mut unknown = 0;
    for caller in callers {
        let (n, outcome) = caller.await.expect("ends");
        let executed = fixture::seen(&server, &format!("n:{n}")).await;
        match outcome {
            Ok(count) => assert_eq!((count, executed), (1, 1)),
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                assert!(executed <= 1, "{n} executed {executed} times");
                unknown += 1;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                assert_eq!(executed, 0, "{n} was said not to have run");
            }
        }
    }
    assert!(unknown > 1, "{unknown} riders of a lost batch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_waiting_are_refused_and_nothing_runs_for_them() {
    let (server, client) = fixture::server().await;
    let mut limits = BatchLimits::default();
    (limits.in_flight, limits.waiting) = (1, 10);
    let incr = Arc::new(Coalescer::with_limits(Incr { slow: true }, limits));
    server.stop().expect("stopped");
    // One is on its way, with nobody else, before the others come.
    let mut first = Box::pin(incr.submit(&client, Key::raw("n")));
    assert!((&mut first).now_or_never().is_none());
    let callers: Vec<_> = (0..99)
        .map(|_| {
            let (client, incr) = (client.clone(), Arc::clone(&incr));
            tokio::spawn(async move { incr.submit(&client, Key::raw("n")).await })
        })
        .collect();
    let refused = async || callers.iter().filter(|caller| caller.is_finished()).count() == 89;
    until(Duration::from_secs(5), "the rest to be refused", refused).await.expect("refused");
    server.cont().expect("continued");
    first.await.expect("runs");
    let (mut done, mut refused) = (1, 0);
    for caller in callers {
        match caller.await.expect("ends") {
            Ok(_) => done += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Capacity, "{error:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((done, refused), (11, 89));
    assert_eq!(fixture::seen(&server, "n").await, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_withdrawn_or_waited_too_long_never_runs() {
    let (server, client) = fixture::server().await;
    let mut limits = BatchLimits::default();
    limits.in_flight = 1;
    let incr = Arc::new(Coalescer::with_limits(Incr { slow: false }, limits));
    incr.submit(&client, Key::raw("warm")).await.expect("runs");
    server.stop().expect("stopped");
    let first = tokio::spawn({
        let (client, incr) = (client.clone(), incr.clone());
        async move { incr.submit(&client, Key::raw("first")).await }
    });
    let spawned = |name: &'static str| {
        let (client, incr) = (client.clone(), incr.clone());
        tokio::spawn(async move { incr.submit(&client, Key::raw(name)).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (dropped, patient) = (spawned("dropped"), spawned("patient"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    dropped.abort();
    let _ = dropped.await;
    // The first is sent and unanswered; the patient one's turn never comes.
    let first = first.await.expect("ends").expect_err("no answer");
    assert_eq!(first.kind(), ErrorKind::OutcomeUnknown, "{first:?}");
    let patient = patient.await.expect("ends");
    server.cont().expect("continued");
    fixture::reconnected(&client).await;
    assert_eq!(fixture::seen(&server, "dropped").await, 0, "withdrawn in time");
    if let Err(error) = patient
        && error.kind() == ErrorKind::Unavailable
    {
        assert_eq!(fixture::seen(&server, "patient").await, 0, "said not to have run");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_each_call_stays_in_one_slot() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let client: RedisClient = fixture::client(&cluster.url()).await;
    let incr = coalescer(true);
    let callers: Vec<_> = (0..600)
        .map(|n| {
            let (client, incr) = (client.clone(), incr.clone());
            tokio::spawn(async move {
                incr.submit(&client, Key::raw(format!("{{tag-{}}}:{n}", n % 5))).await
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.expect("ends").expect("runs"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_ride_together_and_each_gets_its_own() {
    let (server, client) = fixture::server().await;
    server.query::<()>(redis::cmd("RPUSH").arg("list").arg("x")).await.expect("RPUSH");
    for n in 0..64 {
        let value = if n == 7 { "message".to_owned() } else { format!("v{n}") };
        client
            .command("SET")
            .key(&Key::raw(format!("k{n}")))
            .arg(value)
            .run::<()>()
            .await
            .expect("SET");
    }
    let before = calls_of(&server).await;
    let readers: Vec<_> = (0..1_000_usize)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let k = n % 66;
                let key = if k == 65 { "list".to_owned() } else { format!("k{k}") };
                match client.get(&Key::raw(key)).await {
                    Ok(Some(value)) if k == 7 => assert_eq!(value, "message"),
                    Ok(Some(value)) => assert_eq!(value, format!("v{k}")),
                    Ok(None) => assert_eq!(k, 64),
                    Err(error) => {
                        assert_eq!((error.kind(), k), (ErrorKind::WrongType, 65), "{error:?}")
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.expect("its own");
    }
    let calls = calls_of(&server).await - before;
    assert!(calls < 500, "1,000 reads in {calls} calls");
}

/// All at once, and how each ended.
async fn all_of(
    client: &RedisClient,
    incr: &Arc<Coalescer<Incr>>,
    keys: impl Iterator<Item = String>,
) -> Vec<(String, Result<i64>)> {
    let callers: Vec<_> = keys
        .map(|key| {
            let (client, incr) = (client.clone(), incr.clone());
            tokio::spawn(async move {
                let outcome = incr.submit(&client, Key::raw(key.clone())).await;
                (key, outcome)
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.expect("ends"));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_on_both_sides_of_a_migrating_slot_part_ways_and_are_served() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let client = fixture::client(&cluster.url()).await;
    let incr = coalescer(true);
    let keys = || (0..40).map(|n| format!("{{split}}:{n}"));
    for (key, outcome) in all_of(&client, &incr, keys()).await {
        assert_eq!(outcome.expect("runs"), 1, "{key}");
    }
    let slot = Cluster::slot_of(b"{split}");
    let to = (cluster.owner_of_slot(slot).await.expect("an owner") + 1) % 3;
    cluster.begin_migration(slot, to).await.expect("begins");
    cluster.move_keys(slot, to, 20).await.expect("moves");
    for (key, outcome) in all_of(&client, &incr, keys()).await {
        assert_eq!(outcome.expect("served in the middle of it"), 2, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_acl_forbids_fails_its_own_caller_alone() {
    let server = raptor_testkit::Server::builder()
        .acl_user("user app on >some-password resetkeys ~mine:* +@all")
        .start()
        .await
        .expect("starts");
    let url = format!("redis://app:some-password@127.0.0.1:{}", server.port());
    let client = fixture::client(&url).await;
    let incr = coalescer(true);
    let key =
        |n: usize| if n.is_multiple_of(10) { format!("theirs:{n}") } else { format!("mine:{n}") };
    for (key, outcome) in all_of(&client, &incr, (0..100).map(key)).await {
        match outcome {
            Ok(n) => assert!(n == 1 && key.starts_with("mine"), "{key}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
                assert!(key.starts_with("theirs"), "{key}");
            }
        }
    }
}
