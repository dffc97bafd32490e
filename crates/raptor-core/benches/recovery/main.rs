//! Both client libraries under the same Raptor, in one run: how long a fault keeps calls from succeeding.
#![allow(missing_docs)]

mod faults;

use anyhow::{Context, Result};
use raptor_bench::Outages;
use raptor_core::config::Driver;
use raptor_testkit::Engine;

use self::faults::{Fault, measure};

const ROUNDS: usize = 5;

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

#[expect(clippy::print_stderr, reason = "a bench that takes minutes tells how far it is")]
async fn run() -> Result<()> {
    let what = "faults as a caller sees them that begins an INCR each 2 ms: until calls succeed again, the longest time \
                without a success, and calls that failed";
    let engine = tokio::task::spawn_blocking(Engine::find).await??;
    let Some(mut bench) = Outages::new("recovery", what, &engine) else { return Ok(()) };
    for fault in Fault::ALL.into_iter().filter(|fault| fault.is_known_to(&engine)) {
        if !bench.wants(fault.name()) {
            continue;
        }
        let mut ways =
            [(Driver::Fred, "fred", Vec::new()), (Driver::Redis, "redis-rs", Vec::new())];
        for round in 0..ROUNDS {
            for (driver, name, seen) in &mut ways {
                let told = || format!("{}, {name}, round {round}", fault.name());
                let outage = measure(fault, *driver).await.with_context(told)?;
                eprintln!("{}: {outage:?}", told());
                seen.push(outage);
            }
        }
        for (_, name, seen) in ways {
            bench.add(fault.name(), fault.since(), name, &seen);
        }
    }
    bench.finish()
}
