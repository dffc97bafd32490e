//! Waiting for a condition with a deadline, in place of sleeping and hoping.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Error;

/// Calls `probe` until it returns `Ok`, and returns that value.
///
/// An `Err` of the probe says what it saw instead; the last one is part of the [`Error::Timeout`] that comes
/// after `limit`. Steps start at 1 ms and grow to 25 ms, so that a fast condition is noticed fast. The
/// probe itself must not wait long: the deadline is looked at between calls.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), raptor_testkit::Error> {
/// use std::time::Duration;
/// let server = raptor_testkit::Server::start().await?;
/// let log = raptor_testkit::eventually("the server to be ready", Duration::from_secs(1), || async {
///     let log = server.log();
///     if log.contains("Ready to accept connections") { Ok(log) } else { Err(log) }
/// })
/// .await?;
/// assert!(log.contains("Ready"));
/// # Ok(()) }
/// ```
pub async fn eventually<T, F>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    let mut step = Duration::from_millis(1);
    loop {
        let last = match probe().await {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        let waited = begun.elapsed();
        if waited >= limit {
            return Err(Error::Timeout { what: what.to_owned(), waited, last });
        }
        sleep(step).await;
        step = (step * 5 / 4).min(Duration::from_millis(25));
    }
}
