//! A server that stops, hangs, or is behind a dead path: typed errors in time, and recovery.

use std::time::{Duration, Instant};

use raptor_core::{ErrorKind, Key, RedisClient};
use raptor_testkit::Fault;

use crate::fixture::{self, slack, until};

async fn ping(client: &RedisClient) -> raptor_core::Result<()> {
    client.command("PING").run::<()>().await
}

async fn recovered(client: &RedisClient, within: Duration) -> Duration {
    let started = Instant::now();
    until(within, "the client to work again", async || ping(client).await.is_ok())
        .await
        .expect("recovers");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_unavailable_in_time_and_back_on_the_same_client() {
    let (server, client) = fixture::server().await;
    server.kill().expect("killed");
    let started = Instant::now();
    let error = loop {
        match client.command("INCR").key(&Key::raw("n")).run::<i64>().await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.is_retryable());
    assert!(started.elapsed() < slack(Duration::from_secs(2)), "{:?}", started.elapsed());
    // While connections are refused the error comes at once, not by a timeout.
    let started = Instant::now();
    ping(&client).await.expect_err("down");
    assert!(started.elapsed() < slack(Duration::from_millis(250)), "{:?}", started.elapsed());
    server.restart().await.expect("restarts");
    let took = recovered(&client, slack(Duration::from_secs(1))).await;
    println!("restarted server in use again after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_ends_calls_by_their_deadline_and_is_used_again_when_it_thaws() {
    let (server, client) = fixture::server().await;
    server.stop().expect("stopped");
    let started = Instant::now();
    let error = client.command("INCR").key(&Key::raw("n")).run::<i64>().await.expect_err("frozen");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    assert!(started.elapsed() < slack(Duration::from_secs(2)), "{:?}", started.elapsed());
    let short = client.command("GET").key(&Key::raw("n")).timeout(Duration::from_millis(50));
    let error = short.run::<()>().await.expect_err("frozen");
    assert!(error.is_retryable(), "a read: {error:?}");
    server.cont().expect("continued");
    recovered(&client, slack(Duration::from_secs(1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_healed_within_five_seconds_of_an_outstanding_call() {
    let (_server, proxy, client) = fixture::proxied().await;
    proxy.set(Fault::BlackHole);
    let started = Instant::now();
    let error = ping(&client).await.expect_err("into the hole");
    assert!(error.is_retryable(), "{error:?}");
    // The path is fine for new connections; the old one stays a hole for ever.
    proxy.set(Fault::Pass);
    recovered(&client, slack(Duration::from_secs(5))).await;
    println!("half-open connection healed {:?} after the first call", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steady_traffic_does_not_hide_a_black_hole() {
    let (_server, proxy, client) = fixture::proxied().await;
    let traffic: Vec<_> = (0..16)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                loop {
                    let _ = ping(&client).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    proxy.set(Fault::BlackHole);
    until(slack(Duration::from_secs(2)), "a call in the hole", async || {
        ping(&client).await.is_err()
    })
    .await
    .expect("calls fail");
    let started = Instant::now();
    proxy.set(Fault::Pass);
    recovered(&client, slack(Duration::from_secs(5))).await;
    println!("black hole under traffic healed after {:?}", started.elapsed());
    traffic.iter().for_each(|task| task.abort());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_reading_wedges_nobody_for_good() {
    let (_server, proxy, client) = fixture::proxied().await;
    proxy.set(Fault::StopReading);
    let big = vec![b'x'; 4 << 20];
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (client, big) = (client.clone(), big.clone());
            tokio::spawn(async move {
                client.command("SET").key(&Key::raw(format!("big{n}"))).arg(big).run::<()>().await
            })
        })
        .collect();
    for writer in writers {
        let outcome = writer.await.expect("ends");
        let kind = outcome.expect_err("stuck").kind();
        assert!(matches!(kind, ErrorKind::OutcomeUnknown | ErrorKind::Unavailable), "{kind:?}");
    }
    proxy.set(Fault::Pass);
    recovered(&client, slack(Duration::from_secs(5))).await;
    client
        .command("SET")
        .key(&Key::raw("big"))
        .arg(big)
        .run::<()>()
        .await
        .expect("large values work again");
}

/// The client comes up while its server is away, and finds it when it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lazy_client_waits_for_its_server() {
    let (server, client) = fixture::server().await;
    let config = client.config().clone();
    server.kill().expect("killed");
    let error = RedisClient::connect(config.clone()).await.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let lazy = RedisClient::connect_lazy(config).expect("no connection is needed");
    assert_eq!(ping(&lazy).await.expect_err("nobody there").kind(), ErrorKind::Unavailable);
    server.restart().await.expect("restarts");
    recovered(&lazy, slack(Duration::from_secs(1))).await;
}

/// One caller's slow script holds up the server, not the connection's life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_not_taken_for_a_dead_one() {
    let (server, proxy, client) = fixture::proxied().await;
    let sleep = raptor_testkit::redis::cmd("DEBUG").arg("SLEEP").arg("1.6").to_owned();
    let (slept, outcome) = tokio::join!(server.query::<()>(&sleep), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.command("INCR").key(&Key::raw("n")).run::<i64>().await
    });
    slept.expect("DEBUG SLEEP");
    assert_eq!(outcome.expect("slow, not dead"), 1);
    assert_eq!(proxy.connections(), 1, "no connection was replaced");
}

/// A large reply over a slow link looks like silence; who allows it time gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reply_over_a_slow_link_arrives_when_it_is_given_time() {
    let (server, direct) = fixture::server().await;
    let value = vec![b'x'; 16 << 20];
    let key = Key::raw("large");
    direct.command("SET").key(&key).arg(value.clone()).run::<()>().await.expect("SET");
    let slow = slow_link(server.addr()).await;
    let client = fixture::client(&format!("redis://{slow}")).await;
    let started = Instant::now();
    let call = client.command("GET").key(&key).large().timeout(Duration::from_secs(60));
    let got: Vec<u8> = call.run().await.expect("arrives");
    assert!(got == value);
    assert!(started.elapsed() > Duration::from_secs(4), "slow enough: {:?}", started.elapsed());
}

/// Forwards; replies at 3 MB a second.
async fn slow_link(upstream: std::net::SocketAddr) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(upstream).await.expect("connects");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                    if to_client.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1) / 3 * n as u32 / (1 << 20)).await;
                }
            });
        }
    });
    at
}
