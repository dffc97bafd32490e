//! A front that holds a local server to Upstash's limits, so that what passes here can run there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::frames::{FrameScanner, answered_by_pushes, words};
use crate::listener::Listener;
use crate::ports::PortLease;
use crate::tls_identity::Identity;
use crate::upstash_rules::{LARGEST_REQUEST, Session, Verdict};

/// A server as Upstash offers it: a token for the user `default`, database 0 alone, no sharded pub/sub, CLIENT TRACKING,
/// OBJECT, SLOWLOG, CONFIG or administration, and no request above 10 MB.
///
/// It judges requests; what a Lua script calls inside the server goes unjudged. The server behind must have no password.
/// Ends, with its connections, when dropped.
#[derive(Debug)]
pub struct UpstashFront {
    token: Arc<str>,
    identity: Option<Identity>,
    accepting: JoinHandle<()>,
    lease: PortLease,
}

impl UpstashFront {
    /// Listens on a free port of 127.0.0.1, without TLS, and forwards to `upstream`.
    pub async fn start(upstream: SocketAddr, token: &str) -> Result<Self, Error> {
        Self::listen(upstream, token, None)
    }

    /// The same behind TLS, as Upstash is; clients must trust [`UpstashFront::ca_file`].
    pub async fn start_tls(upstream: SocketAddr, token: &str) -> Result<Self, Error> {
        Self::listen(upstream, token, Some(Identity::make()?))
    }

    fn listen(
        upstream: SocketAddr,
        token: &str,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let (listener, lease) = Listener::bind()?;
        let token: Arc<str> = token.into();
        let acceptor = identity.as_ref().map(|identity| identity.acceptor.clone());
        let accepting = tokio::spawn(accept(listener, acceptor, upstream, Arc::clone(&token)));
        Ok(Self { token, identity, accepting, lease })
    }

    /// Where clients connect: `redis://default:TOKEN@127.0.0.1:PORT`, or `rediss://default:TOKEN@localhost:PORT`.
    pub fn url(&self) -> String {
        let token = utf8_percent_encode(&self.token, NON_ALPHANUMERIC);
        let (scheme, host) =
            if self.identity.is_some() { ("rediss", "localhost") } else { ("redis", "127.0.0.1") };
        format!("{scheme}://default:{token}@{host}:{}", self.lease.port())
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.lease.addr()
    }

    /// The token that it wants.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A file with the certificate authority to trust, as PEM; `None` without TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.identity.as_ref().map(|identity| identity.ca_file.as_path())
    }

    /// The certificate authority to trust, as PEM; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.ca_pem.as_str())
    }
}

impl Drop for UpstashFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Owns its connections: they end with it.
async fn accept(
    listener: Listener,
    acceptor: Option<TlsAcceptor>,
    upstream: SocketAddr,
    token: Arc<str>,
) {
    let mut connections = JoinSet::new();
    loop {
        let client = listener.accept().await;
        let (acceptor, token) = (acceptor.clone(), Arc::clone(&token));
        connections.spawn(async move {
            match acceptor {
                None => serve(client, upstream, &token).await,
                Some(acceptor) => {
                    if let Ok(client) = acceptor.accept(client).await {
                        serve(client, upstream, &token).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What the client is owed next, in the order of its requests.
enum Owed {
    /// The server's next reply.
    Forwarded,
    /// This answer of our own.
    Own(Vec<u8>),
}

/// Who ended the requests.
enum End {
    Client,
    Front,
}

async fn serve(client: impl AsyncRead + AsyncWrite, upstream: SocketAddr, token: &str) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = server.set_nodelay(true);
    let (from_server, to_server) = server.split();
    let (from_client, to_client) = split(client);
    let (owe, owed) = mpsc::unbounded_channel();
    let answering = answer(from_server, to_client, owed);
    tokio::pin!(answering);
    tokio::select! {
        () = &mut answering => {}
        end = judge(from_client, to_server, owe, token) => {
            if let End::Front = end {
                // The refusal comes after the replies that are still due, and then the close.
                let _ = timeout(Duration::from_secs(5), answering).await;
            }
        }
    }
}

/// Cuts requests apart and forwards, rewrites or refuses each.
async fn judge(
    mut client: impl AsyncRead + Unpin,
    mut server: impl AsyncWrite + Unpin,
    owe: mpsc::UnboundedSender<Owed>,
    token: &str,
) -> End {
    let mut session = Session::new(token);
    let mut scanner = FrameScanner::new(0);
    let mut request = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = client.read(&mut buffer).await else { return End::Client };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let end = scanner.next_end(rest);
            let (piece, later) = rest.split_at(end.unwrap_or(rest.len()));
            rest = later;
            request.extend_from_slice(piece);
            if request.len() > LARGEST_REQUEST {
                let _ = owe.send(Owed::Own(b"-ERR max request size exceeded\r\n".to_vec()));
                return End::Front;
            }
            if end.is_none() {
                continue;
            }
            let bytes = match session.judge(&request) {
                Verdict::Answer(answer) => {
                    let _ = owe.send(Owed::Own(format!("{answer}\r\n").into_bytes()));
                    request.clear();
                    continue;
                }
                Verdict::Forward => std::mem::take(&mut request),
                Verdict::ForwardAs(other) => other,
            };
            request.clear();
            let name = words(&bytes).and_then(|words| words.first().copied());
            if !name.is_none_or(answered_by_pushes) {
                let _ = owe.send(Owed::Forwarded);
            }
            if server.write_all(&bytes).await.is_err() {
                return End::Client;
            }
        }
    }
}

/// Brings the client the server's replies and our own answers, in the order of the requests.
async fn answer(
    mut server: impl AsyncRead + Unpin,
    mut client: impl AsyncWrite + Unpin,
    mut owed: mpsc::UnboundedReceiver<Owed>,
) {
    let mut scanner = FrameScanner::new(0);
    let mut due: VecDeque<Owed> = VecDeque::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut more_requests = true;
    loop {
        if !more_requests && due.is_empty() {
            let _ = client.shutdown().await;
            return;
        }
        let length = tokio::select! {
            biased;
            next = owed.recv(), if more_requests => {
                more_requests = next.is_some();
                due.extend(next);
                if scanner.is_between_frames() && pay_own(&mut due, &mut client).await.is_err() {
                    return;
                }
                continue;
            }
            read = server.read(&mut buffer) => read.unwrap_or_default(),
        };
        if length == 0 {
            return;
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let end = scanner.next_end(rest);
            let (piece, later) = rest.split_at(end.unwrap_or(rest.len()));
            rest = later;
            if client.write_all(piece).await.is_err() {
                return;
            }
            if end.is_none() {
                continue;
            }
            if scanner.first_byte() != Some(b'>') && matches!(due.front(), Some(Owed::Forwarded)) {
                due.pop_front();
            }
            if pay_own(&mut due, &mut client).await.is_err() {
                return;
            }
        }
        if client.flush().await.is_err() {
            return;
        }
    }
}

async fn pay_own(
    due: &mut VecDeque<Owed>,
    client: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    while let Some(Owed::Own(answer)) = due.front() {
        client.write_all(answer).await?;
        due.pop_front();
    }
    client.flush().await
}
