//! What the benches of all crates share: closed loops of callers, what they cost the server and the
//! client, and how that is told.
//!
//! Machines are moody, so a figure means something only beside its control. [`Bench::compare`] lets
//! the ways of doing the same thing take turns, round after round, and keeps the median of each.
//! [`Outages`] does the same for faults: what a [`Steady`] caller saw of them.

mod load;
mod outages;
mod report;
mod steady;

use std::sync::Arc;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use raptor_testkit::Server;

use self::load::{Cell, Meter};
pub use self::outages::Outages;
use self::report::{Report, Row};
pub use self::steady::{Outage, Steady};

const ROUNDS: usize = 3;

type Operation = Arc<dyn Fn(usize) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// One way of doing what others do too.
#[derive(Clone)]
pub struct Way {
    name: &'static str,
    callers: usize,
    operations: usize,
    call: Operation,
}

impl Way {
    /// `callers` tasks that each await `call`, again and again. It is given a number that grows.
    pub fn new<F>(
        name: &'static str,
        callers: usize,
        call: impl Fn(usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self { name, callers, operations: 1, call: Arc::new(move |n| call(n).boxed()) }
    }

    /// Each call does this many operations.
    #[must_use]
    pub fn operations(mut self, operations: usize) -> Self {
        self.operations = operations;
        self
    }
}

/// The part of a bench that the command line asks for; `None` for all of it.
struct Filter(Option<String>);

impl Filter {
    /// `None` when this program was started to be tested, not to measure.
    fn of_args() -> Option<Self> {
        let mut args = std::env::args().skip(1);
        if !std::env::args().any(|arg| arg == "--bench") {
            return None;
        }
        Some(Self(args.find(|arg| !arg.starts_with('-'))))
    }

    fn wants(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }

    /// Whether all is wanted: a part of the whole would replace it where it is kept.
    fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

/// A bench under way: what was measured so far.
pub struct Bench<'a> {
    meter: Meter<'a>,
    filter: Filter,
    report: Report,
}

impl<'a> Bench<'a> {
    /// A bench called `name` of work done by `server`; `what` says in a sentence what it measures.
    ///
    /// `None` when this program was started to be tested, not to measure.
    #[must_use]
    pub fn new(name: &'static str, what: &'static str, server: &'a Server) -> Option<Self> {
        let filter = Filter::of_args()?;
        let report = Report::new(name, what, server.engine().to_string());
        Some(Self { meter: Meter::new(server), filter, report })
    }

    /// Whether the command line asks for `workload`.
    #[must_use]
    pub fn wants(&self, workload: &str) -> bool {
        self.filter.wants(workload)
    }

    /// Lets the ways take turns, and keeps the median of each.
    ///
    /// # Errors
    /// That of the first call which fails.
    pub async fn compare(
        &mut self,
        workload: &str,
        callers: usize,
        ways: impl IntoIterator<Item = Way>,
    ) -> Result<()> {
        let mut rounds: Vec<(Way, Vec<Cell>)> =
            ways.into_iter().map(|way| (way, Vec::new())).collect();
        for _ in 0..ROUNDS {
            for (way, cells) in &mut rounds {
                cells.push(load::measure(&self.meter, way).await?);
            }
        }
        let row = |(way, cells): (Way, Vec<Cell>)| Row::new(workload, way.name, callers, &cells);
        self.report.rows.extend(rounds.into_iter().map(row));
        Ok(())
    }

    /// Prints what was measured, and writes it beside cargo's other output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<()> {
        self.report.print();
        if self.filter.is_none() { self.report.save() } else { Ok(()) }
    }
}
