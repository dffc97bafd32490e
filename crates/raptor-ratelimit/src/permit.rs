//! How many at once: permits that expire, so that what a dead process held comes back.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raptor_core::{Error, ErrorKind, Family, Key, RedisClient, Reply, Result, Script};
use tokio::runtime::Handle;
use ulid::Ulid;

use crate::limit::{MAX_LIMIT, MAX_WINDOW};
use crate::options::AcquireOptions;
use crate::service::RateLimitService;
use crate::subject::Subject;

static PERMIT: LazyLock<Script> =
    LazyLock::new(|| Script::new("ratelimit.permit", include_str!("lua/permit.lua")));

static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new("ratelimit.release", include_str!("lua/release.lua")));

/// The answer of [`concurrent`](RateLimitService::concurrent).
#[derive(Debug)]
#[must_use = "a permit that is dropped is released"]
pub enum Concurrent {
    /// A place is yours until the permit is dropped, released, or expires.
    Granted(Permit),
    /// All places are taken.
    Full {
        /// When the first of them expires, if nobody extends or releases any.
        retry_after: Duration,
    },
}

impl Concurrent {
    /// The permit, if there is one.
    #[must_use]
    pub fn permit(self) -> Option<Permit> {
        match self {
            Self::Granted(permit) => Some(permit),
            Self::Full { .. } => None,
        }
    }
}

/// One of a subject's places, held.
///
/// It has an id of its own, and whatever it does it does to that id: when it has expired and somebody
/// else has the place, its release frees nothing.
///
/// Dropping it releases it in the background, as far as the runtime that made it still runs and the
/// server answers; [`release`](Self::release) waits for that. Otherwise the place comes back when the
/// permit expires.
///
/// Work that may take longer than the time to live [extends](Self::extend) its permit every third of
/// it, beside the work. So an extension may fail and the next one still comes in time; when the place
/// is lost, or may be, the work is dropped:
///
/// ```no_run
/// # use std::time::Duration;
/// # use raptor_ratelimit::Permit;
/// # async fn export() {}
/// /// Whether the export ended while its place was surely held.
/// async fn export_in_turn(permit: Permit, ttl: Duration) -> raptor_core::Result<bool> {
///     let extended = async || {
///         loop {
///             tokio::time::sleep(ttl / 3).await;
///             // An error is no loss yet: the next third still comes in time.
///             if let Ok(held) = permit.extend(ttl).await {
///                 return held;
///             }
///         }
///     };
///     let lost = async {
///         // A little before it expires, for the answer took its time.
///         while tokio::time::timeout(ttl.mul_f64(0.9), extended()).await == Ok(true) {}
///     };
///     tokio::select! {
///         () = export() => permit.release().await,
///         () = lost => Ok(false),
///     }
/// }
/// ```
pub struct Permit {
    held: Held,
    /// How many were held when this one was granted, itself included.
    held_now: u64,
}

/// What must be released, whether or not an answer came.
struct Held {
    client: RedisClient,
    key: Key,
    id: Bytes,
    now_us: Option<u64>,
    runtime: Option<Handle>,
    over: AtomicBool,
}

impl RateLimitService {
    /// A place among at most `max` of `subject` at once, for `ttl` unless
    /// [extended](Permit::extend).
    ///
    /// Guaranteed: never more than `max` unexpired permits at once among callers that ask with the
    /// same `max`; a process that dies holds its places for `ttl` at most; an expired permit's release
    /// or extension never touches another's. When the future is dropped, or no answer comes, the place
    /// is released again.
    ///
    /// Not guaranteed: that work ends with its permit. Whoever may work for longer than `ttl` extends
    /// it, and stops when that fails. A server whose clock is set back keeps permits for as much
    /// longer. Waiting callers have no order.
    ///
    /// `max` is 1 to 2^53 − 1, `ttl` 1 µs to [`MAX_WINDOW`]. Cost: one round trip, O(log permits).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) outside of these ranges;
    /// [`Codec`](ErrorKind::Codec) for permits of a newer Raptor; else as of every call.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use raptor_ratelimit::{AcquireOptions, Concurrent, RateLimitService, Subject};
    /// # async fn run(service: RateLimitService) -> raptor_core::Result<()> {
    /// let subject = Subject::new("user-7", "exports")?;
    /// let ttl = Duration::from_secs(30);
    /// match service.concurrent(&subject, 2, ttl, &AcquireOptions::default()).await? {
    ///     Concurrent::Granted(permit) => {
    ///         // … work, and if it may take longer than the ttl, see `Permit`; then:
    ///         permit.release().await?;
    ///     }
    ///     Concurrent::Full { retry_after } => println!("two run already, try in {retry_after:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn concurrent(
        &self,
        subject: &Subject,
        max: u64,
        ttl: Duration,
        options: &AcquireOptions,
    ) -> Result<Concurrent> {
        if !(1..=MAX_LIMIT).contains(&max) {
            let why = format!("{max} permits are out of range: 1 to {MAX_LIMIT}");
            return Err(Error::invalid(why));
        }
        let ttl_us = checked_ttl(ttl)?;
        let client = &self.shared.client;
        let key =
            client.keys().key(&Family::RATE_PERMITS, subject.user(), &[subject.endpoint()])?;
        let mut held = Held {
            client: client.clone(),
            key,
            id: Ulid::generate().to_string().into(),
            now_us: options.now_us(),
            runtime: Handle::try_current().ok(),
            over: AtomicBool::new(false),
        };
        match held.call("take", max, ttl_us).await? {
            Said::Held(held_now) => Ok(Concurrent::Granted(Permit { held, held_now })),
            Said::Full(retry_us) => {
                *held.over.get_mut() = true;
                Ok(Concurrent::Full { retry_after: Duration::from_micros(retry_us) })
            }
            Said::Gone => Err(Error::codec("ratelimit.permit answered a take with `gone`")),
        }
    }
}

impl Permit {
    /// How many permits of the subject were held when this one was granted, itself included.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held_now
    }

    /// Holds the place for `ttl` from now on. `false`: it had expired, and may be another's by now;
    /// stop working.
    ///
    /// Call it every third of the time to live or so. One round trip; a repeat is harmless.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when `ttl` is 0 or above [`MAX_WINDOW`]; else as of
    /// every call. The place is then held until its last expiry at least.
    pub async fn extend(&self, ttl: Duration) -> Result<bool> {
        let said = self.held.call("extend", 0, checked_ttl(ttl)?).await?;
        Ok(matches!(said, Said::Held(_)))
    }

    /// Gives the place back. `false`: it had expired by the server's clock, so for some time before
    /// another may have worked beside this one; whoever has the place now keeps it.
    ///
    /// Not guaranteed: that `false` means so where an answer got lost. Then the release is repeated, and
    /// the repeat finds nothing.
    ///
    /// # Errors
    /// As of every call; the release is then tried once more in the background.
    pub async fn release(mut self) -> Result<bool> {
        let said = self.held.release().await?;
        *self.held.over.get_mut() = true;
        Ok(said)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("held", &self.held_now).finish_non_exhaustive()
    }
}

enum Said {
    Held(u64),
    Full(u64),
    Gone,
}

impl Held {
    async fn call(&self, what: &str, max: u64, ttl_us: u64) -> Result<Said> {
        let call = self.client.script(&PERMIT).key(&self.key);
        // With its id a repeat asks for the same place.
        let call = call.arg(what).arg(&self.id).arg(max).arg(ttl_us).arg(self.now()).idempotent();
        let reply: Vec<Reply> = call.run().await?;
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        let status: Bytes = next().decode()?;
        match &status[..] {
            b"held" => Ok(Said::Held(next().decode()?)),
            b"full" => {
                let _held: u64 = next().decode()?;
                Ok(Said::Full(next().decode()?))
            }
            b"gone" => Ok(Said::Gone),
            b"layout" => Err(newer()),
            _ => Err(Error::codec("ratelimit.permit answered an unknown status")),
        }
    }

    /// Whether it was still held.
    async fn release(&self) -> Result<bool> {
        let call = self.client.script(&RELEASE).key(&self.key);
        // A repeat finds nothing: it takes off this id alone.
        let reply: Vec<Bytes> = call.arg(&self.id).arg(self.now()).idempotent().run().await?;
        match reply.first().map_or(&b""[..], |status| &status[..]) {
            b"released" => Ok(true),
            b"gone" => Ok(false),
            b"layout" => Err(newer()),
            _ => Err(Error::codec("ratelimit.release answered an unknown status")),
        }
    }

    fn now(&self) -> String {
        self.now_us.map_or_else(String::new, |us| us.to_string())
    }
}

fn newer() -> Error {
    Error::codec("the permits of this subject have a newer layout: update this process")
}

/// Also when no answer came to the take: then it may have been granted.
impl Drop for Held {
    fn drop(&mut self) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(runtime) = self.runtime.take() else { return };
        let held = Self {
            client: self.client.clone(),
            key: self.key.clone(),
            id: self.id.clone(),
            now_us: self.now_us,
            runtime: None,
            over: AtomicBool::new(true),
        };
        runtime.spawn(async move {
            // Best effort: else it expires.
            let _ = held.release().await;
        });
    }
}

fn checked_ttl(ttl: Duration) -> Result<u64> {
    let ttl_us = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
    if ttl_us == 0 || ttl > MAX_WINDOW {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the time to live {ttl:?} is out of range: 1 µs to {MAX_WINDOW:?}"),
        ));
    }
    Ok(ttl_us)
}
