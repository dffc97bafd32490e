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
    ///
    /// Also when it refuses writes to a script, for want of replicas (`NOREPLICAS`) or of a disk
    /// (`MISCONF`); then [`is_retryable`](Error::is_retryable) is false, since the script may have got
    /// past a write before.
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
    /// A repeat may do harm, whatever the kind says.
    may_have_run: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of every Raptor call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message says what was wrong and what to do, in lower case.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), may_have_run: false, source: None }
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
    /// `false` for [`ErrorKind::OutcomeUnknown`], and for every error from inside a script, which may
    /// have written before it failed: look at the state first, or use an operation with an id.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !self.may_have_run
            && matches!(
                self.kind,
                ErrorKind::Unavailable
                    | ErrorKind::Timeout
                    | ErrorKind::Connection
                    | ErrorKind::TryAgain
                    | ErrorKind::Capacity
            )
    }

    /// The same error for another rider of the same call.
    pub(crate) fn told_again(&self) -> Self {
        let mut error = Self::new(self.kind, self.message.clone());
        error.may_have_run = self.may_have_run;
        error
    }

    /// The error of one command told as that of a batch, the rest of which may have run.
    #[must_use]
    pub(crate) fn of_batch(mut self, which: &str, repeat_is_harmless: bool) -> Self {
        self.message = format!("{which}: {}", self.message);
        self.may_have_run |= !repeat_is_harmless;
        self
    }

    /// An error from inside a script: what it says may be the script's own words, and what stood
    /// before it may have written.
    #[must_use]
    pub(crate) fn from_script(message: &str) -> Self {
        let mut error = Self::from_server(message);
        // What a server says of each write while it refuses them all.
        let writes_refused = matches!(first_word(message), "NOREPLICAS" | "MISCONF");
        if !matches!(error.kind, ErrorKind::WrongType | ErrorKind::Capacity | ErrorKind::Auth)
            && !writes_refused
        {
            error.kind = ErrorKind::Server;
        }
        error.may_have_run = true;
        error
    }

    /// Nothing ran, for a reason that may lie in some of the keys that were given together.
    #[must_use]
    pub(crate) fn may_lie_in_a_part(&self) -> bool {
        let said = |what| self.message.contains(what);
        !self.may_have_run
            && match self.kind {
                ErrorKind::TryAgain => said("TRYAGAIN"),
                // The other reason is a command: `no permissions to run the 'evalsha' command`.
                ErrorKind::Auth => said("NOPERM") && said("access") && said(" key"),
                _ => false,
            }
    }

    /// An error reply of the server, classified by its first word (the one stable part of it).
    #[must_use]
    pub(crate) fn from_server(reply: &str) -> Self {
        let kind = match first_word(reply) {
            "WRONGTYPE" => ErrorKind::WrongType,
            "OOM" => ErrorKind::Capacity,
            "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => ErrorKind::Auth,
            "MOVED" | "ASK" | "TRYAGAIN" | "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY"
            | "READONLY" | "NOREPLICAS" | "MISCONF" | "UNBLOCKED" | "NOSCRIPT" => {
                ErrorKind::TryAgain
            }
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
            // Valkey's words, and Redis 7.0's.
            ErrorKind::Server
                if reply.contains("ACL failure in script")
                    || reply.contains("The user executing the script can't") =>
            {
                ErrorKind::Auth
            }
            other => other,
        };
        Self::new(kind, format!("server answered {}", printable(reply)))
    }
}

fn first_word(reply: &str) -> &str {
    reply.split([' ', '\r', '\n']).next().unwrap_or_default().trim_start_matches('-')
}

/// An error reply as a bounded, one-line text without what it quotes: that may be a key or a value,
/// and hold quotes of its own, so all between the first and the last one goes. So do fractions: the
/// server repeats a wrong longitude as it is.
fn printable(reply: &str) -> String {
    const LIMIT: usize = 200;
    // `ERR unknown command 'X', with args beginning with: …` quotes what was sent.
    let reply = reply.split(", with args beginning with").next().unwrap_or_default();
    let is_quote = |&(at, c): &(usize, char)| {
        let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        let inside = letter(reply[..at].chars().next_back()) && letter(reply[at..].chars().nth(1));
        matches!(c, '"' | '`') || (c == '\'' && !inside)
    };
    let text = match reply.char_indices().find(is_quote) {
        None => reply.to_owned(),
        Some((open, quote)) => match reply.rfind(['\'', '"', '`']) {
            Some(close) if close > open => format!("{}{quote}…{}", &reply[..open], &reply[close..]),
            _ => format!("{}{quote}…", &reply[..open]),
        },
    };
    let words = text.split(|c: char| c.is_control() || c == ' ').map(|word| {
        let number = word.contains('.')
            && word.bytes().all(|b| b.is_ascii_digit() || b".,+-e".contains(&b))
            && word.bytes().any(|b| b.is_ascii_digit());
        if number { "…" } else { word }
    });
    let mut text = words.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(LIMIT) {
        text.truncate(end);
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
        if let Some(cause) = self.source.as_ref().map(ToString::to_string)
            && !self.message.contains(&cause)
        {
            write!(f, "; caused by {cause}")?;
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
            ("ERR ACL failure in script: No permissions to access a key", ErrorKind::Auth),
            ("ERR The user executing the script can't run this command", ErrorKind::Auth),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::TryAgain),
            ("MISCONF Valkey is configured to save RDB snapshots, but", ErrorKind::TryAgain),
            ("ERR value is not an integer or out of range", ErrorKind::Server),
            ("", ErrorKind::Server),
        ] {
            assert_eq!(Error::from_server(reply).kind(), kind, "{reply}");
        }
        let inside = Error::from_script("MISCONF Errors writing to the AOF file");
        assert_eq!((inside.kind(), inside.is_retryable()), (ErrorKind::TryAgain, false));
    }

    #[test]
    fn server_text_is_bounded_and_one_line() {
        let text = Error::from_server(&format!("ERR {}\r\nx", "é".repeat(10_000))).to_string();
        assert!(text.chars().count() < 250 && !text.contains('\n'), "{text}");
        let nogroup = "NOGROUP No such key 'k3y' or consumer group \"gr'p\"";
        assert_eq!(printable(nogroup), "NOGROUP No such key '…\"");
        let sly = "NOGROUP No such key 'a' s3cret 'b' or consumer group 'c'";
        assert!(!printable(sly).contains("s3cret"));
        let place = "ERR invalid longitude,latitude pair 200.123400,100.567800";
        assert_eq!(printable(place), "ERR invalid longitude,latitude pair …");
        let plain = "READONLY You can't write against a read only replica.";
        assert_eq!(printable(plain), plain);
        let quoting = "ERR unknown command 'X', with args beginning with: 's3cret' ";
        assert!(!Error::from_server(quoting).to_string().contains("s3cret"));
    }
}
