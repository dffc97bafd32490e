//! Expiry events: sessions that came to an end which nobody asked for, told at least once.
//!
//! Each shard keeps an *agenda*: when which session will end, moved by the same scripts that move the
//! deadline itself. So an end is known although nobody was there, without the server's notifications, which
//! are lost when nobody listens. What is due is told again and again until it is acknowledged.

use bytes::Bytes;
use raptor_core::{Error, Reply, Result};
use time::OffsetDateTime;
use ulid::Ulid;

use crate::head::instant;
use crate::places;
use crate::scripts::{ACK, ENDED, number, refused, unknown_status};
use crate::service::SessionService;
use crate::telemetry;
use crate::users::who;

/// The most ends that one call tells.
pub const MAX_ENDED: usize = 1_000;

/// A session that reached its idle or absolute deadline, or was evicted by the cap.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedSession {
    /// The session's stable id: by it a consumer sees that it was told before.
    pub id: Ulid,
    /// The user; empty for an anonymous session.
    pub user: String,
    /// The workspace; empty for an anonymous session.
    pub workspace: String,
    /// When it ended.
    pub ended_at: OffsetDateTime,
    shard: u8,
    member: Bytes,
}

impl SessionService {
    /// Sessions of a shard that ended by themselves and were not acknowledged yet, the oldest first: at most
    /// `count`, 1 to [`MAX_ENDED`]. A sweep asks all 256 shards in turn, as often as it wants to know.
    ///
    /// Only sessions that were created with [`expiry_events`](crate::SessionOptions::expiry_events) are
    /// told, and none that was ended by a call: deleted, revoked.
    ///
    /// *Guaranteed:* at least once, for a week after the end, whoever crashed meanwhile. *Not guaranteed:*
    /// only once, to two consumers or after a crash before [`acknowledge_ended`](Self::acknowledge_ended):
    /// give each consumer its own shards, and let it look at the id.
    ///
    /// A member of the agenda that is none of ours is taken off it and not told.
    ///
    /// Cost: one round trip; O(log ends + count).
    ///
    /// # Errors
    /// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) for a count out of range;
    /// [`Codec`](raptor_core::ErrorKind::Codec) for an agenda in a newer layout; otherwise the connection's.
    ///
    /// ```no_run
    /// # async fn example(sessions: raptor_session::SessionService) -> raptor_core::Result<()> {
    /// for shard in 0..=255 {
    ///     let ended = sessions.ended_sessions(shard, 100).await?;
    ///     for session in &ended {
    ///         println!("{} of {} ended at {}", session.id, session.user, session.ended_at);
    ///     }
    ///     sessions.acknowledge_ended(&ended).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ended_sessions(&self, shard: u8, count: usize) -> Result<Vec<EndedSession>> {
        let outcome = self.due(shard, count).await;
        telemetry::operation_ended("ended", outcome.as_ref().map(|_| "ok"));
        outcome
    }

    /// Says that these ends were dealt with: they are not told again.
    ///
    /// Cost: one round trip for each shard among them; O(ends). A repeat is harmless.
    ///
    /// # Errors
    /// The connection's.
    pub async fn acknowledge_ended(&self, ended: &[EndedSession]) -> Result<()> {
        let mut shards: Vec<u8> = ended.iter().map(|session| session.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            let key = places::agenda(self.client.keys(), shard)?;
            let members: Vec<&Bytes> = ended
                .iter()
                .filter(|session| session.shard == shard)
                .map(|session| &session.member)
                .collect();
            for some in members.chunks(MAX_ENDED) {
                let call = self.client.script(&ACK).idempotent().key(&key);
                let outcome = call.args(some.iter().copied()).run::<Vec<Reply>>().await;
                telemetry::operation_ended("acknowledge", outcome.as_ref().map(|_| "ok"));
                outcome?;
            }
        }
        Ok(())
    }

    async fn due(&self, shard: u8, count: usize) -> Result<Vec<EndedSession>> {
        if !(1..=MAX_ENDED).contains(&count) {
            return Err(Error::invalid(format!(
                "{count} ended sessions at once are out of range: 1 to {MAX_ENDED}"
            )));
        }
        let key = places::agenda(self.client.keys(), shard)?;
        loop {
            let call = self.client.script(&ENDED).idempotent().key(&key);
            let call = call.arg(self.now_arg()).arg(count);
            let mut reply = call.run::<Vec<Bytes>>().await?.into_iter();
            let status = reply.next().ok_or_else(unknown_status)?;
            if status != "ok" {
                return Err(refused(&status));
            }
            let _now_ms = reply.next();
            let (mut ended, mut foreign) = (Vec::new(), Vec::new());
            while let (Some(member), Some(ended_ms)) = (reply.next(), reply.next()) {
                match read(shard, &member, &ended_ms) {
                    Ok(session) => ended.push(session),
                    Err(_) => foreign.push(member),
                }
            }
            if foreign.is_empty() {
                return Ok(ended);
            }
            let call = self.client.script(&ACK).idempotent().key(&key);
            call.args(&foreign).run::<Vec<Reply>>().await?;
            if !ended.is_empty() {
                return Ok(ended);
            }
        }
    }
}

fn read(shard: u8, member: &Bytes, ended_ms: &[u8]) -> Result<EndedSession> {
    let (id, workspace, user) = who(member)?;
    let ended_at = instant(number(ended_ms)?)?;
    Ok(EndedSession { id, user, workspace, ended_at, shard, member: member.clone() })
}
