//! A bare connection for tests that must see each byte, and an end of the stream, themselves.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long silence must last to count as silence.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

/// How long something may take that must happen; a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// These bytes; more may follow.
    Bytes(String),
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

    /// Waits for the next thing to happen.
    pub(crate) async fn see(&mut self) -> Seen {
        timeout(PATIENCE, self.next()).await.expect("something happens")
    }

    /// Checks that nothing comes, and that the socket stays open, for long enough to believe it.
    pub(crate) async fn stays_silent(&mut self) {
        if let Ok(seen) = timeout(SILENCE, self.next()).await {
            panic!("no silence but {seen:?}");
        }
    }

    async fn next(&mut self) -> Seen {
        let mut buffer = vec![0; 64 * 1024];
        match self.0.read(&mut buffer).await {
            Ok(0) => Seen::Closed,
            Ok(length) => Seen::Bytes(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Seen::Reset,
            Err(error) => panic!("reading: {error}"),
        }
    }

    /// Reads until `length` bytes have come.
    pub(crate) async fn exactly(&mut self, length: usize) -> String {
        let mut buffer = vec![0; length];
        let reading = self.0.read_exact(&mut buffer);
        timeout(PATIENCE, reading).await.expect("in time").expect("all bytes");
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
