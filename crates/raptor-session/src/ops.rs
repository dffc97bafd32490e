//! What operations see and sweep: a user's index counted, and cleaned where nobody logs in or looks.

use bytes::Bytes;
use raptor_core::Result;

use crate::places::Index;
use crate::scripts::{INSPECT, number, refused, unknown_status};
use crate::service::SessionService;
use crate::telemetry;
use crate::token::Address;

/// Entries that one sweep takes off at most.
const SWEPT_A_CALL: usize = 500;

/// How a user's index stands: [`SessionService::inspect_user`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserIndex {
    /// Sessions that it lists as alive.
    pub alive: u64,
    /// Entries that it lists as ended: taken off by the next login or list once the session is gone, or with
    /// the index.
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
        let outcome = async {
            let index = Index::new(self.client.keys(), workspace, user)?;
            self.count(&index, 0).await
        }
        .await;
        telemetry::operation_ended("inspect", outcome.as_ref().map(|_| "ok"));
        outcome.map(|(counts, _)| counts)
    }

    /// Takes entries of sessions that are gone off the index of `user` in `workspace`, at most 500, and gives
    /// how many. What is there still stays listed, whatever the clock says. Nothing depends on it: an index
    /// cleans itself at each login and list, and ends with its longest-lived session.
    ///
    /// Cost: two round trips; O(500 log sessions of the user). A repeat is harmless.
    ///
    /// # Errors
    /// As [`inspect_user`](Self::inspect_user); [`TryAgain`](raptor_core::ErrorKind::TryAgain) while a cluster
    /// moves the slot.
    pub async fn sweep_user(&self, user: &str, workspace: &str) -> Result<u64> {
        let outcome = async {
            let index = Index::new(self.client.keys(), workspace, user)?;
            let (_, ended) = self.count(&index, SWEPT_A_CALL).await?;
            match ended.is_empty() {
                true => Ok(0),
                false => self.read_all(&index, ended).await.map(|read| read.taken_off),
            }
        }
        .await;
        telemetry::operation_ended("sweep", outcome.as_ref().map(|_| "ok"));
        outcome
    }

    /// The counts, and where some are that are listed as ended.
    async fn count(&self, index: &Index, ended: usize) -> Result<(UserIndex, Vec<Address>)> {
        let call = self.client.script(&INSPECT).idempotent().key(&index.key);
        let reply = call.arg(self.now_arg()).arg(ended).run::<Vec<Bytes>>().await?;
        let count = |bytes: &Bytes| number(bytes).map(i64::unsigned_abs);
        match &reply[..] {
            [status, alive, ended, some @ ..] if status == "ok" => {
                let counts = UserIndex { alive: count(alive)?, ended: count(ended)? };
                Ok((counts, some.iter().filter_map(|mac| index.place(mac)).collect()))
            }
            [status, ..] => Err(refused(status)),
            [] => Err(unknown_status()),
        }
    }
}
