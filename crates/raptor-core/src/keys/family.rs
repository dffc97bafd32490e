//! The catalogue: every family of keys that Raptor writes, with its shape, type, TTL and owner.
//!
//! `docs/keys.md` is made from it and a test holds the two together. A family's name is one word;
//! siblings of it that share its slots are named `word~more`.

use std::fmt;

use super::KeySpace;

/// What a family's keys hold, in the server's own words (the answer of `TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisType {
    /// Bytes or a number.
    String,
    /// Fields with values.
    Hash,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A stream.
    Stream,
}

impl RedisType {
    /// The type's name as the server's `TYPE` answers it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Stream => "stream",
        }
    }
}

impl fmt::Display for RedisType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One family of keys: all that share a name, a type, a life time and an owner.
///
/// Families are the constants below and no others, so no key can be made outside the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Family {
    /// Its name, the first word of a key after the prefix: `session`, or `session~user`.
    pub name: &'static str,
    /// What its keys hold.
    pub redis_type: RedisType,
    /// How long a key lives, in words.
    pub ttl: &'static str,
    /// The crate that writes it.
    pub owner: &'static str,
    /// What the hash tag names.
    pub tag: &'static str,
    /// What the parts after the tag name, in order.
    pub parts: &'static [&'static str],
    /// What it is for, in one sentence.
    pub what: &'static str,
    /// The version of the layout of what the keys hold.
    pub layout_version: u32,
    /// Where what is stored names its version, so that older code refuses a newer one.
    pub layout_in: &'static str,
}

impl Family {
    /// Sessions, by the MAC of their token.
    pub const SESSION: Self = Self {
        name: "session",
        redis_type: RedisType::Hash,
        ttl: "the idle timeout, never past the absolute one; a pointer at an old token's: its grace, at least 60 s",
        owner: "raptor-session",
        tag: "shard",
        parts: &["mac"],
        what: "One session, found by the MAC of its token; or where an old token leads.",
        layout_version: 1,
        layout_in: "the first word of its field `h`",
    };

    /// The index of one user's sessions, beside them in the same slot.
    pub const SESSION_USER: Self = Self {
        name: "session~user",
        redis_type: RedisType::SortedSet,
        ttl: "that of its longest-lived session",
        owner: "raptor-session",
        tag: "shard",
        parts: &["workspace", "user"],
        what: "Index of one user's sessions, scored by idle deadline.",
        layout_version: 1,
        layout_in: "members `v2`, … of newer ones",
    };

    /// When which session of a shard ends, for those whose end is to be told.
    pub const SESSION_ENDED: Self = Self {
        name: "session~ended",
        redis_type: RedisType::SortedSet,
        ttl: "a week after the last absolute deadline in it",
        owner: "raptor-session",
        tag: "shard",
        parts: &[],
        what: "Agenda of a shard: when which session ends, until its end is acknowledged. Opt-in.",
        layout_version: 1,
        layout_in: "members `v2`, … of newer ones",
    };

    /// The state of one rate limit.
    pub const RATE: Self = Self {
        name: "rate",
        redis_type: RedisType::String,
        ttl: "until the limit is whole again, and its ruling is over",
        owner: "raptor-ratelimit",
        tag: "user",
        parts: &["endpoint", "policy"],
        what: "State of one limit, packed; it names its algorithm and window. A ruling on it stands before.",
        layout_version: 1,
        layout_in: "its first bytes, `R1`",
    };

    /// What was ruled on the rate limits of one user, beside them in the same slot.
    pub const RATE_RULINGS: Self = Self {
        name: "rate~rulings",
        redis_type: RedisType::Hash,
        ttl: "that of its longest ruling",
        owner: "raptor-ratelimit",
        tag: "user",
        parts: &[],
        what: "Index of one user's blocks and overrides.",
        layout_version: 1,
        layout_in: "its field `v`",
    };

    /// The permits of one subject that are held at once.
    pub const RATE_PERMITS: Self = Self {
        name: "rate~permits",
        redis_type: RedisType::SortedSet,
        ttl: "that of its longest-lived permit",
        owner: "raptor-ratelimit",
        tag: "user",
        parts: &["endpoint"],
        what: "Permits held at once, scored by when they expire.",
        layout_version: 1,
        layout_in: "members `v2`, … of newer ones",
    };

    /// Usage totals of one period.
    pub const USAGE: Self = Self {
        name: "usage",
        redis_type: RedisType::Hash,
        ttl: "the retention of its period",
        owner: "raptor-ops",
        tag: "workspace",
        parts: &["period"],
        what: "Totals of one period: tokens, requests and cost.",
        layout_version: 1,
        layout_in: "its field `v`",
    };

    /// Usage of one period by the names of one dimension, beside the totals in the same slot.
    pub const USAGE_BY: Self = Self {
        name: "usage~by",
        redis_type: RedisType::Hash,
        ttl: "the retention of its period",
        owner: "raptor-ops",
        tag: "workspace",
        parts: &["period", "dimension"],
        what: "The same totals for each model, agent or user.",
        layout_version: 1,
        layout_in: "field `v` of the period's totals",
    };

    /// The names that a dimension has in one period, for paging.
    pub const USAGE_NAMES: Self = Self {
        name: "usage~names",
        redis_type: RedisType::SortedSet,
        ttl: "the retention of its period",
        owner: "raptor-ops",
        tag: "workspace",
        parts: &["period", "dimension"],
        what: "The names in a dimension's totals, all scores 0, for pages in order.",
        layout_version: 1,
        layout_in: "field `v` of the period's totals",
    };

    /// Ids of usage events already counted.
    pub const USAGE_SEEN: Self = Self {
        name: "usage~seen",
        redis_type: RedisType::Set,
        ttl: "as long as late events are accepted",
        owner: "raptor-ops",
        tag: "workspace",
        parts: &["bucket"],
        what: "Ids of the events already counted, by the bucket of their time.",
        layout_version: 1,
        layout_in: "members `v2`, … of newer ones",
    };

    /// Every family there is.
    pub const ALL: &'static [Self] = &[
        Self::SESSION,
        Self::SESSION_USER,
        Self::SESSION_ENDED,
        Self::RATE,
        Self::RATE_RULINGS,
        Self::RATE_PERMITS,
        Self::USAGE,
        Self::USAGE_BY,
        Self::USAGE_NAMES,
        Self::USAGE_SEEN,
    ];

    /// The glob for `SCAN … MATCH` that finds this family's keys and no others.
    ///
    /// Nothing needs escaping: neither a prefix nor a family's name holds a glob character.
    #[must_use]
    pub fn pattern(&self, space: &KeySpace) -> String {
        format!("{}{}:{{*", space.prefix(), self.name)
    }

    /// The family of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|family| family.name == name)
    }

    /// A key's shape without the prefix: `session:{<shard>}:<mac>`.
    fn shape(&self) -> String {
        let parts: String = self.parts.iter().map(|part| format!(":<{part}>")).collect();
        format!("{}:{{<{}>}}{parts}", self.name, self.tag)
    }
}

/// The catalogue as a Markdown table, the one that stands in `docs/keys.md`.
#[doc(hidden)]
#[must_use]
pub fn catalogue_markdown() -> String {
    let mut table = String::from(
        "| key, after the prefix | type | TTL | owner | layout | what |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for family in Family::ALL {
        table.push_str(&format!(
            "| `{}` | {} | {} | {} | {}: {} | {} |\n",
            family.shape(),
            family.redis_type,
            family.ttl,
            family.owner,
            family.layout_version,
            family.layout_in,
            family.what
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_word_or_a_sibling_of_one_that_exists() {
        for family in Family::ALL {
            let words: Vec<&str> = family.name.split('~').collect();
            assert!(words.len() <= 2, "{}", family.name);
            assert!(Family::by_name(words[0]).is_some(), "{} has no head", family.name);
            for word in words {
                assert!(!word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
            }
        }
    }

    #[test]
    fn no_name_ends_in_another_so_that_two_prefixes_never_share_a_key() {
        // Prefix `a` with a family `block` would else meet prefix `ab` with a family `lock`.
        for (i, one) in Family::ALL.iter().enumerate() {
            for (j, other) in Family::ALL.iter().enumerate() {
                assert!(i == j || !one.name.ends_with(other.name), "{} {}", one.name, other.name);
            }
        }
    }

    #[test]
    fn the_table_has_one_row_a_family_and_no_stray_bar() {
        let table = catalogue_markdown();
        assert_eq!(table.lines().count(), 2 + Family::ALL.len());
        assert!(table.lines().all(|line| line.matches('|').count() == 7), "{table}");
        assert!(table.contains("`session:{<shard>}:<mac>`"));
    }
}
