//! Periods: a rule cuts time into them, one after the other without gap or overlap.
//!
//! Rules know UTC minutes to years. Their fields are private so that time zones and billing
//! anchors can join without a change for users; a period's id names everything that makes it unique.

use std::time::Duration;

use raptor_core::{Error, Result};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// How long a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeriodUnit {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// One month.
    Month,
    /// One year.
    Year,
}

impl PeriodUnit {
    /// How long totals stay after the period's end: minute 2 days, hour 31 days, day 400 days,
    /// month 1,100 days (3 years), year 1,830 days (5 years). Export what must live longer.
    #[must_use]
    pub const fn retention(self) -> Duration {
        let days = match self {
            Self::Minute => 2,
            Self::Hour => 31,
            Self::Day => 400,
            Self::Month => 1_100,
            Self::Year => 1_830,
        };
        Duration::from_secs(days * DAY_SECONDS)
    }
}

/// How to cut time into periods.
///
/// ```
/// use raptor_ops::usage::PeriodRule;
/// use time::macros::datetime;
/// let month = PeriodRule::MONTH.period_at(datetime!(2024-02-29 12:00 UTC))?;
/// assert_eq!(month.id(), "2024-02");
/// assert_eq!(month.end(), datetime!(2024-03-01 0:00 UTC));
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeriodRule {
    unit: PeriodUnit,
}

impl PeriodRule {
    /// Minutes.
    pub const MINUTE: Self = Self { unit: PeriodUnit::Minute };
    /// Hours in UTC.
    pub const HOUR: Self = Self { unit: PeriodUnit::Hour };
    /// Days in UTC.
    pub const DAY: Self = Self { unit: PeriodUnit::Day };
    /// Calendar months in UTC.
    pub const MONTH: Self = Self { unit: PeriodUnit::Month };
    /// Calendar years in UTC.
    pub const YEAR: Self = Self { unit: PeriodUnit::Year };

    /// The unit.
    #[must_use]
    pub const fn unit(self) -> PeriodUnit {
        self.unit
    }

    /// The period that holds `at`.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) outside the years 1970 to 9998.
    pub fn period_at(self, at: OffsetDateTime) -> Result<Period> {
        let at = at.to_offset(UtcOffset::UTC);
        if !(1970..=9998).contains(&at.year()) {
            return Err(Error::invalid("a time outside the years 1970 to 9998 has no period"));
        }
        let (date, time) = (at.date(), at.time());
        let bug = |_| Error::invalid("no such date");
        let first = |year, month| Date::from_calendar_date(year, month, 1).map_err(bug);
        let clock = |hour, minute| Time::from_hms(hour, minute, 0).map_err(bug);
        let start_of = |date: Date, time: Time| OffsetDateTime::new_utc(date, time);
        let start = match self.unit {
            PeriodUnit::Minute => start_of(date, clock(time.hour(), time.minute())?),
            PeriodUnit::Hour => start_of(date, clock(time.hour(), 0)?),
            PeriodUnit::Day => start_of(date, Time::MIDNIGHT),
            PeriodUnit::Month => start_of(first(at.year(), at.month())?, Time::MIDNIGHT),
            PeriodUnit::Year => start_of(first(at.year(), Month::January)?, Time::MIDNIGHT),
        };
        let end = match self.unit {
            PeriodUnit::Minute => start + time::Duration::MINUTE,
            PeriodUnit::Hour => start + time::Duration::HOUR,
            PeriodUnit::Day => start + time::Duration::DAY,
            PeriodUnit::Month => {
                let year = at.year() + i32::from(at.month() == Month::December);
                start_of(first(year, at.month().next())?, Time::MIDNIGHT)
            }
            PeriodUnit::Year => start_of(first(at.year() + 1, Month::January)?, Time::MIDNIGHT),
        };
        Ok(Period { rule: self, start, end })
    }
}

/// One period: from its start up to, not including, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period {
    rule: PeriodRule,
    start: OffsetDateTime,
    end: OffsetDateTime,
}

impl Period {
    /// The rule it came from.
    #[must_use]
    pub const fn rule(&self) -> PeriodRule {
        self.rule
    }

    /// Its first instant.
    #[must_use]
    pub const fn start(&self) -> OffsetDateTime {
        self.start
    }

    /// The first instant after it.
    #[must_use]
    pub const fn end(&self) -> OffsetDateTime {
        self.end
    }

    /// Its name in keys: `2026`, `2026-01`, `2026-01-15`, `2026-01-15T10`, `2026-01-15T1007`.
    #[must_use]
    pub fn id(&self) -> String {
        let s = self.start;
        let (year, month, day) = (s.year(), u8::from(s.month()), s.day());
        match self.rule.unit {
            PeriodUnit::Year => format!("{year:04}"),
            PeriodUnit::Month => format!("{year:04}-{month:02}"),
            PeriodUnit::Day => format!("{year:04}-{month:02}-{day:02}"),
            PeriodUnit::Hour => format!("{year:04}-{month:02}-{day:02}T{:02}", s.hour()),
            PeriodUnit::Minute => {
                format!("{year:04}-{month:02}-{day:02}T{:02}{:02}", s.hour(), s.minute())
            }
        }
    }

    /// When its totals may be dropped, in milliseconds since 1970.
    pub(super) fn keep_until_ms(&self) -> i64 {
        let retention_ms = self.rule.unit.retention().as_secs() as i64 * 1_000;
        self.end.unix_timestamp() * 1_000 + retention_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const ALL: [PeriodRule; 5] = [
        PeriodRule::MINUTE,
        PeriodRule::HOUR,
        PeriodRule::DAY,
        PeriodRule::MONTH,
        PeriodRule::YEAR,
    ];

    #[test]
    fn ids_are_readable_and_taken_in_utc() {
        let at = datetime!(2026-01-01 00:07:59.999 +01:00);
        let ids = ALL.map(|rule| rule.period_at(at).expect("a period").id());
        assert_eq!(ids, ["2025-12-31T2307", "2025-12-31T23", "2025-12-31", "2025-12", "2025"]);
    }

    #[test]
    fn years_that_have_no_end_are_refused() {
        for at in [datetime!(1969-12-31 23:59:59 UTC), datetime!(9999-01-01 0:00 UTC)] {
            assert!(ALL.iter().all(|rule| rule.period_at(at).is_err()));
        }
    }

    proptest! {
        #[test]
        fn periods_hold_their_time_and_tile_it(seconds in 0_i64..253_370_764_799, rule in 0_usize..5) {
            let at = OffsetDateTime::from_unix_timestamp(seconds).expect("in range");
            let period = ALL[rule].period_at(at).expect("a period");
            prop_assert!(period.start() <= at && at < period.end());
            prop_assert_eq!(ALL[rule].period_at(period.start()).ok(), Some(period));
            let last = period.end() - time::Duration::NANOSECOND;
            prop_assert_eq!(ALL[rule].period_at(last).ok(), Some(period));
            if let Ok(next) = ALL[rule].period_at(period.end()) {
                prop_assert_eq!(next.start(), period.end());
                prop_assert_ne!(next.id(), period.id());
            }
        }
    }
}
