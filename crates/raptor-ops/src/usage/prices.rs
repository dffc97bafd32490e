//! The price book: what a model's tokens and requests cost, and since when.

use std::collections::HashMap;

use raptor_core::{Error, Result};
use time::OffsetDateTime;

use super::event::Counts;
use super::money::{Cost, UnitPrice};

/// What one model costs for each kind of usage.
///
/// ```
/// use raptor_ops::usage::{Counts, ModelPrice};
/// let price = ModelPrice::per_million("2.50", "10")?.with_cached("1.25")?;
/// let counts = Counts { input: 1_000, output: 100, cached: 2_000, requests: 1 };
/// assert_eq!(price.cost_of(&counts).to_string(), "$0.006000");
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelPrice {
    input: UnitPrice,
    output: UnitPrice,
    cached: UnitPrice,
    request: UnitPrice,
}

impl ModelPrice {
    /// A model that costs nothing.
    pub const FREE: Self = Self {
        input: UnitPrice::FREE,
        output: UnitPrice::FREE,
        cached: UnitPrice::FREE,
        request: UnitPrice::FREE,
    };

    /// Dollars per million input and output tokens, as decimals. Cached tokens cost what input
    /// costs until [`ModelPrice::with_cached`] says otherwise; a request costs nothing of its own.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) as of [`UnitPrice`].
    pub fn per_million(input: &str, output: &str) -> Result<Self> {
        let input = input.parse()?;
        Ok(Self { input, output: output.parse()?, cached: input, request: UnitPrice::FREE })
    }

    /// Dollars per million input tokens that came out of the provider's prompt cache.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) as of [`UnitPrice`].
    pub fn with_cached(self, per_million: &str) -> Result<Self> {
        Ok(Self { cached: per_million.parse()?, ..self })
    }

    /// Dollars per million requests.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) as of [`UnitPrice`].
    pub fn with_requests(self, per_million: &str) -> Result<Self> {
        Ok(Self { request: per_million.parse()?, ..self })
    }

    /// What `counts` cost, exactly.
    #[must_use]
    pub fn cost_of(&self, counts: &Counts) -> Cost {
        // Each term is below 2⁶⁴ · 10¹² < 2¹⁰⁴, so four of them fit u128.
        let pico = self.input.cost_of(counts.input).pico()
            + self.output.cost_of(counts.output).pico()
            + self.cached.cost_of(counts.cached).pico()
            + self.request.cost_of(counts.requests).pico();
        Cost::from_pico(pico)
    }
}

/// Prices by model, each valid from a time on; in memory.
///
/// An event is priced by the book of the process that records it first, at the event's own time;
/// a later change of the book does not touch what was recorded.
///
/// ```
/// use raptor_ops::usage::{ModelPrice, PriceBook};
/// use time::macros::datetime;
/// let book = PriceBook::new()
///     .with_price("m", ModelPrice::per_million("1", "2")?)
///     .with_price_from("m", datetime!(2026-07-01 0:00 UTC), ModelPrice::per_million("0.5", "1")?);
/// assert_eq!(book.price_at("m", datetime!(2026-06-30 23:59 UTC))?, ModelPrice::per_million("1", "2")?);
/// assert!(book.price_at("other", datetime!(2026-06-30 23:59 UTC)).is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    /// By model, in order of time; the first may be valid since ever.
    models: HashMap<String, Vec<(Option<OffsetDateTime>, ModelPrice)>>,
    fallback: Option<ModelPrice>,
}

impl PriceBook {
    /// An empty book: no model has a price.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The price of `model` before any dated one; replaces an earlier such price.
    #[must_use]
    pub fn with_price(self, model: impl Into<String>, price: ModelPrice) -> Self {
        self.insert(model.into(), None, price)
    }

    /// The price of `model` from `since` on, until the next dated one.
    #[must_use]
    pub fn with_price_from(
        self,
        model: impl Into<String>,
        since: OffsetDateTime,
        price: ModelPrice,
    ) -> Self {
        self.insert(model.into(), Some(since), price)
    }

    /// The price of every model that the book does not know; without it such events are refused.
    #[must_use]
    pub fn with_fallback(mut self, price: ModelPrice) -> Self {
        self.fallback = Some(price);
        self
    }

    /// The price of `model` at a time.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) when the book has none.
    pub fn price_at(&self, model: &str, at: OffsetDateTime) -> Result<ModelPrice> {
        self.models
            .get(model)
            .and_then(|prices| {
                prices.iter().rev().find(|(since, _)| since.is_none_or(|since| since <= at))
            })
            .map(|(_, price)| *price)
            .or(self.fallback)
            .ok_or_else(|| {
                let shown: String = model.chars().take(64).collect();
                Error::invalid(format!(
                    "the price book has no price for model {shown:?} at that time: add one or a fallback"
                ))
            })
    }

    fn insert(mut self, model: String, since: Option<OffsetDateTime>, price: ModelPrice) -> Self {
        let prices = self.models.entry(model).or_default();
        match prices.binary_search_by_key(&since, |(since, _)| *since) {
            Ok(at) => prices[at].1 = price,
            Err(at) => prices.insert(at, (since, price)),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn price(input: &str) -> ModelPrice {
        ModelPrice::per_million(input, "0").expect("a price")
    }

    #[test]
    fn the_latest_price_not_after_the_event_holds_whatever_the_order_of_entry() {
        let (june, july) = (datetime!(2026-06-01 0:00 UTC), datetime!(2026-07-01 0:00 UTC));
        let book = PriceBook::new()
            .with_price_from("m", july, price("3"))
            .with_price_from("m", june, price("9"))
            .with_price("m", price("1"))
            .with_price_from("m", june, price("2"));
        for (at, expected) in [
            (datetime!(2026-05-31 23:59:59.999 UTC), "1"),
            (june, "2"),
            (datetime!(2026-06-30 23:59:59.999 UTC), "2"),
            (july, "3"),
        ] {
            assert_eq!(book.price_at("m", at).ok(), Some(price(expected)), "{at}");
        }
    }

    #[test]
    fn an_unknown_model_has_the_fallback_or_an_error() {
        let at = datetime!(2026-06-01 0:00 UTC);
        let book =
            PriceBook::new().with_price_from("later", datetime!(2027-01-01 0:00 UTC), price("1"));
        assert!(book.price_at("m", at).is_err() && book.price_at("later", at).is_err());
        let book = book.with_fallback(ModelPrice::FREE);
        assert_eq!(book.price_at("later", at).ok(), Some(ModelPrice::FREE));
    }
}
