//! Moving a slot from one primary to another, in the steps that an operator's tool takes.
//!
//! Between the steps a test can look at what clients meet: ASK, TRYAGAIN and, at the end, MOVED.

use crate::cluster::PATIENCE;
use crate::cluster_view::nodes_seen_by;
use crate::{Cluster, Error, eventually};

/// Keys that [`Cluster::migrate_slot`] moves at a time.
const BATCH: usize = 100;

impl Cluster {
    /// Opens the slot on both sides: from now on the owner answers ASK for keys that it does not have.
    pub async fn begin_migration(&self, slot: u16, to: usize) -> Result<(), Error> {
        let from = self.owner_of_slot(slot).await?;
        self.set_slot(to, slot, "IMPORTING", from).await?;
        self.set_slot(from, slot, "MIGRATING", to).await
    }

    /// Moves up to `max_keys` keys of an opened slot and returns how many there were to move.
    pub async fn move_keys(&self, slot: u16, to: usize, max_keys: usize) -> Result<usize, Error> {
        let from = self.node(self.owner_of_slot(slot).await?);
        let mut list = redis::cmd("CLUSTER");
        let keys: Vec<Vec<u8>> =
            from.query(list.arg("GETKEYSINSLOT").arg(slot).arg(max_keys)).await?;
        if keys.is_empty() {
            return Ok(0);
        }
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(self.node(to).port()).arg("").arg(0).arg(5000);
        if let Some(password) = self.node(to).password() {
            migrate.arg("AUTH").arg(password);
        }
        // OK, or NOKEY when all of them have just expired.
        let _: String = from.query(migrate.arg("KEYS").arg(&keys)).await?;
        Ok(keys.len())
    }

    /// Closes the slot: first on the new owner, then on the old one, then on the other primaries; returns when all
    /// running nodes agree. [`Error::KeysLeft`] while the old owner still has keys of the slot.
    pub async fn finish_migration(&self, slot: u16, to: usize) -> Result<(), Error> {
        let from = self.owner_of_slot(slot).await?;
        // Asked first: the new owner would take the slot, then the old one refuse to let go.
        let mut count = redis::cmd("CLUSTER");
        let keys: u64 = self.node(from).query(count.arg("COUNTKEYSINSLOT").arg(slot)).await?;
        if keys > 0 && from != to {
            return Err(Error::KeysLeft { slot, keys });
        }
        let mut order = vec![to, from];
        for (index, _) in self.running() {
            let is_primary = self.is_primary(index).await?;
            if is_primary && !order.contains(&index) {
                order.push(index);
            }
        }
        for index in order {
            self.set_slot(index, slot, "NODE", to).await?;
        }
        self.agreed(slot, to).await
    }

    /// Waits until all running nodes see the slot at its new owner.
    async fn agreed(&self, slot: u16, to: usize) -> Result<(), Error> {
        eventually(&format!("all nodes to agree on slot {slot}"), PATIENCE, || async {
            let views = self.views().await.map_err(|error| error.to_string())?;
            let lines = views.iter().flatten().filter(|line| line.id == self.ids[to]);
            let agreed = lines.filter(|line| line.owns(slot)).count();
            if agreed == views.len() { Ok(()) } else { Err(format!("{agreed} of {}", views.len())) }
        })
        .await
    }

    /// Moves a slot with all its keys: begin, move, finish. Nothing to do if `to` owns it already.
    pub async fn migrate_slot(&self, slot: u16, to: usize) -> Result<(), Error> {
        if self.owner_of_slot(slot).await? == to {
            return Ok(());
        }
        self.begin_migration(slot, to).await?;
        while self.move_keys(slot, to, BATCH).await? > 0 {}
        self.finish_migration(slot, to).await
    }

    /// Moves a slot with all its keys in one piece, as Valkey 9.0 and later do, and returns when all running nodes
    /// agree; an error on engines without [`Engine::moves_slots_atomically`](crate::Engine::moves_slots_atomically).
    ///
    /// Clients see neither ASK nor TRYAGAIN: the owner holds writes for the moment in which the slot changes hands, and
    /// answers MOVED from then on.
    pub async fn migrate_slot_atomically(&self, slot: u16, to: usize) -> Result<(), Error> {
        let from = self.owner_of_slot(slot).await?;
        if from == to {
            return Ok(());
        }
        let mut migrate = redis::cmd("CLUSTER");
        migrate.arg("MIGRATESLOTS").arg("SLOTSRANGE").arg(slot).arg(slot);
        let () = self.node(from).query(migrate.arg("NODE").arg(&self.ids[to])).await?;
        self.agreed(slot, to).await
    }

    async fn is_primary(&self, index: usize) -> Result<bool, Error> {
        let view = nodes_seen_by(self.node(index)).await?;
        Ok(view.iter().any(|line| line.is("myself") && line.is("master")))
    }

    async fn set_slot(&self, on: usize, slot: u16, what: &str, node: usize) -> Result<(), Error> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SETSLOT").arg(slot).arg(what).arg(&self.ids[node]);
        self.node(on).query(&command).await
    }
}
