//! How many operations rode together in a script call, out of the metrics that Raptor emits.
//!
//! A backend in earnest installs an exporter (Prometheus, StatsD …) in the place of this recorder.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

const BATCH: &str = "raptor_core_batch_operations";

/// Takes down the sizes of batches, by script, and no other metric. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchRecorder(Arc<Mutex<BTreeMap<String, Arc<Sizes>>>>);

#[derive(Debug, Default)]
struct Sizes {
    calls: AtomicU64,
    operations: AtomicU64,
    largest: AtomicU64,
}

/// The calls of one script.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Batches {
    /// Operations a call.
    pub(crate) mean: f64,
    /// Operations in the largest call.
    pub(crate) largest: u64,
}

impl BatchRecorder {
    /// What became of the script of this name; `None` when it was not called, or rides with nobody.
    pub(crate) fn of(&self, script: &str) -> Option<Batches> {
        let scripts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = scripts.get(script)?;
        let calls = sizes.calls.load(Ordering::Relaxed);
        (calls > 0).then(|| Batches {
            mean: sizes.operations.load(Ordering::Relaxed) as f64 / calls as f64,
            largest: sizes.largest.load(Ordering::Relaxed),
        })
    }
}

impl HistogramFn for Sizes {
    fn record(&self, operations: f64) {
        let operations = operations as u64;
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.operations.fetch_add(operations, Ordering::Relaxed);
        self.largest.fetch_max(operations, Ordering::Relaxed);
    }
}

impl Recorder for BatchRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() != BATCH {
            return Histogram::noop();
        }
        let script = key.labels().find(|label| label.key() == "script");
        let script = script.map_or_else(String::new, |label| label.value().to_owned());
        let mut scripts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Histogram::from_arc(Arc::clone(scripts.entry(script).or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_kept_by_script_and_nothing_else_is() {
        let recorder = BatchRecorder::default();
        metrics::with_local_recorder(&recorder, || {
            for operations in [1.0, 2.0, 9.0] {
                metrics::histogram!(BATCH, "script" => "a").record(operations);
            }
            metrics::histogram!(BATCH, "script" => "b").record(1.0);
            metrics::histogram!("other", "script" => "c").record(1.0);
        });
        assert_eq!(recorder.of("a"), Some(Batches { mean: 4.0, largest: 9 }));
        assert_eq!(recorder.of("b"), Some(Batches { mean: 1.0, largest: 1 }));
        assert_eq!(recorder.of("c"), None);
    }
}
