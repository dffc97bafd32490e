//! What a session holds, as it was at the moment of the call.

use bytes::Bytes;
use raptor_core::Result;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use ulid::Ulid;

use crate::head::{Head, corrupt, instant};
use crate::metadata::Metadata;
use crate::seal::Seals;

/// One live session. Holds no token: who logs it gives nothing away but what the fields' names say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionData {
    /// A stable id that is no secret: for logs, and for a list of a user's sessions. A rotation keeps it.
    pub id: Ulid,
    /// The user; empty for an [anonymous](Self::is_anonymous) session, and for no other.
    pub user: String,
    /// The workspace; empty for an anonymous session, and for no other.
    pub workspace: String,
    /// The fields.
    pub metadata: Metadata,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last used: this call, if it was a use; as exact as
    /// [`get_session`](crate::SessionService::get_session) says in a list.
    pub last_seen_at: OffsetDateTime,
    /// When it ends unless it is used before: its idle deadline, never past the absolute one.
    pub expires_at: OffsetDateTime,
    /// When it ends however it is used.
    pub absolute_deadline: OffsetDateTime,
    /// 1 at first; each change of the fields adds one.
    pub revision: u64,
}

impl SessionData {
    /// The field of that name, read as `T`; `None` if there is none.
    ///
    /// # Errors
    /// [`Codec`](raptor_core::ErrorKind::Codec) when it is of another type or format.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.metadata.get(name)
    }

    /// Whether it is nobody's: begun before a login.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user.is_empty()
    }

    /// From the hash, as scripts give it: `h`, the head, then names and values in turn.
    pub(crate) fn read(held: &[Bytes], mac: &str, seals: &Seals) -> Result<Self> {
        let head = held.get(1).ok_or_else(corrupt)?;
        let Head { seen_ms, deadline_ms, revision, origin } = Head::parse(head)?;
        let pairs = held[2..].chunks_exact(2);
        let seal = pairs.clone().find(|pair| &pair[0][..] == b"s");
        let seal = seal.map_or(&b""[..], |pair| &pair[1]);
        let mut metadata = Metadata::new();
        for pair in pairs {
            if let Some(name) = pair[0].strip_prefix(b"f:") {
                let name = std::str::from_utf8(name).map_err(|_| corrupt())?;
                let plain = seals.open_field(origin.id, name, pair[1].to_vec(), seal)?;
                metadata.insert_stored(name.to_owned(), plain);
            }
        }
        seals.check_origin(mac, &origin, seal)?;
        let (workspace, user) = origin.owner()?;
        Ok(Self {
            id: origin.id,
            user,
            workspace,
            metadata,
            created_at: instant(origin.created_ms)?,
            last_seen_at: instant(seen_ms)?,
            expires_at: instant(deadline_ms.min(origin.absolute_ms))?,
            absolute_deadline: instant(origin.absolute_ms)?,
            revision,
        })
    }
}
