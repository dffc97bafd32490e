//! governor beside our decisions without a round trip: its keyed limiter, in this process alone.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::{Quota, RateLimiter};

const KEYS: usize = 1_000;
const MEASURED: Duration = Duration::from_millis(700);

fn main() {
    let quota = |per_second| Quota::per_second(NonZeroU32::new(per_second).expect("above zero"));
    let keyed = RateLimiter::keyed(quota(1_000_000_000));
    let denied = RateLimiter::keyed(quota(1));
    println!("governor, one thread, decisions/s");
    let names: Vec<String> = (0..KEYS).map(|n| format!("user-{n}")).collect();
    tell("allowed, 1,000 keys", |n| drop(keyed.check_key(&names[n % KEYS])));
    tell("denied, one key", |_| drop(denied.check_key(&names[0])));
}

fn tell(what: &str, check: impl Fn(usize)) {
    let mut rounds: Vec<f64> = (0..3)
        .map(|_| {
            let started = Instant::now();
            let mut done = 0;
            while started.elapsed() < MEASURED {
                for n in done..done + 1_000 {
                    check(n);
                }
                done += 1_000;
            }
            done as f64 / started.elapsed().as_secs_f64()
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("  {what:<22} {:>12.0}", rounds[1]);
}
