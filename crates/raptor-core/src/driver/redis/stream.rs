//! The stream that a connection speaks over: TCP, TLS over TCP, or a unix socket.
//!
//! Opened by us, not by the library: its own streams have no user timeout, and take neither our TLS
//! settings nor the crypto provider that they name.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::super::{Target, tcp};
use crate::config::Endpoint;

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

pub(super) type Stream = Box<dyn Duplex>;

/// Opens the stream; nothing of Redis is said yet.
pub(super) async fn open(target: &Target) -> io::Result<Stream> {
    let (host, port) = match &target.endpoint {
        Endpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Endpoint::Tcp { host, port } => (host, *port),
    };
    let stream = tcp(host, port).await?;
    let Some(tls) = &target.tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.clone())
        .map_err(|_| io::Error::other("TLS: no certificate can be for such a host name"))?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|e| io::Error::new(e.kind(), format!("TLS: {e}")))?))
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&tcp::keepalive())?;
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(tcp::USER_TIMEOUT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_held_back_and_a_dead_peer_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let stream = tcp("127.0.0.1", port).await.expect("connects");
        assert!(stream.nodelay().expect("known"));
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("known"));
        #[cfg(target_os = "linux")]
        {
            let seconds = |limit: std::time::Duration| limit.as_secs();
            assert_eq!(socket.keepalive_time().map(seconds).expect("known"), 15);
            assert_eq!(socket.keepalive_interval().map(seconds).expect("known"), 5);
            assert_eq!(socket.tcp_user_timeout().expect("known").map(seconds), Some(10));
        }
    }
}
