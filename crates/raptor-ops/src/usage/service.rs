//! The service: charges each event once to all its periods, and reports them.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use raptor_core::{Coalescer, Error, ErrorKind, Family, Key, RedisClient, Reply, Result, Script};
use time::OffsetDateTime;

use super::charge::{Answer, Charge, KeyBlock, Record};
use super::event::{MAX_COUNT, UsageEvent};
use super::money::Cost;
use super::options::UsageOptions;
use super::period::Period;
use super::report::{
    Cursor, Dimension, MAX_PAGE, Page, REPORT_PAGE, UsageReport, corrupt, decode, newer_layout,
};
use crate::telemetry;

static REPORT: LazyLock<Script> =
    LazyLock::new(|| Script::new("usage.report", include_str!("lua/report.lua")));

/// Ids are remembered by the hour of their time. Fixed: recorders that disagree would charge twice.
const BUCKET_MS: i64 = 60 * 60 * 1_000;

/// Ids are remembered so much longer than late events are accepted: clocks of a failover may differ.
const SEEN_MARGIN_MS: i64 = BUCKET_MS;

/// What became of a recorded event.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was charged now, at this cost.
    Charged(Cost),
    /// An event of this id had been charged before; nothing changed.
    Duplicate,
}

/// An event whose time lies outside what is accepted; nothing was charged.
///
/// The source of the [`InvalidInput`](ErrorKind::InvalidInput) error that `record` returns then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutOfWindow {
    /// It is older than late events are accepted.
    #[error("the event is {age:?} old by the server's clock, later than accepted")]
    TooLate {
        /// How old it is.
        age: Duration,
    },
    /// It lies ahead of the server's clock by more than the tolerance.
    #[error("the event is {by:?} ahead of the server's clock")]
    Ahead {
        /// How far ahead it is.
        by: Duration,
    },
}

impl OutOfWindow {
    /// What `error` says about an event's time, if that was the reason.
    ///
    /// ```
    /// # use raptor_ops::usage::OutOfWindow;
    /// assert_eq!(OutOfWindow::of(&raptor_core::Error::invalid("another reason")), None);
    /// ```
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        std::error::Error::source(error)?.downcast_ref().copied()
    }
}

/// Meters usage: charges events exactly once, reports by period. Cheap to clone; events that are
/// recorded at the same time, by whichever clone, ride together.
///
/// *Guaranteed:* an event is charged once to each configured period or not at all, however often,
/// from wherever and how concurrently it is recorded; totals are exact integers up to 10¹⁸ a field.
///
/// *Not guaranteed:* anything if the server evicts keys or loses acknowledged writes.
#[derive(Clone, Debug)]
pub struct UsageService {
    client: RedisClient,
    options: Arc<UsageOptions>,
    recording: Coalescer<Record>,
    now: Option<OffsetDateTime>,
}

impl UsageService {
    /// A service over this client.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) when the options contradict themselves.
    pub fn new(client: RedisClient, options: UsageOptions) -> Result<Self> {
        options.validate()?;
        let recording = Coalescer::new(Record);
        Ok(Self { client, options: Arc::new(options), recording, now: None })
    }

    /// The same service with other options; events of both ride together.
    ///
    /// # Errors
    /// As of [`UsageService::new`].
    pub fn with_options(&self, options: UsageOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options: Arc::new(options), ..self.clone() })
    }

    /// The same service for which it is always `now`, for tests and models: the server's clock
    /// is not asked. Keys live as long as they would from `now` on.
    #[must_use]
    pub fn pinned_at(&self, now: OffsetDateTime) -> Self {
        Self { now: Some(now), ..self.clone() }
    }

    /// Charges `event` to its periods, at the price of its model at its time.
    ///
    /// A repeat of the same event is [`Recorded::Duplicate`], also if the first attempt ended in
    /// an error, was late or came from elsewhere: after any retryable error, record the same
    /// event again. A late event goes to the periods of its own time.
    ///
    /// Cost: one round trip; at most one script call, for events that are recorded at the same time
    /// ride together; a read and a write of four hashes a period.
    ///
    /// Cancel-safe for everybody else. Dropped before it was sent it charges nothing; dropped later
    /// it may have charged the event.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput), nothing charged: names, counts or cost out of
    /// range; no price; a total past 10¹⁸; [`OutOfWindow`] (as the source) for a time too late or
    /// ahead. [`WrongType`](ErrorKind::WrongType) or [`Codec`](ErrorKind::Codec), nothing charged:
    /// foreign data or a newer layout under one of the keys. Otherwise the connection's errors.
    ///
    /// ```no_run
    /// # async fn example(usage: raptor_ops::usage::UsageService) -> raptor_core::Result<()> {
    /// use raptor_ops::usage::{Recorded, UsageEvent};
    /// let event = UsageEvent::new("acme", "gpt-4o-mini").user("ann").input(900).output(40);
    /// match usage.record(&event).await? {
    ///     Recorded::Charged(cost) => println!("{cost}"),
    ///     Recorded::Duplicate => {}
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn record(&self, event: &UsageEvent) -> Result<Recorded> {
        let started = Instant::now();
        let outcome = self.charge(event).await;
        telemetry::usage_recorded(&outcome, started.elapsed());
        outcome
    }

    /// What `workspace` used in `period`: the totals and the first page by model, agent and user.
    ///
    /// One script sees one moment: the totals of a workspace with few names equal their sums.
    ///
    /// Cost: one round trip; constant for the totals, at most 100 names a dimension.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty or over-long workspace;
    /// [`WrongType`](ErrorKind::WrongType) or [`Codec`](ErrorKind::Codec) for foreign data.
    ///
    /// ```no_run
    /// # async fn example(usage: raptor_ops::usage::UsageService) -> raptor_core::Result<()> {
    /// use raptor_ops::usage::PeriodRule;
    /// let today = PeriodRule::DAY.period_at(time::OffsetDateTime::now_utc())?;
    /// for line in usage.report("acme", &today).await?.by_model.lines {
    ///     println!("{:?} {}", line.name, line.usage.cost);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn report(&self, workspace: &str, period: &Period) -> Result<UsageReport> {
        let first: Vec<_> = Dimension::ALL.iter().map(|&dimension| (dimension, None)).collect();
        let (totals, pages) = self.read(workspace, period, REPORT_PAGE, &first).await?;
        let [by_model, by_agent, by_user] = <[Page; 3]>::try_from(pages).map_err(|_| corrupt())?;
        Ok(UsageReport { period: *period, totals, by_model, by_agent, by_user })
    }

    /// One page of names of `dimension`, after `cursor` or from the start, of 1 to [`MAX_PAGE`].
    ///
    /// Pages are taken at different moments; each name comes once ([`Cursor`]).
    ///
    /// Cost: one round trip; O(log names + limit).
    ///
    /// # Errors
    /// As of [`UsageService::report`], and [`InvalidInput`](ErrorKind::InvalidInput) for a limit
    /// out of range.
    ///
    /// ```no_run
    /// # async fn example(usage: raptor_ops::usage::UsageService) -> raptor_core::Result<()> {
    /// use raptor_ops::usage::{Dimension, PeriodRule};
    /// let month = PeriodRule::MONTH.period_at(time::OffsetDateTime::now_utc())?;
    /// let mut cursor = None;
    /// loop {
    ///     let page = usage.breakdown("acme", &month, Dimension::User, cursor.as_ref(), 500).await?;
    ///     for line in page.lines {
    ///         println!("{:?} {}", line.name, line.usage.cost);
    ///     }
    ///     cursor = page.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn breakdown(
        &self,
        workspace: &str,
        period: &Period,
        dimension: Dimension,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::invalid(format!("a page has 1 to {MAX_PAGE} names, not {limit}")));
        }
        let (_, mut pages) = self.read(workspace, period, limit, &[(dimension, cursor)]).await?;
        pages.pop().ok_or_else(corrupt)
    }

    async fn charge(&self, event: &UsageEvent) -> Result<Recorded> {
        event.validate()?;
        let at = event.at()?;
        let cost = self.options.prices.price_at(event.model(), at)?.cost_of(&event.counts());
        if cost.micros() > u128::from(MAX_COUNT) {
            return Err(Error::invalid(format!(
                "an event costs more than {MAX_COUNT} micro-dollars"
            )));
        }
        let bucket = event.at_ms() / BUCKET_MS;
        let seen = KeyBlock {
            first: self.key(&Family::USAGE_SEEN, event.workspace(), &[&bucket.to_string()])?,
            others: Vec::new(),
            until_ms: (bucket + 1) * BUCKET_MS + self.options.accept_late_ms() + SEEN_MARGIN_MS,
        };
        let periods = self
            .options
            .periods
            .iter()
            .map(|rule| {
                let period = rule.period_at(at)?;
                let keys = PeriodKeys::new(self, event.workspace(), &period)?;
                let others = keys.dimensions.into_iter().flat_map(|(hash, names)| [hash, names]);
                Ok(KeyBlock {
                    first: keys.totals,
                    others: others.collect(),
                    until_ms: period.keep_until_ms(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let charge = Charge::new(event, cost, &self.options, self.now_ms(), seen, periods);
        let answer = self.recording.submit(&self.client, charge).await?;
        recorded(event, cost, &answer)
    }

    async fn read(
        &self,
        workspace: &str,
        period: &Period,
        limit: usize,
        pages: &[(Dimension, Option<&Cursor>)],
    ) -> Result<(super::report::UsageTotals, Vec<Page>)> {
        let keys = PeriodKeys::new(self, workspace, period)?;
        let mut call = self.client.script(&REPORT).idempotent().key(&keys.totals).arg(limit as i64);
        for &(dimension, cursor) in pages {
            let (hash, names) = &keys.dimensions[dimension as usize];
            call = call.key(hash).key(names).arg(Cursor::lower_bound(cursor));
        }
        decode(call.run::<Vec<Reply>>().await?)
    }

    fn key(&self, family: &Family, workspace: &str, parts: &[&str]) -> Result<Key> {
        self.client.keys().key(family, workspace, parts)
    }

    fn now_ms(&self) -> Option<i64> {
        // A year of at most five digits.
        self.now.map(|now| (now.unix_timestamp_nanos() / 1_000_000) as i64)
    }
}

/// What the script's answer means.
fn recorded(event: &UsageEvent, cost: Cost, answer: &Answer) -> Result<Recorded> {
    let now_ms = answer.now_ms;
    let apart = |ms: i64| Duration::from_millis(ms.unsigned_abs());
    let window = |why: OutOfWindow| Error::invalid(why.to_string()).with_source(why);
    match &answer.status[..] {
        b"charged" => Ok(Recorded::Charged(cost)),
        b"dup" => Ok(Recorded::Duplicate),
        b"late" => Err(window(OutOfWindow::TooLate { age: apart(now_ms - event.at_ms()) })),
        b"ahead" => Err(window(OutOfWindow::Ahead { by: apart(event.at_ms() - now_ms) })),
        b"wrongtype" => Err(Error::new(
            ErrorKind::WrongType,
            "a usage key of this workspace holds another type: nothing was charged",
        )),
        b"layout" => Err(newer_layout()),
        b"corrupt" => Err(corrupt()),
        b"full" => Err(Error::invalid("a usage total would pass 10^18: nothing was charged")),
        _ => Err(Error::new(ErrorKind::Protocol, "unknown status of a recorded usage event")),
    }
}

/// The keys of one period, in the scripts' order.
struct PeriodKeys {
    totals: Key,
    /// A hash and its names for each of [`Dimension::ALL`].
    dimensions: Vec<(Key, Key)>,
}

impl PeriodKeys {
    fn new(service: &UsageService, workspace: &str, period: &Period) -> Result<Self> {
        let id = period.id();
        let key = |family, parts: &[&str]| service.key(family, workspace, parts);
        let dimensions = Dimension::ALL
            .iter()
            .map(|dimension| {
                let parts = [id.as_str(), dimension.as_str()];
                Ok((key(&Family::USAGE_BY, &parts)?, key(&Family::USAGE_NAMES, &parts)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self { totals: key(&Family::USAGE, &[&id])?, dimensions })
    }
}
