//! Changes of a session's fields: some set, some removed, all the others left alone.

use std::collections::BTreeMap;
use std::fmt;

use raptor_core::{Error, Result};
use serde::Serialize;

use crate::metadata::{MAX_FIELDS, MAX_METADATA_BYTES, Metadata, checked_name, encode};

/// What [`update_session`](crate::SessionService::update_session) does to the fields. `Debug` shows the
/// names, never the values.
///
/// ```
/// use raptor_session::{Changes, Metadata};
/// let changes = Changes::new().set("theme", &"dark")?.remove("draft")?;
/// // Metadata is what is set, and removes nothing.
/// let same = Changes::from(&Metadata::new().with("theme", &"dark")?);
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The value as it is stored in the clear, or none for a field to remove.
    fields: BTreeMap<String, Option<Vec<u8>>>,
}

impl Changes {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a field, and replaces what this said of it before.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) as of [`Metadata::with`].
    pub fn set<T: Serialize + ?Sized>(self, name: impl Into<String>, value: &T) -> Result<Self> {
        let value = encode(value)?;
        self.change(name.into(), Some(value))
    }

    /// Removes a field; that it is not there is fine.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for an empty or over-long name, or more than
    /// [`MAX_FIELDS`] changes.
    pub fn remove(self, name: impl Into<String>) -> Result<Self> {
        self.change(name.into(), None)
    }

    fn change(mut self, name: String, value: Option<Vec<u8>>) -> Result<Self> {
        checked_name(&name)?;
        self.fields.insert(name, value);
        if self.fields.len() > MAX_FIELDS {
            return Err(Error::invalid(format!(
                "an update changes more than {MAX_FIELDS} fields, and a session has no more"
            )));
        }
        let size = |(name, value): (&String, &Option<Vec<u8>>)| {
            name.len() + value.as_ref().map_or(0, Vec::len)
        };
        let bytes: usize = self.fields.iter().map(size).sum();
        if bytes > MAX_METADATA_BYTES {
            return Err(Error::invalid(format!(
                "an update's fields have {bytes} bytes, more than {MAX_METADATA_BYTES}"
            )));
        }
        Ok(self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn sets(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
    }

    pub(crate) fn removals(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str())
    }
}

impl From<&Metadata> for Changes {
    fn from(metadata: &Metadata) -> Self {
        let fields = metadata.stored().map(|(name, value)| (name.to_owned(), Some(value.to_vec())));
        Self { fields: fields.collect() }
    }
}

impl From<Metadata> for Changes {
    fn from(metadata: Metadata) -> Self {
        Self::from(&metadata)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed: Vec<&str> = self.removals().collect();
        let set: Vec<&str> = self.sets().map(|(name, _)| name).collect();
        f.debug_struct("Changes").field("set", &set).field("removed", &removed).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_field_counts_and_debug_shows_names_only() {
        let changes = Changes::new().set("a", &"s3cret").and_then(|c| c.remove("b"));
        let changes = changes.and_then(|c| c.remove("a")?.set("b", &1)).expect("changes");
        assert_eq!(format!("{changes:?}"), r#"Changes { set: ["b"], removed: ["a"] }"#);
    }

    #[test]
    fn limits_hold() {
        assert!(Changes::new().set("", &1).is_err() && Changes::new().remove("").is_err());
        assert!(Changes::new().set("big", &"x".repeat(1 << 20)).is_err());
        let many = (0..10_000).try_fold(Changes::new(), |c, n| c.set(n.to_string(), &n));
        assert!(many.is_err());
        let many = (0..10_000).try_fold(Changes::new(), |c, n| c.remove(n.to_string()));
        assert!(many.is_err());
    }
}
