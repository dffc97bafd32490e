//! What a server answered, in our own terms: no client library's type leaves the driver.
//!
//! RESP2 and RESP3 give the same [`Reply`]s for the same request wherever they can: maps and sets
//! arrive as flat arrays, and [`FromReply`] reads a number from an integer or from its text.

use bytes::Bytes;

use crate::error::{Error, Result};

/// One reply of the server. Its `Debug` shows the shape and the sizes, never the bytes.
#[derive(Clone, PartialEq)]
pub enum Reply {
    /// No value.
    Nil,
    /// An integer.
    Int(i64),
    /// A floating point number (RESP3 only; RESP2 sends its text).
    Double(f64),
    /// Bytes, or a status such as `OK`.
    Bytes(Bytes),
    /// Several replies. Maps come as key, value, key, value …
    Array(Vec<Reply>),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Int(n) => write!(f, "int {n}"),
            Self::Double(n) => write!(f, "double {n}"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Array(items) => f.debug_list().entries(items).finish(),
        }
    }
}

impl Reply {
    /// Reads the reply as `T`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when the shape does not fit.
    pub fn decode<T: FromReply>(self) -> Result<T> {
        T::from_reply(self)
    }

    /// Words of a server, which may quote any bytes; for telling them to somebody.
    pub(crate) fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.decode::<Bytes>()?).into_owned())
    }
}

/// A type that a [`Reply`] can be read as.
pub trait FromReply: Sized {
    /// Reads `reply`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when the shape does not fit.
    fn from_reply(reply: Reply) -> Result<Self>;
}

fn misfit(wanted: &str, got: &Reply) -> Error {
    Error::codec(format!("expected {wanted} in a reply, got {got:?}"))
}

impl FromReply for Reply {
    fn from_reply(reply: Reply) -> Result<Self> {
        Ok(reply)
    }
}

impl FromReply for () {
    fn from_reply(_: Reply) -> Result<Self> {
        Ok(())
    }
}

impl FromReply for Bytes {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Bytes(bytes) => Ok(bytes),
            Reply::Int(n) => Ok(Bytes::from(n.to_string())),
            other => Err(misfit("bytes", &other)),
        }
    }
}

impl FromReply for Vec<u8> {
    fn from_reply(reply: Reply) -> Result<Self> {
        Bytes::from_reply(reply).map(Into::into)
    }
}

impl FromReply for String {
    fn from_reply(reply: Reply) -> Result<Self> {
        String::from_utf8(Bytes::from_reply(reply)?.into())
            .map_err(|_| Error::codec("expected UTF-8 text in a reply, got other bytes"))
    }
}

impl FromReply for i64 {
    fn from_reply(reply: Reply) -> Result<Self> {
        let parsed = match &reply {
            Reply::Int(n) => Some(*n),
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|s| s.parse().ok()),
            _ => None,
        };
        parsed.ok_or_else(|| misfit("an integer", &reply))
    }
}

impl FromReply for u64 {
    fn from_reply(reply: Reply) -> Result<Self> {
        let parsed = match &reply {
            Reply::Int(n) => u64::try_from(*n).ok(),
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|s| s.parse().ok()),
            _ => None,
        };
        parsed.ok_or_else(|| misfit("a non-negative integer", &reply))
    }
}

impl FromReply for f64 {
    fn from_reply(reply: Reply) -> Result<Self> {
        let parsed = match &reply {
            Reply::Double(n) => Some(*n),
            Reply::Int(n) => Some(*n as f64),
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|s| s.parse().ok()),
            _ => None,
        };
        parsed.ok_or_else(|| misfit("a number", &reply))
    }
}

impl FromReply for bool {
    fn from_reply(reply: Reply) -> Result<Self> {
        match i64::from_reply(reply)? {
            0 => Ok(false),
            1 => Ok(true),
            n => Err(Error::codec(format!("expected 0 or 1 in a reply, got {n}"))),
        }
    }
}

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(reply: Reply) -> Result<Self> {
        match reply {
            Reply::Nil => Ok(None),
            other => T::from_reply(other).map(Some),
        }
    }
}

/// Implemented apart for each element type, so that `Vec<u8>` can mean bytes.
macro_rules! vec_from_reply {
    ($($item:ty),*) => {$(
        impl FromReply for Vec<$item> {
            fn from_reply(reply: Reply) -> Result<Self> {
                match reply {
                    Reply::Array(items) => items.into_iter().map(FromReply::from_reply).collect(),
                    other => Err(misfit("an array", &other)),
                }
            }
        }
    )*};
}
vec_from_reply!(
    Reply,
    Bytes,
    String,
    i64,
    u64,
    f64,
    Option<Bytes>,
    Option<String>,
    Option<i64>,
    Vec<Reply>
);

macro_rules! tuple_from_reply {
    ($len:literal: $($name:ident),*) => {
        impl<$($name: FromReply),*> FromReply for ($($name,)*) {
            fn from_reply(reply: Reply) -> Result<Self> {
                match reply {
                    Reply::Array(items) if items.len() == $len => {
                        let mut items = items.into_iter();
                        Ok(($($name::from_reply(items.next().unwrap_or(Reply::Nil))?,)*))
                    }
                    other => Err(misfit(concat!("an array of ", $len), &other)),
                }
            }
        }
    };
}
tuple_from_reply!(1: A);
tuple_from_reply!(2: A, B);
tuple_from_reply!(3: A, B, C);
tuple_from_reply!(4: A, B, C, D);
tuple_from_reply!(5: A, B, C, D, E);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_integers_and_from_text() {
        assert_eq!(Reply::Int(7).decode::<u64>().ok(), Some(7));
        assert_eq!(
            Reply::Bytes("9007199254740993".into()).decode::<i64>().ok(),
            Some(9_007_199_254_740_993)
        );
        assert!(Reply::Int(-1).decode::<u64>().is_err());
        assert!(Reply::Array(vec![]).decode::<i64>().is_err());
    }

    #[test]
    fn debug_shows_no_bytes() {
        let reply = Reply::Array(vec![Reply::Bytes("s3cret".into()), Reply::Nil]);
        assert_eq!(format!("{reply:?}"), "[6 bytes, nil]");
    }
}
