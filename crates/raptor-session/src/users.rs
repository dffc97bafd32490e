//! All sessions of a user: listed by pages, counted, ended together.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::str::FromStr;

use bytes::Bytes;
use raptor_core::{Error, Reply, Result};
use ulid::Ulid;

use crate::data::SessionData;
use crate::places::{self, Index};
use crate::scripts::{LIST, MEMBERS, REVOKE, number, refused, text, unknown_status};
use crate::service::{HOPS, SessionService, Step};
use crate::telemetry;
use crate::token::{Address, Presented};

/// The most sessions that a page is asked for.
pub const MAX_PAGE: usize = 100;

/// Sessions that one call ends.
const REVOKED_A_CALL: usize = 500;

/// The beginning of time, at which whatever is listed is alive: a clock may be wrong, a revocation not.
const ALL: &str = "0";

/// Calls in which a revocation ends what there is, a million sessions of one user.
const MAX_ROUNDS: usize = 2_000;

/// A part of a user's sessions, those that end first at its head.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions; no tokens.
    pub sessions: Vec<SessionData>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageCursor>,
}

/// Where a page of [`SessionService::list_sessions`] begins. Its text may go to a browser and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCursor(String);

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PageCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number = text.parse::<f64>().is_ok_and(f64::is_finite);
        if text.len() > 24 || !plain || !number {
            return Err(Error::invalid("no cursor of a page of sessions: begin with none"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl SessionService {
    /// A page of the live sessions of `user` in `workspace`, 1 to [`MAX_PAGE`], those that end first at its
    /// head; `after` is the last page's [`next`](SessionPage::next). For a user's own list of devices: it
    /// shows no token, reads no deadline forward, and takes off the index what is gone.
    ///
    /// A session that lives from the first page to the last is on one of them at least; one that is used
    /// meanwhile may be on two. Where several share a page's last deadline to the millisecond, the page is
    /// longer by them.
    ///
    /// Cost: two round trips a page; O(page × fields).
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for a user or workspace that no session can
    /// have, or a page out of range; [`TryAgain`](raptor_core::ErrorKind::TryAgain) while a cluster moves the
    /// slot; otherwise as [`get_session`](Self::get_session): one session that cannot be read fails its
    /// page.
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService) -> raptor_core::Result<()> {
    /// let page = sessions.list_sessions("ann", "acme", 20, None).await?;
    /// for session in &page.sessions {
    ///     println!("{} since {}", session.id, session.created_at);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_sessions(
        &self,
        user: &str,
        workspace: &str,
        page: usize,
        after: Option<&PageCursor>,
    ) -> Result<SessionPage> {
        let outcome = self.page(user, workspace, page, after).await;
        telemetry::operation_ended("list", outcome.as_ref().map(|_| "ok"));
        let (rows, next) = outcome?;
        Ok(SessionPage { sessions: rows.into_iter().map(|(_, session)| session).collect(), next })
    }

    /// Ends the session of this id, out of a [list](Self::list_sessions); `false` if the user has none such.
    ///
    /// Cost: the pages up to it, and one round trip.
    ///
    /// # Errors
    /// As [`list_sessions`](Self::list_sessions).
    pub async fn delete_session_by_id(
        &self,
        user: &str,
        workspace: &str,
        id: Ulid,
    ) -> Result<bool> {
        let mut after = None;
        loop {
            let (rows, next) = self.page(user, workspace, MAX_PAGE, after.as_ref()).await?;
            if let Some((at, _)) = rows.into_iter().find(|(_, session)| session.id == id) {
                let outcome = self.end(at).await;
                telemetry::operation_ended("delete", outcome.as_ref().map(telemetry::found));
                return Ok(outcome?.is_some());
            }
            match next {
                Some(_) => after = next,
                None => return Ok(false),
            }
        }
    }

    /// Ends all sessions of `user` in `workspace`: logout everywhere, at a changed password or a theft. Gives
    /// how many there were. [`except`](Revoke::except) spares one.
    ///
    /// 500 sessions end in one step. A session that lives from before the call to its end is ended, also if
    /// it is rotated meanwhile; a login meanwhile may or may not survive.
    ///
    /// Cost: two commands for each 500 sessions, one more with an exception; O(500) in one call.
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for a user or workspace that no session can
    /// have; [`TryAgain`](raptor_core::ErrorKind::TryAgain) while a cluster moves the slot;
    /// [`Codec`](raptor_core::ErrorKind::Codec) for an index in a newer layout; otherwise the connection's.
    /// A repeat is harmless.
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService, cookie: &str) -> raptor_core::Result<()> {
    /// let others = sessions.revoke_workspace_user("ann", "acme").except(cookie).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn revoke_workspace_user<'a>(&'a self, user: &'a str, workspace: &'a str) -> Revoke<'a> {
        self.revoke_user(user, [workspace])
    }

    /// Ends all sessions of `user` in each of these workspaces. A user's sessions are kept by workspace, and
    /// Raptor does not know which of them a user is in: you do.
    ///
    /// Cost: that of [`revoke_workspace_user`](Self::revoke_workspace_user) for each workspace, one
    /// after the other.
    ///
    /// # Errors
    /// As [`revoke_workspace_user`](Self::revoke_workspace_user), at the first that fails: repeat the whole.
    pub fn revoke_user<'a>(
        &'a self,
        user: &'a str,
        workspaces: impl IntoIterator<Item = &'a str>,
    ) -> Revoke<'a> {
        let workspaces = workspaces.into_iter().collect();
        Revoke { service: self, user, workspaces, except: None }
    }

    async fn page(
        &self,
        user: &str,
        workspace: &str,
        page: usize,
        after: Option<&PageCursor>,
    ) -> Result<(Vec<(Address, SessionData)>, Option<PageCursor>)> {
        if !(1..=MAX_PAGE).contains(&page) {
            return Err(Error::invalid(format!(
                "a page of {page} sessions is out of range: 1 to {MAX_PAGE}"
            )));
        }
        let index = Index::new(self.client.keys(), workspace, user)?;
        let (members, next) = self.members(&index, self.now_arg(), page, after).await?;
        let (mut rows, mut ask) = (Vec::new(), members);
        // What was rotated since the index was read is asked for where it is now.
        for _ in 0..HOPS {
            let read = self.read_all(&index, ask).await?;
            rows.extend(read.rows);
            if read.moved.is_empty() {
                break;
            }
            ask = read.moved;
        }
        Ok((rows, next))
    }

    /// The sessions at these places; who is gone leaves the index.
    pub(crate) async fn read_all(&self, index: &Index, places: Vec<Address>) -> Result<Listed> {
        let mut call = self.client.script(&LIST).idempotent().large().key(&index.key);
        for at in &places {
            call = call.key(&places::session(self.client.keys(), at)?);
        }
        let mut reply = call.arg(self.now_arg()).run::<Vec<Reply>>().await?.into_iter();
        let status: Bytes = reply.next().ok_or_else(unknown_status)?.decode()?;
        if status != "ok" {
            return Err(refused(&status));
        }
        let taken_off: i64 = reply.next().ok_or_else(unknown_status)?.decode()?;
        let (mut rows, mut moved) = (Vec::new(), Vec::new());
        while let (Some(mac), Some(held)) = (reply.next(), reply.next()) {
            let (mac, held) = (mac.decode::<String>()?, held.decode::<Vec<Bytes>>()?);
            match &held[..] {
                [mark, to] if mark == ">" => moved.extend(index.place(to)),
                held => {
                    let session = SessionData::read(held, &mac, &self.seals)?;
                    rows.push((Address { shard: index.shard, mac }, session));
                }
            }
        }
        Ok(Listed { rows, moved, taken_off: taken_off.unsigned_abs() })
    }

    /// Where sessions of a user are, those that end first at the head; behind the first page some that may have ended.
    async fn members(
        &self,
        index: &Index,
        now: String,
        count: usize,
        after: Option<&PageCursor>,
    ) -> Result<(Vec<Address>, Option<PageCursor>)> {
        let call = self.client.script(&MEMBERS).idempotent().key(&index.key);
        let call = call.arg(now).arg(after.map_or("", |cursor| &cursor.0)).arg(count);
        let mut reply = call.run::<Vec<Bytes>>().await?.into_iter();
        let status = reply.next().ok_or_else(unknown_status)?;
        if status != "ok" {
            return Err(refused(&status));
        }
        let cursor = text(&reply.next().ok_or_else(unknown_status)?)?.to_owned();
        let members = reply.filter_map(|mac| index.place(&mac)).collect();
        Ok((members, (!cursor.is_empty()).then_some(PageCursor(cursor))))
    }
}

/// What is at the places that an index names.
pub(crate) struct Listed {
    rows: Vec<(Address, SessionData)>,
    /// Where those are that were rotated meanwhile.
    moved: Vec<Address>,
    /// Entries of sessions that are gone.
    pub(crate) taken_off: u64,
}

/// A revocation to be awaited: [`SessionService::revoke_user`].
#[derive(Debug)]
#[must_use = "a revocation does nothing until it is awaited"]
pub struct Revoke<'a> {
    service: &'a SessionService,
    user: &'a str,
    workspaces: Vec<&'a str>,
    except: Option<Presented<'a>>,
}

impl<'a> Revoke<'a> {
    /// All but the session of this token, or of the one that took its place.
    pub fn except(mut self, token: impl Into<Presented<'a>>) -> Self {
        self.except = Some(token.into());
        self
    }

    async fn run(self) -> Result<u64> {
        let except = self.except.and_then(|token| self.service.address(token));
        let mut ended = 0;
        for workspace in &self.workspaces {
            let index = Index::new(self.service.client.keys(), workspace, self.user)?;
            // A token of another shard is of another user or workspace.
            let except = except.clone().filter(|at| at.shard == index.shard);
            let outcome = self.service.revoke_index(&index, except).await;
            telemetry::operation_ended("revoke", outcome.as_ref().map(|_| "ok"));
            ended += outcome?;
        }
        Ok(ended)
    }
}

impl<'a> IntoFuture for Revoke<'a> {
    type Output = Result<u64>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl SessionService {
    async fn revoke_index(&self, index: &Index, except: Option<Address>) -> Result<u64> {
        // By its id, so that a rotation on the way changes nothing.
        let except = match except {
            Some(at) => self.id_of(at).await?,
            None => None,
        };
        let except = except.map_or_else(String::new, |id| id.to_string());
        let agenda = places::agenda(self.client.keys(), index.shard)?;
        let (mut ended, mut rounds) = (0, 0);
        loop {
            let (mut members, _) =
                self.members(index, ALL.to_owned(), REVOKED_A_CALL, None).await?;
            members.truncate(REVOKED_A_CALL);
            if members.is_empty() {
                return Ok(ended);
            }
            let mut call = self.client.script(&REVOKE).idempotent().key(&index.key);
            for at in &members {
                call = call.key(&places::session(self.client.keys(), at)?);
            }
            let call = call.arg(agenda.as_bytes()).arg(&except);
            let reply = call.run::<Vec<Bytes>>().await?;
            let (left, spared) = match &reply[..] {
                [status, count, left, spared] if status == "ok" => {
                    ended += number(count)?.unsigned_abs();
                    (number(left)?, number(spared)?)
                }
                [status, ..] => return Err(refused(status)),
                [] => return Err(unknown_status()),
            };
            // Somebody who logs in for ever is not followed for ever.
            rounds += 1;
            if left <= spared || rounds > MAX_ROUNDS {
                return Ok(ended);
            }
        }
    }

    /// The id of the session of `at`, which a pointer knows too.
    async fn id_of(&self, at: Address) -> Result<Option<Ulid>> {
        Ok(match self.peek(&at).await? {
            Step::Done(found) => Some(found.head.origin.id),
            Step::None => None,
            Step::Moved(moved) => {
                self.check(&at, &moved)?;
                Some(who(&moved.whose)?.0)
            }
        })
    }
}

/// Workspace and user of a member of an agenda, and the session's id.
pub(crate) fn who(member: &[u8]) -> Result<(Ulid, String, String)> {
    let read = || {
        let (id, suffix) = text(member).ok()?.split_once(' ')?;
        let (workspace, user) = crate::head::owner_of(suffix)?;
        Some((Ulid::from_string(id).ok()?, workspace, user))
    };
    read().ok_or_else(crate::head::corrupt)
}
