//! What operations see and sweep: a user's index counted, and cleaned where nobody logs in or looks.

use bytes::Bytes;
use raptor_core::Result;

use crate::places::Index;
use crate::scripts::{INSPECT, number, refused, unknown_status};
use crate::service::SessionService;
use crate::telemetry;

/// Entries that one sweep takes off at most.
const SWEPT_A_CALL: u64 = 500;

/// How a user's index stands: [`SessionService::inspect_user`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserIndex {
    /// Sessions that it lists as alive.
    pub alive: u64,
    /// Entries of sessions that have ended: taken off by the next login or list, or with the index.
    pub ended: u64,
}

impl SessionService {
    /// Counts what the index of `user` in `workspace` lists, and changes nothing.
    ///
    /// Cost: one round trip; O(log sessions of the user).
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for a user or workspace that no session can
    /// have; [`Codec`](raptor_core::ErrorKind::Codec) for an index in a newer layout; otherwise the
    /// connection's.
    pub async fn inspect_user(&self, user: &str, workspace: &str) -> Result<UserIndex> {
        let outcome = self.count(user, workspace, 0).await;
        telemetry::operation_ended("inspect", outcome.as_ref().map(|_| "ok"));
        outcome.map(|(index, _)| index)
    }

    /// Takes entries of ended sessions off the index of `user` in `workspace`, at most 500, and gives how
    /// many. Nothing depends on it: an index cleans itself at each login and list, and ends with its
    /// longest-lived session.
    ///
    /// Cost: one round trip; O(500 log sessions of the user). A repeat is harmless.
    ///
    /// # Errors
    /// As [`inspect_user`](Self::inspect_user).
    pub async fn sweep_user(&self, user: &str, workspace: &str) -> Result<u64> {
        let outcome = self.count(user, workspace, SWEPT_A_CALL).await;
        telemetry::operation_ended("sweep", outcome.as_ref().map(|_| "ok"));
        outcome.map(|(_, swept)| swept)
    }

    async fn count(&self, user: &str, workspace: &str, sweep: u64) -> Result<(UserIndex, u64)> {
        let index = Index::new(self.client.keys(), workspace, user)?;
        let call = self.client.script(&INSPECT).idempotent().key(&index.key);
        let reply = call.arg(self.now_arg()).arg(sweep).run::<Vec<Bytes>>().await?;
        let count = |bytes: &Bytes| number(bytes).map(i64::unsigned_abs);
        match &reply[..] {
            [status, alive, ended, swept] if status == "ok" => {
                let index = UserIndex { alive: count(alive)?, ended: count(ended)? };
                Ok((index, count(swept)?))
            }
            [status, ..] => Err(refused(status)),
            [] => Err(unknown_status()),
        }
    }
}
