//! Usage metering: who used how much of what, and what it cost, exactly.
//!
//! | file | one idea |
//! | --- | --- |
//! | money.rs | [`Cost`] and [`UnitPrice`]: dollars in integers, down to 10⁻¹² |
//! | prices.rs | [`PriceBook`]: what a model cost at a given time |
//! | period.rs | [`PeriodRule`] cuts time into [`Period`]s |
//! | event.rs | [`UsageEvent`]: what happened, under an id that makes repeats harmless |
//! | options.rs | [`UsageOptions`]: what is charged, and which times are accepted |
//! | service.rs | [`UsageService`]: charges events |
//! | charge.rs | the calls that charge, in which events ride together |
//! | report.rs | [`UsageReport`] and pages of it |
//!
//! # Layout in Redis (version 1)
//! All keys of a workspace share the slot of `{workspace}`.
//!
//! | key | type | holds | kept |
//! | --- | --- | --- | --- |
//! | `usage:{ws}:<period>` | hash | totals: `i` input, `o` output, `c` cached, `r` requests, `u` micro-dollars, `p` pico carry; `v` layout version | [`PeriodUnit::retention`] after the period's end |
//! | `usage~by:{ws}:<period>:<dimension>` | hash | the same six as `<metric>:<name>` | the same |
//! | `usage~names:{ws}:<period>:<dimension>` | zset | the names, all scores 0, for paging in order | the same |
//! | `usage~seen:{ws}:<hour>` | set | ids recorded, by the hour of the id's own time | the hour's end + [`UsageOptions::accept_late`] + 1 h |
//!
//! The server must not evict (`noeviction`): a lost `usage~seen` key lets a repeat be charged again.

mod charge;
mod event;
mod money;
mod options;
mod period;
mod prices;
mod report;
mod service;

pub use event::{Counts, MAX_COUNT, MAX_NAME_BYTES, UsageEvent};
pub use money::{Cost, UnitPrice};
pub use options::UsageOptions;
pub use period::{Period, PeriodRule, PeriodUnit};
pub use prices::{ModelPrice, PriceBook};
pub use report::{Cursor, Dimension, Line, MAX_PAGE, Page, UsageReport, UsageTotals};
pub use service::{OutOfWindow, Recorded, UsageService};
pub use ulid::Ulid;
