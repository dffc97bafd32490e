//! TLS and Upstash's limits, seen by a client and byte by byte.

use std::sync::Arc;
use std::time::Duration;

use raptor_testkit::redis::cmd;
use raptor_testkit::{Server, TlsFront, UpstashFront, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::wire::{Seen, Wire, request};

async fn tls(port: u16, host: &str, ca: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM"))
            .expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = ServerName::try_from(host.to_owned()).expect("a name");
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    TlsConnector::from(Arc::new(config)).connect(host, stream).await
}

async fn upstash() -> (Server, UpstashFront) {
    let server = Server::start().await.expect("server");
    let front = UpstashFront::start(server.addr(), "to/ken").await.expect("front");
    (server, front)
}

#[tokio::test]
async fn tls_is_served_to_those_who_trust_the_authority() {
    let server = Server::start().await.expect("server");
    let front = TlsFront::start(server.addr()).await.expect("front");
    assert_eq!(front.url(), format!("rediss://localhost:{}", front.addr().port()));
    let on_file = std::fs::read_to_string(front.ca_file()).expect("the file");
    assert_eq!(on_file, front.ca_pem());
    for host in ["localhost", "127.0.0.1"] {
        let mut stream = tls(front.addr().port(), host, Some(&on_file)).await.expect(host);
        stream.write_all(b"PING\r\n").await.expect("send");
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).await.expect("reply");
        assert_eq!(&reply, b"+PONG\r\n");
    }
    tls(front.addr().port(), "localhost", None).await.expect_err("an unknown authority");
    tls(front.addr().port(), "example.test", Some(&on_file)).await.expect_err("another name");
}

#[tokio::test]
async fn tls_connections_end_with_the_front() {
    let server = Server::start().await.expect("server");
    let front = TlsFront::start(server.addr()).await.expect("front");
    let ca_file = front.ca_file().to_owned();
    let mut stream =
        tls(front.addr().port(), "localhost", Some(front.ca_pem())).await.expect("connect");
    drop(front);
    let mut buffer = [0; 1];
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
    assert!(!matches!(end.expect("an end"), Ok(1)));
    assert!(!ca_file.exists());
}

#[tokio::test]
async fn upstash_wants_its_token() {
    let (_server, front) = upstash().await;
    assert!(front.url().starts_with("redis://default:to%2Fken@127.0.0.1:"), "{}", front.url());
    let mut wire = Wire::open(front.addr()).await;
    wire.ask("GET k", "-NOAUTH Authentication required.").await;
    wire.ask("AUTH to/ken", "+OK").await;
    wire.ask("GET k", "$-1").await;
    let mut wire = Wire::open(front.addr()).await;
    wire.send(request(&["HELLO", "3", "AUTH", "default", "to/ken"])).await;
    let Seen::Bytes(hello) = wire.see().await else { panic!("no HELLO") };
    assert!(hello.starts_with('%'), "{hello}");
    wire.ask("GET k", "_").await;
}

#[tokio::test]
async fn upstash_answers_in_order_also_when_it_refuses() {
    let (_server, front) = upstash().await;
    let mut wire = Wire::open(front.addr()).await;
    wire.ask("AUTH default to/ken", "+OK").await;
    let pipeline = [
        request(&["EVAL", "for i = 1, 1000000 do end return 'slow'", "0"]),
        request(&["CONFIG", "GET", "maxmemory"]),
        request(&["INCR", "n"]),
        request(&["SELECT", "1"]),
        request(&["OBJECT", "ENCODING", "n"]),
        request(&["INCR", "n"]),
    ];
    for chunk in pipeline.concat().chunks(7) {
        wire.send(chunk).await;
    }
    let mut text = String::new();
    while !text.ends_with(":2\r\n") {
        let Seen::Bytes(more) = wire.see().await else { panic!("only {text}") };
        text.push_str(&more);
    }
    let starts: Vec<&str> = text.lines().map(|line| &line[..line.len().min(10)]).collect();
    assert_eq!(starts, ["$4", "slow", "-ERR Comma", ":1", "-ERR Only ", "-ERR Comma", ":2"]);
}

#[tokio::test]
async fn upstash_refuses_a_request_above_10_mb() {
    let (server, front) = upstash().await;
    let mut wire = Wire::open(front.addr()).await;
    wire.ask("AUTH to/ken", "+OK").await;
    wire.send(request(&["SET", "fits", &"x".repeat(10 * 1000 * 1000)])).await;
    assert_eq!(wire.exactly(5).await, "+OK\r\n");
    let large = request(&["SET", "large", &"x".repeat(10 * 1024 * 1024)]);
    let refusal = "-ERR max request size exceeded\r\n";
    wire.send(large).await;
    assert_eq!(wire.exactly(refusal.len()).await, refusal);
    assert!(matches!(wire.see().await, Seen::Closed | Seen::Reset));
    let exists: bool = server.query(cmd("EXISTS").arg("large")).await.expect("EXISTS");
    assert!(!exists);
}

#[tokio::test]
async fn upstash_serves_subscriptions_and_tls() {
    let server = Server::start().await.expect("server");
    let front = UpstashFront::start_tls(server.addr(), "t").await.expect("front");
    assert!(front.url().starts_with("rediss://default:t@localhost:"));
    assert!(front.ca_file().is_some_and(std::path::Path::exists));
    let mut stream = tls(front.addr().port(), "localhost", front.ca_pem()).await.expect("connect");
    stream.write_all(b"HELLO 3 AUTH default t\r\nSUBSCRIBE news\r\nPING\r\n").await.expect("send");
    let mut text = String::new();
    let mut buffer = vec![0; 4096];
    while !text.ends_with("+PONG\r\n") {
        let length = stream.read(&mut buffer).await.expect("read");
        assert!(length > 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let heard: u64 = server.query(cmd("PUBLISH").arg("news").arg("hello")).await.expect("PUBLISH");
    assert_eq!(heard, 1);
    let length = stream.read(&mut buffer).await.expect("read");
    assert!(String::from_utf8_lossy(&buffer[..length]).contains("hello"));
    drop(stream);
    eventually("the subscriber to be gone", Duration::from_secs(5), || async {
        let heard: u64 = server.query(cmd("PUBLISH").arg("news").arg("x")).await.expect("PUBLISH");
        if heard == 0 { Ok(()) } else { Err(format!("{heard} listening")) }
    })
    .await
    .expect("the front closes behind its client");
}
