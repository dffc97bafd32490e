//! Generated requests in the shape of an hour of real conversations: the same in every run.
//!
//! Each quantity is drawn from the quantiles of the Azure LLM inference trace of 2023 (CC-BY;
//! Patel et al., "Splitwise: Efficient Generative LLM Inference Using Phase Splitting", ISCA
//! 2024), in integers, so that every machine draws the same.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::trace::Arrival;

/// When the first generated request arrives.
const START: OffsetDateTime = datetime!(2026-01-15 10:00 UTC);

/// Microseconds between two requests, at each twentieth of them.
const GAP_US: [u64; 21] = [
    2, 6_319, 16_129, 26_427, 36_522, 48_272, 60_722, 73_455, 87_254, 101_943, 118_423, 137_610,
    158_669, 183_171, 213_605, 246_732, 288_810, 345_900, 420_739, 565_233, 4_314_579,
];
const CONTEXT: [u64; 21] = [
    2, 181, 207, 372, 387, 396, 403, 414, 703, 984, 1_020, 1_045, 1_071, 1_097, 1_130, 1_189,
    1_315, 1_876, 2_734, 4_083, 14_050,
];
const GENERATED: [u64; 21] = [
    7, 41, 54, 67, 77, 85, 91, 96, 103, 113, 129, 151, 177, 217, 384, 395, 400, 411, 424, 451,
    1_000,
];

/// So many requests. The last twentieth is drawn towards its lower end: its tail is thin.
pub(crate) fn arrivals(requests: u64) -> impl Iterator<Item = Arrival> {
    let mut at = START;
    (0..requests).map(move |number| {
        let draw = |what| mix(mix(number).wrapping_add(what));
        if number > 0 {
            at += Duration::microseconds(quantile(&GAP_US, draw(0)).cast_signed());
        }
        Arrival {
            at,
            context: quantile(&CONTEXT, draw(1)),
            generated: quantile(&GENERATED, draw(2)),
        }
    })
}

/// Spreads a number over all 64 bits (SplitMix64): what a seed or a hash is drawn from.
pub(crate) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The value at a random place of a distribution, straight between its twentieths.
fn quantile(twentieths: &[u64; 21], random: u64) -> u64 {
    let scaled = u128::from(random) * 20;
    let (step, rest) = ((scaled >> 64) as usize, u128::from(scaled as u64));
    let (low, high) = (u128::from(twentieths[step]), u128::from(twentieths[step + 1]));
    // To the 16th power in the last step, which reaches to the one longest value.
    let thin = |part: u128| (part * part) >> 64;
    let part = if step == 19 { thin(thin(thin(thin(rest)))) } else { rest };
    (low + (((high - low) * part) >> 64)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_draws_the_same_in_order_of_time() {
        let once: Vec<Arrival> = arrivals(1_000).collect();
        assert_eq!(once, arrivals(1_000).collect::<Vec<_>>());
        assert!(once.is_sorted_by_key(|arrival| arrival.at));
        assert_eq!(once[0], Arrival { at: START, ..once[0] });
    }

    #[test]
    fn the_shape_is_that_of_the_real_hour() {
        let all: Vec<Arrival> = arrivals(20_000).collect();
        let mean = |sum: u64| sum / 20_000;
        // The real ones: 1,155 tokens, 211 tokens and 181 ms.
        let context = mean(all.iter().map(|arrival| arrival.context).sum());
        let generated = mean(all.iter().map(|arrival| arrival.generated).sum());
        let gap_ms = ((all[19_999].at - START).whole_milliseconds() / 20_000) as u64;
        assert!((1_000..1_300).contains(&context), "{context}");
        assert!((190..230).contains(&generated), "{generated}");
        assert!((160..200).contains(&gap_ms), "{gap_ms}");
    }
}
