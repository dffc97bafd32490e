//! A private sentinel set: whole from the start, fails over on request and by itself.

use raptor_testkit::Sentinel;
use raptor_testkit::redis::{Value, cmd};

async fn role(set: &Sentinel, addr: std::net::SocketAddr) -> String {
    let server = set.server_at(addr).expect("one of ours");
    let role: Vec<Value> = server.query(&cmd("ROLE")).await.expect("ROLE");
    let Some(Value::BulkString(role)) = role.into_iter().next() else { panic!("no role") };
    String::from_utf8(role).expect("text")
}

#[tokio::test]
async fn fails_over_on_request_twice() {
    let set = Sentinel::builder().start().await.expect("a set");
    assert_eq!((set.servers().len(), set.sentinels().len()), (3, 3));
    assert!(set.url().ends_with("/?sentinelServiceName=mymaster"), "{}", set.url());
    let first = set.master().await.expect("asked");
    assert_eq!(first, set.servers()[0].addr());
    let second = set.force_failover().await.expect("failover");
    assert_ne!(second, first);
    assert_eq!(role(&set, second).await, "master");
    let third = set.force_failover().await.expect("failover");
    assert_ne!(third, second);
    assert_eq!(set.master().await.expect("asked"), third);
}

#[tokio::test]
async fn a_killed_primary_is_replaced_and_comes_back_as_replica() {
    let set = Sentinel::builder().replicas(1).start().await.expect("a set");
    let old = set.kill_master().await.expect("kill");
    let new = set.master_after(old).await.expect("elected");
    set.rejoin(old).await.expect("rejoin");
    assert_eq!(role(&set, old).await, "slave");
    assert_eq!(role(&set, new).await, "master");
}

#[tokio::test]
async fn a_frozen_primary_is_replaced_also_with_one_sentinel_dead() {
    let set = Sentinel::builder().replicas(1).start().await.expect("a set");
    set.sentinels()[0].kill().expect("kill");
    let old = set.stop_master().await.expect("stop");
    let new = set.master_after(old).await.expect("elected");
    assert_ne!(old, new);
    set.server_at(old).expect("ours").cont().expect("cont");
    set.sentinels()[0].restart().await.expect("restart");
}
