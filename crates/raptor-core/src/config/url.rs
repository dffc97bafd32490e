//! One server URL: scheme, authority, path, query; every flaw in it at once, none of its text.
//!
//! Parsed by hand: lists of hosts are no valid URLs for a URL library, and a flaw's text must
//! never quote the URL. An unencoded `/`, `?` or `#` in a password moves everything after it, so
//! what looks like a host, port, path or parameter may be a piece of the password.

use std::path::PathBuf;

use super::authority;
use super::problems::{Flaw, text_flaw};
use super::query::Params;
use super::topology::{DEFAULT_PORT, DEFAULT_SENTINEL_PORT};
use super::{Credentials, Endpoint, Protocol, Topology};

/// What a URL says.
#[derive(Debug)]
pub(super) struct ServerUrl {
    pub(super) topology: Topology,
    pub(super) tls: bool,
    pub(super) credentials: Credentials,
    pub(super) database: Option<u8>,
    pub(super) protocol: Option<Protocol>,
    /// An `https://` URL, which needs a token from elsewhere.
    pub(super) rest: bool,
}

/// The form that a scheme asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Standalone,
    Cluster,
    Sentinel,
    Unix,
    Rest,
}

/// Scheme, form, TLS.
const SCHEMES: &[(&str, Form, bool)] = &[
    ("redis", Form::Standalone, false),
    ("rediss", Form::Standalone, true),
    ("redis-cluster", Form::Cluster, false),
    ("rediss-cluster", Form::Cluster, true),
    ("redis-sentinel", Form::Sentinel, false),
    ("rediss-sentinel", Form::Sentinel, true),
    ("unix", Form::Unix, false),
    ("redis+unix", Form::Unix, false),
    ("https", Form::Rest, true),
];

/// The longest path that fits a unix socket's address, on Linux.
const SOCKET_PATH_LEN: usize = 107;

impl ServerUrl {
    /// Reads a URL, or says all that is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, Vec<Flaw>> {
        let (form, tls, rest) = scheme(url).map_err(|flaw| vec![flaw])?;
        let pieces = Pieces::split(rest, form).map_err(|flaw| vec![flaw])?;
        let mut flaws = Vec::new();

        let credentials = match pieces.userinfo {
            None => Some(Credentials::default()),
            Some(_) if form == Form::Rest => {
                flaws.push("takes no user or password in an https:// URL; set a token".into());
                None
            }
            Some(info) => keep(authority::credentials(info), &mut flaws),
        };
        let params = Params::read(pieces.query, form, &mut flaws);
        let database = match form {
            Form::Unix => params.database,
            Form::Rest if matches!(pieces.path, "" | "/") => None,
            Form::Rest => {
                flaws.push("has a path, which an https:// URL does not take; remove it".into());
                None
            }
            _ => keep(database(pieces.path), &mut flaws).flatten(),
        };
        if form == Form::Cluster && database.is_some_and(|number| number > 0) {
            flaws.push("names a database, but a cluster has only database 0".into());
        }
        let protocol = params.protocol;
        let topology = topology(form, &pieces, params, &mut flaws);

        match (topology, credentials) {
            (Some(topology), Some(credentials)) if flaws.is_empty() => {
                let rest = form == Form::Rest;
                Ok(Self { topology, tls, credentials, database, protocol, rest })
            }
            _ => Err(flaws),
        }
    }
}

/// Splits the scheme off.
fn scheme(url: &str) -> Result<(Form, bool, &str), Flaw> {
    if let Some(flaw) = text_flaw(url) {
        return Err(flaw.into());
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds white space or a control character; percent-encode it".into());
    }
    let (name, rest) = url.split_once("://").ok_or("has no scheme; write redis://HOST:PORT")?;
    if name.eq_ignore_ascii_case("http") {
        return Err(
            "is an http:// URL, which would send the token in the clear; use https://HOST \
                    or rediss://"
                .into(),
        );
    }
    match SCHEMES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name)) {
        Some(&(_, form, tls)) => Ok((form, tls, rest)),
        None => {
            let known: Vec<String> = SCHEMES.iter().map(|row| format!("{}://", row.0)).collect();
            Err(format!("has an unknown scheme; known are {}", known.join(" ")).into())
        }
    }
}

/// A URL after its scheme.
struct Pieces<'a> {
    userinfo: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Pieces<'a> {
    fn split(rest: &'a str, form: Form) -> Result<Self, Flaw> {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        // The path of a socket may hold an `@`; anywhere else it is a password cut in two.
        if (if form == Form::Unix { query } else { tail }).contains('@') {
            return Err("has an `@` after a `/`, `?` or `#`; percent-encode these in user, \
                        password and parameters (%2F %3F %23 %40)"
                .into());
        }
        if tail.contains('#') {
            return Err("has a `#`; a server URL takes no fragment, write a bare # as %23".into());
        }
        let (userinfo, hosts) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(userinfo), hosts),
            None => (None, authority),
        };
        Ok(Self { userinfo, hosts, path, query })
    }
}

/// The servers that authority, path and parameters name together.
fn topology(
    form: Form,
    pieces: &Pieces<'_>,
    params: Params,
    flaws: &mut Vec<Flaw>,
) -> Option<Topology> {
    let port = if form == Form::Sentinel { DEFAULT_SENTINEL_PORT } else { DEFAULT_PORT };
    match form {
        Form::Unix => {
            let path = keep(socket_path(pieces), flaws)?;
            Some(Topology::Standalone(Endpoint::Unix(path)))
        }
        Form::Standalone | Form::Rest if pieces.hosts.contains(',') => {
            flaws.push(
                "names several hosts; use redis-cluster:// or redis-sentinel:// for these".into(),
            );
            None
        }
        Form::Standalone => {
            Some(Topology::Standalone(keep(authority::endpoint(pieces.hosts, port), flaws)?))
        }
        Form::Rest => {
            // 443 is the port of the REST endpoint beside which Redis listens on its own.
            let endpoint = keep(authority::endpoint(pieces.hosts, 443), flaws)?;
            let Endpoint::Tcp { host, port: 443 } = endpoint else {
                flaws.push("has a port, which is not that of Redis; write https://HOST".into());
                return None;
            };
            Some(Topology::Standalone(Endpoint::Tcp { host, port }))
        }
        Form::Cluster | Form::Sentinel => {
            let mut list = Vec::new();
            // `redis-cluster://?node=…` names hosts by parameters alone.
            if !pieces.hosts.is_empty() || params.nodes.is_empty() {
                for text in pieces.hosts.split(',') {
                    list.extend(keep(authority::endpoint(text, port), flaws));
                }
            }
            list.extend(params.nodes);
            let mut seen = std::collections::HashSet::new();
            list.retain(|endpoint| seen.insert(endpoint.clone()));
            if form == Form::Cluster {
                return Some(Topology::Cluster { seeds: list });
            }
            let credentials = keep(sentinel_login(params.user, params.password), flaws);
            if params.service.is_none() {
                flaws.push("names no service; add ?sentinelServiceName=NAME".into());
            }
            Some(Topology::Sentinel {
                service: params.service?,
                sentinels: list,
                credentials: credentials?,
            })
        }
    }
}

fn sentinel_login(
    user: Option<String>,
    password: Option<super::Secret>,
) -> Result<Credentials, Flaw> {
    if user.is_some() && password.is_none() {
        return Err("has a sentinelUsername without a sentinelPassword; add it".into());
    }
    Ok(Credentials::new(user, password))
}

fn socket_path(pieces: &Pieces<'_>) -> Result<PathBuf, Flaw> {
    if !pieces.hosts.is_empty() || pieces.path.len() < 2 {
        return Err("names no socket; write unix:///ABSOLUTE/PATH".into());
    }
    let path = authority::decode(pieces.path)?;
    if path.len() > SOCKET_PATH_LEN || path.contains('\0') {
        return Err(format!(
            "has a socket path of more than {SOCKET_PATH_LEN} bytes or with a NUL"
        )
        .into());
    }
    Ok(PathBuf::from(path))
}

/// The database in a path: none, or `/` and its number.
fn database(path: &str) -> Result<Option<u8>, Flaw> {
    match path {
        "" | "/" => Ok(None),
        _ => database_number(path.strip_prefix('/').unwrap_or(path)).map(Some),
    }
}

/// A database's number, 0 to 255.
pub(super) fn database_number(text: &str) -> Result<u8, Flaw> {
    match text.parse::<u8>() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err("has a database that is not a number from 0 to 255".into()),
    }
}

/// The value, or `None` with its flaw noted once.
pub(super) fn keep<T>(result: Result<T, Flaw>, flaws: &mut Vec<Flaw>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(flaw) => {
            if !flaws.contains(&flaw) {
                flaws.push(flaw);
            }
            None
        }
    }
}
