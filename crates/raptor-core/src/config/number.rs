//! Numbers with a range and a unit: the TTL, the timeouts, the number of connections.

use std::time::Duration;

/// The inclusive range of a number, and its unit.
pub(super) struct Range {
    min: u64,
    max: u64,
    unit: &'static str,
}

/// `REDIS_DEFAULT_TTL`: up to 3,650 days.
pub(super) const TTL_S: Range = Range { min: 1, max: 3650 * 86_400, unit: "seconds" };
/// `REDIS_MAX_CONNECTIONS`.
pub(super) const CONNECTIONS: Range = Range { min: 1, max: 1000, unit: "connections" };
/// Both timeouts: up to ten minutes.
pub(super) const TIMEOUT_MS: Range = Range { min: 1, max: 600_000, unit: "milliseconds" };

/// Numbers longer than this are not repeated in messages.
const SHOWN_DIGITS: usize = 12;

impl Range {
    /// The number, if it lies in the range.
    pub(super) fn check(&self, number: u64) -> Result<u64, String> {
        if (self.min..=self.max).contains(&number) {
            Ok(number)
        } else {
            Err(format!("is {number}, {}", self.wanted()))
        }
    }

    /// Reads a number: decimal digits and nothing else.
    pub(super) fn parse(&self, text: &str) -> Result<u64, String> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("is not a whole number, {}", self.wanted()));
        }
        match text.parse::<u64>() {
            Ok(number) if text.len() <= SHOWN_DIGITS => self.check(number),
            _ if text.len() <= SHOWN_DIGITS => Err(format!("is {text}, {}", self.wanted())),
            _ => Err(format!("is far out of range, {}", self.wanted())),
        }
    }

    /// The milliseconds of a duration, if they are whole and lie in the range.
    pub(super) fn millis(&self, duration: Duration) -> Result<u64, String> {
        if !duration.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(format!("is not a whole number of {}, {}", self.unit, self.wanted()));
        }
        self.check(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// The seconds of a duration, if they are whole and lie in the range.
    pub(super) fn seconds(&self, duration: Duration) -> Result<u64, String> {
        if duration.subsec_nanos() != 0 {
            return Err(format!("is not a whole number of {}, {}", self.unit, self.wanted()));
        }
        self.check(duration.as_secs())
    }

    fn wanted(&self) -> String {
        format!("must be {} to {} ({})", self.min, self.max, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_in_range_are_read() {
        for (text, number) in [("1", 1), ("1000", 1000), ("0010", 10)] {
            assert_eq!(CONNECTIONS.parse(text), Ok(number), "{text}");
        }
        for text in [
            "0",
            "-1",
            "1001",
            "abc",
            "",
            "-",
            "+5",
            "1.5",
            "1e3",
            "10s",
            "０",
            "9".repeat(40).as_str(),
        ] {
            let flaw = CONNECTIONS.parse(text).expect_err("refused");
            assert!(flaw.ends_with("must be 1 to 1000 (connections)"), "{flaw}");
        }
        assert!(CONNECTIONS.parse("-1").expect_err("refused").starts_with("is -1, "));
        assert!(
            CONNECTIONS
                .parse("hunter")
                .expect_err("refused")
                .starts_with("is not a whole number, ")
        );
    }

    #[test]
    fn durations_must_be_whole() {
        assert_eq!(TTL_S.seconds(Duration::from_secs(60)), Ok(60));
        assert!(TTL_S.seconds(Duration::from_millis(1500)).is_err());
        assert!(TTL_S.seconds(Duration::MAX).is_err());
        assert_eq!(TIMEOUT_MS.millis(Duration::from_millis(1500)), Ok(1500));
        assert!(TIMEOUT_MS.millis(Duration::from_micros(1500)).is_err());
        assert!(TIMEOUT_MS.millis(Duration::ZERO).is_err());
        assert!(TIMEOUT_MS.millis(Duration::MAX).is_err());
    }
}
