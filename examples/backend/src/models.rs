//! The models that requests ask for, and what they cost.

use crate::generate::mix;

/// A model and its prices.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// Pico-dollars (10⁻¹²) a token of context.
    context_pico: u64,
    /// Pico-dollars a generated token.
    generated_pico: u64,
}

/// A cheap one that most requests ask for, and a dear one.
pub(crate) const MODELS: [Model; 2] = [
    Model { name: "chat-small", context_pico: 150_000, generated_pico: 600_000 },
    Model { name: "chat-large", context_pico: 2_500_000, generated_pico: 10_000_000 },
];

impl Model {
    /// The model that the request of this number asks for: the dear one once in eight times.
    pub(crate) fn of_request(number: u64) -> &'static Self {
        &MODELS[usize::from(mix(!number).is_multiple_of(8))]
    }

    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// The prices as a price book takes them, in dollars per million tokens.
    pub(crate) fn dollars_per_million(&self) -> (String, String) {
        let text = |pico: u64| format!("{}.{:06}", pico / 1_000_000, pico % 1_000_000);
        (text(self.context_pico), text(self.generated_pico))
    }

    /// What a request costs, in pico-dollars: the demo's own reckoning, beside the service's.
    pub(crate) fn cost_pico(&self, context: u64, generated: u64) -> u128 {
        u128::from(context) * u128::from(self.context_pico)
            + u128::from(generated) * u128::from(self.generated_pico)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_tokens_cost_what_the_price_book_says() {
        let large = Model::named("chat-large").unwrap();
        assert_eq!(large.dollars_per_million(), ("2.500000".into(), "10.000000".into()));
        assert_eq!(large.cost_pico(1_000_000, 1_000_000), 12_500_000_000_000);
    }
}
