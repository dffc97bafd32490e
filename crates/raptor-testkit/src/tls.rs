//! TLS in front of any server: ends the encryption and forwards bytes.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::listener::Listener;
use crate::ports::PortLease;
use crate::tls_identity::Identity;

/// A TLS listener with a certificate for `localhost` and 127.0.0.1, forwarding to one address.
///
/// Its certificate authority is made anew each time, so a client connects only if it is told to trust
/// [`TlsFront::ca_file`]. For faults under TLS, let it forward to a [`Proxy`](crate::Proxy). Ends, with its
/// connections, when dropped.
#[derive(Debug)]
pub struct TlsFront {
    identity: Identity,
    accepting: JoinHandle<()>,
    lease: PortLease,
}

impl TlsFront {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let identity = Identity::make()?;
        let (listener, lease) = Listener::bind()?;
        let acceptor = identity.acceptor.clone();
        let accepting = tokio::spawn(accept(listener, acceptor, upstream));
        Ok(Self { identity, accepting, lease })
    }

    /// Where clients connect: `rediss://localhost:PORT`. Add the server's password yourself if it has one.
    pub fn url(&self) -> String {
        format!("rediss://localhost:{}", self.lease.port())
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.lease.addr()
    }

    /// The certificate authority to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.identity.ca_pem
    }

    /// A file with the certificate authority to trust, as PEM; gone when this is dropped.
    pub fn ca_file(&self) -> &Path {
        &self.identity.ca_file
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Owns its connections: they end with it.
async fn accept(listener: Listener, acceptor: TlsAcceptor, upstream: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let client = listener.accept().await;
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(upstream).await?;
            server.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut server).await
        });
        while connections.try_join_next().is_some() {}
    }
}
