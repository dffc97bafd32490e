//! An operator's word on the limits of one subject: forget, block, override, and what was ruled.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use raptor_core::keys::{NO_PARTS, decode_part};
use raptor_core::{Error, ErrorKind, Family, Key, Reply, Result, Script};
use time::OffsetDateTime;

use crate::limit::{Limit, MAX_WINDOW};
use crate::options::AcquireOptions;
use crate::script::bad_value;
use crate::service::{RateLimitService, harmless};
use crate::subject::Subject;

static RULE: LazyLock<Script> = LazyLock::new(|| {
    const SOURCE: &str = concat!(include_str!("lua/ruling.lua"), include_str!("lua/rule.lua"));
    Script::new("ratelimit.rule", SOURCE)
});

static RULINGS: LazyLock<Script> =
    LazyLock::new(|| Script::new("ratelimit.rulings", include_str!("lua/rulings.lua")));

/// What stands for one limit of a user: the answer of [`list`](RateLimitService::list).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ruling {
    /// Where the limit counts.
    pub endpoint: Vec<u8>,
    /// Under which policy.
    pub policy: Vec<u8>,
    /// The number that counts instead of the policy's, and until when.
    pub units: Option<(u64, OffsetDateTime)>,
    /// Until when nothing is admitted.
    pub blocked_until: Option<OffsetDateTime>,
}

/// What to rule on one limit.
enum Word {
    Reset,
    /// For so long; zero lifts it.
    Block(Duration),
    Override(Option<(u64, Duration)>),
}

impl RateLimitService {
    /// Forgets what was taken of `limits`; blocks and overrides stay. Receipts from before are void.
    ///
    /// The list of the user's rulings loses what is damaged in it: such a ruling stands, and is listed
    /// again once its limit is ruled on.
    ///
    /// Each limit by itself, one round trip each, O(rulings of this user). Other processes may deny what they have just
    /// denied for up to a second more.
    ///
    /// # Errors
    /// As of [`acquire`](Self::acquire); after one, the limits ahead of it in the list are reset.
    pub async fn reset(
        &self,
        subject: &Subject,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Result<()> {
        for limit in limits {
            self.rule(subject, limit, &Word::Reset, options).await?;
        }
        Ok(())
    }

    /// Admits nothing under `limit` for `duration`, whatever is free; calls are denied until then.
    /// A block replaces the one before. What is counted goes on being counted.
    ///
    /// `duration` is 1 µs to [`MAX_WINDOW`]. One round trip. Nothing that was admitted is called back.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for another duration;
    /// [`Capacity`](ErrorKind::Capacity) when the user has more than 1,000 rulings; others as of
    /// [`acquire`](Self::acquire).
    pub async fn block(
        &self,
        subject: &Subject,
        limit: &Limit,
        duration: Duration,
        options: &AcquireOptions,
    ) -> Result<()> {
        let word = Word::Block(checked(duration)?);
        self.rule(subject, limit, &word, options).await
    }

    /// Lifts a block. Other processes may deny what they have just denied for up to a second more.
    ///
    /// # Errors
    /// As of [`block`](Self::block).
    pub async fn unblock(
        &self,
        subject: &Subject,
        limit: &Limit,
        options: &AcquireOptions,
    ) -> Result<()> {
        self.rule(subject, limit, &Word::Block(Duration::ZERO), options).await
    }

    /// Counts `units` instead of the number of `limit` for `duration`, for this subject alone: what
    /// is counted already stays counted. An override replaces the one before. The burst of a bucket
    /// follows where it was not set apart.
    ///
    /// `units` is in the range of the limit's algorithm, `duration` 1 µs to [`MAX_WINDOW`]. One round
    /// trip. Where the policy later changes its algorithm, a number beyond that one's range counts as its
    /// largest (of a bucket 94,906,265, where it cannot be counted exactly, and its burst as much as can).
    ///
    /// A denial that lasts beyond the end of an override names the time at which the policy itself lets it
    /// through, and a cost that it never would is [`Never`](crate::Outcome::Never).
    ///
    /// # Errors
    /// As of [`block`](Self::block).
    pub async fn set_override(
        &self,
        subject: &Subject,
        limit: &Limit,
        units: u64,
        duration: Duration,
        options: &AcquireOptions,
    ) -> Result<()> {
        limit.with_units(units)?;
        let word = Word::Override(Some((units, checked(duration)?)));
        self.rule(subject, limit, &word, options).await
    }

    /// Lifts an override.
    ///
    /// # Errors
    /// As of [`block`](Self::block).
    pub async fn clear_override(
        &self,
        subject: &Subject,
        limit: &Limit,
        options: &AcquireOptions,
    ) -> Result<()> {
        self.rule(subject, limit, &Word::Override(None), options).await
    }

    /// The blocks and overrides that stand for `user`, in no order; limits without any are not listed.
    ///
    /// One round trip, O(rulings of this user), at most 1,000.
    ///
    /// # Errors
    /// As of [`acquire`](Self::acquire); a lost answer is a retryable
    /// [`Timeout`](ErrorKind::Timeout). [`Codec`](ErrorKind::Codec) when the list is damaged, until any limit
    /// of this user is [`reset`](Self::reset).
    pub async fn list(
        &self,
        user: impl AsRef<[u8]>,
        options: &AcquireOptions,
    ) -> Result<Vec<Ruling>> {
        let client = &self.shared.client;
        let index = client.keys().key(&Family::RATE_RULINGS, user.as_ref(), NO_PARTS)?;
        let call = client.script(&RULINGS).key(&index);
        let reply: Vec<Reply> = call.run().await.map_err(harmless)?;
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        let status: Bytes = next().decode()?;
        if &status[..] != b"ok" {
            return Err(newer_index());
        }
        let server_us: u64 = next().decode()?;
        let now_us = options.now_us().unwrap_or(server_us);
        let mut rulings = Vec::new();
        let fields: Vec<Reply> = reply.collect();
        for pair in fields.chunks_exact(2) {
            let (name, value) = (pair[0].clone().decode()?, pair[1].clone().decode()?);
            let ruling = parse(name, value, now_us).ok_or_else(|| {
                Error::codec("the list of a user's rulings is damaged; reset any limit of theirs")
            })?;
            if ruling.units.is_some() || ruling.blocked_until.is_some() {
                rulings.push(ruling);
            }
        }
        Ok(rulings)
    }

    async fn rule(
        &self,
        subject: &Subject,
        limit: &Limit,
        word: &Word,
        options: &AcquireOptions,
    ) -> Result<()> {
        let client = &self.shared.client;
        let key = self.key_of(subject, limit)?;
        let index = client.keys().key(&Family::RATE_RULINGS, subject.user(), NO_PARTS)?;
        let (what, units, duration) = match *word {
            Word::Reset => ("reset", None, Duration::ZERO),
            Word::Block(duration) => ("block", None, duration),
            Word::Override(Some((units, duration))) => ("override", Some(units), duration),
            Word::Override(None) => ("override", None, Duration::ZERO),
        };
        let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        let call = client.script(&RULE).key(&key).key(&index);
        let call = call.arg(what).arg(number(options.now_us())).arg(number(units));
        let for_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let call = call.arg(for_us).arg(field(&key)?).arg(limit.memory_us());
        let forgets = self.shared.denials.forget_after(subject.user());
        let reply = call.run::<Vec<Bytes>>().await;
        drop(forgets);
        match reply?.first().map(|status| &status[..]) {
            Some(b"ok") => Ok(()),
            Some(b"full") => Err(Error::new(
                ErrorKind::Capacity,
                "this user has 1,000 blocks and overrides already; lift some",
            )),
            Some(bad) => Err(bad_value(bad, limit)),
            None => Err(Error::codec("ratelimit.rule answered nothing")),
        }
    }
}

fn checked(duration: Duration) -> Result<Duration> {
    if !(Duration::from_micros(1)..=MAX_WINDOW).contains(&duration) {
        return Err(Error::invalid(format!(
            "the duration {duration:?} is out of range: 1 µs to {MAX_WINDOW:?}"
        )));
    }
    Ok(duration)
}

/// What the index calls the limit: its key behind the user, `<endpoint>:<policy>`, encoded.
fn field(key: &Key) -> Result<Vec<u8>> {
    let bytes = key.as_bytes();
    let end = bytes.windows(2).position(|two| two == b"}:");
    let at = end.ok_or_else(|| Error::invalid("the key of a rate limit has no parts"))?;
    Ok(bytes[at + 2..].to_vec())
}

fn newer_index() -> Error {
    Error::codec("the list of a user's rulings has a newer layout: update this process")
}

/// `<endpoint>:<policy>` and `<units>;<until>;<blocked>`.
fn parse(name: Bytes, value: Bytes, now_us: u64) -> Option<Ruling> {
    let name = String::from_utf8(name.into()).ok()?;
    let (endpoint, policy) = name.split_once(':')?;
    let decode = |part: &str| decode_part(part.as_bytes()).ok();
    let value = String::from_utf8(value.into()).ok()?;
    let mut numbers = value.split(';');
    let (units, till, blocked) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let till: u64 = till.parse().ok()?;
    let blocked: u64 = blocked.parse().ok()?;
    let instant = |us: u64| OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000).ok();
    let units = match units {
        "-" => None,
        units => Some((units.parse().ok()?, instant(till)?)).filter(|_| till > now_us),
    };
    let blocked_until = if blocked > now_us { Some(instant(blocked)?) } else { None };
    Some(Ruling { endpoint: decode(endpoint)?, policy: decode(policy)?, units, blocked_until })
}
