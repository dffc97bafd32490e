//! The keys as an operator writes them: `id:base64,id:base64`, newest first.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::key_id::{KeyId, RULE};
use super::sealer::Sealer;
use super::subkeys::{SECRET_LEN, Secret32, Subkeys};
use crate::error::{Error, ErrorKind, Result};

/// Keys for encryption, newest first. Cheap to clone.
///
/// The newest encrypts, any of them decrypts. How to make and rotate keys is in
/// `docs/guides/encryption.md`. `Debug` shows the ids only; the keys are wiped when the last clone
/// is dropped.
///
/// ```
/// use raptor_core::Keyring;
///
/// // From a secret store; here only to show the form. `openssl rand -base64 32` makes a key.
/// let keyring = Keyring::parse(
///     "2026-11:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=,\
///      2026-05:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=",
/// )?;
/// assert_eq!(keyring.newest().as_str(), "2026-11");
/// assert_eq!(format!("{keyring:?}"), "Keyring(2026-11, 2026-05)");
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Keyring {
    // Never empty, no id and no key twice.
    keys: Arc<[NamedKey]>,
}

struct NamedKey {
    id: KeyId,
    secret: Secret32,
}

impl Keyring {
    /// Reads `id:base64` entries, newest first, divided by commas or line breaks; white space
    /// around an entry does not count.
    ///
    /// A key is 32 bytes in standard base64, padded or not.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that lists all problems at once: no entry, a bad id, bad base64, a key
    /// of another length, an id or a key twice, a key of one byte repeated. It shows no key and no
    /// malformed entry, not even in part.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_as("the keyring", text)
    }

    /// As [`parse`](Self::parse); errors begin with what the text comes from.
    pub(super) fn parse_as(origin: &str, text: &str) -> Result<Self> {
        let mut keys: Vec<NamedKey> = Vec::new();
        let mut problems = Vec::new();
        let text = text.trim();
        // A comma at the end of a line divides once, not twice; at the very end it is one too many.
        let (lines, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let lines = lines.lines().map(|line| line.trim_end().trim_end_matches(','));
        for (index, entry) in lines.chain([last]).flat_map(|line| line.split(',')).enumerate() {
            let place = format!("entry {}", index + 1);
            match parse_entry(entry.trim()) {
                Ok(key) => {
                    if let Some(twin) = keys.iter().position(|other| other.id == key.id) {
                        problems.push(format!(
                            "{place} has the id of entry {} again (`{}`); an id names one key",
                            twin + 1,
                            key.id
                        ));
                    } else if let Some(twin) = keys.iter().position(|k| k.secret == key.secret) {
                        problems.push(format!(
                            "{place} (`{}`) has the key of entry {} again; make a new one",
                            key.id,
                            twin + 1
                        ));
                    }
                    keys.push(key);
                }
                Err(_) if text.is_empty() => problems.push(format!("is empty; give {FORM}")),
                Err(flaw) => problems.push(format!("{place} {flaw}")),
            }
        }
        if problems.is_empty() {
            return Ok(Self { keys: keys.into() });
        }
        let count = match problems.len() {
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        let message = format!("{origin} has {count}:\n- {}", problems.join("\n- "));
        Err(Error::new(ErrorKind::Config, message))
    }

    /// The id of the key that encrypts.
    #[must_use]
    pub fn newest(&self) -> KeyId {
        self.keys[0].id
    }

    /// The ids, newest first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().map(|key| key.id)
    }

    /// What seals and opens bytes for `purpose`, say `session field v1`.
    ///
    /// Derives a subkey from each key (some microseconds): make it once and keep it. What one
    /// purpose sealed, no other opens, nor does a [`Codec`](crate::Codec).
    #[must_use]
    pub fn sealer(&self, purpose: &str) -> Sealer {
        Sealer::over(self.subkeys(&format!("raptor seal: {purpose}")))
    }

    /// One subkey of each key; `info` is the HKDF context, different for each use.
    pub(crate) fn subkeys(&self, info: &str) -> Subkeys {
        Subkeys::derive(self.keys.iter().map(|key| (key.id, &key.secret)), info)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(")?;
        for (index, id) in self.ids().enumerate() {
            write!(f, "{}{id}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

const FORM: &str = "`id:base64` entries, newest first, each a key of 32 bytes";

/// Padding is what people lose when they copy a key, and it carries nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A flaw never quotes the entry: where the id should stand, the key may.
fn parse_entry(entry: &str) -> Result<NamedKey, String> {
    if entry.is_empty() {
        return Err("is empty; remove the spare comma".to_owned());
    }
    let Some((id, secret)) = entry.split_once(':') else {
        return Err("has no colon; the form is id:base64".to_owned());
    };
    let Some(id) = KeyId::from_bytes(id.as_bytes()) else {
        return Err(format!("has a bad id before its colon; a {RULE}"));
    };
    match parse_secret(secret) {
        Ok(secret) => Ok(NamedKey { id, secret }),
        Err(flaw) => Err(format!("(`{id}`) {flaw}")),
    }
}

fn parse_secret(text: &str) -> Result<Secret32, String> {
    const MAKE: &str = "make one with `openssl rand -base64 32`";
    // Room for keys that are somewhat too long, so that the message can tell their length.
    let mut decoded = Zeroizing::new([0_u8; 96]);
    if text.len() > 128 {
        return Err(format!("is longer than 32 bytes; {MAKE}"));
    }
    let Ok(len) = BASE64.decode_slice(text, &mut *decoded) else {
        return Err(format!("is not standard base64; {MAKE}"));
    };
    if len != SECRET_LEN {
        return Err(format!("has {len} bytes, a key has {SECRET_LEN}; {MAKE}"));
    }
    let mut secret = Secret32::default();
    secret.copy_from_slice(&decoded[..SECRET_LEN]);
    if secret.iter().all(|byte| *byte == secret[0]) {
        return Err(format!("is one byte repeated, not a key; {MAKE}"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_A: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
    const KEY_B: &str = "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=";

    #[test]
    fn entries_may_stand_on_lines_and_lose_their_padding() {
        let unpadded = KEY_B.trim_end_matches('=');
        let keyring = Keyring::parse(&format!(" b:{KEY_A} ,\r\n a:{unpadded}\r\n"));
        let ids: Vec<_> = keyring.expect("valid").ids().map(|id| id.to_string()).collect();
        assert_eq!(ids, ["b", "a"]);
    }

    #[test]
    fn one_error_lists_all_problems_and_shows_no_key() {
        let short = "c2hvcnQtc2VjcmV0";
        let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let long = "bG9uZy1zZWNyZXQ".repeat(12);
        let text = format!(
            "a:{KEY_A},a:{KEY_B},b:{KEY_A},c:{short},d:*{KEY_B},{KEY_B},UPPER:{KEY_B},,e:{zeros},\
             f:{long},{KEY_B}:g"
        );
        let error = Keyring::parse(&text).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        for line in [
            "the keyring has 10 problems:",
            "- entry 2 has the id of entry 1 again (`a`)",
            "- entry 3 (`b`) has the key of entry 1 again",
            "- entry 4 (`c`) has 12 bytes, a key has 32",
            "- entry 5 (`d`) is not standard base64",
            "- entry 6 has no colon",
            "- entry 7 has a bad id before its colon",
            "- entry 8 is empty",
            "- entry 9 (`e`) is one byte repeated",
            "- entry 10 (`f`) is longer than 32 bytes",
            "- entry 11 has a bad id before its colon",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        for secret in [KEY_A, KEY_B, short, "UPPER", "bG9uZy1", "AAAA"] {
            assert!(!text.contains(secret) && !format!("{error:?}").contains(secret), "{text}");
        }
    }

    #[test]
    fn nothing_is_not_a_keyring() {
        for empty in ["", " ", "\n"] {
            let text = Keyring::parse(empty).expect_err("refused").to_string();
            assert!(text.contains("is empty; give `id:base64` entries"), "{text}");
        }
        assert!(Keyring::parse(&format!("a:{KEY_A},")).is_err());
    }
}
