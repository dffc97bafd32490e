//! A TCP proxy with faults: what networks and dying servers do to a client, on demand and to the byte.
//!
//! This file is the switchboard that a test holds; proxy_connection.rs is what happens on each connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Error;
use crate::listener::Listener;
use crate::ports::PortLease;
use crate::proxy_connection::{Ending, Trap, serve};

/// What a [`Proxy`] does to its connections until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fault {
    /// Everything goes through.
    #[default]
    Pass,
    /// Each reply arrives this much later; order and throughput stay.
    Delay(Duration),
    /// Both directions are swallowed while the sockets stay open, as when a network path is dead: even the other
    /// side's close goes unseen. A connection that lost bytes, or was opened meanwhile, stays a hole for ever, also
    /// after [`Fault::Pass`]: a TCP stream never goes on after a gap.
    BlackHole,
    /// Requests reach the server, replies vanish, sockets stay open. A connection that lost a reply stays so for ever.
    SwallowReplies,
    /// Nothing is read from clients, so their writes fill up and block. Nothing is lost: it goes on after [`Fault::Pass`].
    StopReading,
    /// New connections are accepted and closed at once; those that exist go on.
    Refuse,
}

/// A fault-injecting TCP proxy in front of one server.
///
/// Runs as tasks on the runtime that called [`Proxy::start`] (so do not block that runtime's only thread); ends, with
/// all its connections, when dropped. A client's half-close counts as a close. It
/// understands plain RESP where it has to (which reply belongs to which request); put a [`TlsFront`](crate::TlsFront)
/// in front of it, not behind, to have faults under TLS.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use raptor_testkit::{Proxy, Server, redis};
///
/// let server = Server::start().await?;
/// let proxy = Proxy::start(server.addr()).await?;
/// let mut client = redis::Client::open(proxy.url())?.get_connection()?;
///
/// proxy.drop_reply_to(b"INCR");
/// assert!(redis::cmd("INCR").arg("n").exec(&mut client).is_err()); // the client cannot know …
/// let n: u64 = server.query(redis::cmd("GET").arg("n")).await?;
/// assert_eq!(n, 1); // … that it was executed
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Proxy {
    board: Arc<Board>,
    accepting: JoinHandle<()>,
    lease: PortLease,
}

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) fault: watch::Sender<Fault>,
    /// Told to all connections that are open at the time.
    pub(crate) ending: watch::Sender<Option<Ending>>,
    pub(crate) trap: Mutex<Option<Trap>>,
    pub(crate) open: AtomicU64,
    counters: Mutex<Vec<RequestCounter>>,
    accepted: AtomicU64,
}

/// Counts the requests that contain some bytes; from [`Proxy::count_requests`].
#[derive(Debug, Clone)]
pub struct RequestCounter {
    needle: Arc<[u8]>,
    seen: Arc<AtomicU64>,
}

impl RequestCounter {
    /// How many such requests the proxy has seen since the counter was made.
    pub fn get(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let (listener, lease) = Listener::bind()?;
        let board = Arc::new(Board {
            fault: watch::Sender::new(Fault::Pass),
            ending: watch::Sender::new(None),
            trap: Mutex::new(None),
            open: AtomicU64::new(0),
            counters: Mutex::new(Vec::new()),
            accepted: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, upstream, Arc::clone(&board)));
        Ok(Self { board, accepting, lease })
    }

    /// Where clients connect: `redis://127.0.0.1:PORT`. Add the server's password yourself if it has one.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.lease.addr()
    }

    /// From now on does this to all connections, the open ones included.
    pub fn set(&self, fault: Fault) {
        self.board.fault.send_replace(fault);
    }

    /// Closes all open connections now. New ones are accepted as before.
    pub fn cut(&self) {
        self.board.ending.send_replace(Some(Ending::Close));
    }

    /// Resets all open connections now (RST, what a client reports as "connection reset by peer").
    pub fn reset(&self) {
        self.board.ending.send_replace(Some(Ending::Reset));
    }

    /// Once: the next bytes that the server sends, on whichever connection, are swallowed and that connection is closed.
    pub fn drop_next_reply(&self) {
        self.arm(Trap::NextReply);
    }

    /// Once: the first request that contains `needle` is forwarded and executed, its whole reply is swallowed and the
    /// connection closed.
    ///
    /// Replies to requests before it on the same connection still arrive. The close comes only after the server's
    /// reply has, so the server has executed the request for sure. Looks at the first 64 KiB of each request. Does not
    /// know CLIENT REPLY or MONITOR.
    pub fn drop_reply_to(&self, needle: &[u8]) {
        self.arm(Trap::ReplyTo(needle.to_vec()));
    }

    /// Whether a trap set by [`Proxy::drop_next_reply`] or [`Proxy::drop_reply_to`] has not caught a request or reply yet.
    pub fn is_armed(&self) -> bool {
        self.board.trap.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Counts the requests that contain `needle`, from now on (in the first 64 KiB of each).
    pub fn count_requests(&self, needle: &[u8]) -> RequestCounter {
        let counter = RequestCounter { needle: needle.into(), seen: Arc::default() };
        let mut counters = self.board.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.push(counter.clone());
        counter
    }

    /// How many connections were accepted so far, the refused ones included.
    pub fn connections(&self) -> u64 {
        self.board.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> u64 {
        self.board.open.load(Ordering::SeqCst)
    }

    fn arm(&self, trap: Trap) {
        *self.board.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Board {
    pub(crate) fn count_request(&self, head: &[u8]) {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for counter in counters.iter().filter(|counter| contains(head, &counter.needle)) {
            counter.seen.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle)
}

async fn accept(listener: Listener, upstream: SocketAddr, board: Arc<Board>) {
    loop {
        let client = listener.accept().await;
        board.accepted.fetch_add(1, Ordering::SeqCst);
        if *board.fault.borrow() == Fault::Refuse {
            continue;
        }
        board.open.fetch_add(1, Ordering::SeqCst);
        // Subscribed here and not in the task, so that a cut right after the accept is not missed.
        let ending = board.ending.subscribe();
        tokio::spawn(serve(client, upstream, Arc::clone(&board), ending));
    }
}
