//! Who waits and what is in flight, by lane: the coalescer's state, free of I/O.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, VecDeque};
use std::ops::Add;
use std::sync::Arc;

use tokio::sync::Notify;

/// What one operation adds to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Keys and arguments.
    pub arguments: usize,
    /// Their bytes, roughly.
    pub bytes: usize,
}

impl Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            arguments: self.arguments.saturating_add(other.arguments),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// The bounds of batching. The defaults suit nearly everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// Calls in flight before operations gather. One more, where all of two or more are of one
    /// operation.
    pub in_flight: usize,
    /// Operations in one call: what one script run holds up everybody else for.
    pub operations: usize,
    /// Keys and arguments of one call.
    pub arguments: usize,
    /// Bytes of one call.
    pub bytes: usize,
    /// Operations that wait, at least one; more are refused with
    /// [`Capacity`](crate::ErrorKind::Capacity).
    pub waiting: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { in_flight: 2, operations: 128, arguments: 1_000, bytes: 64 * 1024, waiting: 65_536 }
    }
}

/// Where operations ride together: with a client, and on a cluster in one slot.
pub(super) type At = (usize, u16);

/// The lanes that have something under way.
///
/// Two kinds of calls are in the air: those of one operation that its own caller awaits, and those
/// of *carriers*, which are tasks of their own. A caller may be long in polling again, a carrier is
/// not; so whoever has to wait does so for a carrier, and where there is none one may always leave.
pub(super) struct Queues<T> {
    lanes: HashMap<At, Lane<T>>,
    /// Those who withdrew and were taken off; see [`bury`](Self::bury).
    gone: Vec<T>,
}

struct Lane<T> {
    /// Calls in the air whose callers await them.
    alone: usize,
    /// Carriers, in the air or lingering.
    carriers: usize,
    /// A carrier that has landed and lets its riders come again.
    lingering: Option<Lingering>,
    waiting: VecDeque<T>,
    /// How many of them have withdrawn.
    withdrawn: usize,
}

struct Lingering {
    expected: usize,
    gate: Gate,
}

/// Opens for a carrier that lingers when everybody is there whom it expects.
pub(super) type Gate = Arc<Notify>;

/// What becomes of an operation that arrives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It waits for a carrier.
    Waits,
    /// It can leave, with whoever else waits; after a turn of the scheduler where others are about.
    Boards { others: bool },
    /// So many wait already that it is refused.
    Refused(usize),
}

/// Those who leave in one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Departure<T> {
    /// The one who asked, and nobody else. Counted until [`land_alone`](Queues::land_alone).
    Alone(T),
    /// With a carrier, counted from now. For those who did not fit there is `another`.
    Carried { batch: Vec<T>, another: bool },
}

/// What a carrier does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Lets its riders come again, and then sees who waits.
    Linger,
    /// Takes those who wait.
    Leave,
    /// Nothing: it is over.
    End,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), gone: Vec::new() }
    }
}

impl<T> Queues<T> {
    /// Whether an operation leaves by itself, at once: nobody waits and no carrier is about whom it
    /// could ride with, and there is room. Counted until [`land_alone`](Self::land_alone).
    pub(super) fn leave_alone(&mut self, at: At, limits: &BatchLimits) -> bool {
        let lane = self.lanes.entry(at).or_default();
        let leaves = lane.carriers == 0 && lane.waiting.is_empty() && lane.takes_one(limits);
        lane.alone += usize::from(leaves);
        leaves
    }

    /// An operation arrives.
    pub(super) fn enter(&mut self, at: At, operation: T, limits: &BatchLimits) -> Entry {
        let lane = self.lanes.entry(at).or_default();
        let live = lane.waiting.len() - lane.withdrawn;
        if live >= limits.waiting.max(1) {
            return Entry::Refused(live);
        }
        lane.waiting.push_back(operation);
        lane.open_gate();
        match lane.may_leave(limits) {
            true => Entry::Boards { others: lane.in_the_air() > 0 },
            false => Entry::Waits,
        }
    }

    /// One who boards takes its turn: it leaves with all who wait and fit, where it still may and
    /// `me` has not left with another. Those whom `goes` denies have withdrawn.
    pub(super) fn depart(
        &mut self,
        at: At,
        limits: &BatchLimits,
        me: impl Fn(&T) -> bool,
        weigh: impl FnMut(&T) -> Weight,
        goes: impl FnMut(&T) -> bool,
    ) -> Option<Departure<T>> {
        let lane = self.lanes.get_mut(&at)?;
        if !lane.may_leave(limits) {
            return None;
        }
        let mut batch = lane.take(limits, weigh, goes, &mut self.gone);
        if batch.len() == 1 && me(&batch[0]) && lane.takes_one(limits) {
            lane.alone += 1;
            return batch.pop().map(Departure::Alone);
        }
        lane.carriers += usize::from(!batch.is_empty());
        let another = lane.one_more(limits);
        self.tidy(at);
        (!batch.is_empty()).then_some(Departure::Carried { batch, another })
    }

    /// A carrier takes those who wait and fit; with none it is over. And whether there is to be one
    /// more, counted from now.
    pub(super) fn carry(
        &mut self,
        at: At,
        limits: &BatchLimits,
        weigh: impl FnMut(&T) -> Weight,
        goes: impl FnMut(&T) -> bool,
    ) -> (Vec<T>, bool) {
        let Some(lane) = self.lanes.get_mut(&at) else { return (Vec::new(), false) };
        let batch = lane.take(limits, weigh, goes, &mut self.gone);
        lane.carriers -= usize::from(batch.is_empty());
        let another = lane.one_more(limits);
        self.tidy(at);
        (batch, another)
    }

    /// A carrier has landed with `riders`, who may well come again.
    pub(super) fn land(&mut self, at: At, gate: &Gate, riders: usize) -> Next {
        let Some(lane) = self.lanes.get_mut(&at) else { return Next::End };
        match &mut lane.lingering {
            Some(lingering) => lingering.expected += riders,
            None if riders > 1 => {
                lane.lingering = Some(Lingering { expected: riders, gate: Arc::clone(gate) });
                lane.open_gate();
                return Next::Linger;
            }
            None if !lane.waiting.is_empty() => return Next::Leave,
            None => {}
        }
        lane.carriers -= 1;
        self.tidy(at);
        Next::End
    }

    /// The carrier that lingered goes on.
    pub(super) fn end_of_stay(&mut self, at: At) {
        if let Some(lane) = self.lanes.get_mut(&at) {
            lane.lingering = None;
        }
    }

    /// A call that its caller awaited has ended. Whether a carrier, counted from now, is to take those
    /// who wait for one; without any, all who wait are taking their turn to leave.
    pub(super) fn land_alone(&mut self, at: At, limits: &BatchLimits) -> bool {
        // The hot one, so it looks the lane up once.
        let MapEntry::Occupied(mut lane) = self.lanes.entry(at) else { return false };
        let found = lane.get_mut();
        found.alone -= 1;
        let carrier = found.carriers > 0 && found.one_more(limits);
        if found.is_over() {
            self.gone.extend(lane.remove().waiting);
        }
        carrier
    }

    /// A carrier was given up. Whether another, counted from now, is to take those who wait.
    pub(super) fn give_up(&mut self, at: At, lingering: bool, limits: &BatchLimits) -> bool {
        let Some(lane) = self.lanes.get_mut(&at) else { return false };
        lane.carriers -= 1;
        if lingering {
            lane.lingering = None;
        }
        let another = lane.one_more(limits);
        self.tidy(at);
        another
    }

    /// One who waits has withdrawn, as those have who are `gone`. They are taken off together, so that
    /// each costs little, and no more of them are kept than of others.
    pub(super) fn withdraw(&mut self, at: At, gone: impl Fn(&T) -> bool) {
        let Some(lane) = self.lanes.get_mut(&at) else { return };
        lane.withdrawn += 1;
        if lane.withdrawn * 2 > lane.waiting.len() {
            let (withdrawn, waiting) =
                std::mem::take(&mut lane.waiting).into_iter().partition(gone);
            lane.waiting = waiting;
            self.gone.extend::<VecDeque<T>>(withdrawn);
            lane.withdrawn = 0;
        }
        self.tidy(at);
    }

    /// Those who withdrew and were taken off, to be dropped where nothing is locked.
    pub(super) fn bury(&mut self) -> Vec<T> {
        std::mem::take(&mut self.gone)
    }

    /// How many wait, in all lanes.
    pub(super) fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len() - lane.withdrawn).sum()
    }

    /// Forgets a lane in which nothing is under way.
    fn tidy(&mut self, at: At) {
        if self.lanes.get(&at).is_some_and(Lane::is_over) {
            let lane = self.lanes.remove(&at);
            self.gone.extend(lane.into_iter().flat_map(|lane| lane.waiting));
        }
    }
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { alone: 0, carriers: 0, lingering: None, waiting: VecDeque::new(), withdrawn: 0 }
    }
}

impl<T> Lane<T> {
    fn in_the_air(&self) -> usize {
        self.alone + self.carriers
    }

    /// Whether nothing is under way; those who have withdrawn may still be in it.
    fn is_over(&self) -> bool {
        self.in_the_air() == 0 && self.waiting.len() == self.withdrawn
    }

    fn has_room(&self, limits: &BatchLimits) -> bool {
        self.in_the_air() < limits.in_flight.max(1)
    }

    /// Whether a caller may travel by itself. Never in the only place: nobody could vouch for its end.
    fn takes_one(&self, limits: &BatchLimits) -> bool {
        limits.in_flight > 1 && self.has_room(limits)
    }

    /// Where no carrier is about one may always leave, so that nobody depends on a caller.
    fn may_leave(&self, limits: &BatchLimits) -> bool {
        self.lingering.is_none() && (self.carriers == 0 || self.has_room(limits))
    }

    /// Counts one more carrier, where somebody waits for it and it may leave.
    fn one_more(&mut self, limits: &BatchLimits) -> bool {
        let more = !self.waiting.is_empty() && self.may_leave(limits);
        self.carriers += usize::from(more);
        more
    }

    fn open_gate(&self) {
        if let Some(lingering) = &self.lingering
            && self.waiting.len() - self.withdrawn >= lingering.expected
        {
            lingering.gate.notify_one();
        }
    }

    fn take(
        &mut self,
        limits: &BatchLimits,
        mut weigh: impl FnMut(&T) -> Weight,
        mut goes: impl FnMut(&T) -> bool,
        gone: &mut Vec<T>,
    ) -> Vec<T> {
        let mut batch = Vec::new();
        let mut load = Weight::default();
        while let Some(next) = self.waiting.front() {
            let weight = weigh(next);
            let total = load + weight;
            let full = batch.len() >= limits.operations
                || total.arguments > limits.arguments
                || total.bytes > limits.bytes;
            // One that is too large for any batch still goes, alone.
            if full && !batch.is_empty() {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            if goes(&next) {
                load = total;
                batch.push(next);
            } else {
                self.withdrawn = self.withdrawn.saturating_sub(1);
                gone.push(next);
            }
        }
        batch
    }
}

#[cfg(test)]
mod model;
