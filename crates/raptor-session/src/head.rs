//! A session's head: the one text that its hash begins with, which `lua/head.lua` describes.

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use raptor_core::keys::decode_part;
use raptor_core::{Error, ErrorKind, Result};
use time::OffsetDateTime;
use ulid::Ulid;

/// Nobody's session has no index; this stands for its name.
pub(crate) const NOBODY: &str = "-";

/// No number in a head is larger: the last millisecond of the year 9999. `lua/base.lua` has it too.
const MAX: i64 = 253_402_300_799_999;

/// What stands in it, but the layout and the size of the fields, which only scripts need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seen_ms: i64,
    pub(crate) deadline_ms: i64,
    pub(crate) revision: u64,
    pub(crate) origin: Origin,
}

/// What never changes in the life of a session: who it is, and its last deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) id: Ulid,
    pub(crate) created_ms: i64,
    pub(crate) idle_ms: i64,
    pub(crate) absolute_ms: i64,
    /// `:workspace:user`, encoded as in the index's name; or [`NOBODY`].
    pub(crate) suffix: String,
}

impl Head {
    pub(crate) fn parse(text: &Bytes) -> Result<Self> {
        Self::read(text).ok_or_else(corrupt)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let mut number = || words.next()?.parse().ok().filter(|n| (0..=MAX).contains(n));
        let [_layout, seen_ms, deadline_ms, idle_ms, absolute_ms, revision, _bytes, created_ms] = [
            number()?,
            number()?,
            number()?,
            number()?,
            number()?,
            number()?,
            number()?,
            number()?,
        ];
        let _flags = words.next().filter(|flags| ["e", "-"].contains(flags))?;
        let id = Ulid::from_string(words.next()?).ok()?;
        let suffix = words.next()?.to_owned();
        if words.next().is_some() {
            return None;
        }
        let origin = Origin { id, created_ms, idle_ms, absolute_ms, suffix };
        Some(Self { seen_ms, deadline_ms, revision: revision.unsigned_abs(), origin })
    }
}

impl Origin {
    /// What a pointer says of whose session it leads to.
    pub(crate) fn whose(&self) -> String {
        format!("{} {}", self.id, self.suffix)
    }

    /// Workspace and user; both empty for nobody's.
    pub(crate) fn owner(&self) -> Result<(String, String)> {
        owner_of(&self.suffix).ok_or_else(corrupt)
    }
}

/// Workspace and user out of what stands behind the tag in the name of an index.
pub(crate) fn owner_of(suffix: &str) -> Option<(String, String)> {
    if suffix == NOBODY {
        return Some((String::new(), String::new()));
    }
    let (workspace, user) = suffix.strip_prefix(':')?.split_once(':')?;
    let decode = |part: &str| String::from_utf8(decode_part(part.as_bytes()).ok()?).ok();
    Some((decode(workspace)?, decode(user)?))
}

pub(crate) fn corrupt() -> Error {
    Error::codec("what is stored as this session is no session: another program wrote the key")
}

/// Whether an error says that what is stored is damaged, so that nobody can read it. What another process
/// could read, with a key that this one has not or in a newer layout, is not.
pub(crate) fn unreadable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Codec | ErrorKind::WrongType) && !is_for_others(error)
}

/// Whether an error says that what is stored may be a session to another process, but is none to this one.
pub(crate) fn is_for_others(error: &Error) -> bool {
    let is_newer = || error.source().is_some_and(<dyn StdError>::is::<NewerLayout>);
    error.kind() == ErrorKind::Config || is_newer()
}

/// The source of an error for what a newer process stored.
#[derive(Debug)]
pub(crate) struct NewerLayout;

impl fmt::Display for NewerLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the layout is newer than this process")
    }
}

impl StdError for NewerLayout {}

pub(crate) fn instant(ms: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).map_err(|_| corrupt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "1 5 9 3 7 2 0 4 - 01JD0000000000000000000000 :acme:b%3Ac";

    #[test]
    fn a_head_is_read_whole() {
        let head = Head::parse(&Bytes::from_static(GOOD.as_bytes())).expect("a head");
        assert_eq!((head.seen_ms, head.deadline_ms, head.revision), (5, 9, 2));
        let origin = head.origin;
        assert_eq!((origin.created_ms, origin.idle_ms, origin.absolute_ms), (4, 3, 7));
        assert_eq!(origin.owner().expect("an owner"), ("acme".into(), "b:c".into()));
        let nobody = Origin { suffix: NOBODY.into(), ..origin };
        assert_eq!(nobody.owner().expect("nobody"), Default::default());
    }

    #[test]
    fn anything_less_or_more_is_refused() {
        for bad in [
            "",
            "1",
            &GOOD.replace(" 9 ", " x "),
            &GOOD.replace(" 2 ", " -2 "),
            &GOOD.replace(" 4 ", " 253402300800000 "),
            &GOOD.replace(" 0 ", &format!(" {} ", "9".repeat(30))),
            &format!("{GOOD} more"),
        ] {
            assert!(Head::parse(&Bytes::copy_from_slice(bad.as_bytes())).is_err(), "{bad}");
        }
        for bad in ["", ":", ":acme", "acme:ann", ":a%:b", ":a:b:c"] {
            assert_eq!(owner_of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Head::parse(&Bytes::from(text));
        }

        #[test]
        fn hostile_words_never_panic(text in "1( [0-9a-z:%-]{0,12}){0,12}") {
            let _ = Head::parse(&Bytes::from(text)).map(|head| head.origin.owner());
        }
    }
}
