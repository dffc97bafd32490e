//! A store for tower-sessions (feature `tower-sessions`): its sessions, kept as ours are.
//!
//! Its ids are 128 random bits without a user, so they map to our layout like this:
//!
//! | of tower-sessions | here |
//! | --- | --- |
//! | the id, the secret in the cookie | Redis holds only its MAC under the newest pepper |
//! | – | the shard is the MAC's first byte: records spread evenly over all 256 |
//! | no user | in no index: not listed, not revoked, under no cap |
//! | the whole record, saved at once | one field, JSON; encrypted with a keyring; up to [`MAX_METADATA_BYTES`](crate::MAX_METADATA_BYTES) |
//! | its expiry date | both deadlines; our own timeouts do not matter, and a load does not slide |
//!
//! As everywhere here, only `create` makes a key: a `save` that comes after the end of its session (a logout in
//! another tab) writes nothing and is no error.
//!
//! But that crate's `cycle_id` is a `delete` of the old id, then, when the response is made, a `create` under a new
//! one of what the request had read: the store cannot know that they are one. So a `cycle_id` that races a `flush`
//! in another request (a logout in another tab) can leave the data, a login among it, under the new id. Where a logout
//! must win use our own [`SessionService::rotate_session`]: there it does.
//!
//! After a change of peppers a record is found under its old one until it ends, by one more call for each
//! pepper in the list, a `create` included; saves leave it there.
//!
//! What is stored can be loaded: data that is nested deeper than serde_json reads (127 objects and arrays, the
//! record's own among them) is refused with `Encode`, and nothing is changed.
//!
//! What tower-sessions does not give, our own [`SessionService`] does: concurrent updates of different
//! fields, compare-and-set, a logout everywhere. Records of both can live side by side.

use async_trait::async_trait;
use raptor_core::{Error, ErrorKind, Key, Result};
use serde_json::Value;
use time::OffsetDateTime;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::{self, SessionStore};
use ulid::Ulid;

use crate::head::{NOBODY, Origin};
use crate::metadata::Metadata;
use crate::pepper::Pepper;
use crate::places;
use crate::scripts::{PUT, Said, unknown_status};
use crate::service::{By, SessionService, Step};
use crate::telemetry;
use crate::token::Address;

/// The one field of a record.
const FIELD: &str = "record";

/// The deepest that serde_json reads.
const MAX_DEPTH: usize = 127;

/// Attempts at an id that nobody has.
const ATTEMPTS: usize = 8;

/// Keeps the sessions of tower-sessions. Cheap to clone.
///
/// ```no_run
/// # fn example(sessions: raptor_session::SessionService) {
/// use raptor_session::RaptorStore;
/// use tower_sessions::SessionManagerLayer;
/// let layer = SessionManagerLayer::new(RaptorStore::new(sessions));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RaptorStore {
    service: SessionService,
}

impl RaptorStore {
    /// Over this service: its client, peppers and keyring.
    #[must_use]
    pub fn new(service: SessionService) -> Self {
        Self { service }
    }

    /// Where a record is, under each pepper: the newest first.
    fn addresses(&self, id: &Id) -> impl Iterator<Item = Address> + use<> {
        let secret = [&b"tower-sessions\0"[..], &id.0.to_be_bytes()].concat();
        let address = move |pepper: &Pepper| {
            let mac = pepper.mac(&secret);
            Address::of_mac(mac[0], &mac)
        };
        let addresses: Vec<_> = self.service.options.peppers.all().map(address).collect();
        addresses.into_iter()
    }

    /// `None` when the status is another than wanted.
    async fn put(&self, how: &str, at: &Address, record: &Record) -> Result<Put> {
        if !record.data.values().all(|value| is_at_most(MAX_DEPTH - 1, value)) {
            return Err(Error::invalid(format!(
                "a record's data is nested deeper than {MAX_DEPTH}, and could not be read again"
            )));
        }
        let json = serde_json::to_string(&record.data)
            .map_err(|_| Error::invalid("a record's data cannot be written as JSON"))?;
        let metadata = Metadata::new().with(FIELD, &json)?;
        let service = &self.service;
        let deadline_ms = (record.expiry_date.unix_timestamp_nanos() / 1_000_000) as i64;
        let id = id_of(at);
        let suffix = NOBODY.to_owned();
        let origin = Origin { id, created_ms: 0, idle_ms: 1, absolute_ms: deadline_ms, suffix };
        let session: Key = places::session(service.client.keys(), at)?;
        let mut call = service
            .client
            .script(&PUT)
            .idempotent()
            .key(&session)
            .arg(service.now_arg())
            .arg(how)
            .arg(deadline_ms)
            .arg(id.to_string());
        for (name, value) in metadata.stored() {
            call = call.arg(service.seals.field(id, name, value)?);
        }
        let call = call.arg(service.seals.origin(&at.mac, &origin)?);
        match Said::read(call.run().await?)? {
            Said::Of(status, _) if status == "ok" => Ok(Put::Done),
            Said::Of(status, _) if status == "dup" => Ok(Put::Taken),
            Said::None(_) => Ok(Put::None),
            _ => Err(unknown_status()),
        }
    }

    /// Whether there is a record at one of these.
    async fn is_any_taken(&self, addresses: impl Iterator<Item = Address>) -> Result<bool> {
        for at in addresses {
            if !matches!(self.service.peek(&at).await?, Step::None) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether objects and arrays are nested in it no deeper than this; looks no deeper itself.
fn is_at_most(depth: usize, value: &Value) -> bool {
    let inner = |value| depth > 0 && is_at_most(depth - 1, value);
    match value {
        Value::Array(values) => depth > 0 && values.iter().all(inner),
        Value::Object(fields) => depth > 0 && fields.values().all(inner),
        _ => true,
    }
}

enum Put {
    Done,
    Taken,
    None,
}

#[async_trait]
impl SessionStore for RaptorStore {
    /// One round trip, and one for each older pepper; under another id, if this one is taken.
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let outcome = async {
            for _ in 0..ATTEMPTS {
                let mut addresses = self.addresses(&record.id);
                let at = addresses.next().ok_or_else(unknown_status)?;
                if !self.is_any_taken(addresses).await?
                    && let Put::Done = self.put("create", &at, record).await?
                {
                    return Ok(());
                }
                record.id = Id::default();
            }
            Err(Error::new(
                ErrorKind::Server,
                "new ids exist already: the system's random source repeats itself",
            ))
        }
        .await;
        telemetry::operation_ended("create", outcome.as_ref().map(|_| "ok"));
        outcome.map_err(told)
    }

    /// One round trip. Nothing, and no error, when the session has ended.
    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let outcome = async {
            for at in self.addresses(&record.id) {
                if let Put::Done = self.put("save", &at, record).await? {
                    return Ok("ok");
                }
            }
            Ok("none")
        }
        .await;
        telemetry::operation_ended("update", outcome.as_ref().map(|&label| label));
        outcome.map(drop).map_err(told)
    }

    /// One round trip, shared with whoever reads at the same time.
    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let outcome = async {
            for at in self.addresses(id) {
                let read = |at| self.service.read_and_slide(at);
                if let Some(session) = self.service.follow(at, By::Grace, read).await? {
                    let json: String = session.get(FIELD)?.ok_or_else(crate::head::corrupt)?;
                    let data = serde_json::from_str(&json).map_err(|_| crate::head::corrupt())?;
                    let expiry_date: OffsetDateTime = session.expires_at;
                    return Ok(Some(Record { id: *id, data, expiry_date }));
                }
            }
            Ok(None)
        }
        .await;
        telemetry::operation_ended("get", outcome.as_ref().map(telemetry::found));
        outcome.map_err(told)
    }

    /// One round trip. Whether there was one is not told.
    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        let outcome = async {
            for at in self.addresses(id) {
                let delete = |at| self.service.delete_at(at);
                if self.service.follow(at, By::Pointer, delete).await?.is_some() {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        }
        .await;
        telemetry::operation_ended("delete", outcome.as_ref().map(telemetry::found));
        outcome.map(drop).map_err(told)
    }
}

/// The stable id of a record, out of its MAC: so that a save need not ask for it.
fn id_of(at: &Address) -> Ulid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(at.mac.as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    Ulid::from_bytes(bytes)
}

fn told(error: Error) -> session_store::Error {
    match error.kind() {
        ErrorKind::Codec => session_store::Error::Decode(error.to_string()),
        ErrorKind::InvalidInput => session_store::Error::Encode(error.to_string()),
        _ => session_store::Error::Backend(error.to_string()),
    }
}
