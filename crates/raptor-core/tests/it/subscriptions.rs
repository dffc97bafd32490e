//! Subscriptions: confirmed, resubscribed, gaps told, refusals typed.

use std::time::Duration;

use raptor_core::{ErrorKind, Incoming, RedisClient};
use raptor_testkit::{Fault, Proxy, Server};

use crate::fixture::{self, until};

async fn next(subscription: &mut raptor_core::Subscription) -> Incoming {
    tokio::time::timeout(Duration::from_secs(20), subscription.next())
        .await
        .expect("in time")
        .expect("not ended")
}

fn message(payload: &str) -> Incoming {
    Incoming::Message { channel: "c".into(), payload: payload.to_owned().into() }
}

async fn publish(client: &RedisClient, payload: &str) -> i64 {
    client.command("PUBLISH").arg("c").arg(payload).run().await.expect("PUBLISH")
}

#[tokio::test]
async fn a_subscription_is_confirmed_before_it_is_returned() {
    let (server, client) = fixture::server().await;
    for protocol in [2, 3] {
        let reader = fixture::client(&format!("{}?protocol={protocol}", server.url())).await;
        for round in 0..20 {
            let mut subscription = reader.subscribe(["c"]).await.expect("subscribes");
            assert!(publish(&client, &round.to_string()).await >= 1, "nobody was listening");
            assert_eq!(next(&mut subscription).await, message(&round.to_string()));
        }
    }
}

#[tokio::test]
async fn a_refused_subscription_is_a_typed_error() {
    let server = Server::builder()
        .acl_user("user nosub on >some-password ~* +@all resetchannels")
        .start()
        .await
        .expect("starts");
    for protocol in [2, 3] {
        let url =
            format!("redis://nosub:some-password@127.0.0.1:{}?protocol={protocol}", server.port());
        let client = fixture::client(&url).await;
        let error = client.subscribe(["c"]).await.err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
        client.command("PING").run::<()>().await.expect("other calls are not touched");
    }
    let (_server, client) = fixture::server().await;
    for channels in [vec![], vec!["__keyevent@0__:del"], vec!["c", "__keyspace@0__:k"]] {
        let error = client.subscribe(channels).await.err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    client.close();
    let error = client.subscribe(["c"]).await.err().expect("closed");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_user_without_ping_may_subscribe_to_what_it_may() {
    let server = Server::builder()
        .acl_user("user sub on >some-password ~* +subscribe +hello +auth resetchannels &c")
        .start()
        .await
        .expect("starts");
    let url = format!("redis://sub:some-password@127.0.0.1:{}", server.port());
    let client = fixture::client(&url).await;
    let mut subscription = client.subscribe(["c"]).await.expect("subscribes");
    publish(&fixture::client(&server.url()).await, "heard").await;
    assert_eq!(next(&mut subscription).await, message("heard"));
    assert_eq!(client.subscribe(["other"]).await.err().expect("refused").kind(), ErrorKind::Auth);
}

#[tokio::test]
async fn a_cut_is_told_as_a_gap_and_subscribed_again() {
    let (_server, proxy, client) = fixture::proxied().await;
    let mut subscription = client.subscribe(["c"]).await.expect("subscribes");
    publish(&client, "before").await;
    assert_eq!(next(&mut subscription).await, message("before"));
    proxy.cut();
    assert_eq!(next(&mut subscription).await, Incoming::Gap);
    while publish(&client, "after").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut subscription).await, message("after"));
}

#[tokio::test]
async fn an_idle_black_hole_is_noticed() {
    let server = Server::start().await.expect("starts");
    let proxy = Proxy::start(server.addr()).await.expect("starts");
    let client = fixture::client(&proxy.url()).await;
    let mut subscription = client.subscribe(["c"]).await.expect("subscribes");
    proxy.set(Fault::BlackHole);
    let before = proxy.connections();
    let replaced = async || proxy.connections() > before;
    until(Duration::from_secs(25), "the dead connection to be replaced", replaced)
        .await
        .expect("noticed");
    proxy.set(Fault::Pass);
    assert_eq!(next(&mut subscription).await, Incoming::Gap);
    let other = fixture::client(&server.url()).await;
    while publish(&other, "after").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut subscription).await, message("after"));
}

#[tokio::test]
async fn a_slow_receiver_is_told_of_what_it_lost() {
    let (_server, client) = fixture::server().await;
    let mut subscription = client.subscribe(["c"]).await.expect("subscribes");
    let flood = raptor_core::Script::new(
        "test.flood",
        "for n = 1, 5000 do redis.call('PUBLISH', 'c', n) end return 'ok'",
    );
    for _ in 0..10 {
        client.script(&flood).run::<()>().await.expect("publishes");
    }
    publish(&client, "last").await;
    let (mut messages, mut gaps) = (0, 0);
    loop {
        match next(&mut subscription).await {
            Incoming::Gap => gaps += 1,
            Incoming::Message { .. } => messages += 1,
            _ => {}
        }
        // The gap is told once there is room for it; after it messages flow again.
        if gaps > 0 {
            publish(&client, "again").await;
            if next(&mut subscription).await == message("again") {
                break;
            }
        }
    }
    assert!(messages < 50_001 && gaps >= 1, "{messages} messages, {gaps} gaps");
}

#[tokio::test]
async fn closing_the_client_ends_its_subscriptions() {
    let (_server, client) = fixture::server().await;
    let mut subscription = client.subscribe(["c"]).await.expect("subscribes");
    client.close();
    let ended = tokio::time::timeout(Duration::from_secs(5), subscription.next()).await;
    assert_eq!(ended.expect("in time"), None);
}
