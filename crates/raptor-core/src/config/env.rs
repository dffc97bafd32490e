//! The settings that environment variables hold.

use std::env::VarError;
use std::path::PathBuf;

use super::builder::{Builder, Setting};
use super::number::{CONNECTIONS, Range, TIMEOUT_MS, TTL_S};
use super::problems::text_flaw;
use super::servers::{Servers, TokenUse, UrlSetting};
use super::{Driver, Secret};

/// The variables that say where the servers are.
pub(super) struct Names {
    /// URL variable, what a token is to it, how to set that token. The first is the leading one.
    pub(super) urls: &'static [(&'static str, TokenUse, &'static str)],
    pub(super) tokens: &'static [&'static str],
}

/// Those of all services.
pub(super) const COMMON: Names = Names { urls: URLS, tokens: TOKENS };

const URLS: &[(&str, TokenUse, &str)] = &[
    ("UPSTASH_REDIS_URL", TokenUse::Password, "set UPSTASH_REDIS_TOKEN"),
    ("UPSTASH_REDIS_REST_URL", TokenUse::Password, "set UPSTASH_REDIS_REST_TOKEN"),
    ("REDIS_URL", TokenUse::HttpsOnly, "set UPSTASH_REDIS_TOKEN"),
];

const TOKENS: &[&str] = &["UPSTASH_REDIS_TOKEN", "UPSTASH_REDIS_REST_TOKEN"];

const NO_URL: (&str, &str) = (
    "UPSTASH_REDIS_URL, UPSTASH_REDIS_REST_URL, REDIS_URL",
    "none is set; set one, for example REDIS_URL=redis://HOST:6379",
);

const UNUSED_TOKEN: &str =
    "set UPSTASH_REDIS_URL=https://HOST or rediss://HOST:6379, or unset the token";

/// Gathers every variable, good or bad; [`Builder::build`] then says all that is wrong.
pub(super) fn gather(names: &Names, lookup: impl Fn(&str) -> Result<String, VarError>) -> Builder {
    let mut builder = Builder::over(Servers {
        urls: Vec::new(),
        tokens: Vec::new(),
        username: None,
        database: None,
        protocol: None,
        no_url: NO_URL,
        unused_token: UNUSED_TOKEN,
    });
    let mut read = |name: &'static str| match lookup(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            builder.problems.add(name, "is not valid UTF-8");
            None
        }
    };
    let (mut urls, mut tokens) = (Vec::new(), Vec::new());
    for &(name, token, token_hint) in names.urls {
        urls.extend(read(name).map(|text| UrlSetting {
            name,
            text: Secret::new(text),
            token,
            token_hint,
        }));
    }
    for &name in names.tokens {
        tokens.extend(read(name).map(|text| (name, Secret::new(text))));
    }
    let mut number = |name: &'static str, range: &Range| -> Option<Setting<u64>> {
        let text = read(name)?;
        let value = match text_flaw(&text) {
            Some(flaw) => Err(flaw.to_owned()),
            None => range.parse(&text),
        };
        Some(Setting { name, value })
    };
    let default_ttl = number("REDIS_DEFAULT_TTL", &TTL_S);
    let max_connections = number("REDIS_MAX_CONNECTIONS", &CONNECTIONS);
    let command_timeout = number("REDIS_COMMAND_TIMEOUT_MS", &TIMEOUT_MS);
    let connect_timeout = number("REDIS_CONNECT_TIMEOUT_MS", &TIMEOUT_MS);
    let debug_commands =
        read("REDIS_DEBUG").map(|text| Setting { name: "REDIS_DEBUG", value: switch(&text) });
    let mut text = |name: &'static str| Some(Setting { name, value: Ok(read(name)?) });
    let prefix = text("REDIS_KEY_PREFIX");
    let ca_file = text("REDIS_CA_FILE").map(|file| Setting {
        name: file.name,
        value: file.value.and_then(|path| match text_flaw(&path) {
            Some(flaw) => Err(flaw.to_owned()),
            None => Ok(PathBuf::from(path)),
        }),
    });
    let driver = text("RAPTOR_REDIS_DRIVER").map(|driver| Setting {
        name: driver.name,
        value: driver.value.and_then(|name| Driver::read(&name)),
    });

    builder.servers.urls = urls;
    builder.servers.tokens = tokens;
    Builder {
        prefix,
        default_ttl,
        max_connections,
        command_timeout,
        connect_timeout,
        debug_commands,
        ca_file,
        driver,
        ..builder
    }
}

/// Reads `1`, `0`, `true` or `false`.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(text_flaw(text).unwrap_or("must be 1 or 0 (or true or false)").to_owned()),
    }
}
