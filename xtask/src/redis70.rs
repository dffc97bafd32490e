//! Redis 7.0, the oldest engine that we promise to run on: where to find one.

use std::path::{Path, PathBuf};

use raptor_testkit::Engine;

/// The environment variable that names a Redis 7.0 server.
pub(crate) const VARIABLE: &str = "RAPTOR_REDIS70_SERVER";

/// Where `.ci/run` puts one, below cargo's target directory.
const KEPT: &str = "tools/redis-7.0/redis-server";

/// The Redis 7.0 to test on, or the reason why there is none.
pub(crate) fn find(target: &Path) -> Result<Engine, String> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return probe(Path::new(&named)).map_err(|reason| format!("{VARIABLE}: {reason}"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
    installed
        .chain([target.join(KEPT)])
        .filter(|binary: &PathBuf| binary.is_file())
        .find_map(|binary| probe(&binary).ok())
        .ok_or_else(|| format!("no Redis 7.0 on PATH; {VARIABLE} can name one"))
}

fn probe(binary: &Path) -> Result<Engine, String> {
    let engine = Engine::from_binary(binary).map_err(|error| error.to_string())?;
    match (engine.name, engine.version) {
        ("redis", (7, 0, _)) => Ok(engine),
        _ => Err(format!("{engine} is not Redis 7.0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_redis_7_0_is_refused_with_the_reason() {
        let reason = probe(Path::new("/bin/sh")).expect_err("a shell");
        assert!(reason.contains("/bin/sh"), "{reason}");
    }
}
