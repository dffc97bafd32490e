//! Which of 256 shards a user's sessions live in: stable across versions, carried in the token.
//!
//! All sessions of a user, and the index of them, share the hash tag `{sNNN}`: what concerns a
//! user is one slot, and what concerns a token needs nothing but the token.

use sha2::{Digest, Sha256};

/// The shard of this user in this workspace. Part of the layout: it must never change.
pub(crate) fn shard_of(workspace: &str, user: &str) -> u8 {
    let mut hash = Sha256::new();
    hash.update(b"raptor-session shard v1\0");
    hash.update((workspace.len() as u64).to_be_bytes());
    hash.update(workspace.as_bytes());
    hash.update(user.as_bytes());
    hash.finalize()[0]
}

/// Its hash tag: `s000` to `s255`.
pub(crate) fn tag(shard: u8) -> String {
    format!("s{shard:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_even_and_tell_workspace_from_user() {
        let mut counts = [0_u32; 256];
        for n in 0..25_600 {
            counts[usize::from(shard_of("acme", &format!("user {n}")))] += 1;
        }
        assert!(counts.iter().all(|&count| (50..=160).contains(&count)), "{counts:?}");
        let differ = (0..64).any(|n| {
            let user = n.to_string();
            shard_of("ab", &format!("c{user}")) != shard_of("a", &format!("bc{user}"))
        });
        assert!(differ);
    }

    #[test]
    fn the_shard_of_a_user_never_changes() {
        let shards = [("acme", "ann"), ("acme", "bob"), ("", ""), ("ü", "\0")]
            .map(|(workspace, user)| shard_of(workspace, user));
        // Computed apart from this code (Python's hashlib).
        assert_eq!(shards, [66, 226, 253, 142]);
        assert_eq!((tag(0), tag(42), tag(255)), ("s000".into(), "s042".into(), "s255".into()));
    }
}
