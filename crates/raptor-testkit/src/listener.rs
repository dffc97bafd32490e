//! The listening side of the proxy and the fronts: a socket on a port that is ours.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::Error;
use crate::ports::PortLease;

/// A listening socket on 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Listener(TcpListener);

impl Listener {
    /// Listens on a free port; it stays ours as long as the lease.
    pub(crate) fn bind() -> Result<(Self, PortLease), Error> {
        let (lease, listener) = PortLease::take_bound()?;
        let doing = || format!("listening on port {}", lease.port());
        listener.set_nonblocking(true).map_err(Error::io(doing()))?;
        let listener = TcpListener::from_std(listener).map_err(Error::io(doing()))?;
        Ok((Self(listener), lease))
    }

    /// The next client.
    pub(crate) async fn accept(&self) -> TcpStream {
        loop {
            if let Ok((client, _)) = self.0.accept().await {
                let _ = client.set_nodelay(true);
                return client;
            }
            // Out of file descriptors, say: some time later there may be some again.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl PortLease {
    /// Where clients reach whoever listens on this port.
    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }
}
