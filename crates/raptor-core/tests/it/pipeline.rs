//! Pipelines: a result for each command, in order; atomic ones: nobody sees a state in between.

use std::sync::LazyLock;
use std::time::Duration;

use raptor_core::{ErrorKind, Key, RedisClient, RedisPipeline, Reply, Script};
use raptor_testkit::{Backend, Cluster, redis};

use crate::fixture;

static INCR: LazyLock<Script> =
    LazyLock::new(|| Script::new("test.incr", "return redis.call('INCR', KEYS[1])"));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_commands_three_failing_give_9997_results_and_three_errors_in_place() {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    let list = Key::raw("list");
    client.command("RPUSH").key(&list).arg("x").run::<()>().await.expect("RPUSH");
    let bad = [0, 4_711, 9_999];
    let mut pipeline = client.pipeline();
    for n in 0..10_000 {
        let key = if bad.contains(&n) { list.clone() } else { Key::raw(format!("n:{n}")) };
        pipeline.push(client.command("INCRBY").key(&key).arg(n));
    }
    let started = std::time::Instant::now();
    let results = pipeline.execute_as::<i64>().await.expect("sent");
    println!("10,000 commands took {:?}", started.elapsed());
    assert_eq!(results.len(), 10_000);
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(value) => assert_eq!(*value, n as i64, "in place"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WrongType, "{n}: {error:?}"),
        }
        assert_eq!(result.is_err(), bad.contains(&n), "{n}: {result:?}");
    }
}

#[tokio::test]
async fn one_round_trip_carries_commands_scripts_and_arrays_in_order() {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    for round in 0..20 {
        // Arrays go inside a script, which the server does not know in the first round.
        let (list, n) = (Key::raw(format!("{{o{round}}}list")), Key::raw(format!("{{o{round}}}n")));
        let results = client
            .pipeline()
            .command("RPUSH")
            .key(&list)
            .args(["a", "b"])
            .command("LRANGE")
            .key(&list)
            .args(["0", "-1"])
            .with(client.script(&INCR).key(&n))
            .command("SET")
            .key(&n)
            .arg(5)
            .with(client.script(&INCR).key(&n))
            .command("LPOP")
            .key(&list)
            .command("DEL")
            .key(&list)
            .execute()
            .await
            .expect("sent");
        let results: Vec<Reply> = results.into_iter().map(|r| r.expect("runs")).collect();
        let bytes = |text: &'static str| Reply::Bytes(text.into());
        let expected = [
            Reply::Int(2),
            Reply::Array(vec![bytes("a"), bytes("b")]),
            Reply::Int(1),
            bytes("OK"),
            Reply::Int(6),
            bytes("a"),
            Reply::Int(1),
        ];
        assert_eq!(results, expected, "round {round}");
    }
}

/// More commands than the runtime lets one task poll, more than are under way at a time, from the
/// runtime's own thread and from a task: all reach a server in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_server_runs_them_in_order() {
    async fn run(client: RedisClient, list: Key) {
        let mut pipeline = client.pipeline();
        for n in 0..5_000 {
            pipeline.push(client.command("RPUSH").key(&list).arg(n));
        }
        pipeline.push(client.command("LRANGE").key(&list).arg(0).arg(-1));
        let mut results = pipeline.execute().await.expect("sent");
        let log: Vec<i64> = results.pop().expect("the log").expect("runs").decode().expect("ints");
        assert!(log.iter().copied().eq(0..5_000), "out of order");
    }
    let (_server, client) = fixture::server().await;
    run(client.clone(), Key::raw("one")).await;
    tokio::spawn(run(client, Key::raw("two"))).await.expect("runs");
}

#[tokio::test]
async fn a_tuple_is_typed_and_its_error_names_the_command() {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    let key = Key::raw("n");
    let batch = || {
        let set = client.pipeline().command("SET").key(&key).arg(7);
        set.command("INCR").key(&key).command("EXPIRE").key(&key).arg(60)
    };
    for pipeline in [batch(), batch().atomic()] {
        let ((), n, expires): ((), i64, bool) = pipeline.run().await.expect("runs");
        assert_eq!((n, expires), (8, true));
    }
    for pipeline in [batch(), batch().atomic()] {
        let error = pipeline.command("HGET").key(&key).arg("f");
        let error = error.run::<((), i64, bool, Option<String>)>().await.expect_err("a string");
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error:?}");
        assert!(error.to_string().starts_with("command 4 of 4, HGET: "), "{error}");
        assert!(!error.is_retryable(), "the others ran");
    }
    let error = batch().run::<((), i64)>().await.expect_err("three commands, two types");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_whole_before_anything_is_sent() {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    let key = Key::raw("n");
    let pipeline = || client.pipeline().command("INCR").key(&key);
    let repeated = |times: usize| {
        let mut pipeline = pipeline();
        (0..times).for_each(|_| pipeline.push(client.command("INCR").key(&key)));
        pipeline
    };
    let long = pipeline().command("RPUSH").key(&Key::raw("{n}l")).args(vec!["x"; 7_000]);
    for (what, refused) in [
        ("a blocking command", pipeline().command("BLPOP").key(&key).arg(0)),
        ("a command of the connection", pipeline().command("SELECT").arg(1).atomic()),
        ("BLOCK", pipeline().command("XREAD").args(["BLOCK", "0", "STREAMS", "s", "$"])),
        ("no command's name", pipeline().command("two words")),
        ("two slots", pipeline().command("MGET").key(&Key::raw("a")).key(&Key::raw("b"))),
        ("two slots, atomic", pipeline().command("INCR").key(&Key::raw("b")).atomic()),
        ("a script, atomic", pipeline().with(client.script(&INCR).key(&key)).atomic()),
        ("too many words, atomic", long.atomic()),
        ("too many, atomic", repeated(RedisPipeline::MAX_ATOMIC_COMMANDS).atomic()),
        ("too many", repeated(RedisPipeline::MAX_COMMANDS)),
        ("an argument of nothing", client.pipeline().arg(1).command("INCR").key(&key)),
    ] {
        let error = refused.execute().await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error:?}");
    }
    assert!(client.pipeline().execute().await.expect("nothing to do").is_empty());
    assert!(client.pipeline().atomic().execute().await.expect("nothing to do").is_empty());
    let sent: bool = client.command("EXISTS").key(&key).run().await.expect("EXISTS");
    assert!(!sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_the_state_between_the_commands_of_an_atomic_pipeline() {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    let (one, two) = (Key::raw("{pair}1"), Key::raw("{pair}2"));
    let writer = {
        let (client, one, two) = (client.clone(), one.clone(), two.clone());
        tokio::spawn(async move {
            for n in 0..300 {
                let pipeline = client.pipeline().command("SET").key(&one).arg(n);
                let pipeline = pipeline.command("SET").key(&two).arg(n);
                pipeline.atomic().run::<((), ())>().await.expect("runs");
            }
        })
    };
    while !writer.is_finished() {
        let read = client.pipeline().command("GET").key(&one).command("GET").key(&two).atomic();
        let (one, two): (Option<i64>, Option<i64>) = read.run().await.expect("runs");
        assert_eq!(one, two);
        let both: Vec<Option<i64>> = client
            .command("MGET")
            .key(&Key::raw("{pair}1"))
            .key(&Key::raw("{pair}2"))
            .run()
            .await
            .expect("MGET");
        assert_eq!(both[0], both[1]);
    }
    writer.await.expect("writes");
}

#[tokio::test]
async fn an_atomic_pipeline_answers_as_the_commands_do_and_goes_on_behind_an_error() {
    let backend = Backend::start().await.expect("a backend starts");
    let client = fixture::client(&backend.url()).await;
    let [n, hash, list, nothing] = ["{t}n", "{t}h", "{t}l", "{t}0"].map(Key::raw);
    let pipeline = client
        .pipeline()
        .command("RPUSH")
        .key(&list)
        .args(["message", "c", "payload"])
        .command("INCR")
        .key(&list)
        .command("LRANGE")
        .key(&list)
        .args(["0", "-1"])
        .command("GET")
        .key(&nothing)
        .command("HSET")
        .key(&hash)
        .args(["f", "9223372036854775806"])
        .command("HINCRBY")
        .key(&hash)
        .args(["f", "1"])
        .command("SET")
        .key(&n)
        .arg(i64::MAX - 1)
        .command("INCR")
        .key(&n)
        .command("INCR")
        .key(&n)
        .command("HMGET")
        .key(&hash)
        .args(["no", "f"])
        .command("SMEMBERS")
        .key(&nothing)
        .command("NOSUCHCOMMAND")
        .key(&n)
        .command("DECRBY")
        .key(&n)
        .arg(1);
    let results = pipeline.atomic().execute().await.expect("sent");
    let bytes = |text: &str| Reply::Bytes(text.to_owned().into());
    let expected: [Result<Reply, ErrorKind>; 13] = [
        Ok(Reply::Int(3)),
        Err(ErrorKind::WrongType),
        Ok(Reply::Array(vec![bytes("message"), bytes("c"), bytes("payload")])),
        Ok(Reply::Nil),
        Ok(Reply::Int(1)),
        Ok(bytes("9223372036854775807")),
        Ok(bytes("OK")),
        Ok(bytes("9223372036854775807")),
        Err(ErrorKind::Server),
        Ok(Reply::Array(vec![Reply::Nil, bytes("9223372036854775807")])),
        Ok(Reply::Array(vec![])),
        Err(ErrorKind::Server),
        Ok(bytes("9223372036854775806")),
    ];
    for (at, (result, expected)) in results.into_iter().zip(expected).enumerate() {
        assert_eq!(result.map_err(|error| error.kind()), expected, "command {}", at + 1);
    }
}

#[tokio::test]
async fn of_a_lost_reply_writes_are_unknown_and_reads_retryable() {
    let (server, proxy, client) = fixture::proxied().await;
    let key = Key::raw("n");
    let batch = || {
        let batch = client.pipeline().command("INCR").key(&key).command("GET").key(&key);
        batch.command("INCRBY").key(&key).arg(10)
    };
    batch().atomic().execute().await.expect("sent");
    let mut executed = 11;
    for (needle, atomic) in [(&b"INCRBY"[..], false), (b"EVALSHA", true)] {
        proxy.drop_reply_to(needle);
        let batch = if atomic { batch().atomic() } else { batch() };
        let results = batch.execute().await.expect("sent");
        executed += 11;
        for (at, result) in results.iter().enumerate() {
            match result {
                Ok(_) => assert!(!atomic && at < 2, "{at}"),
                Err(error) if at == 1 => assert!(error.is_retryable(), "{error:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}"),
            }
        }
        assert!(results[2].is_err());
        fixture::reconnected(&client).await;
        assert_eq!(fixture::seen(&server, "n").await, executed, "once each");
    }
    proxy.drop_reply_to(b"EVALSHA");
    let reads = client.pipeline().command("GET").key(&key).command("TTL").key(&key).atomic();
    let error = reads.run::<(i64, i64)>().await.expect_err("lost");
    assert!(error.is_retryable(), "{error:?}");
}

/// The whole of a pipeline ends in time, its second window unsent.
#[tokio::test]
async fn a_pipeline_ends_by_its_deadline() {
    let (_server, proxy, client) = fixture::proxied().await;
    proxy.set(raptor_testkit::Fault::SwallowReplies);
    let mut pipeline = client.pipeline().timeout(Duration::from_millis(300));
    (0..2_500).for_each(|n| pipeline.push(client.command("INCR").key(&Key::raw(format!("{n}")))));
    let started = std::time::Instant::now();
    let results = pipeline.execute().await.expect("sent");
    assert!(
        started.elapsed() < fixture::slack(Duration::from_millis(300)),
        "{:?}",
        started.elapsed()
    );
    let kinds: Vec<ErrorKind> =
        results.into_iter().map(|result| result.expect_err("no reply").kind()).collect();
    assert_eq!(kinds.len(), 2_500);
    assert!(kinds[..1_024].iter().all(|kind| *kind == ErrorKind::OutcomeUnknown));
    assert!(kinds[1_024..].iter().all(|kind| *kind == ErrorKind::Unavailable));
}

/// A server that takes no writes for a while: the whole waits for it, and runs once.
#[tokio::test]
async fn an_atomic_pipeline_refused_by_a_replica_is_sent_again_whole() {
    let (server, client) = fixture::server().await;
    let key = Key::raw("n");
    let role = async |to: [&str; 2]| {
        let mut replicaof = redis::cmd("REPLICAOF");
        server.query::<()>(replicaof.arg(&to)).await.expect("REPLICAOF");
    };
    role(["127.0.0.1", "1"]).await;
    let batch = client.pipeline().command("EXISTS").key(&key).command("INCR").key(&key);
    let batch = batch.command("INCR").key(&key).atomic();
    let (results, ()) = tokio::join!(batch.run::<(bool, i64, i64)>(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        role(["NO", "ONE"]).await;
    });
    assert_eq!(results.expect("waited for"), (false, 1, 2));
}

/// What is refused because its slot has moved goes again, alone; the others stay as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_a_moved_slot_costs_nobody_a_command() {
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let client = fixture::client(&cluster.url()).await;
    let keys: Vec<Key> = (0..200).map(|n| Key::raw(format!("{{moving}}{n}"))).collect();
    let others: Vec<Key> = (0..200).map(|n| Key::raw(format!("other:{n}"))).collect();
    let slot = Cluster::slot_of(b"{moving}");
    let owner = cluster.owner_of_slot(slot).await.expect("an owner");
    let to = (owner + 1) % 3;
    let count_all = async |expected: i64| {
        let mut pipeline = client.pipeline();
        for (key, other) in keys.iter().zip(&others) {
            pipeline.push(client.command("INCR").key(key));
            pipeline.push(client.command("INCR").key(other));
        }
        let results = pipeline.execute_as::<i64>().await.expect("sent");
        for (at, result) in results.into_iter().enumerate() {
            assert_eq!(result.expect("no error"), expected, "{at}: each once");
        }
        let mut pipeline = client.pipeline();
        keys.iter().take(10).for_each(|key| pipeline.push(client.command("GET").key(key)));
        // Some of them may be on either side while a slot moves: refused as a whole, or right.
        match pipeline.atomic().execute().await {
            Ok(results) => results.into_iter().for_each(|result| match result {
                Ok(reply) => assert_eq!(reply.decode::<i64>().expect("an integer"), expected),
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }),
            Err(error) => panic!("{error:?}"),
        }
    };
    count_all(1).await;
    cluster.begin_migration(slot, to).await.expect("begins");
    cluster.move_keys(slot, to, 100).await.expect("moves");
    count_all(2).await;
    while cluster.move_keys(slot, to, 100).await.expect("moves") > 0 {}
    count_all(3).await;
    cluster.finish_migration(slot, to).await.expect("finishes");
    count_all(4).await;
    for node in cluster.nodes() {
        node.query::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await.expect("flushes");
    }
    count_all(5).await;
}
