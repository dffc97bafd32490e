//! A steady caller: what it sees of a fault, call by call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// A call begins this often, whatever became of those before it.
const PACE: Duration = Duration::from_millis(2);
/// Calls succeed for so long before a fault, and again before it counts as over.
const CALM: Duration = Duration::from_secs(1);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// One call that has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    begun: Instant,
    at: Instant,
    good: bool,
}

/// What a steady caller saw of one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Until a call succeeded after which none that was begun later failed.
    pub recovery: Duration,
    /// The longest time without a success, from the fault to the recovery.
    pub gap: Duration,
    /// Calls that failed.
    pub failed: usize,
}

/// What is known of the calls so far.
#[derive(Default)]
struct Calls {
    under_way: BTreeMap<usize, Instant>,
    ended: Vec<Ended>,
}

/// A caller that begins a call every two milliseconds until it is dropped.
pub struct Steady {
    calls: Arc<Mutex<Calls>>,
    task: tokio::task::JoinHandle<()>,
}

impl Steady {
    /// Starts to call, and returns once calls have succeeded for a while.
    ///
    /// # Errors
    /// When they do not.
    pub async fn start<F, E>(call: impl Fn() -> F + Send + Sync + 'static) -> Result<Self>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Send + 'static,
    {
        let calls: Arc<Mutex<Calls>> = Arc::default();
        let kept = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            for nth in 0.. {
                pace.tick().await;
                let (begun, outcome, kept) = (Instant::now(), call(), Arc::clone(&kept));
                locked(&kept).under_way.insert(nth, begun);
                tokio::spawn(async move {
                    let good = outcome.await.is_ok();
                    let mut calls = locked(&kept);
                    calls.under_way.remove(&nth);
                    calls.ended.push(Ended { begun, at: Instant::now(), good });
                });
            }
        });
        let steady = Self { calls, task };
        steady.calm(Instant::now(), Duration::from_secs(10)).await?;
        Ok(steady)
    }

    /// Waits until the fault of `began` is over for this caller, and tells what it saw.
    ///
    /// Recovery counts from `since`, and is nothing where calls succeeded before.
    ///
    /// # Errors
    /// When it is not over within `limit`.
    pub async fn outage(self, began: Instant, since: Instant, limit: Duration) -> Result<Outage> {
        self.calm(since, limit).await?;
        Ok(seen(&locked(&self.calls).ended, began, since))
    }

    async fn calm(&self, from: Instant, limit: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            if is_calm(&locked(&self.calls), from) {
                return Ok(());
            }
            ensure!(started.elapsed() < limit, "calls do not succeed after {limit:?}");
        }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls have succeeded for a while, and none is still to tell of a time before.
fn is_calm(calls: &Calls, from: Instant) -> bool {
    let failed = calls.ended.iter().filter(|call| !call.good).map(|call| call.at).max();
    let from = failed.map_or(from, |failed| failed.max(from));
    let fresh = calls.under_way.values().all(|begun| begun.elapsed() < CALM);
    let good = calls.ended.iter().filter(|call| call.good && call.begun > from);
    fresh && good.map(|call| call.at - from).max().is_some_and(|calm| calm > CALM)
}

fn seen(ended: &[Ended], began: Instant, since: Instant) -> Outage {
    let failures = || ended.iter().filter(|call| !call.good && call.at > began);
    let good_from = failures().map(|call| call.begun).max().map_or(began, |last| last.max(began));
    let again = ended.iter().filter(|call| call.good && call.begun > good_from);
    let again = again.map(|call| call.at).min().unwrap_or(since);
    let mut good: Vec<Instant> = ended.iter().filter(|c| c.good).map(|call| call.at).collect();
    good.sort();
    // What the machine does to callers afterwards is not the fault's.
    let over = again.max(since);
    let gaps = good.windows(2).filter(|pair| pair[1] > began && pair[0] < over);
    let gaps = gaps.map(|pair| pair[1] - pair[0]);
    Outage {
        recovery: again.saturating_duration_since(since),
        gap: gaps.max().unwrap_or_default(),
        failed: failures().count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_gap_and_failures_are_told_from_the_calls() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let call = |begun, ended, good| Ended { begun: at(begun), at: at(ended), good };
        let ended = [
            call(0, 1, true),
            call(2, 3, true),
            call(4, 90, false),
            call(6, 95, true),
            call(8, 20, false),
            call(50, 97, true),
            call(96, 98, true),
        ];
        let outage = seen(&ended, at(3), at(40));
        let ms = Duration::from_millis;
        assert_eq!(outage, Outage { recovery: ms(57), gap: ms(92), failed: 2 });
        let unharmed = seen(&[call(0, 1, true), call(2, 3, true), call(4, 5, true)], at(1), at(9));
        assert_eq!(unharmed, Outage { recovery: ms(0), gap: ms(2), failed: 0 });
    }
}
