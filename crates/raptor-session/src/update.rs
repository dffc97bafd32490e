//! Fields that change: merged, compared first where asked, or taken once.

use std::future::IntoFuture;
use std::pin::Pin;

use raptor_core::{Error, Result};
use serde::de::DeserializeOwned;

use crate::changes::Changes;
use crate::head::{Head, corrupt};
use crate::metadata::{MAX_FIELDS, MAX_METADATA_BYTES, checked_name, decode};
use crate::places;
use crate::scripts::{PEEK, Said, TAKE, UPDATE, number, unknown_status};
use crate::service::{By, SessionService, Step};
use crate::telemetry;
use crate::token::{Address, Presented};

/// What came of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub enum Updated {
    /// All changes were made.
    Done {
        /// The session's revision now.
        revision: u64,
    },
    /// The session has another revision than was asked for; nothing was changed.
    Conflict {
        /// The one that it has: read again, and decide again.
        revision: u64,
    },
    /// There is no such session: it ended, was ended, or its token may not write. Nothing was changed.
    Gone,
}

impl Updated {
    /// Whether all changes were made.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

/// An update to be awaited: [`SessionService::update_session`].
#[derive(Debug)]
#[must_use = "an update does nothing until it is awaited"]
pub struct Update<'a> {
    service: &'a SessionService,
    token: Presented<'a>,
    changes: Changes,
    revision: Option<u64>,
}

impl Update<'_> {
    /// Only if the session's revision is this one, else [`Updated::Conflict`]: compare-and-set.
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    async fn run(self) -> Result<Updated> {
        let Self { service, token, changes, revision } = self;
        if changes.is_empty() {
            return Err(Error::invalid("an update without changes: set or remove a field"));
        }
        let Some(at) = service.address(token) else {
            telemetry::operation_ended("update", Ok(telemetry::NOT_A_TOKEN));
            return Ok(Updated::Gone);
        };
        let change = |at| service.change(at, &changes, revision);
        let outcome = service.follow(at, By::Grace, change).await;
        let outcome = outcome.map(|updated| updated.unwrap_or(Updated::Gone));
        let label = |updated: &Updated| match updated {
            Updated::Done { .. } => "ok",
            Updated::Conflict { .. } => "conflict",
            Updated::Gone => "none",
        };
        telemetry::operation_ended("update", outcome.as_ref().map(label));
        outcome
    }
}

impl<'a> IntoFuture for Update<'a> {
    type Output = Result<Updated>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Who a session is, and the time there.
pub(crate) struct Peeked {
    pub(crate) head: Head,
    pub(crate) now_ms: i64,
    pub(crate) is_sealed: bool,
}

impl SessionService {
    /// Merges changes into a session's fields, in one step: those that are not named stay as they are, so
    /// concurrent updates of different fields are all kept. The deadline stays; only a read slides it.
    ///
    /// With [`if_revision`](Update::if_revision) it is compare-and-set. A session that ended, or was ended
    /// meanwhile, is [`Updated::Gone`]: an update never brings one back.
    ///
    /// By an old token it writes, while that may be read, to the session under its new token: nothing is
    /// ever stored under an old one. After its grace an old token writes nothing: `Gone`.
    ///
    /// Cost: one round trip, two with a keyring (fields are sealed for the session's id); O(changes).
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) when nothing is to be changed, or the session
    /// would have more than [`MAX_FIELDS`] fields or [`MAX_METADATA_BYTES`]: nothing was changed.
    /// [`OutcomeUnknown`](raptor_core::ErrorKind::OutcomeUnknown) after a lost reply: read, and look at the
    /// revision. Otherwise as [`get_session`](Self::get_session).
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// use raptor_session::{Changes, Updated};
    /// let changes = Changes::new().set("theme", &"dark")?.remove("draft")?;
    /// match sessions.update_session(cookie, changes).if_revision(3).await? {
    ///     Updated::Done { revision } => println!("revision {revision} now"),
    ///     Updated::Conflict { revision } => println!("somebody was faster: {revision}"),
    ///     _ => println!("please log in"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn update_session<'a>(
        &'a self,
        token: impl Into<Presented<'a>>,
        changes: impl Into<Changes>,
    ) -> Update<'a> {
        Update { service: self, token: token.into(), changes: changes.into(), revision: None }
    }

    /// Reads a field and removes it, in one step: of concurrent callers exactly one gets it. `None` if
    /// there is no such field, or no such session.
    ///
    /// By an old token: as [`update_session`](Self::update_session).
    ///
    /// Cost: one round trip.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for an empty or over-long name;
    /// [`Codec`](raptor_core::ErrorKind::Codec) when the field is not of this type or does not open: it is
    /// gone all the same. [`OutcomeUnknown`](raptor_core::ErrorKind::OutcomeUnknown) after a lost reply: it
    /// may be gone unread. Otherwise as [`get_session`](Self::get_session).
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// if let Some(message) = sessions.take_flash::<String>(cookie, "message").await? {
    ///     println!("{message}"); // shown once, however often the page is loaded
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn take_flash<'a, T: DeserializeOwned>(
        &self,
        token: impl Into<Presented<'a>>,
        field: &str,
    ) -> Result<Option<T>> {
        checked_name(field)?;
        let Some(at) = self.address(token.into()) else {
            telemetry::operation_ended("take_flash", Ok(telemetry::NOT_A_TOKEN));
            return Ok(None);
        };
        let outcome = self.follow(at, By::Grace, |at| self.take(at, field)).await;
        let outcome = outcome.map(Option::flatten);
        telemetry::operation_ended("take_flash", outcome.as_ref().map(telemetry::found));
        outcome?.map(|stored| decode(&stored)).transpose()
    }

    async fn take(&self, at: Address, field: &str) -> Result<Step<Option<Vec<u8>>>> {
        let session = places::session(self.client.keys(), &at)?;
        let call = self.client.script(&TAKE).key(&session).arg(self.now_arg());
        let said = call.arg(format!("f:{field}")).arg(self.seals.arg()).run().await?;
        Step::of(Said::read(said)?, |status, items| match (status, &items[..]) {
            (b"ok", [head, seal, value]) => {
                let Head { origin, .. } = Head::parse(head)?;
                self.seals.check_origin(&at.mac, &origin, seal)?;
                self.seals.open_field(origin.id, field, value.to_vec(), seal).map(Some)
            }
            (b"absent", _) => Ok(None),
            _ => Err(unknown_status()),
        })
    }

    async fn change(
        &self,
        at: Address,
        changes: &Changes,
        revision: Option<u64>,
    ) -> Result<Step<Updated>> {
        // Without a keyring nothing depends on who the session is, if it is in the clear.
        let (mut id, mut is_sealed) = (None, false);
        if self.seals.is_on() {
            match self.peek(&at).await? {
                Step::Done(found) => {
                    id = Some(found.head.origin.id);
                    is_sealed = found.is_sealed;
                }
                Step::None => return Ok(Step::None),
                Step::Moved(moved) => return Ok(Step::Moved(moved)),
            }
        }
        let session = places::session(self.client.keys(), &at)?;
        let mut call = self
            .client
            .script(&UPDATE)
            .key(&session)
            .arg(self.now_arg())
            .arg(revision.map_or_else(String::new, |revision| revision.to_string()))
            .arg(id.map_or_else(String::new, |id| id.to_string()))
            .arg(MAX_FIELDS)
            .arg(MAX_METADATA_BYTES)
            .arg(if is_sealed { "1" } else { "0" })
            .arg(changes.sets().count());
        for (name, value) in changes.sets() {
            call = call.arg(format!("f:{name}"));
            call = match id {
                Some(id) if is_sealed => call.arg(self.seals.field(id, name, value)?),
                _ => call.arg(value),
            };
        }
        for name in changes.removals() {
            call = call.arg(format!("f:{name}"));
        }
        Step::of(Said::read(call.run().await?)?, |status, items| {
            let said = number(items.first().ok_or_else(corrupt)?)?;
            let revision = u64::try_from(said).map_err(|_| corrupt())?;
            match status {
                b"ok" => Ok(Updated::Done { revision }),
                b"conflict" => Ok(Updated::Conflict { revision }),
                b"fields" => Err(Error::invalid(format!(
                    "the session would have {said} fields, more than {MAX_FIELDS}: remove some"
                ))),
                b"bytes" => Err(Error::invalid(format!(
                    "the session's fields would take {said} bytes, more than {MAX_METADATA_BYTES}: \
                     keep what is large elsewhere"
                ))),
                _ => Err(unknown_status()),
            }
        })
    }

    /// Who a session is, held against its seal, and the time there; without a slide.
    pub(crate) async fn peek(&self, at: &Address) -> Result<Step<Peeked>> {
        let session = places::session(self.client.keys(), at)?;
        let call = self.client.script(&PEEK).idempotent().key(&session).arg(self.now_arg());
        Step::of(Said::read(call.run().await?)?, |_, items| match &items[..] {
            [now_ms, head, seal] => {
                let head = Head::parse(head)?;
                self.seals.check_origin(&at.mac, &head.origin, seal)?;
                Ok(Peeked { head, now_ms: number(now_ms)?, is_sealed: !seal.is_empty() })
            }
            _ => Err(unknown_status()),
        })
    }
}
