//! Metadata: named fields of a session, each a serde value on its own.
//!
//! Every field is stored by itself (`f:<name>`: a format byte, then MessagePack with named fields),
//! so one can change without touching the others, and a type can gain a field.

use std::collections::BTreeMap;
use std::fmt;

use raptor_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most fields of one session. What is larger belongs into a cache or a database, by a field's id.
pub const MAX_FIELDS: usize = 256;
/// The longest field name, in bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 128;
/// The most bytes of all names and values of one session, before encryption.
pub const MAX_METADATA_BYTES: usize = 64 * 1_024;

/// First byte of a stored value: MessagePack, neither compressed nor encrypted.
const PLAIN: u8 = 1;

/// The fields of a session, by name. `Debug` shows the names, never the values.
///
/// ```
/// use raptor_session::Metadata;
/// let metadata = Metadata::new().with("role", &"admin")?.with("logins", &3_u32)?;
/// assert_eq!(metadata.get::<u32>("logins")?, Some(3));
/// assert_eq!(metadata.get::<u32>("absent")?, None);
/// assert!(metadata.get::<u32>("role").is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// As stored, the format byte included.
    fields: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this field, replacing one of the same name.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for an empty or over-long name, more
    /// than [`MAX_FIELDS`] or [`MAX_METADATA_BYTES`], or a value that serde cannot write.
    pub fn with<T: Serialize + ?Sized>(
        mut self,
        name: impl Into<String>,
        value: &T,
    ) -> Result<Self> {
        let name = name.into();
        checked_name(&name)?;
        self.fields.insert(name, encode(value)?);
        self.within_limits()
    }

    /// These, and as many of `other` as there is room for, in the order of their names.
    pub(crate) fn filled_up_from(mut self, other: &Self) -> Self {
        let mut bytes = self.bytes();
        for (name, value) in &other.fields {
            let more = bytes + name.len() + value.len();
            let has_room = self.fields.len() < MAX_FIELDS && more <= MAX_METADATA_BYTES;
            if has_room && !self.fields.contains_key(name) {
                self.fields.insert(name.clone(), value.clone());
                bytes = more;
            }
        }
        self
    }

    fn within_limits(self) -> Result<Self> {
        if self.fields.len() > MAX_FIELDS {
            return Err(Error::invalid(format!("a session has more than {MAX_FIELDS} fields")));
        }
        let bytes = self.bytes();
        if bytes > MAX_METADATA_BYTES {
            return Err(Error::invalid(format!(
                "a session's fields have {bytes} bytes, more than {MAX_METADATA_BYTES}"
            )));
        }
        Ok(self)
    }

    /// The field of that name, read as `T`; `None` if there is none.
    ///
    /// # Errors
    /// [`Codec`](raptor_core::ErrorKind::Codec) when it is of another type or format.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.fields.get(name).map(|stored| decode(stored)).transpose()
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// How many bytes its names and values have.
    pub(crate) fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn stored(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    pub(crate) fn insert_stored(&mut self, name: String, value: Vec<u8>) {
        self.fields.insert(name, value);
    }
}

pub(crate) fn checked_name(name: &str) -> Result<()> {
    if (1..=MAX_FIELD_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a session's field name has {} bytes, expected 1 to {MAX_FIELD_NAME_BYTES}",
        name.len()
    )))
}

/// A value as it is stored in the clear.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut stored = vec![PLAIN];
    // The error may quote the value, so it is not kept as a source.
    value
        .serialize(&mut rmp_serde::Serializer::new(&mut stored).with_struct_map())
        .map_err(|_| Error::invalid("a session's field cannot be written as MessagePack"))?;
    Ok(stored)
}

pub(crate) fn decode<T: DeserializeOwned>(stored: &[u8]) -> Result<T> {
    let Some((&PLAIN, value)) = stored.split_first() else {
        return Err(Error::codec("a session's field is stored in an unknown format"));
    };
    rmp_serde::from_slice(value)
        .map_err(|_| Error::codec("a session's field is not of the type asked for"))
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metadata")?;
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        theme: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        theme: String,
        #[serde(default)]
        zoom: u32,
    }

    #[test]
    fn a_type_can_gain_a_field_both_ways() {
        let before = Before { theme: "dark".into() };
        let metadata = Metadata::new().with("ui", &before).expect("a field");
        let after = After { theme: "dark".into(), zoom: 0 };
        assert_eq!(metadata.get::<After>("ui").ok().flatten(), Some(after));
        let after = After { theme: "dark".into(), zoom: 3 };
        let metadata = Metadata::new().with("ui", &after).expect("a field");
        assert_eq!(metadata.get::<Before>("ui").ok().flatten(), Some(before));
    }

    #[test]
    fn limits_hold() {
        let long = "x".repeat(MAX_FIELD_NAME_BYTES + 1);
        assert!(Metadata::new().with("", &1).is_err() && Metadata::new().with(long, &1).is_err());
        assert!(Metadata::new().with("big", &"x".repeat(MAX_METADATA_BYTES)).is_err());
        let full = (0..MAX_FIELDS).try_fold(Metadata::new(), |m, n| m.with(n.to_string(), &n));
        let full = full.expect("the limit fits");
        assert!(full.clone().with("0", &9).is_ok() && full.with("more", &1).is_err());
    }

    #[test]
    fn debug_shows_names_only() {
        let metadata = Metadata::new().with("key", &"s3cret").expect("a field");
        assert_eq!(format!("{metadata:?}"), r#"Metadata{"key"}"#);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut metadata = Metadata::new();
            metadata.insert_stored("x".into(), value.clone());
            let _ = metadata.get::<BTreeMap<String, Vec<String>>>("x");
            let mut plain = vec![PLAIN];
            plain.extend(value);
            metadata.insert_stored("x".into(), plain);
            let _ = metadata.get::<After>("x");
            let _ = metadata.get::<Vec<u64>>("x");
        }
    }
}
