//! A closed loop of callers, and what it cost the server and this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use raptor_testkit::{Server, redis};

use crate::Way;

const WARM: Duration = Duration::from_millis(150);
const MEASURED: Duration = Duration::from_millis(700);

/// One way, one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) operations_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) client_cpu_us: f64,
    pub(crate) commands: f64,
}

/// Reads the server's own counters, and those of this process.
pub(crate) struct Meter<'a> {
    server: &'a Server,
}

#[derive(Clone, Copy)]
struct Counters {
    server_us: f64,
    client_us: f64,
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
        let own = getrusage(UsageWho::RUSAGE_SELF)?;
        Ok(Counters {
            server_us: (field("used_cpu_sys:")? + field("used_cpu_user:")?) * 1e6,
            client_us: (own.user_time() + own.system_time()).num_microseconds() as f64,
            commands: field("total_commands_processed:")?,
        })
    }
}

/// The callers of `way` call again and again.
pub(crate) async fn measure(meter: &Meter<'_>, way: &Way) -> Result<Cell> {
    let (stop, counting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..way.callers)
        .map(|_| {
            let (stop, counting, next) = (stop.clone(), counting.clone(), next.clone());
            let way = way.clone();
            tokio::spawn(async move {
                let mut latencies = Histogram::<u64>::new(3)?;
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(way.operations, Ordering::Relaxed);
                    let started = Instant::now();
                    (way.call)(n).await?;
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
    let done = (latencies.len() as usize * way.operations).max(1) as f64;
    Ok(Cell {
        operations_per_second: done / took.as_secs_f64(),
        p50_us: latencies.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: latencies.value_at_quantile(0.99) as f64 / 1e3,
        server_cpu_us: (after.server_us - before.server_us) / done,
        client_cpu_us: (after.client_us - before.client_us) / done,
        commands: (after.commands - before.commands) / done,
    })
}
