//! The parameters of a server URL: `?protocol=3&sentinelServiceName=main`.

use super::authority;
use super::problems::Flaw;
use super::topology::{DEFAULT_PORT, DEFAULT_SENTINEL_PORT};
use super::url::{Form, database_number, keep};
use super::{Endpoint, Protocol, Secret};

/// What the parameters say.
#[derive(Default)]
pub(super) struct Params {
    pub(super) protocol: Option<Protocol>,
    pub(super) database: Option<u8>,
    pub(super) nodes: Vec<Endpoint>,
    pub(super) service: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

impl Params {
    /// Reads `a=b&c=d`; notes what is unknown, doubled or has a bad value.
    pub(super) fn read(query: &str, form: Form, flaws: &mut Vec<Flaw>) -> Self {
        let mut params = Self::default();
        if query.is_empty() {
            return params;
        }
        for (index, pair) in query.split('&').enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (form, name) {
                (_, "protocol") => once(&mut params.protocol, name, protocol(value), flaws),
                (Form::Unix, "db") => {
                    once(&mut params.database, name, database_number(value), flaws);
                }
                (Form::Cluster, "node") => {
                    params.nodes.extend(keep(authority::endpoint(value, DEFAULT_PORT), flaws));
                }
                (Form::Sentinel, "node") => {
                    let node = authority::endpoint(value, DEFAULT_SENTINEL_PORT);
                    params.nodes.extend(keep(node, flaws));
                }
                (Form::Sentinel, "sentinelServiceName") => {
                    once(&mut params.service, name, text(name, value), flaws);
                }
                (Form::Sentinel, "sentinelUsername") => {
                    once(&mut params.user, name, text(name, value), flaws);
                }
                (Form::Sentinel, "sentinelPassword") => {
                    let password = text(name, value).map(Secret::new);
                    once(&mut params.password, name, password, flaws);
                }
                // Its name is not repeated: it may be the rest of a password that holds a `?`.
                _ => flaws.push(
                    format!("has an unknown parameter (number {}); {}", index + 1, known(form))
                        .into(),
                ),
            }
        }
        params
    }
}

/// Sets a parameter that may stand only once.
fn once<T>(place: &mut Option<T>, name: &str, value: Result<T, Flaw>, flaws: &mut Vec<Flaw>) {
    if place.is_some() {
        flaws.push(format!("gives {name} twice; keep one").into());
    } else {
        *place = keep(value, flaws);
    }
}

fn protocol(value: &str) -> Result<Protocol, Flaw> {
    match value {
        "2" => Ok(Protocol::Resp2),
        "3" => Ok(Protocol::Resp3),
        _ => Err("has a protocol that is neither 2 nor 3".into()),
    }
}

fn text(name: &str, value: &str) -> Result<String, Flaw> {
    let text = authority::decode(value)?;
    if text.is_empty() {
        return Err(format!("has an empty {name}; give a value or remove it").into());
    }
    Ok(text)
}

fn known(form: Form) -> &'static str {
    match form {
        Form::Standalone | Form::Rest => "known here: protocol",
        Form::Cluster => "known here: protocol, node",
        Form::Sentinel => {
            "known here: protocol, node, sentinelServiceName, sentinelUsername, sentinelPassword"
        }
        Form::Unix => "known here: protocol, db",
    }
}
