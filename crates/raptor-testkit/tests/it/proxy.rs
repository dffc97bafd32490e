//! Each fault of the proxy does to a connection what it says, to the byte, and nothing else.

use std::time::{Duration, Instant};

use raptor_testkit::redis;
use raptor_testkit::{Fault, Proxy, Server, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{SILENCE, Seen, Wire, request};

async fn pair() -> (Server, Proxy) {
    let server = Server::start().await.expect("server");
    let proxy = Proxy::start(server.addr()).await.expect("proxy");
    (server, proxy)
}

async fn counter(server: &Server) -> Option<u64> {
    server.query(redis::cmd("GET").arg("n")).await.expect("GET")
}

#[tokio::test]
async fn passes_everything_and_counts() {
    let (_server, proxy) = pair().await;
    let pings = proxy.count_requests(b"PING");
    let mut wire = Wire::open(proxy.addr()).await;
    wire.ask("PING", "+PONG").await;
    wire.ask("INCR n", ":1").await;
    wire.send(request(&["PING", &"x".repeat(300_000)])).await;
    assert_eq!(wire.exactly(9).await, "$300000\r\n");
    wire.exactly(300_002).await;
    assert_eq!(pings.get(), 2);
    assert_eq!((proxy.connections(), proxy.open_connections()), (1, 1));
    drop(wire);
    let closed = eventually("the connection to be closed", Duration::from_secs(5), || async {
        let open = proxy.open_connections();
        if open == 0 { Ok(()) } else { Err(format!("{open} open")) }
    });
    closed.await.expect("closed");
}

#[tokio::test]
async fn delay_moves_replies_and_keeps_their_order_and_rate() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.ask("PING", "+PONG").await;
    proxy.set(Fault::Delay(Duration::from_millis(80)));
    let begun = Instant::now();
    for i in 1..=5 {
        wire.send(format!("INCR n\r\nECHO {i}\r\n")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let replies = wire.exactly(5 * (4 + 7)).await;
    assert!(replies.starts_with(":1\r\n$1\r\n1\r\n:2\r\n$1\r\n2\r\n"), "{replies}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(110), "{took:?}");
    assert!(
        took < Duration::from_millis(10 * 80),
        "the delays of ten replies must not add up: {took:?}"
    );
}

#[tokio::test]
async fn a_black_hole_swallows_both_directions_for_ever() {
    let (server, proxy) = pair().await;
    let mut busy = Wire::open(proxy.addr()).await;
    busy.ask("PING", "+PONG").await;
    let mut idle = Wire::open(proxy.addr()).await;
    idle.ask("PING", "+PONG").await;
    proxy.set(Fault::BlackHole);
    busy.send("INCR n\r\n").await;
    busy.stays_silent().await;
    let mut opened_within = Wire::open(proxy.addr()).await;
    opened_within.send("INCR n\r\n").await;
    opened_within.stays_silent().await;
    proxy.set(Fault::Pass);
    for hole in [&mut busy, &mut opened_within] {
        hole.send("INCR n\r\n").await;
        hole.stays_silent().await;
    }
    assert_eq!(counter(&server).await, None);
    idle.ask("PING", "+PONG").await;
    Wire::open(proxy.addr()).await.ask("PING", "+PONG").await;
}

#[tokio::test]
async fn a_black_hole_hides_the_servers_death() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.ask("PING", "+PONG").await;
    proxy.set(Fault::BlackHole);
    server.kill().expect("kill");
    wire.stays_silent().await;
    proxy.cut();
    assert_eq!(wire.see().await, Seen::Closed);
}

#[tokio::test]
async fn swallowed_replies_were_executed() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.ask("INCR n", ":1").await;
    proxy.set(Fault::SwallowReplies);
    wire.send("INCR n\r\n").await;
    wire.stays_silent().await;
    assert_eq!(counter(&server).await, Some(2));
    proxy.set(Fault::Pass);
    wire.send("INCR n\r\n").await;
    // No reply may arrive in another's place.
    wire.stays_silent().await;
    Wire::open(proxy.addr()).await.ask("INCR n", ":4").await;
}

#[tokio::test]
async fn stop_reading_blocks_writers_and_loses_nothing() {
    let (server, proxy) = pair().await;
    let mut stream = TcpStream::connect(proxy.addr()).await.expect("connect");
    proxy.set(Fault::StopReading);
    let chunk = "INCR n\r\n".repeat(8 * 1024);
    let mut chunks = 0;
    while timeout(SILENCE, stream.write_all(chunk.as_bytes())).await.is_ok() {
        chunks += 1;
        assert!(chunks < 4096, "256 MiB written, and it never blocked");
    }
    assert_eq!(counter(&server).await, None);
    proxy.set(Fault::Pass);
    // The write that was given up had sent some part of its chunk.
    let least = chunks * 8 * 1024;
    let mut replies = vec![0; 64 * 1024];
    eventually("all whole chunks to arrive", Duration::from_secs(30), || {
        while stream.try_read(&mut replies).is_ok_and(|length| length > 0) {}
        let server = &server;
        async move {
            let seen = counter(server).await.unwrap_or_default();
            if seen >= least { Ok(()) } else { Err(format!("{seen} of {least}")) }
        }
    })
    .await
    .expect("nothing is lost");
}

#[tokio::test]
async fn refuse_closes_new_connections_only() {
    let (_server, proxy) = pair().await;
    let mut old = Wire::open(proxy.addr()).await;
    old.ask("PING", "+PONG").await;
    proxy.set(Fault::Refuse);
    assert_eq!(Wire::open(proxy.addr()).await.see().await, Seen::Closed);
    old.ask("PING", "+PONG").await;
    proxy.set(Fault::Pass);
    Wire::open(proxy.addr()).await.ask("PING", "+PONG").await;
    assert_eq!(proxy.connections(), 3);
}

#[tokio::test]
async fn cut_closes_and_reset_resets_what_is_open() {
    let (_server, proxy) = pair().await;
    for (end, seen) in [(Proxy::cut as fn(&Proxy), Seen::Closed), (Proxy::reset, Seen::Reset)] {
        let mut wires = Vec::new();
        for _ in 0..3 {
            let mut wire = Wire::open(proxy.addr()).await;
            wire.ask("PING", "+PONG").await;
            wires.push(wire);
        }
        end(&proxy);
        for mut wire in wires {
            assert_eq!(wire.see().await, seen);
        }
        Wire::open(proxy.addr()).await.ask("PING", "+PONG").await;
    }
}

#[tokio::test]
async fn drop_next_reply_takes_one() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.ask("INCR n", ":1").await;
    proxy.drop_next_reply();
    wire.send("INCR n\r\n").await;
    assert_eq!(wire.see().await, Seen::Closed);
    assert_eq!(counter(&server).await, Some(2));
    Wire::open(proxy.addr()).await.ask("INCR n", ":3").await;
}

#[tokio::test]
async fn drop_reply_to_loses_exactly_that_reply() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.ask("PING", "+PONG").await;
    proxy.drop_reply_to(b"INCR");
    assert!(proxy.is_armed());
    // Slow and big replies before it, in one pipeline, arrive whole.
    let before = [
        request(&["EVAL", "for i = 1, 300000 do end return 'slow'", "0"]),
        request(&["ECHO", &"y".repeat(200_000)]),
        request(&["CONFIG", "GET", "databases"]),
    ];
    wire.send(before.concat()).await;
    wire.send(request(&["INCR", "n"])).await;
    wire.send(request(&["ECHO", "after"])).await;
    assert_eq!(wire.exactly(10).await, "$4\r\nslow\r\n");
    wire.exactly("$200000\r\n".len() + 200_002).await;
    wire.exactly("*2\r\n$9\r\ndatabases\r\n$2\r\n16\r\n".len()).await;
    assert_eq!(wire.see().await, Seen::Closed);
    assert_eq!(counter(&server).await, Some(1));
    assert!(!proxy.is_armed());
    Wire::open(proxy.addr()).await.ask("INCR n", ":2").await;
}

#[tokio::test]
async fn drop_reply_to_finds_a_needle_across_chunks_and_skips_pushes() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("HELLO 3\r\nSUBSCRIBE news\r\nINCR n\r\n").await;
    let mut text = String::new();
    while !text.ends_with(":1\r\n") {
        let Seen::Bytes(more) = wire.see().await else { panic!("only {text}") };
        text.push_str(&more);
    }
    proxy.drop_reply_to(b"needle");
    let bytes = request(&["APPEND", "log", "a needle in it"]);
    for piece in bytes.chunks(3) {
        wire.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.see().await, Seen::Closed);
    let log: String = server.query(redis::cmd("GET").arg("log")).await.expect("GET");
    assert_eq!(log, "a needle in it");
}

#[tokio::test]
async fn dropping_the_proxy_closes_everything() {
    let (_server, proxy) = pair().await;
    let addr = proxy.addr();
    let mut wire = Wire::open(addr).await;
    wire.ask("PING", "+PONG").await;
    drop(proxy);
    assert_eq!(wire.see().await, Seen::Closed);
    assert!(TcpStream::connect(addr).await.is_err());
}
