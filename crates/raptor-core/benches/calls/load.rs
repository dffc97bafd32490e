//! A closed loop of callers, and what it cost the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use raptor_testkit::{Server, redis};

const WARM: Duration = Duration::from_millis(150);
const MEASURED: Duration = Duration::from_millis(700);

/// One way, one number of callers, one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) operations_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) commands: f64,
}

/// Reads the server's own counters.
pub(crate) struct Meter<'a> {
    server: &'a Server,
}

#[derive(Clone, Copy)]
struct Counters {
    cpu_us: f64,
    commands: f64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self { server }
    }

    async fn read(&self) -> Result<Counters> {
        let mut command = redis::cmd("INFO");
        command.arg("cpu").arg("stats");
        let info: String = self.server.query(&command).await?;
        let field = |name: &str| -> Result<f64> {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            Ok(value.with_context(|| format!("INFO has no {name}"))?.trim().parse()?)
        };
        Ok(Counters {
            cpu_us: (field("used_cpu_sys:")? + field("used_cpu_user:")?) * 1e6,
            commands: field("total_commands_processed:")?,
        })
    }
}

/// `callers` tasks call `one` again and again; each call is `operations` of them.
pub(crate) async fn measure<F>(
    meter: &Meter<'_>,
    callers: usize,
    operations: usize,
    one: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<Cell>
where
    F: Future<Output = Result<()>> + Send,
{
    let (stop, counting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (stop, counting, next) = (stop.clone(), counting.clone(), next.clone());
            let one = one.clone();
            tokio::spawn(async move {
                let mut latencies = Histogram::<u64>::new(3)?;
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(operations, Ordering::Relaxed);
                    let started = Instant::now();
                    one(n).await?;
                    if counting.load(Ordering::Relaxed) {
                        latencies.record(started.elapsed().as_nanos() as u64)?;
                    }
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    tokio::time::sleep(WARM).await;
    let before = meter.read().await?;
    counting.store(true, Ordering::Relaxed);
    let started = Instant::now();
    tokio::time::sleep(MEASURED).await;
    counting.store(false, Ordering::Relaxed);
    let took = started.elapsed();
    let after = meter.read().await?;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Histogram::<u64>::new(3)?;
    for task in tasks {
        latencies.add(task.await??)?;
    }
    let done = (latencies.len() as usize * operations).max(1) as f64;
    Ok(Cell {
        operations_per_second: done / took.as_secs_f64(),
        p50_us: latencies.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: latencies.value_at_quantile(0.99) as f64 / 1e3,
        server_cpu_us: (after.cpu_us - before.cpu_us) / done,
        commands: (after.commands - before.commands) / done,
    })
}
