//! The formats of typed values: both with named fields, so that types can change.

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::depth::json_is_shallow;
use super::flaw::Flaw;
use super::messagepack;
use super::writer::Limited;

/// The format of a typed value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// MessagePack, with named fields and variants.
    #[default]
    MessagePack,
    /// JSON, for data that others read too.
    Json,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MessagePack => "MessagePack",
            Self::Json => "JSON",
        })
    }
}

/// The value could not be written; why is the caller's own doing or the writer's.
pub(super) struct Unwritable;

impl Format {
    pub(super) fn write<T>(self, value: &T, out: &mut Limited) -> Result<(), Unwritable>
    where
        T: Serialize + ?Sized,
    {
        // The errors are dropped: a type's own message may quote the value.
        match self {
            Self::MessagePack => {
                let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
                value.serialize(&mut serializer).map_err(|_| Unwritable)
            }
            Self::Json => serde_json::to_writer(out, value).map_err(|_| Unwritable),
        }
    }

    /// Whether a reader can take these bytes on: whole, no deeper than allowed, and no declared
    /// length beyond them. (JSON declares none, and its reader finds out what is malformed.)
    pub(super) fn check(self, payload: &[u8]) -> Result<(), Flaw> {
        match self {
            Self::MessagePack => messagepack::check(payload),
            Self::Json if json_is_shallow(payload) => Ok(()),
            Self::Json => Err(Flaw::TooDeep),
        }
    }

    pub(super) fn read<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, Flaw> {
        self.check(payload)?;
        match self {
            Self::MessagePack => {
                rmp_serde::from_slice(payload).map_err(|error| mismatch::<T>(&error.to_string()))
            }
            Self::Json => serde_json::from_slice(payload).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => mismatch::<T>(&error.to_string()),
                _ => Flaw::Malformed(self),
            }),
        }
    }
}

/// serde's messages quote what they found, which is the payload; a missing field is a name in our
/// own code, and what an operator needs most.
fn mismatch<T>(message: &str) -> Flaw {
    let missing_field = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
        .map(|(field, _)| field)
        .filter(|field| field.len() <= 64 && field.bytes().all(is_of_a_name))
        .map(Into::into);
    Flaw::Type { type_name: type_name::<T>(), missing_field }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}
