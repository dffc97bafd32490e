//! Callers that each count up a key of their own, and know to the last call what it must hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raptor_core::{Error, ErrorKind, Key, RedisClient, Script};

/// What one caller did to its own counter.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) done: i64,
    pub(super) unknown: i64,
    pub(super) errors: BTreeMap<String, usize>,
}

/// Callers that each count up one key, half by INCR, half by a script, and read it now and then,
/// until told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<(String, Tally)>>,
}

impl Load {
    pub(super) fn start(
        client: &RedisClient,
        callers: usize,
        key: impl Fn(usize) -> String,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let incr = Arc::new(Script::new("test.incr", "return redis.call('INCR', KEYS[1])"));
        let callers = (0..callers)
            .map(|caller| {
                let (client, incr, stop) = (client.clone(), incr.clone(), stop.clone());
                let name = key(caller);
                tokio::spawn(async move {
                    let key = Key::raw(name.clone());
                    let mut tally = Tally::default();
                    while !stop.load(Ordering::Relaxed) {
                        let outcome = if caller % 2 == 0 {
                            client.command("INCR").key(&key).run::<i64>().await
                        } else {
                            client.script(&incr).key(&key).run::<i64>().await
                        };
                        tally.count(outcome);
                        if tally.done % 8 == 0 {
                            let read = client.command("GET").key(&key).run::<Option<i64>>().await;
                            tally.read(read);
                        }
                    }
                    (name, tally)
                })
            })
            .collect();
        Self { stop, callers }
    }

    pub(super) async fn end(self) -> Vec<(String, Tally)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies = Vec::new();
        for caller in self.callers {
            tallies.push(caller.await.expect("a caller ends"));
        }
        tallies
    }
}

impl Tally {
    /// Nobody else writes the key, so replies count up without a gap or a repeat but for calls whose
    /// outcome is unknown.
    fn fits(&self, n: i64) {
        assert!(n >= self.done && n <= self.done + self.unknown, "{n} after {self:?}");
    }

    fn count(&mut self, outcome: Result<i64, Error>) {
        match outcome {
            Ok(n) => {
                self.done += 1;
                self.fits(n);
            }
            Err(error) => {
                self.unknown += i64::from(error.kind() == ErrorKind::OutcomeUnknown);
                self.failed(&error);
            }
        }
    }

    fn read(&mut self, outcome: Result<Option<i64>, Error>) {
        match outcome {
            Ok(n) => self.fits(n.unwrap_or_default()),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &Error) {
        *self.errors.entry(format!("{error:?}")).or_default() += 1;
        let unknown = error.kind() == ErrorKind::OutcomeUnknown;
        assert!(unknown || error.is_retryable(), "{error:?}");
    }
}

pub(super) async fn stored_at(client: &RedisClient, key: &str) -> i64 {
    let n: Option<i64> =
        client.command("GET").key(&Key::raw(key.to_owned())).run().await.expect("GET");
    n.unwrap_or_default()
}
