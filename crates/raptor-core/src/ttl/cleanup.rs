//! Keys that would live for ever by mistake: found by SCAN, a bounded piece at a time.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{TtlManager, TtlPolicy, millis, random};
use crate::client::RedisClient;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::{Family, Key};
use crate::script::Script;

static LEAKS: LazyLock<Script> =
    LazyLock::new(|| Script::new("core.ttl_leaks", include_str!("../lua/leaks.lua")));

/// Places of the key table that one SCAN looks at, and keys that one script does.
const STEP: u32 = 500;

/// Whose keys are looked at. Never leaves the client's prefix; where one prefix begins with another
/// (`app` and `app2`, `app:` and `app:eu:`), the shorter one's `*` takes in the longer one's keys, so end
/// prefixes with a separator and do not nest them.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'s> {
    /// The keys of one family; its policy says what TTL they get.
    Family(&'s Family),
    /// The keys that match a glob behind the client's prefix (`cache:*`), which get what the
    /// policy says: for keys outside the catalogue.
    Pattern(&'s str, TtlPolicy),
}

/// What to do with keys that have no TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Only report them.
    Report,
    /// Give them the policy's TTL, from now.
    Repair,
}

/// Where the next call goes on. Lives in the process; begin anew after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanupCursor {
    /// Servers that were looked through.
    done: Vec<String>,
    /// The server under way, and its own cursor.
    current: Option<(String, String)>,
}

/// What one call found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CleanupReport {
    /// Keys in scope that were looked at.
    pub matched: u64,
    /// Those that had no TTL; with [`Cleanup::Repair`] they have one now. Some may be listed by
    /// two calls when nothing repairs them: SCAN may give a key twice.
    pub leaks: Vec<Key>,
    /// Where to go on; `None` when every server was looked through.
    pub next: Option<CleanupCursor>,
}

impl TtlManager {
    /// Finds keys without a TTL that should have one, and reports or repairs them.
    ///
    /// Redis removes expired keys by itself, so there is nothing of that kind to clean up; what
    /// piles up are keys that never got a TTL. This looks at about `budget` places of the servers'
    /// key tables and returns; call it again with [`CleanupReport::next`] until that is `None`, at
    /// whatever pace suits, to have looked at all keys of all primaries.
    ///
    /// # What is guaranteed
    /// A TTL that exists is never changed: looking and setting are one step. A key that had no TTL,
    /// and existed throughout a pass, is found in it; but keys that move between servers meanwhile
    /// (resharding, failover) may be left to the next pass. SCAN only, never KEYS.
    ///
    /// # Cost
    /// A SCAN for each 500 places of `budget`, and a script for each 500 keys in scope on a single
    /// server, one a hash slot on a cluster. Memory holds the leaks of one call.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when `budget` is 0, or when repair is asked for a
    /// family without a policy. After any other error go on from the same cursor: a repeat is
    /// harmless.
    ///
    /// ```no_run
    /// # async fn example(ttl: raptor_core::TtlManager) -> raptor_core::Result<()> {
    /// use raptor_core::Family;
    /// use raptor_core::ttl::{Cleanup, Scope};
    ///
    /// let mut cursor = None;
    /// loop {
    ///     let scope = Scope::Family(&Family::RATE);
    ///     let report = ttl.cleanup_expired(scope, Cleanup::Repair, 10_000, cursor).await?;
    ///     println!("{} keys had no TTL", report.leaks.len());
    ///     cursor = report.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn cleanup_expired(
        &self,
        scope: Scope<'_>,
        cleanup: Cleanup,
        budget: u32,
        cursor: Option<CleanupCursor>,
    ) -> Result<CleanupReport> {
        if budget == 0 {
            return Err(Error::invalid("a budget of 0 looks at nothing"));
        }
        let keys = self.client.keys();
        let (pattern, policy) = match scope {
            Scope::Family(family) => (family.pattern(keys), self.policies.of(family.name).copied()),
            Scope::Pattern(glob, policy) => (format!("{}{glob}", keys.prefix()), Some(policy)),
        };
        let policy = match (cleanup, policy) {
            (Cleanup::Report, _) => None,
            (Cleanup::Repair, Some(policy)) => Some(policy),
            (Cleanup::Repair, None) => {
                return Err(Error::invalid("the family has no policy to say what TTL is due"));
            }
        };
        let mut cursor = cursor.unwrap_or_default();
        let mut report = CleanupReport { matched: 0, leaks: Vec::new(), next: None };
        let mut left = budget;
        while left > 0 {
            let Some(place) = cursor.place(&self.client)? else { return Ok(report) };
            let step = left.min(STEP);
            left -= step;
            let (next, found) = scan(&self.client, &place, &pattern, step).await?;
            report.matched += found.len() as u64;
            report.leaks.extend(leaks_of(&self.client, found, policy).await?);
            cursor.advance(place.server, next);
        }
        report.next = cursor.place(&self.client)?.is_some().then_some(cursor);
        Ok(report)
    }
}

/// Where one SCAN goes.
struct Place {
    server: String,
    slot: u16,
    cursor: String,
}

impl CleanupCursor {
    /// Where to look next; `None` when every server that there is was looked through.
    fn place(&self, client: &RedisClient) -> Result<Option<Place>> {
        let servers = client.topology().primaries();
        if servers.is_empty() {
            let why = "no primary of the cluster is known: nothing was looked at";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        if let Some((current, cursor)) = &self.current
            && let Some((server, slot)) = servers.iter().find(|(server, _)| server == current)
        {
            return Ok(Some(Place { server: server.clone(), slot: *slot, cursor: cursor.clone() }));
        }
        let next = servers.into_iter().find(|(server, _)| !self.done.contains(server));
        Ok(next.map(|(server, slot)| Place { server, slot, cursor: "0".into() }))
    }

    fn advance(&mut self, server: String, cursor: String) {
        if cursor == "0" {
            self.done.push(server);
            self.current = None;
        } else {
            self.current = Some((server, cursor));
        }
    }
}

/// One step of SCAN on one server: where it goes on, and what it found.
async fn scan(
    client: &RedisClient,
    place: &Place,
    pattern: &str,
    step: u32,
) -> Result<(String, Vec<Key>)> {
    let scan = client.command("SCAN").arg(place.cursor.as_str()).arg("MATCH").arg(pattern);
    let scan = scan.arg("COUNT").arg(step).at_slot(place.slot).idempotent();
    let (next, keys): (String, Vec<bytes::Bytes>) = scan.run().await?;
    Ok((next, keys.into_iter().map(|raw| client.keys().recognise(raw)).collect()))
}

/// Which of `keys` have no TTL; they get what `policy` says, if there is one.
async fn leaks_of(
    client: &RedisClient,
    keys: Vec<Key>,
    policy: Option<TtlPolicy>,
) -> Result<Vec<Key>> {
    let mut groups: BTreeMap<u16, Vec<Key>> = BTreeMap::new();
    for key in keys {
        let group = if client.is_cluster() { key.slot() } else { 0 };
        groups.entry(group).or_default().push(key);
    }
    let groups: Vec<&[Key]> =
        groups.values().flat_map(|group| group.chunks(STEP as usize)).collect();
    let mut pipeline = client.pipeline();
    for group in &groups {
        let mut call = client.script(&LEAKS).many_slots().idempotent();
        for key in *group {
            call = match &policy {
                Some(policy) => call.key(key).arg(millis(policy.due(random()))?),
                None => call.key(key).arg(""),
            };
        }
        pipeline.push(call);
    }
    let mut leaks = Vec::new();
    for (group, statuses) in groups.iter().zip(pipeline.execute_as::<Vec<String>>().await?) {
        let statuses = statuses?;
        if statuses.len() != group.len() + 1 {
            return Err(Error::codec("core.ttl_leaks answered for another number of keys"));
        }
        let leaking = group.iter().zip(&statuses[1..]).filter(|(_, status)| *status == "leak");
        leaks.extend(leaking.map(|(key, _)| key.clone()));
    }
    Ok(leaks)
}
