//! Leaves the server as it was: removes the run's keys by their names, never by a pattern.
//!
//! A backend does not do this: its keys expire. The names follow the layouts that `docs/keys.md`
//! lists; a test holds that nothing stays behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use raptor::core::{Family, Key};
use raptor::ops::usage::Dimension;
use raptor::session::SessionToken;

use crate::backend::{Backend, ENDPOINT};
use crate::people::People;
use crate::replay::spread;
use crate::statement::{CUTS, periods};

/// Arguments of one UNLINK.
const KEYS_A_CALL: usize = 500;

/// Ends the sessions and removes the counts of limits and of usage.
pub(crate) async fn remove_all(
    backend: &Arc<Backend>,
    people: &People,
    tokens: &Arc<Vec<SessionToken>>,
    hours: &BTreeSet<i64>,
    width: usize,
) -> Result<()> {
    let tenants: Vec<String> = people.tenants().collect();
    let users: Vec<String> = people.everybody().map(|person| people.user(person)).collect();

    let (end, held) = (Arc::clone(backend), Arc::clone(tokens));
    spread((0..tokens.len()).collect(), width, move |index| {
        let (end, held) = (Arc::clone(&end), Arc::clone(&held));
        async move { Ok(end.insist(|| end.sessions.delete_session(&held[index]), |_| {}).await?) }
    })
    .await?;

    // Logout everywhere: also what a login left behind whose answer was lost.
    let names = people.everybody().map(|person| (people.user(person), people.tenant(person)));
    let everywhere = Arc::clone(backend);
    spread(names.collect(), width, move |(user, tenant)| {
        let backend = Arc::clone(&everywhere);
        async move {
            let revoke = || async { backend.sessions.revoke_workspace_user(&user, &tenant).await };
            Ok(backend.insist(revoke, |_| {}).await?)
        }
    })
    .await?;

    let limited = Arc::clone(backend);
    spread(users, width, move |user| {
        let backend = Arc::clone(&limited);
        async move {
            let parts = [ENDPOINT.as_bytes(), backend.limit.policy()];
            let key = backend.raptor.client().keys().key(&Family::RATE, &user, &parts)?;
            unlink(&backend, &[key]).await
        }
    })
    .await?;

    let mut names: Vec<(&Family, Vec<String>)> = Vec::new();
    for (_, rule) in CUTS {
        for period in periods(rule, hours)? {
            names.push((&Family::USAGE, vec![period.id()]));
            for dimension in [Dimension::Model, Dimension::Agent, Dimension::User] {
                let parts = vec![period.id(), dimension.as_str().to_owned()];
                names.push((&Family::USAGE_BY, parts.clone()));
                names.push((&Family::USAGE_NAMES, parts));
            }
        }
    }
    names.extend(hours.iter().map(|hour| (&Family::USAGE_SEEN, vec![hour.to_string()])));
    let (metered, names) = (Arc::clone(backend), Arc::new(names));
    spread(tenants, width, move |tenant| {
        let (backend, names) = (Arc::clone(&metered), Arc::clone(&names));
        async move {
            let space = backend.raptor.client().keys();
            let keys = names.iter().map(|(family, parts)| space.key(family, &tenant, parts));
            let keys = keys.collect::<Result<Vec<Key>, _>>()?;
            for keys in keys.chunks(KEYS_A_CALL) {
                unlink(&backend, keys).await?;
            }
            Ok(())
        }
    })
    .await?;
    Ok(())
}

/// Removes keys of one slot. A repeat is harmless.
async fn unlink(backend: &Backend, keys: &[Key]) -> Result<()> {
    let client = backend.raptor.client();
    let call = || {
        let call = client.command("UNLINK").idempotent();
        keys.iter().fold(call, |call, key| call.key(key)).run()
    };
    Ok(backend.insist(call, |_| {}).await?)
}
