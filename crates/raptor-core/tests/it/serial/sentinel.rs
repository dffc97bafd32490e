//! Sentinel failover: followed at once, and no write of the old master reported as done after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use raptor_core::{ErrorKind, Key, RedisClient};
use raptor_testkit::{Sentinel, redis};

use crate::fixture::{self, slack, until};

/// Writes numbered values, and remembers which were reported as done and when.
async fn write(client: RedisClient, stop: Arc<AtomicBool>) -> Vec<(u64, Instant)> {
    let mut done = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = Key::raw(format!("w:{n}"));
        match client.command("SET").key(&key).arg(n).run::<()>().await {
            Ok(()) => done.push((n, Instant::now())),
            Err(error) => {
                let kind = error.kind();
                assert!(error.is_retryable() || kind == ErrorKind::OutcomeUnknown, "{error:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    done
}

async fn failover(how: impl AsyncFnOnce(&Sentinel)) {
    let sentinel = Sentinel::builder().start().await.expect("sentinels start");
    let client = fixture::client(&sentinel.url()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(client.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let old = sentinel.master().await.expect("a master");
    how(&sentinel).await;
    let switched = async || sentinel.master().await.is_ok_and(|now| now != old);
    until(Duration::from_secs(60), "the sentinels to switch", switched).await.expect("they switch");
    let theirs = Instant::now();
    let new = sentinel.master().await.expect("a master");
    let back = async || client.command("PING").run::<()>().await.is_ok();
    until(slack(Duration::from_secs(1)), "service to be back", back).await.expect("back");
    println!("back {:?} after the sentinels", theirs.elapsed());
    // Followed by then at the latest: what is reported as done from here on is on the new master.
    let followed = Instant::now() + Duration::from_secs(1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.store(true, Ordering::Relaxed);
    let done = writer.await.expect("typed errors only");
    // A second switch would lose writes by itself: replication is asynchronous.
    let now = sentinel.master().await.expect("a master");
    let logs = || sentinel.sentinels().iter().map(raptor_testkit::Server::log).collect::<String>();
    assert_eq!(now, new, "the sentinels have switched twice\n{}", logs());
    let master = sentinel.server_at(now).expect("ours");
    let mut checked = 0;
    for (n, _) in done.iter().filter(|(_, at)| *at > followed) {
        let got: Option<u64> =
            master.query(redis::cmd("GET").arg(format!("w:{n}"))).await.expect("GET");
        assert_eq!(got, Some(*n), "reported as done, and not on the new master");
        checked += 1;
    }
    assert!(checked > 10, "{checked} writes after the switch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_sentinel_failover_is_followed() {
    failover(async |sentinel| {
        sentinel.force_failover().await.expect("forced");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_left_for_the_new_one() {
    failover(async |sentinel| {
        sentinel.kill_master().await.expect("killed");
    })
    .await;
}

/// The old master lives on, cut off from its sentinels, and the subscription's link to it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_does_not_stay_with_a_master_that_was_left() {
    let sentinel = Sentinel::builder().start().await.expect("sentinels start");
    let client = fixture::client(&sentinel.url()).await;
    let mut subscription = client.subscribe(["c"]).await.expect("subscribes");
    let old = sentinel.master().await.expect("a master");
    let server = sentinel.server_at(old).expect("ours");
    let mut admin = server.admin().expect("a connection");
    tokio::task::spawn_blocking(move || {
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("unknown").exec(&mut admin)?;
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut admin)
    })
    .await
    .expect("runs")
    .expect("locked out");
    sentinel.master_after(old).await.expect("the sentinels switch");
    let told = tokio::time::timeout(slack(Duration::from_secs(5)), subscription.next()).await;
    assert_eq!(told.expect("in time"), Some(raptor_core::Incoming::Gap));
    let heard = async || {
        let payload = client.command("PUBLISH").arg("c").arg("x");
        payload.run::<i64>().await.is_ok_and(|receivers| receivers > 0)
    };
    until(slack(Duration::from_secs(2)), "a receiver at the new master", heard)
        .await
        .expect("heard");
}
