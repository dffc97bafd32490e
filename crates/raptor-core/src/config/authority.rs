//! The part of a URL between `//` and the path: `[user[:password]@]host[:port],host[:port]…`.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

use super::problems::Flaw;
use super::{Credentials, Endpoint, Secret};

/// Reads `user:password` or `:password`, percent-encoded. The last `@` has been split off.
pub(super) fn credentials(userinfo: &str) -> Result<Credentials, Flaw> {
    const FORM: &str = "write redis://:PASSWORD@HOST or redis://USER:PASSWORD@HOST";
    let Some((user, password)) = userinfo.split_once(':') else {
        return Err(if userinfo.is_empty() {
            "has an `@` with no password ahead of it; remove it".into()
        } else {
            // Mostly the password itself, which would be sent, and shown, as a user name.
            format!("has a user name without a password; {FORM}").into()
        });
    };
    if password.is_empty() {
        return Err(format!("has an empty password; {FORM}").into());
    }
    let password = Secret::new(decode(password)?);
    let user = decode(user)?;
    Ok(Credentials::new((!user.is_empty()).then_some(user), Some(password)))
}

/// Reads one `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn endpoint(text: &str, default_port: u16) -> Result<Endpoint, Flaw> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']').ok_or("has a `[` without its `]`")?;
            let address: Ipv6Addr =
                address.parse().map_err(|_| "has no valid IPv6 address in its brackets")?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err("has text between an IPv6 address and its port".into()),
            };
            (address.to_string(), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if port.is_some_and(|port| port.contains(':')) {
                return Err("has more than one `:` in a host; write IPv6 as [::1]:6379".into());
            }
            (host_name(host)?, port)
        }
    };
    let port = port.map_or(Ok(default_port), port_number)?;
    Ok(Endpoint::Tcp { host, port })
}

/// A host name or IPv4 address, in lower case.
fn host_name(host: &str) -> Result<String, Flaw> {
    if host.is_empty() {
        return Err("has no host; write redis://HOST:PORT".into());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.len() > 253 || !host.bytes().all(fits) {
        return Err("has a host that is no host name (letters, digits, - . _) and no address; \
                    percent-encode special characters of user and password"
            .into());
    }
    Ok(host.to_ascii_lowercase())
}

fn port_number(text: &str) -> Result<u16, Flaw> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err("has a port that is not a number from 1 to 65535".into()),
    }
}

/// Undoes percent-encoding, strictly.
pub(super) fn decode(text: &str) -> Result<String, Flaw> {
    let whole = text.split('%').skip(1).all(|escape| {
        let mut hex = escape.bytes();
        let mut digit = || hex.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        digit() && digit()
    });
    if !whole {
        return Err("has a `%` that begins no percent-encoding; write a bare % as %25".into());
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err("has percent-encoded bytes that are not UTF-8".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_host_and_a_port_or_a_default() {
        for (text, shown) in [
            ("db", "db:6379"),
            ("DB.Example_1:1", "db.example_1:1"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("[::1]", "[::1]:6379"),
            ("[2001:DB8:0::1]:7000", "[2001:db8::1]:7000"),
        ] {
            assert_eq!(endpoint(text, 6379).expect("valid").to_string(), shown);
        }
        for text in [
            "",
            ":6379",
            "db:",
            "db:0",
            "db:65536",
            "db:99999",
            "db:+1",
            "db:abc",
            "::1",
            "a:1:2",
            "[::1",
            "[::g]",
            "[::1]x",
            "[::1]:",
            "d b",
            "d%41",
            "dé",
            "a\\b",
            &"h".repeat(254),
        ] {
            assert!(endpoint(text, 6379).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_are_decoded_and_a_lone_user_is_refused_unseen() {
        let both = credentials("al%20ice:p%40ss%3Aw:ord").expect("valid");
        assert_eq!(both.username(), Some("al ice"));
        assert_eq!(both.password().expect("valid").expose(), "p@ss:w:ord");
        assert_eq!(credentials(":secret").expect("valid").username(), None);
        for wrong in
            ["s3cr3t", "", ":", "s3cr3t:", ":s3cr3t%", ":s3cr3t%4", ":s3cr3t%zz", ":%FFs3cr3t"]
        {
            let flaw = credentials(wrong).expect_err("refused");
            assert!(!flaw.contains("s3cr3t"), "{flaw}");
        }
    }
}
