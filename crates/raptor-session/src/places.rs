//! Where things are stored: the keys of a token's session, of a user's index and of a shard's agenda.

use raptor_core::keys::NO_PARTS;
use raptor_core::{Family, Key, KeySpace, Result};

use crate::head::NOBODY;
use crate::shard::{shard_of, tag};
use crate::token::{Address, is_mac};

/// The key of the session there.
pub(crate) fn session(keys: &KeySpace, at: &Address) -> Result<Key> {
    keys.key(&Family::SESSION, tag(at.shard), &[&at.mac])
}

/// The key of a shard's agenda.
pub(crate) fn agenda(keys: &KeySpace, shard: u8) -> Result<Key> {
    keys.key(&Family::SESSION_ENDED, tag(shard), NO_PARTS)
}

/// The index of one user in one workspace.
pub(crate) struct Index {
    pub(crate) shard: u8,
    pub(crate) key: Key,
}

impl Index {
    pub(crate) fn new(keys: &KeySpace, workspace: &str, user: &str) -> Result<Self> {
        let shard = shard_of(workspace, user);
        let key = keys.key(&Family::SESSION_USER, tag(shard), &[workspace, user])?;
        Ok(Self { shard, key })
    }

    /// The place of one that the index lists; `None` for what no session of ours is called.
    pub(crate) fn place(&self, member: &[u8]) -> Option<Address> {
        let mac = std::str::from_utf8(member).ok().filter(|mac| is_mac(mac))?;
        Some(Address { shard: self.shard, mac: mac.to_owned() })
    }

    /// `:workspace:user`, what a session stores of it.
    pub(crate) fn suffix(&self) -> &str {
        let name = self.key.as_bytes();
        let at = name.iter().position(|&byte| byte == b'}').map_or(name.len(), |at| at + 1);
        std::str::from_utf8(&name[at..]).unwrap_or(NOBODY)
    }
}
