//! When is a server ready? When it answers PING on its own socket, or has ended.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::process::Process;
use crate::{Error, eventually};

/// Generous: a start takes 8–40 ms, but a machine may be busy with a whole test suite.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns when the server in `process` answers on `socket`, or with an error when it has ended or stays silent.
///
/// The unix socket lies in the server's own folder, so no foreign server can answer in its place.
pub(crate) async fn ready(process: &Process, socket: &Path) -> Result<(), Error> {
    let outcome = eventually("the server to answer PING", LIMIT, || async {
        if let Some(status) = process.exit_status() {
            return Ok(Err(status));
        }
        match timeout(Duration::from_secs(1), ping(socket)).await {
            Ok(Ok(reply)) if is_up(&reply) => Ok(Ok(())),
            Ok(Ok(reply)) => Err(String::from_utf8_lossy(&reply).trim().to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("connected, but no reply within a second".to_owned()),
        }
    });
    match outcome.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(status)) => Err(Error::Start {
            reason: format!("it ended at once with status {status}"),
            log: String::new(),
        }),
        Err(error) => Err(Error::Start { reason: error.to_string(), log: String::new() }),
    }
}

async fn ping(socket: &Path) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut reply = vec![0; 128];
    let length = stream.read(&mut reply).await?;
    reply.truncate(length);
    Ok(reply)
}

/// A server that wants a password is up; one that loads its data (`-LOADING`) is not.
fn is_up(reply: &[u8]) -> bool {
    reply.starts_with(b"+PONG") || reply.starts_with(b"-NOAUTH")
}
