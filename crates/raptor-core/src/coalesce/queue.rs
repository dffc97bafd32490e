//! Who waits and what is in flight, by lane: the coalescer's state, free of I/O.

use std::collections::{HashMap, VecDeque};

/// What one operation adds to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Keys and arguments.
    pub arguments: usize,
    /// Their bytes, roughly.
    pub bytes: usize,
}

/// The bounds of batching. The defaults suit nearly everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// Calls in flight before operations gather.
    pub in_flight: usize,
    /// Operations in one call: what one script run holds up everybody else for.
    pub operations: usize,
    /// Keys and arguments of one call.
    pub arguments: usize,
    /// Bytes of one call.
    pub bytes: usize,
    /// Operations that wait; more are refused with [`Capacity`](crate::ErrorKind::Capacity).
    pub waiting: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { in_flight: 2, operations: 128, arguments: 1_000, bytes: 64 * 1024, waiting: 65_536 }
    }
}

/// The lanes that have something under way: one on a single server, one a slot on a cluster.
///
/// A flight is counted from [`enter`](Self::enter) to [`land`](Self::land). It first boards; while
/// one boards, whoever comes waits for it, so at most one flight of a lane is boarding.
pub(super) struct Queues<T> {
    lanes: HashMap<u16, Lane<T>>,
}

struct Lane<T> {
    in_flight: usize,
    boarding: bool,
    waiting: VecDeque<T>,
}

/// What becomes of an operation that arrives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is the first of a flight, which boards now.
    First,
    /// It has to wait for a flight.
    Wait,
    /// So many wait already that it is refused.
    Refused(usize),
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new() }
    }
}

impl<T> Queues<T> {
    /// An operation arrives. After [`Entry::Wait`] it is to be handed over by [`wait`](Self::wait).
    pub(super) fn enter(&mut self, at: u16, limits: &BatchLimits) -> Entry {
        let new = || Lane { in_flight: 0, boarding: false, waiting: VecDeque::new() };
        let lane = self.lanes.entry(at).or_insert_with(new);
        if lane.in_flight < limits.in_flight.max(1) && !lane.boarding {
            lane.in_flight += 1;
            lane.boarding = true;
            return Entry::First;
        }
        match lane.waiting.len() {
            full if full >= limits.waiting => Entry::Refused(full),
            _ => Entry::Wait,
        }
    }

    /// Puts an operation behind those that wait.
    pub(super) fn wait(&mut self, at: u16, waiting: T) {
        if let Some(lane) = self.lanes.get_mut(&at) {
            lane.waiting.push_back(waiting);
        }
    }

    /// The flight that boards leaves, with `aboard` and whoever else fits; those whom `goes` denies
    /// have withdrawn. Also, whether one more flight, counted from now and boarding, is to take those
    /// who did not fit.
    pub(super) fn leave(
        &mut self,
        at: u16,
        limits: &BatchLimits,
        aboard: Option<Weight>,
        mut weigh: impl FnMut(&T) -> Weight,
        mut goes: impl FnMut(&T) -> bool,
    ) -> (Vec<T>, bool) {
        let Some(lane) = self.lanes.get_mut(&at) else { return (Vec::new(), false) };
        let mut batch = Vec::new();
        let mut count = usize::from(aboard.is_some());
        let mut load = aboard.unwrap_or_default();
        while let Some(next) = lane.waiting.front() {
            let weight = weigh(next);
            let full = count >= limits.operations
                || load.arguments + weight.arguments > limits.arguments
                || load.bytes + weight.bytes > limits.bytes;
            // One that is too large for any batch still goes, alone.
            if full && count > 0 {
                break;
            }
            if let Some(next) = lane.waiting.pop_front()
                && goes(&next)
            {
                count += 1;
                load.arguments += weight.arguments;
                load.bytes += weight.bytes;
                batch.push(next);
            }
        }
        lane.boarding = !lane.waiting.is_empty() && lane.in_flight < limits.in_flight;
        lane.in_flight += usize::from(lane.boarding);
        (batch, lane.boarding)
    }

    /// A flight has landed, or one that was `boarding` was given up. Whether it is to board again.
    pub(super) fn land(&mut self, at: u16, boarding: bool) -> bool {
        let Some(lane) = self.lanes.get_mut(&at) else { return false };
        lane.boarding &= !boarding;
        if !lane.boarding && !lane.waiting.is_empty() {
            lane.boarding = true;
            return true;
        }
        lane.in_flight -= 1;
        if lane.in_flight == 0 {
            self.lanes.remove(&at);
        }
        false
    }

    /// How many wait, in all lanes.
    pub(super) fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Arrive,
        Leave,
        Land,
        GiveUp,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Arrive),
            3 => Just(Step::Leave),
            3 => Just(Step::Land),
            1 => Just(Step::GiveUp),
        ];
        proptest::collection::vec(step, 1..200)
    }

    /// What the caller of the queues holds: flights by stage, and who flies or waits.
    #[derive(Default)]
    struct World {
        queues: Queues<usize>,
        boarding: usize,
        flying: usize,
        arrived: usize,
        waiting: VecDeque<usize>,
        gone: usize,
    }

    impl World {
        fn leave(&mut self, limits: &BatchLimits, withdrawn: impl Fn(usize) -> bool) {
            let one = |_: &usize| Weight { arguments: 1, bytes: 1 };
            let (batch, more) = self.queues.leave(0, limits, None, one, |op| !withdrawn(*op));
            let mut expected = Vec::new();
            while expected.len() < limits.operations
                && let Some(next) = self.waiting.pop_front()
            {
                if !withdrawn(next) {
                    expected.push(next);
                }
            }
            // Those who withdrew behind the last one are taken off now or the next time.
            assert_eq!(batch, expected);
            self.gone += batch.len();
            (self.boarding, self.flying) = (usize::from(more), self.flying + 1);
            self.waiting = self.waiting.split_off(self.waiting.len() - self.queues.waiting());
        }

        fn land(&mut self, boarding: bool) {
            if boarding {
                self.boarding -= 1
            } else {
                self.flying -= 1
            }
            self.boarding += usize::from(self.queues.land(0, boarding));
        }
    }

    proptest! {
        /// Nobody is stranded, nobody leaves twice, the order holds, and the limits do too.
        #[test]
        fn everybody_leaves_once_and_in_order(
            steps in steps(),
            in_flight in 1_usize..4,
            operations in 1_usize..5,
            nth_withdraws in 2_usize..9,
        ) {
            let limits = BatchLimits { in_flight, operations, ..BatchLimits::default() };
            let withdrawn = |op: usize| op.is_multiple_of(nth_withdraws);
            let mut world = World::default();
            for step in steps {
                match step {
                    Step::Arrive => {
                        let (op, idle) = (world.arrived, world.flying + world.boarding < in_flight);
                        world.arrived += 1;
                        match world.queues.enter(0, &limits) {
                            Entry::First => {
                                prop_assert!(idle && world.boarding == 0);
                                world.boarding = 1;
                                world.gone += 1;
                            }
                            Entry::Wait => {
                                prop_assert!(!idle || world.boarding == 1);
                                world.queues.wait(0, op);
                                world.waiting.push_back(op);
                            }
                            Entry::Refused(_) => unreachable!(),
                        }
                    }
                    Step::Leave if world.boarding > 0 => world.leave(&limits, withdrawn),
                    Step::Land if world.flying > 0 => world.land(false),
                    Step::GiveUp if world.boarding > 0 => world.land(true),
                    _ => {}
                }
                prop_assert!(world.boarding <= 1 && world.flying + world.boarding <= in_flight);
                prop_assert_eq!(world.queues.waiting(), world.waiting.len());
                prop_assert!(world.waiting.is_empty() || world.flying + world.boarding > 0);
            }
            while world.flying + world.boarding > 0 {
                if world.boarding > 0 { world.leave(&limits, withdrawn) } else { world.land(false) }
            }
            prop_assert!(world.waiting.is_empty() && world.queues.lanes.is_empty());
        }

        /// A call holds no more than it may, unless one operation alone is more.
        #[test]
        fn calls_keep_within_their_limits(
            weights in proptest::collection::vec(1_usize..40, 1..50),
            first in proptest::option::of(1_usize..40),
        ) {
            let limits = BatchLimits { bytes: 64, arguments: 9, operations: 8, ..BatchLimits::default() };
            let weight = |bytes: usize| Weight { arguments: 1 + bytes / 20, bytes };
            let mut queues = Queues::default();
            prop_assert_eq!(queues.enter(0, &limits), Entry::First);
            weights.iter().for_each(|bytes| queues.wait(0, *bytes));
            let mut aboard = first;
            let mut left = Vec::new();
            while queues.waiting() > 0 {
                let (batch, _) =
                    queues.leave(0, &limits, aboard.map(weight), |w| weight(*w), |_| true);
                let all: Vec<usize> = aboard.take().into_iter().chain(batch.clone()).collect();
                let bytes: usize = all.iter().sum();
                let arguments: usize = all.iter().map(|w| weight(*w).arguments).sum();
                let fits = bytes <= 64 && arguments <= 9 && all.len() <= 8;
                prop_assert!(fits || all.len() == 1, "{:?}", all);
                prop_assert!(!all.is_empty());
                left.extend(batch);
            }
            prop_assert_eq!(left, weights);
        }
    }
}
