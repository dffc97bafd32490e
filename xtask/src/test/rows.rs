//! The matrix: which engine and backend each row of suites runs on.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use raptor_testkit::{ACL_RULE_VARIABLE, AclRule, DRIVER_VARIABLE, ENGINE_VARIABLE, Engine};

use super::binaries::Binary;
use crate::engine::describe;
use crate::{redis70, workspace};

/// The variable by which tests of services learn their backend.
const BACKEND_VARIABLE: &str = "RAPTOR_TEST_BACKEND";

const NAMES: [&str; 10] = [
    "valkey-9.1",
    "redis-7.0",
    "cluster",
    "resp2",
    "upstash",
    ACL,
    BY_SECOND[0].0,
    BY_SECOND[1].0,
    BY_SECOND[2].0,
    "named",
];

/// The rows of the second driver, what each runs, and the backend.
const BY_SECOND: [(&str, Scope, &str); 3] = [
    ("driver-fred", Scope::Clients, "standalone"),
    ("cluster-fred", Scope::Services, "cluster"),
    ("resp2-fred", Scope::Services, "resp2"),
];

/// The driver of most rows, and the other one.
const FIRST: &str = "redis";
const SECOND: &str = "fred";

/// The row, and the backend, with users who may do little.
const ACL: &str = "acl";

/// Where the rule of each service stands.
const RULES: &str = "docs/acl.md";

/// Packages whose integration tests know nothing of a backend.
const GROUND: [&str; 2] = ["raptor-core", "raptor-testkit"];

/// Which suites a row runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Unit, integration and doc tests of the whole workspace.
    Everything,
    /// Every package's integration tests.
    Integration,
    /// The services' integration tests.
    Services,
    /// Those of the core and of the services: whatever goes through a driver.
    Clients,
}

/// One engine with one backend.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    backend: &'static str,
    driver: &'static str,
    /// What it runs on, or why it does not run.
    pub(crate) engine: Result<Engine, String>,
}

impl Row {
    /// The row in words.
    pub(crate) fn told(&self) -> String {
        let what = match self.scope {
            Scope::Everything => "everything",
            Scope::Integration => "integration tests",
            Scope::Services => "services' integration tests",
            Scope::Clients => "core's and services' integration tests",
        };
        match &self.engine {
            Ok(engine) => format!("{what} on {}", describe(engine)),
            Err(reason) => format!("not run: {reason}"),
        }
    }

    /// Whether this test binary belongs to the row.
    pub(crate) fn takes(&self, binary: &Binary) -> bool {
        // An example is no service: it has several, so there is no one rule for it; and it starts a program
        // that chooses its driver itself.
        let is_example = binary.package.ends_with("-example");
        let takes_examples = self.backend != ACL && self.driver == FIRST;
        match self.scope {
            Scope::Everything => true,
            Scope::Integration => binary.is_integration(),
            Scope::Services => {
                let is_service = !GROUND.contains(&binary.package.as_str());
                binary.is_integration() && is_service && (takes_examples || !is_example)
            }
            Scope::Clients => {
                let is_client = binary.package != "raptor-testkit";
                binary.is_integration() && is_client && (takes_examples || !is_example)
            }
        }
    }

    /// What the client of these tests may do: the rule that is documented for their package. None in a row that
    /// restricts nothing; a reason not to run where no rule is to be found.
    pub(crate) fn permissions(&self, binary: &Binary) -> Result<Option<AclRule>, String> {
        if self.backend != ACL {
            return Ok(None);
        }
        let text = std::fs::read_to_string(workspace::root().join(RULES));
        let text = text.map_err(|error| format!("{RULES}: {error}"))?;
        let rule = AclRule::documented(&text, &binary.package);
        rule.map(Some).ok_or_else(|| format!("{RULES} has no rule for {}", binary.package))
    }

    /// Tells a test process what to run on, and hides the user's own servers from it.
    pub(crate) fn set_up(&self, engine: &Engine, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_hidden) {
                command.env_remove(name);
            }
        }
        command.env(ENGINE_VARIABLE, &engine.binary).env(BACKEND_VARIABLE, self.backend);
        command.env(DRIVER_VARIABLE, self.driver);
    }
}

/// What tests must not see: the user's servers and secrets. They run on private servers only.
fn is_hidden(name: &str) -> bool {
    let raptors = name.strip_prefix("RAPTOR_").is_some_and(|rest| {
        rest.ends_with("_URL") || rest == "SESSION_PEPPERS" || rest == "KEYRING"
    });
    raptors
        || name == ACL_RULE_VARIABLE
        || name.starts_with("REDIS_")
        || name.starts_with("UPSTASH_")
}

/// The rows that `wanted` asks for: all when it is empty.
pub(crate) fn plan(target: &Path, wanted: &[String]) -> Result<Vec<Row>> {
    let named = std::env::var_os(ENGINE_VARIABLE).filter(|named| !named.is_empty());
    let named = named.map(Engine::from_binary).transpose()?;
    let mut rows = matrix(embedded(), redis70::find(target), named);
    if wanted.is_empty() {
        return Ok(rows);
    }
    let mut extra = Vec::new();
    for name in wanted.iter().filter(|name| !NAMES.contains(&name.as_str())) {
        if !Path::new(name).is_file() {
            bail!("--engine {name}: neither a file nor one of {}", NAMES.join(", "));
        }
        let engine = Engine::from_binary(std::path::absolute(name)?)?;
        let (major, minor, patch) = engine.version;
        extra.push(Row {
            name: format!("{}-{major}.{minor}.{patch}", engine.name),
            scope: Scope::Everything,
            backend: "standalone",
            driver: FIRST,
            engine: Ok(engine),
        });
    }
    rows.retain(|row| wanted.contains(&row.name));
    rows.extend(extra);
    if rows.is_empty() {
        bail!("--engine named: {ENGINE_VARIABLE} is not set");
    }
    Ok(rows)
}

/// The embedded engine; where it cannot be had, any that can, so that a row says so by its name.
fn embedded() -> Result<Engine, String> {
    Engine::embedded().or_else(|missing| {
        eprintln!("no embedded engine ({missing}); looking for another");
        Engine::find().map_err(|error| error.to_string())
    })
}

fn matrix(
    main: Result<Engine, String>,
    redis70: Result<Engine, String>,
    named: Option<Engine>,
) -> Vec<Row> {
    let row = |name: &str, scope, backend, engine: &Result<Engine, String>| Row {
        name: name.to_owned(),
        scope,
        backend,
        driver: if BY_SECOND.iter().any(|(second, ..)| *second == name) { SECOND } else { FIRST },
        engine: engine.clone(),
    };
    let main_name = match &main {
        Ok(engine) if (engine.name, engine.version.0, engine.version.1) != ("valkey", 9, 1) => {
            format!("{}-{}.{}", engine.name, engine.version.0, engine.version.1)
        }
        _ => NAMES[0].to_owned(),
    };
    let mut rows = vec![row(&main_name, Scope::Everything, "standalone", &main)];
    if main_name != NAMES[0] {
        let reason = "the embedded Valkey 9.1 is not to be had here".to_owned();
        rows.push(row(NAMES[0], Scope::Everything, "standalone", &Err(reason)));
    }
    rows.push(row("redis-7.0", Scope::Integration, "standalone", &redis70));
    for backend in ["cluster", "resp2", "upstash", ACL] {
        rows.push(row(backend, Scope::Services, backend, &main));
    }
    for (name, scope, backend) in BY_SECOND {
        rows.push(row(name, scope, backend, &main));
    }
    if let Some(named) = named {
        let known = |engine: &Result<Engine, String>| {
            engine.as_ref().is_ok_and(|engine| engine.binary == named.binary)
        };
        if !known(&main) && !known(&redis70) {
            rows.push(row("named", Scope::Integration, "standalone", &Ok(named)));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use raptor_testkit::EngineSource;

    use super::*;

    fn engine(name: &'static str, version: (u32, u32, u32)) -> Engine {
        let binary = format!("/opt/{name}-{}", version.0).into();
        Engine { binary, name, version, source: EngineSource::Given }
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.name.as_str()).collect()
    }

    #[test]
    fn what_is_missing_is_a_row_with_a_reason() {
        let rows = matrix(Ok(engine("valkey", (9, 1, 2))), Err("none here".into()), None);
        assert_eq!(names(&rows), NAMES[..9]);
        assert_eq!(rows[1].told(), "not run: none here");
    }

    #[test]
    fn another_main_engine_does_not_pass_for_the_embedded_one() {
        let rows = matrix(Ok(engine("redis", (7, 2, 4))), Err("none".into()), None);
        assert_eq!(names(&rows)[..3], ["redis-7.2", "valkey-9.1", "redis-7.0"]);
        assert!(rows[1].engine.is_err());
    }

    #[test]
    fn the_users_engine_is_one_more_row_unless_it_runs_already() {
        let valkey = engine("valkey", (9, 1, 2));
        let old = engine("redis", (7, 0, 15));
        let rows = matrix(Ok(valkey.clone()), Ok(old.clone()), Some(engine("redis", (8, 0, 0))));
        assert_eq!(rows.last().map(|row| row.name.as_str()), Some("named"));
        let rows = matrix(Ok(valkey), Ok(old.clone()), Some(old));
        assert_eq!(rows.len(), 9);
    }

    #[test]
    fn the_users_servers_and_secrets_are_hidden_from_tests() {
        for name in ["REDIS_URL", "UPSTASH_REDIS_TOKEN", "RAPTOR_CACHE_URL", "RAPTOR_KEYRING"] {
            assert!(is_hidden(name), "{name}");
        }
        for name in [ENGINE_VARIABLE, BACKEND_VARIABLE, redis70::VARIABLE, "PATH"] {
            assert!(!is_hidden(name), "{name}");
        }
    }

    #[test]
    fn services_rows_leave_the_ground_out() {
        let rows = matrix(Err("none".into()), Err("none".into()), None);
        let binary = |package: &str, target: &str, kind: &str| Binary {
            package: package.into(),
            target: target.into(),
            kind: kind.into(),
            path: "x".into(),
            folder: "x".into(),
        };
        let cluster = rows.iter().find(|row| row.name == "cluster").expect("a row");
        assert!(cluster.takes(&binary("raptor-ops", "it", "test")));
        assert!(!cluster.takes(&binary("raptor-core", "it", "test")));
        assert!(!cluster.takes(&binary("raptor-ops", "raptor_ops", "lib")));
        assert!(cluster.takes(&binary("some-example", "it", "test")));
        assert!(rows[1].takes(&binary("raptor-core", "it", "test")));
        assert!(rows[0].takes(&binary("raptor-ops", "raptor_ops", "lib")));
        let driver = rows.iter().find(|row| row.name == "driver-fred").expect("a row");
        assert!(driver.takes(&binary("raptor-core", "it", "test")));
        assert!(driver.takes(&binary("raptor-ops", "it", "test")));
        assert!(!driver.takes(&binary("raptor-testkit", "it", "test")));
        assert!(!driver.takes(&binary("some-example", "it", "test")));
        let cluster = rows.iter().find(|row| row.name == "cluster-fred").expect("a row");
        assert!(cluster.takes(&binary("raptor-ops", "it", "test")));
        assert!(!cluster.takes(&binary("raptor-core", "it", "test")));
        assert!(!cluster.takes(&binary("some-example", "it", "test")));
        for row in &rows {
            let by_second = row.name.ends_with(&format!("-{SECOND}"));
            assert_eq!(row.driver == SECOND, by_second, "{}", row.name);
        }
    }

    #[test]
    fn every_service_has_a_rule_and_only_the_acl_row_asks_for_it() {
        let rows = matrix(Err("none".into()), Err("none".into()), None);
        let binary = |package: &str| Binary {
            package: package.into(),
            target: "it".into(),
            kind: "test".into(),
            path: "x".into(),
            folder: "x".into(),
        };
        let acl = rows.iter().find(|row| row.name == ACL).expect("a row");
        for service in ["raptor-session", "raptor-ratelimit", "raptor-ops"] {
            let rule = acl.permissions(&binary(service)).expect("documented").expect("a rule");
            assert!(rule.to_string().contains("resetchannels -@all +eval"), "{service}: {rule}");
        }
        let reason = acl.permissions(&binary("raptor-none")).expect_err("no rule");
        assert_eq!(reason, "docs/acl.md has no rule for raptor-none");
        assert!(!acl.takes(&binary("some-example")));
        assert_eq!(rows[0].permissions(&binary("raptor-none")), Ok(None));
    }
}
