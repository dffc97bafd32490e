//! `RedisClient::distrust`: a value of another key tells of a shifted reply, or of a value that lies there.

use std::sync::LazyLock;

use crate::client::RedisClient;
use crate::keys::Key;
use crate::reply::Reply;
use crate::script::Script;

static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.probe", include_str!("lua/probe.lua")));

/// An error reply carries no tag, so one that belongs to another call proves nothing; what comes
/// behind it does.
const PROBES: usize = 2;

impl RedisClient {
    /// Looks into the connection that gave a value of another key
    /// ([`Flaw::OtherKey`](crate::codec::Flaw::OtherKey)) for `key`, and closes it if it is at fault.
    ///
    /// Either replies on it come to the wrong calls, or somebody copied, renamed or swapped the value
    /// in Redis. So a call goes the same way whose reply names its call: if that is another's too, the
    /// connection is closed at once, and what is in flight on it ends with an error. If it fits, the
    /// connection stays: a copied value costs its readers a round trip each, and nobody a connection.
    ///
    /// Core's own readers of typed values ([`AtomicValues`](crate::atomic::AtomicValues)) do this by
    /// themselves. Do it where you decode what a generic `GET` gave. Values read by scripts need it
    /// not: their replies name their calls already.
    pub async fn distrust(&self, key: &Key) {
        for _ in 0..PROBES {
            // A misfit is dealt with where it is found; no other outcome says anything.
            if self.script(&PROBE).at_slot(key.slot()).idempotent().run::<Reply>().await.is_ok() {
                return;
            }
        }
    }
}
