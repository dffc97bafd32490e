//! A bare connection for tests that must see each byte, and an end of the stream, themselves.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long silence must last to count as silence.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// These bytes, then nothing more for now.
    Bytes(String),
    /// Nothing at all, and the socket is open.
    Silence,
    /// The other side closed in good order.
    Closed,
    /// The connection was reset.
    Reset,
}

/// A TCP connection that speaks inline commands.
#[derive(Debug)]
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.expect("connect"))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("send");
    }

    pub(crate) async fn see(&mut self) -> Seen {
        let mut buffer = vec![0; 64 * 1024];
        match timeout(SILENCE, self.0.read(&mut buffer)).await {
            Err(_) => Seen::Silence,
            Ok(Ok(0)) => Seen::Closed,
            Ok(Ok(length)) => Seen::Bytes(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Seen::Reset,
            Ok(Err(error)) => panic!("reading: {error}"),
        }
    }

    /// Reads until `length` bytes have come.
    pub(crate) async fn exactly(&mut self, length: usize) -> String {
        let mut buffer = vec![0; length];
        let reading = self.0.read_exact(&mut buffer);
        timeout(Duration::from_secs(10), reading).await.expect("in time").expect("all bytes");
        String::from_utf8_lossy(&buffer).into_owned()
    }

    /// Sends an inline command and expects this reply.
    pub(crate) async fn ask(&mut self, command: &str, reply: &str) {
        self.send(format!("{command}\r\n")).await;
        let expected = format!("{reply}\r\n");
        assert_eq!(self.exactly(expected.len()).await, expected, "reply to {command}");
    }
}

/// The request as an array of bulk strings.
pub(crate) fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}
