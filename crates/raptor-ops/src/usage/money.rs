//! Dollars in integers: a price is whole pico-dollars a unit, a cost is micro-dollars and a pico rest.
//!
//! A pico-dollar is 10⁻¹² $. A price quoted per million units with up to six decimals is a whole
//! number of pico-dollars a unit, so nothing is ever rounded and no float is ever involved.

use std::fmt;
use std::str::FromStr;

use raptor_core::{Error, Result};

/// Pico-dollars in a micro-dollar.
const PICO_PER_MICRO: u128 = 1_000_000;
const DECIMALS: usize = 6;

/// What one unit (a token, a request) costs, in whole pico-dollars.
///
/// Reads a decimal of dollars *per million units*: `"0.15"` is 150,000 pico-dollars a unit.
///
/// # Errors
/// Reading fails with [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for signs, exponents,
/// spaces, more than six decimals (trailing zeros aside) and prices above $1,000,000 per million.
///
/// ```
/// use raptor_ops::usage::{Cost, UnitPrice};
/// let price: UnitPrice = "0.15".parse()?;
/// assert_eq!(price.cost_of(1_000_000), Cost::from_pico(150_000_000_000));
/// assert!("-1".parse::<UnitPrice>().is_err() && "1e3".parse::<UnitPrice>().is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitPrice {
    pico: u64,
}

impl UnitPrice {
    /// Nothing.
    pub const FREE: Self = Self { pico: 0 };
    /// The highest price: $1 a unit.
    pub const MAX: Self = Self { pico: 1_000_000_000_000 };

    /// Pico-dollars a unit.
    #[must_use]
    pub const fn pico(self) -> u64 {
        self.pico
    }

    /// What `count` units cost, exactly.
    #[must_use]
    pub fn cost_of(self, count: u64) -> Cost {
        Cost::from_pico(u128::from(self.pico) * u128::from(count))
    }
}

impl FromStr for UnitPrice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: &str| Error::invalid(format!("a price per million units {why}"));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(refused("must be a plain decimal such as 0.15"));
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if fraction.len() > DECIMALS {
            return Err(refused("has at most six decimals"));
        }
        if whole.len() > 7 {
            return Err(refused("is at most 1000000"));
        }
        // At most 13 digits in all, so this cannot pass u64.
        let pico = format!("0{whole}{fraction:0<DECIMALS$}")
            .parse::<u64>()
            .map_err(|_| refused("must be a plain decimal such as 0.15"))?;
        if pico > Self::MAX.pico {
            return Err(refused("is at most 1000000"));
        }
        Ok(Self { pico })
    }
}

/// An amount of dollars, exact to the pico-dollar. Shown as `$0.150000`, or with all twelve decimals
/// when there is a rest below the micro-dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    pico: u128,
}

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self { pico: 0 };

    /// From pico-dollars.
    #[must_use]
    pub const fn from_pico(pico: u128) -> Self {
        Self { pico }
    }

    /// From whole micro-dollars and a rest in pico-dollars.
    #[must_use]
    pub fn from_parts(micros: u64, rest_pico: u32) -> Self {
        Self { pico: u128::from(micros) * PICO_PER_MICRO + u128::from(rest_pico) }
    }

    /// Whole micro-dollars; the rest below is [`Cost::rest_pico`].
    #[must_use]
    pub const fn micros(self) -> u128 {
        self.pico / PICO_PER_MICRO
    }

    /// What remains below the micro-dollar, in pico-dollars: 0 to 999,999.
    #[must_use]
    pub const fn rest_pico(self) -> u32 {
        (self.pico % PICO_PER_MICRO) as u32
    }

    /// The whole amount in pico-dollars.
    #[must_use]
    pub const fn pico(self) -> u128 {
        self.pico
    }

    /// The sum, or `None` when it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.pico.checked_add(other.pico) {
            Some(pico) => Some(Self { pico }),
            None => None,
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, micros) = (self.micros() / 1_000_000, self.micros() % 1_000_000);
        write!(f, "${dollars}.{micros:06}")?;
        match self.rest_pico() {
            0 => Ok(()),
            rest => write!(f, "{rest:06}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_million_tokens_one_by_one_cost_exactly_the_price_per_million() {
        for (text, shown) in
            [("0.15", "$0.150000"), ("0.000001", "$0.000001"), ("2.5", "$2.500000")]
        {
            let price: UnitPrice = text.parse().expect("a price");
            // The carry as the script does it: micros and pico kept apart.
            let (mut micros, mut pico) = (0_u64, 0_u32);
            for _ in 0..1_000_000 {
                let cost = price.cost_of(1);
                micros += u64::try_from(cost.micros()).expect("small");
                pico += cost.rest_pico();
                if pico >= 1_000_000 {
                    micros += 1;
                    pico -= 1_000_000;
                }
            }
            assert_eq!(Cost::from_parts(micros, pico).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_plain_decimal_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-0.15",
            "+1",
            " 1",
            "1 ",
            "1e3",
            "1_000",
            "0,15",
            "0.1.5",
            "NaN",
            "inf",
            "0.0000001",
            "1000000.000001",
            "1000001",
            "99999999999999999999999",
            "٣",
        ] {
            assert!(text.parse::<UnitPrice>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_bounds_are_read() {
        for (text, pico) in [
            ("0", 0),
            ("0.000001", 1),
            ("000.150000000", 150_000),
            ("1000000.000000", 1_000_000_000_000),
        ] {
            assert_eq!(text.parse::<UnitPrice>().map(UnitPrice::pico).ok(), Some(pico), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_price_of_six_decimals_is_read_exactly(whole in 0_u64..1_000_000, fraction in 0_u64..1_000_000) {
            let price: UnitPrice = format!("{whole}.{fraction:06}").parse().expect("a price");
            prop_assert_eq!(price.pico(), whole * 1_000_000 + fraction);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<UnitPrice>();
        }

        #[test]
        fn parts_and_pico_agree(micros in any::<u64>(), rest in 0_u32..1_000_000) {
            let cost = Cost::from_parts(micros, rest);
            prop_assert_eq!((cost.micros(), cost.rest_pico()), (u128::from(micros), rest));
            prop_assert_eq!(Cost::from_pico(cost.pico()), cost);
        }

        #[test]
        fn cost_is_additive(price in 0_u64..1_000_000_000_000, a in 0_u64..1 << 50, b in 0_u64..1 << 50) {
            let price = UnitPrice { pico: price };
            prop_assert_eq!(price.cost_of(a).checked_add(price.cost_of(b)), Some(price.cost_of(a + b)));
        }
    }
}
