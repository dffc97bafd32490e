//! The cookie: its name and its guards, read from requests and written to responses.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use raptor_core::{Error, ErrorKind, Result};

use crate::token::SessionToken;

/// On whose requests a browser sends the cookie along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SameSite {
    /// Those of this site alone: not even when a link leads here.
    Strict,
    /// Also when the user follows a link here; not on another site's forms and scripts.
    Lax,
    /// All. A form on any site then acts as the user: protect every change by a token of its own.
    None,
}

/// What the cookie is called and how it is guarded. The default, `__Host-session` with `Secure`, `HttpOnly`,
/// `SameSite=Lax` and `Path=/`, can be neither read by scripts, nor sent in the clear, nor set by another
/// host or a subdomain; browsers hold the last for the name's sake.
///
/// It lives until the browser is closed unless [`max_age`](Self::max_age) says more; the session itself ends
/// by its own deadlines.
///
/// ```
/// use raptor_session::web::{CookiePolicy, SameSite};
/// let strict = CookiePolicy::default().same_site(SameSite::Strict);
/// // For a development server without TLS, and for nothing else.
/// let local = CookiePolicy::insecure("session")?;
/// assert!(CookiePolicy::named("no spaces").is_err());
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePolicy {
    name: String,
    secure: bool,
    same_site: SameSite,
    max_age: Option<Duration>,
}

impl Default for CookiePolicy {
    fn default() -> Self {
        let name = "__Host-session".to_owned();
        Self { name, secure: true, same_site: SameSite::Lax, max_age: None }
    }
}

impl CookiePolicy {
    /// The default under another name; `__Host-` is put before it.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) unless it is 1 to 64 letters, digits, `-`, `_` or `.`.
    pub fn named(name: &str) -> Result<Self> {
        Ok(Self { name: format!("__Host-{}", checked(name)?), ..Self::default() })
    }

    /// Under this very name, and sent without TLS too: for development alone.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub fn insecure(name: &str) -> Result<Self> {
        Ok(Self { name: checked(name)?.to_owned(), secure: false, ..Self::default() })
    }

    /// On whose requests it is sent along.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// How long the browser keeps it after it was set: the absolute timeout does well. In whole seconds,
    /// rounded up; zero is until the browser is closed, for a cookie that ends at once would be no login.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = (!max_age.is_zero()).then_some(max_age);
        self
    }

    /// The token among a request's cookies, whatever it is.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<String> {
        // As bytes: a neighbour need not be text. And no blanks are taken off but those of HTTP, or a name that
        // only looks like ours would pass.
        let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let mut pairs =
            lines.flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| {
                let at = pair.iter().position(|byte| *byte == b'=')?;
                Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
            });
        let ours = pairs.find(|(name, _)| *name == self.name.as_bytes());
        ours.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    pub(super) fn set(&self, token: &SessionToken) -> Option<HeaderValue> {
        self.header(token.expose(), &self.age())
    }

    fn age(&self) -> String {
        let Some(age) = self.max_age else { return String::new() };
        let begun = u64::from(age.subsec_nanos() > 0);
        format!("; Max-Age={}", age.as_secs().saturating_add(begun))
    }

    pub(super) fn clear(&self) -> Option<HeaderValue> {
        self.header("", "; Max-Age=0")
    }

    /// Marked as sensitive, so that no log of headers shows it.
    fn header(&self, value: &str, age: &str) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let same_site = match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        let name = &self.name;
        let text = format!("{name}={value}; Path=/; HttpOnly{secure}; SameSite={same_site}{age}");
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

fn checked(name: &str) -> Result<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        return Ok(name);
    }
    Err(Error::new(
        ErrorKind::Config,
        "a session cookie's name is 1 to 64 letters, digits, `-`, `_` or `.`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_no_namesake_is_taken() {
        let policy = CookiePolicy::default();
        for (lines, found) in [
            (&["a=b; __Host-session=tok; c=d"][..], Some("tok")),
            (&["a=b", "__Host-session=tok"], Some("tok")),
            (&["session=tok; x__Host-session=tok; __host-session=tok; =; ;"], None),
            (&["__Host-session=one; __Host-session=two"], Some("one")),
            (&["\u{7f}"], None),
            (&["city=München; __Host-session=tok"], Some("tok")),
            (&["\u{2000}__Host-session=tok"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                let line = HeaderValue::from_bytes(line.as_bytes());
                headers.extend(line.map(|line| (COOKIE, line)));
            }
            assert_eq!(policy.read(&headers).as_deref(), found, "{lines:?}");
        }
    }

    #[test]
    fn a_login_sets_no_cookie_that_ends_at_once() {
        let age = |max_age| CookiePolicy::default().max_age(max_age).age();
        for (max_age, written) in [
            (Duration::from_millis(500), "; Max-Age=1"),
            (Duration::from_nanos(1), "; Max-Age=1"),
            (Duration::from_secs(60), "; Max-Age=60"),
            (Duration::from_millis(60_001), "; Max-Age=61"),
            (Duration::MAX, "; Max-Age=18446744073709551615"),
            (Duration::ZERO, ""),
        ] {
            assert_eq!(age(max_age), written, "{max_age:?}");
        }
    }

    #[test]
    fn guards_are_written_as_the_policy_says() {
        let text = |policy: CookiePolicy| {
            let header = policy.max_age(Duration::from_secs(60)).header("v", "").expect("a header");
            assert!(header.is_sensitive());
            header.to_str().expect("text").to_owned()
        };
        assert_eq!(
            text(CookiePolicy::default()),
            "__Host-session=v; Path=/; HttpOnly; Secure; SameSite=Lax"
        );
        let strict = CookiePolicy::insecure("s").expect("a name").same_site(SameSite::Strict);
        assert_eq!(text(strict), "s=v; Path=/; HttpOnly; SameSite=Strict");
        let cleared = CookiePolicy::default().clear().expect("a header");
        assert!(cleared.to_str().expect("text").ends_with("; Max-Age=0"));
        for bad in ["", "a b", "a;b", "a=b", "é", &"x".repeat(65)] {
            assert!(CookiePolicy::named(bad).is_err(), "{bad}");
        }
    }
}
