//! What a session holds, as it was at the moment of the call.

use bytes::Bytes;
use raptor_core::{Error, Result};
use time::OffsetDateTime;
use ulid::Ulid;

use crate::metadata::Metadata;

/// One live session. Holds no token: who logs it gives nothing away but what the fields' names say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionData {
    /// A stable id that is no secret: for logs, and for a list of a user's sessions.
    pub id: Ulid,
    /// The user.
    pub user: String,
    /// The workspace.
    pub workspace: String,
    /// The fields.
    pub metadata: Metadata,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last used: this call.
    pub last_seen_at: OffsetDateTime,
    /// When it ends unless it is used before: its idle deadline, never past the absolute one.
    pub expires_at: OffsetDateTime,
    /// When it ends however it is used.
    pub absolute_deadline: OffsetDateTime,
    /// 1 at first; each change of the fields adds one.
    pub revision: u64,
}

impl SessionData {
    /// From the hash's fields and values, in turn, and the two times that the script just set.
    pub(crate) fn decode(fields: Vec<Bytes>, last_seen_ms: i64, deadline_ms: i64) -> Result<Self> {
        let (mut id, mut user, mut workspace) = (None, None, None);
        let (mut created_ms, mut absolute_ms, mut revision) = (None, None, None);
        let mut metadata = Metadata::new();
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            match &name[..] {
                b"id" => id = Ulid::from_string(&text(value)?).ok(),
                b"u" => user = Some(text(value)?),
                b"w" => workspace = Some(text(value)?),
                b"c" => created_ms = text(value)?.parse().ok(),
                b"x" => absolute_ms = text(value)?.parse().ok(),
                b"r" => revision = text(value)?.parse().ok(),
                other => {
                    if let Some(name) = other.strip_prefix(b"f:") {
                        let name = text(Bytes::copy_from_slice(name))?;
                        metadata.insert_stored(name, value.into());
                    }
                }
            }
        }
        Ok(Self {
            id: id.ok_or_else(corrupt)?,
            user: user.ok_or_else(corrupt)?,
            workspace: workspace.ok_or_else(corrupt)?,
            metadata,
            created_at: instant(created_ms.ok_or_else(corrupt)?)?,
            last_seen_at: instant(last_seen_ms)?,
            expires_at: instant(deadline_ms)?,
            absolute_deadline: instant(absolute_ms.ok_or_else(corrupt)?)?,
            revision: revision.ok_or_else(corrupt)?,
        })
    }
}

pub(crate) fn corrupt() -> Error {
    Error::codec("what is stored as this session is no session: another program wrote the key")
}

fn text(value: Bytes) -> Result<String> {
    String::from_utf8(value.into()).map_err(|_| corrupt())
}

fn instant(ms: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).map_err(|_| corrupt())
}
