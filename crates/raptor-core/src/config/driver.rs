//! Which client library drives the connections.

use std::fmt;
use std::str::FromStr;

use super::problems::text_flaw;
use crate::error::{Error, ErrorKind};

/// The client library behind the connections; none of its types is ever seen.
///
/// What a client promises holds on both, and the same tests say so. Each is a feature of this crate;
/// with both compiled in, [`driver`](super::RedisConfigBuilder::driver) or `RAPTOR_REDIS_DRIVER`
/// chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Driver {
    /// redis-rs: feature `driver-redis`, on by default. Used where it is compiled in and nothing else is said.
    Redis,
    /// fred: feature `driver-fred`.
    Fred,
}

impl Driver {
    /// The feature that compiles it in.
    #[must_use]
    pub fn feature(self) -> &'static str {
        match self {
            Self::Fred => "driver-fred",
            Self::Redis => "driver-redis",
        }
    }

    /// Whether it is compiled in.
    #[must_use]
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Fred => cfg!(feature = "driver-fred"),
            Self::Redis => cfg!(feature = "driver-redis"),
        }
    }

    /// Reads a name; says what is wrong with it, or that it is not compiled in.
    pub(super) fn read(name: &str) -> Result<Self, String> {
        match name {
            "fred" => Self::Fred.compiled(),
            "redis" => Self::Redis.compiled(),
            _ => Err(text_flaw(name).unwrap_or("is neither redis nor fred").to_owned()),
        }
    }

    pub(super) fn compiled(self) -> Result<Self, String> {
        if self.is_compiled() {
            return Ok(self);
        }
        let feature = self.feature();
        Err(format!("{self} is not compiled in; enable raptor-core's feature {feature}"))
    }
}

impl Default for Driver {
    fn default() -> Self {
        if Self::Redis.is_compiled() { Self::Redis } else { Self::Fred }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fred => "fred",
            Self::Redis => "redis",
        })
    }
}

impl FromStr for Driver {
    type Err = Error;

    /// Reads `redis` or `fred`, if that one is compiled in.
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::read(name)
            .map_err(|flaw| Error::new(ErrorKind::Config, format!("the name of a driver {flaw}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_compiled_in_and_known_by_its_name() {
        let default = Driver::default();
        assert!(default.is_compiled());
        assert_eq!(default.to_string().parse::<Driver>().expect("its name"), default);
    }

    #[test]
    fn what_is_not_compiled_in_names_its_feature() {
        for driver in [Driver::Fred, Driver::Redis] {
            match driver.compiled() {
                Ok(same) => assert!(same == driver && driver.is_compiled()),
                Err(flaw) => assert!(flaw.ends_with(driver.feature()), "{flaw}"),
            }
        }
        assert_eq!("Fred".parse::<Driver>().expect_err("no name").kind(), ErrorKind::Config);
    }
}
