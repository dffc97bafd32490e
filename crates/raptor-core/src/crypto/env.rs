//! A keyring from the environment: in a variable, or in a file that a variable names.

use std::env::VarError;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::keyring::Keyring;
use crate::error::{Error, ErrorKind, Result};

/// The variable that holds a keyring.
pub const KEYRING_VARIABLE: &str = "RAPTOR_KEYRING";

/// The variable that names a file with a keyring.
pub const KEYRING_FILE_VARIABLE: &str = "RAPTOR_KEYRING_FILE";

/// No keyring is longer; a wrong path may lead to anything.
const MAX_FILE_LEN: usize = 64 * 1024;

impl Keyring {
    /// The keyring in `RAPTOR_KEYRING`, or in the file that `RAPTOR_KEYRING_FILE` names.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when neither is set (no key is ever made up), when both are, when the
    /// file cannot be read, and for all that [`parse`](Self::parse) refuses.
    pub fn from_env() -> Result<Self> {
        Self::from_env_if_set()?.ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!(
                    "there is no keyring: set {KEYRING_VARIABLE} or {KEYRING_FILE_VARIABLE} to \
                     id:base64 entries, newest first (`openssl rand -base64 32` makes a key)"
                ),
            )
        })
    }

    /// As [`from_env`](Self::from_env), but `None` when neither variable is set: for callers that
    /// can do without encryption.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env), except that absence is none.
    pub fn from_env_if_set() -> Result<Option<Self>> {
        from_variables(|name| std::env::var(name))
    }
}

fn from_variables(lookup: impl Fn(&str) -> Result<String, VarError>) -> Result<Option<Keyring>> {
    let read = |name: &str| match lookup(name) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(problem(name, "is not valid UTF-8")),
    };
    match (read(KEYRING_VARIABLE)?, read(KEYRING_FILE_VARIABLE)?) {
        (None, None) => Ok(None),
        (Some(text), None) => Keyring::parse_as(KEYRING_VARIABLE, &text).map(Some),
        (None, Some(path)) => {
            let text = read_file(Path::new(path.as_str())).map_err(|flaw| {
                // The path is not repeated: it may be the keyring, in the wrong variable.
                problem(KEYRING_FILE_VARIABLE, &format!("names a file that {flaw}"))
            })?;
            Keyring::parse_as(&format!("the file of {KEYRING_FILE_VARIABLE}"), &text).map(Some)
        }
        (Some(_), Some(_)) => {
            Err(problem(KEYRING_VARIABLE, &format!("and {KEYRING_FILE_VARIABLE} are both set")))
        }
    }
}

fn problem(name: &str, flaw: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{name} {flaw}"))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {}", error.kind());
    let file = File::open(path).map_err(unreadable)?;
    // Sized at once, so that growing leaves no copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_LEN + 1));
    file.take(MAX_FILE_LEN as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > MAX_FILE_LEN {
        return Err(format!("is longer than {MAX_FILE_LEN} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ENTRY: &str = "a:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

    fn with(variables: &[(&str, &str)]) -> Result<Option<Keyring>> {
        from_variables(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
        })
    }

    #[test]
    fn a_variable_or_a_file_and_not_both() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "{ENTRY}").expect("written");
        let path = file.path().to_str().expect("a plain path");
        assert!(with(&[]).expect("fine").is_none());
        for good in [(KEYRING_VARIABLE, ENTRY), (KEYRING_FILE_VARIABLE, path)] {
            let keyring = with(&[good]).expect("valid").expect("set");
            assert_eq!(keyring.newest().as_str(), "a");
        }
        let both = with(&[(KEYRING_VARIABLE, ENTRY), (KEYRING_FILE_VARIABLE, path)]);
        assert_eq!(
            both.expect_err("refused").to_string(),
            "RAPTOR_KEYRING and RAPTOR_KEYRING_FILE are both set"
        );
    }

    #[test]
    fn errors_name_the_variable_and_nothing_of_its_value() {
        for (variables, expected) in [
            ((KEYRING_VARIABLE, ""), "RAPTOR_KEYRING has 1 problem:\n- is empty"),
            ((KEYRING_VARIABLE, "s3cret"), "RAPTOR_KEYRING has 1 problem:\n- entry 1 has no colon"),
            ((KEYRING_FILE_VARIABLE, "s3cret"), "RAPTOR_KEYRING_FILE names a file that cannot be"),
            ((KEYRING_FILE_VARIABLE, "/dev/zero"), "is longer than 65536 bytes"),
        ] {
            let error = with(&[variables]).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = error.to_string();
            assert!(text.contains(expected) && !text.contains("s3cret"), "{text}");
        }
    }
}
