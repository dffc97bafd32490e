//! What the connection itself needs, as docs/acl.md says: on a server no more than EVAL and EVALSHA.

use std::time::Duration;

use raptor_core::{ErrorKind, Key, RedisClient, Script};
use raptor_testkit::{AclRule, Backend, Cluster, Sentinel, Server, redis};
use tokio::time::Instant;

use crate::fixture;

const DOCUMENT: &str = include_str!("../../../../docs/acl.md");
const BARE: &str = "~k:* resetchannels -@all +eval +evalsha +incr";

fn count() -> Script {
    Script::new("test.count", "return redis.call('INCR', KEYS[1])")
}

async fn counted(client: &RedisClient) -> raptor_core::Result<i64> {
    client.script(&count()).key(&Key::raw("k:{a}")).run().await
}

/// The documented words that a topology adds.
fn more(topology: &str) -> String {
    AclRule::documented(DOCUMENT, topology).expect("a rule").to_string()
}

async fn allow(servers: &[Server], rule: &AclRule) {
    for server in servers {
        server.query::<()>(&rule.command()).await.expect("a user");
    }
}

async fn connect(url: &str) -> raptor_core::Result<RedisClient> {
    let url = url.replacen("://", &format!("://{}@", AclRule::userinfo()), 1);
    RedisClient::connect(fixture::config(url)).await
}

#[tokio::test]
async fn a_server_needs_no_more_than_scripts_and_a_refused_ping_is_a_sign_of_life() {
    let backend = Backend::with_acl(&AclRule::parse(BARE)).await.expect("a server");
    for protocol in [2, 3] {
        let url = format!("{}?protocol={protocol}", backend.url());
        let client = fixture::client(&url).await;
        counted(&client).await.expect("counts");
        backend.query::<()>(redis::cmd("ACL").arg("LOG").arg("RESET")).await.expect("resets");
        let connections = connections(&backend).await;

        // Silent long enough for a PING, and not so long that the connection is given up.
        let server = backend.nodes()[0].admin().expect("a connection");
        let asleep = tokio::task::spawn_blocking(move || {
            let mut server = server;
            redis::cmd("DEBUG").arg("SLEEP").arg("1.6").exec(&mut server)
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let started = Instant::now();
        counted(&client).await.expect("counts");
        assert!(started.elapsed() > Duration::from_secs(1), "the server slept");
        asleep.await.expect("no panic").expect("slept");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let log: redis::Value = backend.query(redis::cmd("ACL").arg("LOG")).await.expect("a log");
        assert!(format!("{log:?}").contains("ping"), "no PING was refused: {log:?}");
        assert_eq!(self::connections(&backend).await, connections, "protocol {protocol}");
        counted(&client).await.expect("counts");
    }
}

/// Ids of the connections of the limited user.
async fn connections(backend: &Backend) -> Vec<String> {
    let list: String = backend.query(redis::cmd("CLIENT").arg("LIST")).await.expect("a list");
    let ours = list.lines().filter(|line| line.contains("user=service"));
    ours.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

#[tokio::test]
async fn without_eval_or_evalsha_a_script_is_a_typed_error() {
    let backend = Backend::with_acl(&AclRule::parse(BARE)).await.expect("a server");
    let client = fixture::client(&backend.url()).await;
    for (word, less) in AclRule::parse(BARE).each_without() {
        backend.query::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await.expect("flushes");
        backend.query::<()>(&less.command()).await.expect("a user");
        let error = counted(&client).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Auth, "{word}: {error}");
        assert!(backend.snapshot().await.expect("a snapshot").is_empty(), "{word}");
    }
}

#[tokio::test]
async fn a_cluster_needs_its_map_and_asking() {
    let cluster = Cluster::builder().start().await.expect("a cluster");
    let rule = AclRule::parse(BARE).with(&more("cluster"));
    allow(cluster.nodes(), &rule).await;
    let client = connect(&cluster.url()).await.expect("connects");
    assert_eq!(counted(&client).await.expect("counts"), 1);

    // The key is at neither: the old owner sends us to the new one, to ask there.
    let slot = Cluster::slot_of(b"{a}");
    let from = cluster.owner_of_slot(slot).await.expect("an owner");
    cluster.node(from).query::<()>(redis::cmd("DEL").arg("k:{a}")).await.expect("deletes");
    cluster.begin_migration(slot, (from + 1) % 3).await.expect("begins");
    assert_eq!(counted(&client).await.expect("counts"), 1);
    assert_eq!(counted(&client).await.expect("counts"), 2);

    for (word, less) in AclRule::parse(&more("cluster")).each_without() {
        allow(cluster.nodes(), &AclRule::parse(BARE).with(&less.to_string())).await;
        let outcome = match word.as_str() {
            "+asking" => counted(&client).await.map(drop),
            _ => connect(&cluster.url()).await.map(drop),
        };
        let error = outcome.expect_err("refused");
        println!("{word}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::Auth, "{word}: {error}");
    }
    allow(cluster.nodes(), &rule).await;
    assert_eq!(counted(&client).await.expect("counts"), 3, "nothing was counted meanwhile");
}

#[tokio::test]
async fn behind_sentinels_the_role_is_needed() {
    let sentinels = Sentinel::builder().start().await.expect("a set");
    let rule = AclRule::parse(BARE).with(&more("sentinel"));
    allow(sentinels.servers(), &rule).await;
    let client = connect(&sentinels.url()).await.expect("connects");
    assert_eq!(counted(&client).await.expect("counts"), 1);
    allow(sentinels.servers(), &AclRule::parse(BARE)).await;
    let error = connect(&sentinels.url()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
}
