//! Which limits hold where, for whom: tiers of policies by endpoint, changed at run time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raptor_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::decision::{Decision, RateLimitResult};
use crate::limit::{Algorithm, Limit};
use crate::options::AcquireOptions;
use crate::outage::Outage;
use crate::service::{MAX_LIMITS, RateLimitService};
use crate::subject::Subject;

/// The endpoint whose policies hold where a tier names none of its own.
const EVERYWHERE: &str = "*";

/// Policies by tier and endpoint, checked as a whole.
///
/// From any format of serde; from TOML by [`from_toml`](Self::from_toml) with the feature `toml`:
///
/// ```toml
/// default_tier = "free"
///
/// [tiers.free]
/// "POST /chat" = [
///   { limit = 10, window = "60s" },                       # strict, named `60s`
///   { algorithm = "bucket", limit = 100, burst = 20, window = "1h", name = "hourly" },
/// ]
/// "*" = [{ limit = 1000, window = "1h", outage = "open" }]
///
/// [tiers.pro]
/// "POST /chat" = [{ limit = 100, window = "60s", outage = { local = 4 } }]
/// ```
///
/// A window is a whole number of `ms`, `s`, `m`, `h` or `d`; `outage` is `fail` (the default), `open`,
/// `closed` or `{ local = NODES }`. A tier's `*` holds for endpoints that it does not name, each
/// counted by itself; `shared_at = "…"` counts a limit of several endpoints together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Policies {
    default_tier: Option<String>,
    tiers: BTreeMap<String, BTreeMap<String, Vec<Limit>>>,
}

impl Policies {
    /// The limits of `endpoint` for `tier`, `None` being the default one; none where none are set.
    #[must_use]
    pub fn limits(&self, tier: Option<&str>, endpoint: &str) -> &[Limit] {
        let tier = tier.or(self.default_tier.as_deref());
        let Some(endpoints) = tier.and_then(|tier| self.tiers.get(tier)) else { return &[] };
        let limits = endpoints.get(endpoint).or_else(|| endpoints.get(EVERYWHERE));
        limits.map_or(&[], Vec::as_slice)
    }

    /// The names of the tiers.
    pub fn tiers(&self) -> impl Iterator<Item = &str> {
        self.tiers.keys().map(String::as_str)
    }

    /// Policies from TOML.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with the line, the tier or the endpoint that is wrong, and why.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            Error::new(ErrorKind::Config, format!("the rate limit policies are wrong: {error}"))
        })
    }
}

/// As the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    default_tier: Option<String>,
    tiers: BTreeMap<String, BTreeMap<String, Vec<WrittenLimit>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimit {
    #[serde(default)]
    algorithm: WrittenAlgorithm,
    limit: u64,
    window: String,
    burst: Option<u64>,
    name: Option<String>,
    shared_at: Option<String>,
    #[serde(default)]
    outage: WrittenOutage,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenAlgorithm {
    #[default]
    Strict,
    Log,
    Bucket,
    Fixed,
    Counter,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenOutage {
    #[default]
    Fail,
    Open,
    Closed,
    Local(std::num::NonZeroU32),
}

impl TryFrom<Written> for Policies {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let config = |message| Error::new(ErrorKind::Config, message);
        if let Some(tier) = &written.default_tier
            && !written.tiers.contains_key(tier)
        {
            return Err(config(format!(
                "default_tier names the tier `{tier}`, which is not there"
            )));
        }
        let mut tiers = BTreeMap::new();
        for (tier, endpoints) in written.tiers {
            let mut checked = BTreeMap::new();
            let named: Vec<String> = endpoints.keys().cloned().collect();
            for (endpoint, limits) in endpoints {
                let place =
                    |error| config(format!("tier `{tier}`, endpoint `{endpoint}`: {error}"));
                let limits: Vec<Limit> = limits
                    .into_iter()
                    .map(Limit::try_from)
                    .collect::<Result<_>>()
                    .map_err(place)?;
                check_together(&endpoint, &named, &limits).map_err(place)?;
                checked.insert(endpoint, limits);
            }
            tiers.insert(tier, checked);
        }
        Ok(Self { default_tier: written.default_tier, tiers })
    }
}

/// What one call would refuse, at `endpoint` or, where it is [`EVERYWHERE`], at any that is not `named`.
fn check_together(endpoint: &str, named: &[String], limits: &[Limit]) -> Result<()> {
    Subject::new("anybody", endpoint)?;
    if !(1..=MAX_LIMITS).contains(&limits.len()) {
        return Err(Error::invalid(format!("{} limits; give 1 to {MAX_LIMITS}", limits.len())));
    }
    let asked_at = |at: &[u8]| match endpoint {
        EVERYWHERE => at == endpoint.as_bytes() || !named.iter().any(|name| name.as_bytes() == at),
        endpoint => at == endpoint.as_bytes(),
    };
    let meet = |one: &Limit, other: &Limit| match (one.endpoint(), other.endpoint()) {
        (None, Some(at)) | (Some(at), None) => asked_at(at),
        (one, other) => one == other,
    };
    for (index, limit) in limits.iter().enumerate() {
        let same = |other: &Limit| other.policy() == limit.policy() && meet(other, limit);
        if limits[..index].iter().any(same) {
            let policy = limit.policy().escape_ascii();
            return Err(Error::invalid(format!("two limits are named {policy}; rename one")));
        }
    }
    Ok(())
}

impl TryFrom<WrittenLimit> for Limit {
    type Error = Error;

    fn try_from(written: WrittenLimit) -> Result<Self> {
        let algorithm = match written.algorithm {
            WrittenAlgorithm::Strict => Algorithm::Strict,
            WrittenAlgorithm::Log => Algorithm::Log,
            WrittenAlgorithm::Bucket => Algorithm::Bucket,
            WrittenAlgorithm::Fixed => Algorithm::Fixed,
            WrittenAlgorithm::Counter => Algorithm::Counter,
        };
        let mut limit = Limit::new(algorithm, written.limit, parse_window(&written.window)?)?;
        if let Some(burst) = written.burst {
            limit = limit.burst(burst)?;
        }
        if let Some(name) = written.name {
            limit = limit.named(name)?;
        }
        if let Some(endpoint) = written.shared_at {
            limit = limit.shared_at(endpoint)?;
        }
        Ok(limit.on_outage(match written.outage {
            WrittenOutage::Fail => Outage::Fail,
            WrittenOutage::Open => Outage::Open,
            WrittenOutage::Closed => Outage::Closed,
            WrittenOutage::Local(nodes) => Outage::Local { nodes },
        }))
    }
}

/// `500ms`, `60s`, `5m`, `1h`, `30d`.
fn parse_window(text: &str) -> Result<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let window_ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    window_ms.filter(|&window_ms| window_ms > 0).map(Duration::from_millis).ok_or_else(|| {
        Error::invalid(format!(
            "the window `{}` is not a whole number of ms, s, m, h or d, such as `60s`",
            text.escape_debug()
        ))
    })
}

impl RateLimitService {
    /// The policies in force.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        self.shared.policies.load_full()
    }

    /// Puts `policies` in force for all clones, from their next call on. What is already counted
    /// counts on under changed numbers; see [`Limit`] for changed windows and algorithms.
    pub fn set_policies(&self, policies: Policies) {
        self.shared.policies.store(Arc::new(policies));
    }

    /// Reads the policies in `file` and puts them in force; a file that cannot be used changes
    /// nothing. Call it at the start, and when the file has changed (on SIGHUP, say).
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): why it cannot be read or used. The old policies stay.
    #[cfg(feature = "toml")]
    pub fn reload_policies(&self, file: impl AsRef<std::path::Path>) -> Result<Arc<Policies>> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let why = format!("the rate limit policies cannot be read: {error}");
            Error::new(ErrorKind::Config, why).with_source(error)
        })?;
        self.set_policies(Policies::from_toml(&text)?);
        Ok(self.policies())
    }

    /// Acquires under the configured policies of `endpoint` for `tier`, `None` being the default one.
    ///
    /// # Errors
    /// As of [`acquire`](Self::acquire); [`NoPolicy`] where none are configured.
    pub async fn acquire_configured(
        &self,
        user: impl AsRef<[u8]>,
        endpoint: &str,
        tier: Option<&str>,
        options: &AcquireOptions,
    ) -> Result<Decision> {
        let subject = Subject::new(user, endpoint)?;
        let policies = self.policies();
        self.acquire(&subject, limits_of(&policies, tier, endpoint)?, options).await
    }

    /// Whether one more request of `user` at `endpoint` would be within `limit` in any trailing
    /// `window`. Looks, and takes nothing.
    ///
    /// It looks at the strict limit that is named after its window, which
    /// [`record_request`](Self::record_request) charges where the endpoint's policies have it.
    ///
    /// **The pair races by nature**: between a check and its record any number of others pass the
    /// same check, so together they may exceed the limit by as many as are under way. Use
    /// [`acquire`](Self::acquire), which does both at once, unless a request can only be counted
    /// after it was served.
    ///
    /// Cost: one round trip, shared with concurrent calls.
    ///
    /// # Errors
    /// As of [`peek`](Self::peek).
    pub async fn check_limit(
        &self,
        user: impl AsRef<[u8]>,
        endpoint: impl AsRef<[u8]>,
        limit: u64,
        window: Duration,
    ) -> Result<RateLimitResult> {
        let subject = Subject::new(user, endpoint)?;
        let limits = [Limit::strict(limit, window)?];
        let mut decision = self.peek(&subject, &limits, &AcquireOptions::default()).await?;
        Ok(decision.results.remove(0))
    }

    /// Charges one request of `user` to the policies of `endpoint` in the default tier, each as far as
    /// it still fits; see [`charge`](Self::charge), and [`check_limit`](Self::check_limit) for the race
    /// between the two.
    ///
    /// Cost: one round trip, shared with concurrent calls.
    ///
    /// # Errors
    /// As of `charge`; [`NoPolicy`] where none are configured: nothing was counted.
    pub async fn record_request(&self, user: impl AsRef<[u8]>, endpoint: &str) -> Result<Decision> {
        let subject = Subject::new(user, endpoint)?;
        let policies = self.policies();
        let limits = limits_of(&policies, None, endpoint)?;
        self.charge(&subject, limits, &AcquireOptions::default()).await
    }
}

fn limits_of<'p>(
    policies: &'p Policies,
    tier: Option<&str>,
    endpoint: &str,
) -> Result<&'p [Limit]> {
    match policies.limits(tier, endpoint) {
        [] => Err(Error::new(ErrorKind::Config, NoPolicy.to_string()).with_source(NoPolicy)),
        limits => Ok(limits),
    }
}

/// No policy is configured for an endpoint: the source of the [`Config`](ErrorKind::Config) error of
/// calls that take their limits from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rate limit policy is configured for this endpoint and tier; add one, or one for `*`")]
#[non_exhaustive]
pub struct NoPolicy;

impl NoPolicy {
    /// Whether `error` is this.
    #[must_use]
    pub fn is(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(|source| source.is::<Self>())
    }
}
