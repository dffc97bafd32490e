//! What an operator needs around Redis; so far the metering of usage.
//!
//! - [`usage`]: what each workspace used and what it cost, each event charged exactly once.
//! - [`telemetry`]: the metrics this crate emits.
//!
//! ```no_run
//! use raptor_core::{RedisClient, RedisConfig};
//! use raptor_ops::usage::{ModelPrice, PeriodRule, PriceBook, UsageEvent, UsageOptions, UsageService};
//! use time::OffsetDateTime;
//!
//! # async fn tour() -> raptor_core::Result<()> {
//! let client = RedisClient::connect(RedisConfig::from_url("redis://127.0.0.1:6379")?).await?;
//! let prices = PriceBook::new()
//!     .with_price("gpt-4o-mini", ModelPrice::per_million("0.15", "0.60")?.with_cached("0.075")?);
//! let usage = UsageService::new(client, UsageOptions::new(prices))?;
//!
//! usage.record(&UsageEvent::new("acme", "gpt-4o-mini").user("ann").input(1_200).output(80)).await?;
//!
//! let month = PeriodRule::MONTH.period_at(OffsetDateTime::now_utc())?;
//! println!("{}", usage.report("acme", &month).await?.totals.cost);
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod telemetry;
pub mod usage;
