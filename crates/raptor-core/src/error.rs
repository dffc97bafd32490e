//! One error for the whole of Raptor: what went wrong, whether a repeat is safe, what to do.
//!
//! The kind answers the question that a caller with money at stake asks first: *did it happen?*
//! [`ErrorKind::OutcomeUnknown`] is the only kind that cannot say; every kind for which
//! [`Error::is_retryable`] holds promises that a repeat does no harm.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong. New kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is missing or wrong.
    Config,
    /// An argument cannot be used: empty, too long, out of range, or refused for safety.
    InvalidInput,
    /// The server cannot be reached or refuses service; the call did **not** run.
    Unavailable,
    /// The call was sent and no answer came: it may have run, once, or not at all.
    ///
    /// Only calls that change something and carry no id of their own end so.
    OutcomeUnknown,
    /// No answer in time to a call whose repeat is harmless (a read).
    Timeout,
    /// The link broke under a call whose repeat is harmless (a read).
    Connection,
    /// User name, password or token refused, or a right is missing (ACL).
    Auth,
    /// The key holds another type than the operation needs.
    WrongType,
    /// The server is out of memory (`maxmemory` with `noeviction`) or a queue is full.
    Capacity,
    /// The server cannot do this now, but said so before doing anything (`TRYAGAIN`, `LOADING` …).
    TryAgain,
    /// Stored or received bytes do not have the expected form.
    Codec,
    /// A reply did not fit its request; the connection was closed and nothing was handed out.
    Protocol,
    /// The server answered with an error of another sort.
    Server,
}

impl ErrorKind {
    /// The kind's name as used in metrics labels and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::InvalidInput => "invalid_input",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Auth => "auth",
            Self::WrongType => "wrong_type",
            Self::Capacity => "capacity",
            Self::TryAgain => "try_again",
            Self::Codec => "codec",
            Self::Protocol => "protocol",
            Self::Server => "server",
        }
    }
}

/// The error of every Raptor call. Holds no password, token, key part or payload.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of every Raptor call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message says what was wrong and what to do, in lower case.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An argument that cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Bytes that do not have the expected form.
    pub fn codec(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Codec, message)
    }

    /// Keeps what caused this error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may simply be made again: it did not run, or running twice is harmless.
    ///
    /// `false` for [`ErrorKind::OutcomeUnknown`]: look at the state first, or use an operation
    /// that carries an id.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable
                | ErrorKind::Timeout
                | ErrorKind::Connection
                | ErrorKind::TryAgain
                | ErrorKind::Capacity
        )
    }

    /// An error reply of the server, classified by its first word (the one stable part of it).
    #[must_use]
    pub(crate) fn from_server(reply: &str) -> Self {
        let word = reply.split([' ', '\r', '\n']).next().unwrap_or_default();
        let kind = match word {
            "WRONGTYPE" => ErrorKind::WrongType,
            "OOM" => ErrorKind::Capacity,
            "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => ErrorKind::Auth,
            "MOVED" | "ASK" | "TRYAGAIN" | "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY"
            | "READONLY" | "NOREPLICAS" | "UNBLOCKED" | "NOSCRIPT" => ErrorKind::TryAgain,
            _ => ErrorKind::Server,
        };
        // A script's `OOM` or `WRONGTYPE` comes wrapped as `ERR …` by some engines.
        let kind = match kind {
            ErrorKind::Server if reply.contains("command not allowed when used memory") => {
                ErrorKind::Capacity
            }
            ErrorKind::Server if reply.contains("max number of clients reached") => {
                ErrorKind::Unavailable
            }
            other => other,
        };
        Self::new(kind, format!("server answered {}", printable(reply)))
    }
}

/// An error reply cut to a bounded, one-line text: it may quote what a user sent.
fn printable(reply: &str) -> String {
    const LIMIT: usize = 200;
    // `ERR unknown command 'X', with args beginning with: …` quotes what was sent.
    let reply = reply.split(", with args beginning with").next().unwrap_or_default();
    let mut text: String =
        reply.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if reply.chars().nth(LIMIT).is_some() {
        text.push('…');
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {}", self.kind.as_str(), self.message)?;
        if let Some(source) = &self.source {
            write!(f, "; caused by {source}")?;
        }
        f.write_str(")")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_are_classified_by_their_first_word() {
        for (reply, kind) in [
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                ErrorKind::WrongType,
            ),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Capacity),
            ("ERR OOM … command not allowed when used memory > 'maxmemory'", ErrorKind::Capacity),
            ("NOPERM No permissions to access a key", ErrorKind::Auth),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::TryAgain),
            ("ERR value is not an integer or out of range", ErrorKind::Server),
            ("", ErrorKind::Server),
        ] {
            assert_eq!(Error::from_server(reply).kind(), kind, "{reply}");
        }
    }

    #[test]
    fn server_text_is_bounded_and_one_line() {
        let text = Error::from_server(&format!("ERR {}\r\nx", "é".repeat(10_000))).to_string();
        assert!(text.chars().count() < 250 && !text.contains('\n'), "{text}");
        let quoting = "ERR unknown command 'X', with args beginning with: 's3cret' ";
        assert!(!Error::from_server(quoting).to_string().contains("s3cret"));
    }
}
