//! One connection through the fault proxy: two directions, and what the faults do to each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::frames::{FrameScanner, answered_by_pushes, words};
use crate::proxy::{Board, Fault, contains};

/// How a connection is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Close,
    Reset,
}

/// Waits for one reply, to lose it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    NextReply,
    ReplyTo(Vec<u8>),
}

const REQUEST_HEAD: usize = 64 * 1024;
const CHUNK: usize = 64 * 1024;
/// Chunks that a delayed direction holds before it stops reading.
const DELAY_LINE: usize = 1024;
/// No reply is to be lost.
const NONE: u64 = u64::MAX;

/// What the two directions of a connection tell each other.
#[derive(Debug)]
struct Line {
    board: Arc<Board>,
    /// Both directions are dead for ever.
    holed: AtomicBool,
    /// The direction to the client is dead for ever.
    muted: AtomicBool,
    /// The number (from 0) of the reply that must not arrive.
    doomed: AtomicU64,
}

/// Carries a client's connection until either side closes it or `ending` is told.
pub(crate) async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    board: Arc<Board>,
    mut ending: watch::Receiver<Option<Ending>>,
) {
    let line = Line {
        board: Arc::clone(&board),
        holed: AtomicBool::new(*board.fault.borrow() == Fault::BlackHole),
        muted: AtomicBool::new(false),
        doomed: AtomicU64::new(NONE),
    };
    let ended = tokio::select! {
        () = carry(&mut client, upstream, &line) => Ending::Close,
        ended = told(&mut ending) => ended,
    };
    if ended == Ending::Reset {
        let _ = client.set_zero_linger();
    }
    drop(client);
    board.open.fetch_sub(1, Ordering::SeqCst);
}

async fn told(ending: &mut watch::Receiver<Option<Ending>>) -> Ending {
    // An error means that the proxy is gone.
    let _ = ending.changed().await;
    ending.borrow().unwrap_or(Ending::Close)
}

async fn carry(client: &mut TcpStream, upstream: SocketAddr, line: &Line) {
    let (from_client, to_client) = client.split();
    if line.holed.load(Ordering::SeqCst) {
        return requests(from_client, tokio::io::sink(), line).await;
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = server.set_nodelay(true);
    let (from_server, to_server) = server.split();
    let (delayed, due) = mpsc::channel(DELAY_LINE);
    tokio::select! {
        () = requests(from_client, to_server, line) => {}
        () = async { tokio::join!(replies(from_server, delayed, line), deliver(due, to_client, line)); } => {}
    }
}

/// Client to server; returns when the client has closed, or the server takes no more.
async fn requests(
    mut client: impl AsyncRead + Unpin,
    mut server: impl AsyncWrite + Unpin,
    line: &Line,
) {
    let mut fault = line.board.fault.subscribe();
    let mut scanner = FrameScanner::new(REQUEST_HEAD);
    let mut sent = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        if *fault.borrow_and_update() == Fault::StopReading {
            let _ = fault.changed().await;
            continue;
        }
        let length = tokio::select! {
            biased;
            _ = fault.changed() => continue,
            read = client.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            },
        };
        if *line.board.fault.borrow() == Fault::BlackHole {
            line.holed.store(true, Ordering::SeqCst);
        }
        if line.holed.load(Ordering::SeqCst) {
            continue;
        }
        // Before the bytes are sent, so that a doomed reply cannot come earlier than the mark.
        note_requests(&buffer[..length], &mut scanner, &mut sent, line);
        if server.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Counts the requests that end in this chunk, and marks the reply to the one that a trap waits for.
fn note_requests(mut chunk: &[u8], scanner: &mut FrameScanner, sent: &mut u64, line: &Line) {
    while let Some(end) = scanner.next_end(chunk) {
        chunk = &chunk[end..];
        let head = scanner.head();
        line.board.count_request(head);
        if is_unanswered(head) {
            continue;
        }
        let mut trap = line.board.trap.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*trap, Some(Trap::ReplyTo(needle)) if contains(head, needle)) {
            *trap = None;
            line.doomed.store(*sent, Ordering::SeqCst);
        }
        *sent += 1;
    }
}

/// Subscriptions are answered by pushes, empty inline commands not at all.
fn is_unanswered(head: &[u8]) -> bool {
    // Of a long request the head is cut, but its name is in the first bytes.
    let name = match head.strip_prefix(b"*") {
        Some(_) => head.split(|byte| *byte == b'\n').nth(2).map(<[u8]>::trim_ascii_end),
        None => words(head).and_then(|words| words.first().copied()),
    };
    name.is_none_or(answered_by_pushes)
}

/// Server to delay line; returns when the server has closed or a reply was lost on purpose.
async fn replies(
    mut server: impl AsyncRead + Unpin,
    delayed: mpsc::Sender<(Instant, Vec<u8>)>,
    line: &Line,
) {
    let mut scanner = FrameScanner::new(0);
    let mut received = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        // An error, a reset say, is an end like any other.
        let length = server.read(&mut buffer).await.unwrap_or_default();
        let fault = *line.board.fault.borrow();
        match fault {
            Fault::BlackHole => line.holed.store(true, Ordering::SeqCst),
            Fault::SwallowReplies => line.muted.store(true, Ordering::SeqCst),
            _ => {}
        }
        let dead = line.holed.load(Ordering::SeqCst) || line.muted.load(Ordering::SeqCst);
        if length == 0 {
            if dead {
                // Not even the server's close is seen; the client's own close or a cut ends this.
                std::future::pending::<()>().await;
            }
            return;
        }
        if !dead && is_next_reply(line) {
            return;
        }
        let doomed = line.doomed.load(Ordering::SeqCst);
        let (kept, lost) = before_doomed(&buffer[..length], &mut scanner, &mut received, doomed);
        if !dead && !kept.is_empty() {
            let delay = if let Fault::Delay(delay) = fault { delay } else { Default::default() };
            if delayed.send((Instant::now() + delay, kept.to_vec())).await.is_err() {
                return;
            }
        }
        if lost && !dead {
            return;
        }
    }
}

fn is_next_reply(line: &Line) -> bool {
    let mut trap = line.board.trap.lock().unwrap_or_else(PoisonError::into_inner);
    trap.take_if(|trap| *trap == Trap::NextReply).is_some()
}

/// The part of the chunk that comes before the doomed reply, and whether that reply is now complete.
fn before_doomed<'a>(
    chunk: &'a [u8],
    scanner: &mut FrameScanner,
    received: &mut u64,
    doomed: u64,
) -> (&'a [u8], bool) {
    let mut rest = chunk;
    let mut kept = 0;
    while !rest.is_empty() {
        let end = scanner.next_end(rest);
        let is_push = scanner.first_byte() == Some(b'>');
        let is_doomed = *received == doomed && !is_push;
        let used = end.unwrap_or(rest.len());
        if is_doomed {
            return (&chunk[..kept], end.is_some());
        }
        kept += used;
        rest = &rest[used..];
        if end.is_some() && !is_push {
            *received += 1;
        }
    }
    (&chunk[..kept], false)
}

/// Delay line to client; returns when the line has ended and all is delivered, or the client takes no more.
async fn deliver(
    mut due: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut client: impl AsyncWrite + Unpin,
    line: &Line,
) {
    while let Some((at, chunk)) = due.recv().await {
        sleep_until(at).await;
        // What was on its way when the path died is lost with it.
        if line.holed.load(Ordering::SeqCst) {
            continue;
        }
        if client.write_all(&chunk).await.is_err() {
            return;
        }
    }
}
