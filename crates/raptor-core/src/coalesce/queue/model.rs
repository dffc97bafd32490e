//! The queues held against a plain model: random steps of callers and carriers.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    /// One of those who board takes its turn.
    Depart(usize),
    /// One of those who board goes away.
    Withdraw(usize),
    LandAlone,
    /// A carrier lands, or goes on after it lingered.
    Carry(usize),
    GiveUp(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Arrive),
        3 => any::<usize>().prop_map(Step::Depart),
        1 => any::<usize>().prop_map(Step::Withdraw),
        2 => Just(Step::LandAlone),
        4 => any::<usize>().prop_map(Step::Carry),
        1 => any::<usize>().prop_map(Step::GiveUp),
    ];
    proptest::collection::vec(step, 1..200)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carrier {
    Ready,
    Flying(usize),
    Lingering,
}

/// What the user of the queues holds.
#[derive(Default)]
struct World {
    queues: Queues<usize>,
    gate: Gate,
    boarders: Vec<usize>,
    withdrawn: Vec<usize>,
    alone: usize,
    carriers: Vec<Carrier>,
    arrived: usize,
    left: Vec<usize>,
}

const AT: At = (0, 0);

fn one(_: &usize) -> Weight {
    Weight { arguments: 1, bytes: 1 }
}

impl World {
    fn depart(&mut self, op: usize, limits: &BatchLimits) {
        let goes = |op: &usize| !self.withdrawn.contains(op);
        match self.queues.depart(AT, limits, |other| *other == op, one, goes) {
            None => {}
            Some(Departure::Alone(other)) => {
                assert_eq!(op, other);
                self.alone += 1;
                self.left.push(op);
            }
            Some(Departure::Carried { batch, another }) => {
                self.carriers.push(Carrier::Flying(batch.len()));
                self.left.extend(batch);
                self.carriers.extend(another.then_some(Carrier::Ready));
            }
        }
    }

    fn carry(&mut self, at: usize, limits: &BatchLimits) {
        match self.carriers[at] {
            Carrier::Flying(riders) => match self.queues.land(AT, &self.gate, riders) {
                Next::Linger => self.carriers[at] = Carrier::Lingering,
                Next::Leave => self.carriers[at] = Carrier::Ready,
                Next::End => drop(self.carriers.remove(at)),
            },
            Carrier::Ready | Carrier::Lingering => {
                if self.carriers[at] == Carrier::Lingering {
                    self.queues.end_of_stay(AT);
                }
                let goes = |op: &usize| !self.withdrawn.contains(op);
                let (batch, another) = self.queues.carry(AT, limits, one, goes);
                match batch.len() {
                    0 => drop(self.carriers.remove(at)),
                    riders => self.carriers[at] = Carrier::Flying(riders),
                }
                self.left.extend(batch);
                self.carriers.extend(another.then_some(Carrier::Ready));
            }
        }
    }

    fn step(&mut self, step: &Step, limits: &BatchLimits) {
        let nth = |n: usize, of: usize| (of > 0).then(|| n % of);
        match *step {
            Step::Arrive => {
                let op = self.arrived;
                self.arrived += 1;
                if self.queues.leave_alone(AT, limits) {
                    self.alone += 1;
                    self.left.push(op);
                    return;
                }
                match self.queues.enter(AT, op, limits) {
                    Entry::Boards { .. } => self.boarders.push(op),
                    Entry::Waits => assert!(!self.carriers.is_empty(), "nobody fetches it"),
                    Entry::Refused(_) => panic!("nothing is full"),
                }
            }
            Step::Depart(n) => {
                if let Some(at) = nth(n, self.boarders.len()) {
                    let op = self.boarders.remove(at);
                    // As the real one does, it asks only when nobody has taken it along.
                    if !self.left.contains(&op) {
                        self.depart(op, limits);
                    }
                }
            }
            Step::Withdraw(n) => {
                if let Some(at) = nth(n, self.boarders.len()) {
                    let op = self.boarders.remove(at);
                    if !self.left.contains(&op) {
                        self.withdrawn.push(op);
                        self.queues.withdraw(AT, |op| self.withdrawn.contains(op));
                    }
                }
            }
            Step::LandAlone if self.alone > 0 => {
                self.alone -= 1;
                let carrier = self.queues.land_alone(AT, limits);
                self.carriers.extend(carrier.then_some(Carrier::Ready));
            }
            Step::LandAlone => {}
            Step::Carry(n) => {
                if let Some(at) = nth(n, self.carriers.len()) {
                    self.carry(at, limits);
                }
            }
            Step::GiveUp(n) => {
                if let Some(at) = nth(n, self.carriers.len()) {
                    let lingering = self.carriers.remove(at) == Carrier::Lingering;
                    let another = self.queues.give_up(AT, lingering, limits);
                    self.carriers.extend(another.then_some(Carrier::Ready));
                }
            }
        }
    }
}

proptest! {
    /// Nobody is stranded, nobody leaves twice, the order holds, and the limits do too.
    #[test]
    fn everybody_leaves_once_and_in_order(
        steps in steps(),
        in_flight in 1_usize..4,
        operations in 1_usize..5,
    ) {
        let limits = BatchLimits { in_flight, operations, ..BatchLimits::default() };
        let mut world = World::default();
        for step in &steps {
            world.step(step, &limits);
            prop_assert!(world.alone <= in_flight && world.carriers.len() <= in_flight);
            let alone = usize::from(in_flight > 1);
            prop_assert!(world.alone + world.carriers.len() <= in_flight + alone);
            prop_assert!(world.alone <= in_flight * alone);
            let lingering = |carrier: &&Carrier| **carrier == Carrier::Lingering;
            prop_assert!(world.carriers.iter().filter(lingering).count() <= 1);
        }
        // Callers that board may be long in polling: carriers fetch all that wait for them.
        while !world.carriers.is_empty() {
            world.carry(0, &limits);
        }
        while let Some(op) = world.boarders.pop() {
            world.boarders.clear();
            if !world.left.contains(&op) {
                world.depart(op, &limits);
            }
            while !world.carriers.is_empty() {
                world.carry(0, &limits);
            }
        }
        while world.alone > 0 {
            world.step(&Step::LandAlone, &limits);
        }
        prop_assert!(world.queues.lanes.is_empty());
        prop_assert!(world.left.is_sorted());
        prop_assert_eq!(world.left.len() + world.withdrawn.len(), world.arrived);
    }

    /// A call holds no more than it may, unless one operation alone is more.
    #[test]
    fn calls_keep_within_their_limits(weights in proptest::collection::vec(1_usize..40, 1..50)) {
        let limits =
            BatchLimits { bytes: 64, arguments: 9, operations: 8, ..BatchLimits::default() };
        let weight = |bytes: &usize| Weight { arguments: 1 + bytes / 20, bytes: *bytes };
        let mut queues = Queues::default();
        for bytes in &weights {
            queues.enter(AT, *bytes, &limits);
        }
        let mut left = Vec::new();
        while queues.waiting() > 0 {
            let lane = queues.lanes.get_mut(&AT).expect("somebody waits in it");
            let batch = lane.take(&limits, weight, |_| true, &mut Vec::new());
            let bytes: usize = batch.iter().sum();
            let arguments: usize = batch.iter().map(|bytes| weight(bytes).arguments).sum();
            let fits = bytes <= 64 && arguments <= 9 && batch.len() <= 8;
            prop_assert!(fits || batch.len() == 1, "{:?}", batch);
            left.extend(batch);
        }
        prop_assert_eq!(left, weights);
    }
}

#[test]
fn the_gate_opens_when_all_who_are_expected_are_there() {
    let (limits, gate) = (BatchLimits::default(), Gate::default());
    let mut queues = Queues::default();
    let opened = || futures_util::FutureExt::now_or_never(gate.notified()).is_some();
    assert_eq!(queues.enter(AT, 0, &limits), Entry::Boards { others: false });
    assert_eq!(queues.enter(AT, 1, &limits), Entry::Boards { others: false });
    let departure = queues.depart(AT, &limits, |op| *op == 0, one, |_| true);
    assert_eq!(departure, Some(Departure::Carried { batch: vec![0, 1], another: false }));
    assert_eq!(queues.land(AT, &gate, 2), Next::Linger);
    assert_eq!(queues.enter(AT, 2, &limits), Entry::Waits);
    assert!(!opened());
    assert_eq!(queues.enter(AT, 3, &limits), Entry::Waits);
    assert!(opened());
}
