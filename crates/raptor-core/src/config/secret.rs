//! Passwords and tokens: shown by nothing, wiped from memory when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A password or token. Zeroed when dropped; its `Debug` is the same for every value.
///
/// There is no `Display`, so none ends up in a message by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over. Copies made before remain the caller's to wipe.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// The secret itself. Don't print it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"…\"")
    }
}

/// Who we are to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    username: Option<String>,
    password: Option<Secret>,
}

impl Credentials {
    /// A user, or `None` for the server's `default` one, and a password, or `None` for no login.
    #[must_use]
    pub fn new(username: Option<String>, password: Option<Secret>) -> Self {
        Self { username, password }
    }

    /// The ACL user; `None` is the server's `default` user.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password or token; `None` sends no `AUTH`.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Whether both log the same user in: no user name means `default`.
    pub(super) fn same_login(&self, other: &Self) -> bool {
        fn user(credentials: &Credentials) -> &str {
            credentials.username.as_deref().unwrap_or("default")
        }
        self.password == other.password && user(self) == user(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: Option<&str>, password: &str) -> Credentials {
        Credentials::new(username.map(str::to_owned), Some(Secret::new(password)))
    }

    #[test]
    fn every_secret_looks_the_same() {
        let (short, long) = (login(None, "a"), login(None, "correct horse battery staple"));
        assert_eq!(format!("{short:?}"), format!("{long:?}"));
        assert_eq!(long.password().expect("valid").expose(), "correct horse battery staple");
    }

    #[test]
    fn no_user_is_the_default_user() {
        let none = login(None, "s");
        assert!(none.same_login(&login(Some("default"), "s")));
        assert!(!none.same_login(&login(Some("alice"), "s")));
        assert!(!none.same_login(&Credentials::default()));
    }
}
