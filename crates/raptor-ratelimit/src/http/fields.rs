//! The header fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10):
//! lists of strings with parameters, by the rules of structured fields (RFC 9651).

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;

use crate::decision::{Decision, RateLimitResult};
use crate::limit::Limit;

/// The largest integer of a structured field.
const MOST: u64 = 999_999_999_999_999;

/// `"60s";q=100;w=60, …`
pub(super) fn policy(limits: &[Limit], decision: &Decision) -> Option<HeaderValue> {
    let mut text = String::new();
    for (limit, result) in limits.iter().zip(&decision.results) {
        item(&mut text, limit);
        let (quota, window) = quota(limit, result);
        // Writing to a string does not fail.
        let _ = write!(text, ";q={};w={window}", quota.min(MOST));
    }
    HeaderValue::try_from(text).ok()
}

/// How much may be taken at once, and in how many seconds all of it comes back. The draft has no burst:
/// a quota is what is there to be taken, so what remains must not be more, and quota by window is the rate.
fn quota(limit: &Limit, result: &RateLimitResult) -> (u64, u64) {
    if limit.capacity() == limit.limit() {
        return (result.limit, seconds(limit.window()));
    }
    let burst = limit.capacity();
    let window_us = u128::from(burst) * limit.window().as_micros();
    let window_s = window_us.div_ceil(1_000_000 * u128::from(result.limit.max(1)));
    (burst, u64::try_from(window_s).unwrap_or(MOST).min(MOST))
}

/// `"60s";r=50;t=30, …`
pub(super) fn state(limits: &[Limit], decision: &Decision) -> Option<HeaderValue> {
    let mut text = String::new();
    for (limit, result) in limits.iter().zip(&decision.results) {
        item(&mut text, limit);
        let _ = write!(text, ";r={};t={}", result.remaining.min(MOST), resets_in(result));
    }
    HeaderValue::try_from(text).ok()
}

/// Whole seconds, rounded up: nobody comes too early.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn resets_in(result: &RateLimitResult) -> u64 {
    seconds(result.retry_after.unwrap_or(result.reset_after)).min(MOST)
}

/// The policy's name as a string of a structured field: printable ASCII; other bytes as `%xx`, and so `%`
/// itself, that no two names become one.
pub(super) fn name(limit: &Limit) -> String {
    let mut name = String::new();
    for &byte in limit.policy() {
        match byte {
            0x20..=0x7E if byte != b'%' => name.push(char::from(byte)),
            byte => {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    name
}

fn item(text: &mut String, limit: &Limit) {
    if !text.is_empty() {
        text.push_str(", ");
    }
    let name = name(limit).replace('\\', "\\\\").replace('"', "\\\"");
    let _ = write!(text, "\"{name}\"");
}
