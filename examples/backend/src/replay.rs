//! Lets the requests arrive: in order, paced or not, a bounded number of them in flight.
//!
//! Each user belongs to one worker, so one user's requests are answered in the order in which they
//! arrived, and what the limits decide does not depend on the speed or on luck.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use raptor::session::SessionToken;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::args::Args;
use crate::backend::{Answer, Backend, Failure, Request};
use crate::generate;
use crate::models::Model;
use crate::people::{People, Person};
use crate::tally::Tally;
use crate::trace::{Arrival, Trace, TraceError};

/// Generated unless told how many.
const DEFAULT_REQUESTS: u64 = 5_000;

/// Requests that wait for one worker before the arrivals are held up.
const BACKLOG: usize = 16;

/// Where requests come from.
pub(crate) enum Source {
    Generated { arrivals: Box<dyn Iterator<Item = Arrival> + Send>, requests: u64 },
    Trace { trace: Trace, at_most: Option<u64> },
}

impl Source {
    /// The trace if one is named, opened and its header read; else generated requests.
    pub(crate) fn open(trace: Option<&Path>, requests: Option<u64>) -> Result<Self, TraceError> {
        Ok(match trace {
            Some(path) => Self::Trace { trace: Trace::open(path)?, at_most: requests },
            None => {
                let requests = requests.unwrap_or(DEFAULT_REQUESTS);
                Self::Generated { arrivals: Box::new(generate::arrivals(requests)), requests }
            }
        })
    }

    /// The request of this number.
    fn next(&mut self, number: u64) -> Option<Result<Arrival, TraceError>> {
        match self {
            Self::Generated { arrivals, .. } => arrivals.next().map(Ok),
            Self::Trace { at_most: Some(most), .. } if number >= *most => None,
            Self::Trace { trace, .. } => trace.next(),
        }
    }

    /// A bar of requests, or of the trace's bytes, as a trace does not say how many it holds.
    /// Hidden when nobody watches.
    fn bar(&self) -> Result<ProgressBar> {
        let bar = ProgressBar::new(match self {
            Self::Generated { requests, .. } => *requests,
            Self::Trace { trace, .. } => trace.bytes(),
        });
        let style = "{wide_bar} {percent:>3} %  {msg} requests, {elapsed}";
        bar.set_style(ProgressStyle::with_template(style)?);
        bar.set_message("0");
        Ok(bar)
    }

    fn show(&self, bar: &ProgressBar, arrived: u64) {
        bar.set_position(match self {
            Self::Generated { .. } => arrived,
            Self::Trace { trace, .. } => trace.bytes_read(),
        });
        if arrived.is_multiple_of(100) {
            bar.set_message(crate::report::grouped(arrived.into()));
        }
    }
}

/// What happened.
pub(crate) struct Replay {
    pub(crate) arrived: u64,
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
    /// Ctrl-C came: not everything has arrived, but what did was answered.
    pub(crate) interrupted: bool,
    /// What ended the arrivals before their time.
    pub(crate) broken: Option<anyhow::Error>,
}

#[derive(Debug)]
struct Job {
    number: u64,
    arrival: Arrival,
    person: Person,
}

/// Has every request of `source` answered.
pub(crate) async fn replay(
    backend: &Arc<Backend>,
    people: &People,
    tokens: &Arc<Vec<SessionToken>>,
    mut source: Source,
    args: &Args,
) -> Result<Replay> {
    let mut workers = JoinSet::new();
    let mut inboxes = Vec::new();
    for _ in 0..args.concurrency {
        let (inbox, jobs) = mpsc::channel(BACKLOG);
        inboxes.push(inbox);
        workers.spawn(work(Arc::clone(backend), Arc::clone(tokens), jobs, Tally::new()?));
    }

    let bar = source.bar()?;
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let (mut arrived, mut interrupted, mut broken) = (0, false, None);
    let (started, mut first) = (Instant::now(), None);
    while let Some(next) = source.next(arrived) {
        let arrival = match next {
            Ok(arrival) => arrival,
            Err(error) => {
                broken = Some(error.into());
                break;
            }
        };
        let due = match args.speed {
            Some(speed) => {
                let passed = arrival.at - *first.get_or_insert(arrival.at);
                // One that is out of order is due at once.
                started + passed.max(time::Duration::ZERO).unsigned_abs().div_f64(speed)
            }
            None => started,
        };
        let job = Job { number: arrived, arrival, person: people.of_request(arrived) };
        let inbox = &inboxes[job.person.0 as usize % inboxes.len()];
        let deliver = async {
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            inbox.send(job).await.is_ok()
        };
        let delivered = tokio::select! {
            delivered = deliver => delivered,
            _ = &mut interrupt => {
                interrupted = true;
                hurry(backend);
                false
            }
        };
        if !delivered {
            break;
        }
        arrived += 1;
        source.show(&bar, arrived);
    }

    drop(inboxes);
    let mut tally = Tally::new()?;
    while let Some(done) = workers.join_next().await {
        let (workers_tally, gave_up) = done.context("a worker panicked")?;
        tally.add(workers_tally)?;
        broken = broken.or(gave_up.map(Into::into));
    }
    let elapsed = started.elapsed();
    bar.finish_and_clear();
    Ok(Replay { arrived, tally, elapsed, interrupted, broken })
}

/// Ends the run soon; a second Ctrl-C ends it now.
fn hurry(backend: &Backend) {
    backend.hurry.store(true, Ordering::Relaxed);
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
}

/// Answers the requests of some users, one after the other.
async fn work(
    backend: Arc<Backend>,
    tokens: Arc<Vec<SessionToken>>,
    mut jobs: mpsc::Receiver<Job>,
    mut tally: Tally,
) -> (Tally, Option<Failure>) {
    while let Some(Job { number, arrival, person }) = jobs.recv().await {
        let token = &tokens[person.0 as usize];
        let model = Model::of_request(number).name;
        let request = Request { number, arrival, token, model };
        match backend.serve(request, &mut tally).await {
            Ok(Answer::Served) => {}
            Ok(Answer::Denied) => tally.denied += 1,
            Ok(Answer::Unauthenticated) => tally.failed("a session was missing".to_owned()),
            Err(failure @ Failure::Failed(..)) => tally.failed(failure.to_string()),
            Err(gave_up) => {
                // The others shall not try as long; the arrivals end when this inbox closes.
                backend.hurry.store(true, Ordering::Relaxed);
                return (tally, Some(gave_up));
            }
        }
    }
    (tally, None)
}

/// Runs `task` for each of `items`, `width` at a time; the results in the order of the items.
pub(crate) async fn spread<I, T, F>(
    items: Vec<I>,
    width: usize,
    task: impl Fn(I) -> F + Clone + Send + 'static,
) -> Result<Vec<T>>
where
    I: Send + 'static,
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send,
{
    let mut lanes: Vec<Vec<(usize, I)>> = Vec::new();
    lanes.resize_with(width.clamp(1, items.len().max(1)), Vec::new);
    let width = lanes.len();
    for (index, item) in items.into_iter().enumerate() {
        lanes[index % width].push((index, item));
    }
    let mut running = JoinSet::new();
    for lane in lanes {
        let task = task.clone();
        running.spawn(async move {
            let mut results = Vec::with_capacity(lane.len());
            for (index, item) in lane {
                results.push((index, task(item).await?));
            }
            anyhow::Ok(results)
        });
    }
    let mut results = Vec::new();
    while let Some(done) = running.join_next().await {
        results.extend(done.context("a task panicked")??);
    }
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
