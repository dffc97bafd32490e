//! Which engine is found, and what is said when none can be had.

use std::process::Command;

use raptor_testkit::{ENGINE_VARIABLE, Engine, EngineSource, Error, Server};

/// Set in the child of `without_any_engine_the_ways_out_are_named`.
const CHILD: &str = "RAPTOR_TESTKIT_NO_ENGINE";

#[test]
fn a_found_engine_is_recent_and_says_so() {
    let engine = Engine::find().expect("an engine");
    assert!(engine.version >= (7, 0, 0), "{engine}");
    assert!(engine.binary.is_file());
    let named = std::env::var_os(ENGINE_VARIABLE).is_some_and(|value| !value.is_empty());
    assert_eq!(engine.source == EngineSource::Environment, named);
    let again = Engine::from_binary(&engine.binary).expect("the same");
    assert_eq!((again.name, again.version), (engine.name, engine.version));
    assert_eq!(again.source, EngineSource::Given);
}

#[tokio::test]
async fn the_embedded_engine_runs() {
    let engine = Engine::embedded().expect("fetched, or at hand");
    assert_eq!((engine.name, engine.source), ("valkey", EngineSource::Embedded));
    let server = Server::builder().engine(engine.clone()).start().await.expect("start");
    assert_eq!(server.engine(), &engine);
}

/// Runs as a child of the next test; does nothing when run as a test.
#[test]
fn search_without_any_engine() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let error = Engine::find().expect_err("nothing is there");
    assert!(matches!(error, Error::NoEngine { .. }), "{error}");
    let text = error.to_string();
    for way in ["valkey-server", "redis-server", "RAPTOR_REDIS_SERVER", "python3 -m pip"] {
        assert!(text.contains(way), "{text}");
    }
}

#[test]
fn without_any_engine_the_ways_out_are_named() {
    let empty = tempfile::tempdir().expect("temp dir");
    let status = Command::new(std::env::current_exe().expect("this test binary"))
        .args(["--exact", "engine::search_without_any_engine"])
        .env(CHILD, "1")
        .env("PATH", empty.path())
        .env("CARGO_TARGET_DIR", empty.path())
        .env_remove(ENGINE_VARIABLE)
        .output()
        .expect("spawn");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
}
