//! The client library under test, as the test run chose it.

use std::fmt::Display;
use std::str::FromStr;

use crate::Error;

/// Names the client library that a suite runs on: `redis` or `fred`.
pub const DRIVER_VARIABLE: &str = "RAPTOR_REDIS_DRIVER";

/// What [`DRIVER_VARIABLE`] names, as the type that reads it (`raptor_core::config::Driver`); that type's default
/// when it names none.
pub fn driver<D>() -> Result<D, Error>
where
    D: FromStr<Err: Display> + Default,
{
    let Some(name) = std::env::var_os(DRIVER_VARIABLE) else { return Ok(D::default()) };
    let name = name.to_string_lossy();
    name.parse().map_err(|reason: D::Err| Error::UnknownDriver {
        name: name.clone().into_owned(),
        reason: reason.to_string(),
    })
}
