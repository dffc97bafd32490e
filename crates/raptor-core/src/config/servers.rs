//! Which server, from all URLs and tokens that are set: they must agree, and each be of use.

use super::problems::{Problems, text_flaw};
use super::url::ServerUrl;
use super::{Credentials, Protocol, Secret, Topology};

/// A URL that is set.
#[derive(Clone, Debug)]
pub(super) struct UrlSetting {
    /// Its variable or setter.
    pub(super) name: &'static str,
    /// It may hold a password.
    pub(super) text: Secret,
    pub(super) token: TokenUse,
    /// How to set the token that an `https://` URL needs.
    pub(super) token_hint: &'static str,
}

/// What a token that stands in a setting of its own is to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenUse {
    /// The password, whatever the scheme.
    Password,
    /// The password of an `https://` URL only: any other server must not get to see it.
    HttpsOnly,
}

/// All that is set about servers and logins.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    pub(super) urls: Vec<UrlSetting>,
    pub(super) tokens: Vec<(&'static str, Secret)>,
    pub(super) username: Option<String>,
    pub(super) database: Option<u8>,
    pub(super) protocol: Option<Protocol>,
    /// The settings to name when there is no URL at all, and what to do.
    pub(super) no_url: (&'static str, &'static str),
    /// What to do about a token that no URL uses.
    pub(super) unused_token: &'static str,
}

impl Servers {
    /// The one server (or cluster) that all settings mean; what is wrong goes to `problems`.
    pub(super) fn resolve(&self, problems: &mut Problems) -> Option<ServerUrl> {
        let token = self.token(problems);
        if self.urls.is_empty() {
            problems.add(self.no_url.0, self.no_url.1);
        }
        let mut token_used = false;
        let mut found: Vec<(&'static str, ServerUrl)> = Vec::new();
        for setting in &self.urls {
            match ServerUrl::parse(setting.text.expose()) {
                Ok(mut url) => {
                    token_used |= log_in(setting, &mut url, token, problems);
                    found.push((setting.name, url));
                }
                Err(flaws) => {
                    // A broken URL might have used it: one problem is enough.
                    token_used = true;
                    flaws.iter().for_each(|flaw| problems.add(setting.name, flaw));
                }
            }
        }
        if !token_used {
            for (name, _) in &self.tokens {
                problems.add(name, format_args!("no URL uses it; {}", self.unused_token));
            }
        }
        let mut found = found.into_iter();
        let (first, mut server) = found.next()?;
        for (name, other) in found {
            if !agree(&server, &other) {
                problems.add(
                    name,
                    format_args!("means another server or login than {first}; keep one of them"),
                );
            }
            server.protocol = server.protocol.or(other.protocol);
        }
        self.add_rest(first, &mut server, problems);
        Some(server)
    }

    /// The token, under the name of the first setting that holds one.
    fn token(&self, problems: &mut Problems) -> Option<(&'static str, &Secret)> {
        for (name, secret) in &self.tokens {
            if let Some(flaw) = text_flaw(secret.expose()) {
                problems.add(name, flaw);
            }
        }
        let (first, token) = self.tokens.first()?;
        for (name, other) in &self.tokens[1..] {
            if other != token {
                problems.add(name, format_args!("differs from {first}; keep one of them"));
            }
        }
        Some((first, token))
    }

    /// What is set beside the URL: user, database, protocol.
    fn add_rest(&self, url: &'static str, server: &mut ServerUrl, problems: &mut Problems) {
        if let Some(username) = &self.username {
            match server.credentials.username() {
                Some(other) if !server.rest && other != username => {
                    problems.add("username", format_args!("differs from the user in {url}"));
                }
                _ if server.credentials.password().is_none() => {
                    problems.add("username", "is set without a password; set that too");
                }
                _ => {
                    let password = server.credentials.password().cloned();
                    server.credentials = Credentials::new(Some(username.clone()), password);
                }
            }
            if let Some(flaw) = text_flaw(username) {
                problems.add("username", flaw);
            }
        }
        if let Some(database) = self.database {
            if server.database.is_some_and(|other| other != database) {
                problems.add("database", format_args!("differs from the database in {url}"));
            }
            if database > 0 && matches!(server.topology, Topology::Cluster { .. }) {
                problems.add("database", "is not 0, but a cluster has only database 0");
            }
            server.database = Some(database);
        }
        if let Some(protocol) = self.protocol {
            if server.protocol.is_some_and(|other| other != protocol) {
                problems.add("protocol", format_args!("differs from the protocol in {url}"));
            }
            server.protocol = Some(protocol);
        }
    }
}

/// Gives the token to a URL that has use for it; answers whether it had.
fn log_in(
    setting: &UrlSetting,
    url: &mut ServerUrl,
    token: Option<(&'static str, &Secret)>,
    problems: &mut Problems,
) -> bool {
    let Some((token_name, token)) = token else {
        if url.rest {
            problems.add(
                setting.name,
                format_args!("is an https:// URL, which needs a token; {}", setting.token_hint),
            );
        }
        return false;
    };
    if url.rest {
        url.credentials = Credentials::new(Some("default".to_owned()), Some(token.clone()));
        return true;
    }
    if setting.token == TokenUse::HttpsOnly {
        return false;
    }
    match url.credentials.password() {
        None => url.credentials = Credentials::new(None, Some(token.clone())),
        Some(password) if password != token => problems.add(
            setting.name,
            format_args!("holds another password than {token_name}; keep one of them"),
        ),
        Some(_) => {}
    }
    true
}

/// Whether two URLs mean the same server, database and login.
fn agree(one: &ServerUrl, two: &ServerUrl) -> bool {
    let known = |url: &ServerUrl| !url.rest || url.credentials.password().is_some();
    one.tls == two.tls
        && one.topology.same_servers(&two.topology)
        && one.database.unwrap_or(0) == two.database.unwrap_or(0)
        && (one.protocol.is_none() || two.protocol.is_none() || one.protocol == two.protocol)
        // An https URL that lacks its token is a problem of its own.
        && (!known(one) || !known(two) || one.credentials.same_login(&two.credentials))
}
