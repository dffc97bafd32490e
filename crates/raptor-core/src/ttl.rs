//! `TtlManager`: how long keys live, and the keys that would live for ever by mistake.
//!
//! Redis expires keys by itself. What it cannot know is which key *should* have had a TTL: a write
//! that forgot it, a crash between two commands, a restored dump. A [`TtlPolicy`] says what a
//! family of keys is due, and [`TtlManager::cleanup_expired`] finds the keys that have nothing.

mod cleanup;
mod policy;

use std::sync::LazyLock;
use std::time::Duration;

use crate::client::RedisClient;
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::reply::Reply;
use crate::script::Script;

pub use cleanup::{Cleanup, CleanupCursor, CleanupReport, Scope};
pub use policy::{Jitter, TtlPolicies, TtlPolicy};

/// The longest TTL: a hundred years.
pub const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

static REFRESH: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.ttl_refresh", include_str!("lua/refresh.lua")));

/// How long a key has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// There is no such key.
    Missing,
    /// It has no TTL and stays until deleted.
    Persistent,
    /// It is gone after this; to the millisecond, by the server's clock.
    Remaining(Duration),
}

impl Ttl {
    /// What `PTTL` answers.
    fn from_millis(millis: i64) -> Result<Self> {
        match millis {
            -2 => Ok(Self::Missing),
            -1 => Ok(Self::Persistent),
            _ => match u64::try_from(millis) {
                Ok(millis) => Ok(Self::Remaining(Duration::from_millis(millis))),
                Err(_) => Err(Error::codec(format!("a TTL of {millis} ms in a reply"))),
            },
        }
    }
}

/// When [`TtlManager::refresh_if`] sets the TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshIf {
    /// The key exists, with a TTL or without.
    Exists,
    /// It has a TTL, and less than this is left, which is itself from a millisecond to
    /// [`MAX_TTL`]. Saves writes on keys that are used all the time.
    Below(Duration),
    /// It has a TTL, and the new one is longer. A TTL is never shortened.
    Longer,
}

/// What [`TtlManager::refresh_if`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The TTL was set.
    Refreshed,
    /// The condition did not hold; this is what there was, and still is.
    Kept(Ttl),
}

/// Sets, reads and repairs TTLs. Cheap to clone.
///
/// TTLs are [`Duration`]s from a millisecond (parts of one count whole) to [`MAX_TTL`]; zero is
/// [`InvalidInput`](crate::ErrorKind::InvalidInput), since Redis would take it for a deletion.
/// Works on keys of any type. Each method is one round trip; TTLs can be set while the server is
/// at `maxmemory`.
///
/// ```no_run
/// # async fn example(client: raptor_core::RedisClient) -> raptor_core::Result<()> {
/// use std::time::Duration;
/// use raptor_core::ttl::{Jitter, Ttl, TtlPolicies, TtlPolicy};
/// use raptor_core::Family;
///
/// let hour = Duration::from_secs(3600);
/// let policy = TtlPolicy::new(hour)?.max(24 * hour)?.jitter(Jitter::new(0.1)?);
/// let ttl = client.ttl().with_policies(TtlPolicies::new().family(&Family::RATE, policy));
///
/// let key = client.keys().key(&Family::RATE, "user:7", &["/v1/chat", "minute"])?;
/// ttl.apply_policy(&key).await?; // 54 to 66 minutes
/// assert!(matches!(ttl.get(&key).await?, Ttl::Remaining(_) | Ttl::Missing));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TtlManager {
    client: RedisClient,
    policies: TtlPolicies,
}

impl RedisClient {
    /// TTLs, without policies.
    #[must_use]
    pub fn ttl(&self) -> TtlManager {
        TtlManager::new(self)
    }
}

impl TtlManager {
    /// A manager without policies.
    #[must_use]
    pub fn new(client: &RedisClient) -> Self {
        Self { client: client.clone(), policies: TtlPolicies::new() }
    }

    /// The same with these policies.
    #[must_use]
    pub fn with_policies(mut self, policies: TtlPolicies) -> Self {
        self.policies = policies;
        self
    }

    /// The policies.
    #[must_use]
    pub fn policies(&self) -> &TtlPolicies {
        &self.policies
    }

    /// Sets the TTL, exactly. `false` when there is no such key. A repeat is harmless, so a lost
    /// reply is a retryable error.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for zero, above [`MAX_TTL`], or above what
    /// the policy of the key's family allows.
    pub async fn set_ttl(&self, key: &Key, ttl: Duration) -> Result<bool> {
        self.allow(key, ttl)?;
        let millis = millis(ttl)?;
        self.client.command("PEXPIRE").key(key).arg(millis).idempotent().run().await
    }

    /// Sets the TTL that the policy of the key's family says, spread by its jitter; without a policy
    /// the configured default TTL. `false` when there is no such key.
    ///
    /// # Errors
    /// As any call.
    pub async fn apply_policy(&self, key: &Key) -> Result<bool> {
        self.set_ttl(key, self.due(key)).await
    }

    /// The TTL that the policy of the key's family says, spread anew at each call; without a policy
    /// the configured default TTL. For writes that set value and TTL in one step.
    #[must_use]
    pub fn due(&self, key: &Key) -> Duration {
        match self.policy_of(key) {
            Some((_, policy)) => policy.due(random()),
            None => self.client.config().default_ttl(),
        }
    }

    /// How long the key has to live.
    ///
    /// # Errors
    /// As any call that only reads.
    pub async fn get(&self, key: &Key) -> Result<Ttl> {
        Ttl::from_millis(self.client.command("PTTL").key(key).run().await?)
    }

    /// Takes the TTL away. `false` when there is no such key, or it had none.
    ///
    /// # Errors
    /// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) after a lost reply; a repeat takes the
    /// TTL away all the same, but cannot tell whether there was one.
    pub async fn persist(&self, key: &Key) -> Result<bool> {
        self.client.command("PERSIST").key(key).run().await
    }

    /// Sets the TTL if a condition holds; looks and sets in one step.
    ///
    /// # Errors
    /// As [`set_ttl`](Self::set_ttl); [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) after a
    /// lost reply.
    pub async fn refresh_if(
        &self,
        key: &Key,
        ttl: Duration,
        condition: RefreshIf,
    ) -> Result<Refresh> {
        self.allow(key, ttl)?;
        let call = self.client.script(&REFRESH).key(key).arg(millis(ttl)?);
        let call = match condition {
            RefreshIf::Exists => call.arg("exists").arg(""),
            RefreshIf::Below(threshold) => call.arg("below").arg(millis(threshold)?),
            RefreshIf::Longer => call.arg("longer").arg(""),
        };
        let reply: Vec<Reply> = call.run().await?;
        let mut reply = reply.into_iter();
        match reply.next().unwrap_or(Reply::Nil).decode::<String>()?.as_str() {
            "refreshed" => Ok(Refresh::Refreshed),
            "kept" => {
                let millis = reply.next().unwrap_or(Reply::Nil).decode()?;
                Ok(Refresh::Kept(Ttl::from_millis(millis)?))
            }
            _ => Err(Error::codec("an unknown status of core.ttl_refresh")),
        }
    }

    /// Refuses what the policy of the key's family does not allow.
    fn allow(&self, key: &Key, ttl: Duration) -> Result<()> {
        let Some((family, policy)) = self.policy_of(key) else { return Ok(()) };
        match policy.longest() {
            Some(longest) if ttl > longest => Err(Error::invalid(format!(
                "a TTL of {ttl:?} is above the {longest:?} that the policy of {family} keys allows"
            ))),
            _ => Ok(()),
        }
    }

    /// The policy of the key's family; a raw key may be of one too.
    fn policy_of(&self, key: &Key) -> Option<(&'static str, &TtlPolicy)> {
        let recognised = || self.client.keys().recognise(key.bytes()).family();
        let family = key.family().or_else(recognised)?;
        Some((family, self.policies.of(family)?))
    }
}

/// Whole milliseconds for the server, rounded up.
pub(crate) fn millis(ttl: Duration) -> Result<u64> {
    if ttl.is_zero() {
        return Err(Error::invalid("a TTL of zero: delete the key instead"));
    }
    if ttl > MAX_TTL {
        return Err(Error::invalid(format!("a TTL of {ttl:?}: at most {MAX_TTL:?} is taken")));
    }
    // A hundred years of milliseconds fit.
    Ok(ttl.as_nanos().div_ceil(1_000_000) as u64)
}

/// What spreads TTLs; without an entropy source they are not spread.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_millisecond_count_whole_and_zero_is_refused() {
        assert_eq!(millis(Duration::from_nanos(1)).ok(), Some(1));
        assert_eq!(millis(Duration::from_micros(1_001)).ok(), Some(2));
        assert_eq!(millis(MAX_TTL).ok(), Some(3_153_600_000_000));
        assert!(millis(Duration::ZERO).is_err());
        assert!(millis(MAX_TTL + Duration::from_nanos(1)).is_err());
    }

    #[test]
    fn pttl_answers_are_read() {
        assert_eq!(Ttl::from_millis(-2).ok(), Some(Ttl::Missing));
        assert_eq!(Ttl::from_millis(-1).ok(), Some(Ttl::Persistent));
        assert_eq!(Ttl::from_millis(0).ok(), Some(Ttl::Remaining(Duration::ZERO)));
        assert!(Ttl::from_millis(-3).is_err());
    }
}
