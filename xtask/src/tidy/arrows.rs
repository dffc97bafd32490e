//! Which crate of ours may depend on which; a new crate needs a place here.

use std::path::Path;

use super::Problem;
use super::files::SourceFile;
use crate::workspace::Package;

const SERVICES: [&str; 7] = [
    "raptor-session",
    "raptor-cache",
    "raptor-ratelimit",
    "raptor-queue",
    "raptor-pubsub",
    "raptor-locks",
    "raptor-ops",
];

/// The one folder that knows the client libraries.
const DRIVER: &str = "crates/raptor-core/src/driver/";

/// What a package of ours may depend on, of ours; none when it has no place in the house.
fn allowed(package: &str) -> Option<Vec<&'static str>> {
    Some(match package {
        "raptor-core" | "raptor-testkit" | "raptor-cache-macros" => vec![],
        "raptor-cache" => vec!["raptor-core", "raptor-cache-macros"],
        service if SERVICES.contains(&service) => vec!["raptor-core"],
        "raptor" => [&["raptor-core"], &SERVICES[..]].concat(),
        "raptor-console" | "raptor-backend-example" => vec!["raptor"],
        "xtask" | "raptor-bench" => vec!["raptor-testkit"],
        _ => return None,
    })
}

pub(crate) fn check(packages: &[Package], root: &Path, files: &[SourceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in packages {
        let manifest = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        let manifest = manifest.to_string_lossy().replace('\\', "/");
        let Some(allowed) = allowed(&package.name) else {
            let what = format!("give {} its arrows in xtask/src/tidy/arrows.rs", package.name);
            problems.push(Problem::new(&manifest, 1, what));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let is_ours = packages.iter().any(|package| package.name == name);
            let for_tests = ["raptor-testkit", "raptor-bench"].contains(&name);
            let is_kit = for_tests && dependency.kind.as_deref() == Some("dev");
            let line = || line_of(&manifest, name, files);
            if is_ours && !is_kit && !allowed.contains(&name) {
                let what = format!(
                    "{} must not depend on {name}; what two services share lives in raptor-core",
                    package.name
                );
                problems.push(Problem::new(&manifest, line(), what));
            }
            // The testkit's redis-rs is another than the one under test, on purpose.
            let knows = match (name, package.name.as_str()) {
                ("fred", owner) => owner == "raptor-core",
                ("redis", owner) => {
                    let is_dev = dependency.kind.as_deref() == Some("dev");
                    is_dev || ["raptor-core", "raptor-testkit"].contains(&owner)
                }
                _ => true,
            };
            if !knows {
                let what = format!("only raptor-core knows {name}; use its RedisClient");
                problems.push(Problem::new(&manifest, line(), what));
            }
        }
    }
    problems.extend(files.iter().flat_map(outside_driver));
    problems
}

fn line_of(manifest: &str, dependency: &str, files: &[SourceFile]) -> usize {
    let file = files.iter().find(|file| file.path == manifest);
    let is_it = |line: &str| {
        let rest = line.trim_start().strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with([' ', '=', '.']))
    };
    file.and_then(|file| file.lines().find(|(_, line)| is_it(line))).map_or(1, |(line, _)| line)
}

/// Types of a client library where none belong.
fn outside_driver(file: &SourceFile) -> Vec<Problem> {
    // A bench holds our figures against the bare library's.
    let control = file.path.contains("/benches/");
    if !file.path.ends_with(".rs") || file.path.starts_with(DRIVER) || control {
        return Vec::new();
    }
    // Tests and their kits look behind the client by a redis-rs of their own.
    let ours = file.path.starts_with("crates/") && file.path.contains("/src/");
    let is_kit = KITS.iter().any(|kit| file.path.starts_with(kit));
    let libraries: &[_] = if ours && !is_kit { &[FRED, REDIS] } else { &[FRED] };
    let found = libraries.iter().flat_map(|&path| {
        file.lines().filter(move |(_, line)| uses(line, path)).map(move |(line, _)| {
            Problem::new(&file.path, line, format!("the types of `{path}` stay in {DRIVER}"))
        })
    });
    found.collect()
}

const FRED: &str = concat!("fred", "::");
const REDIS: &str = concat!("redis", "::");
const KITS: [&str; 2] = ["crates/raptor-testkit/", "crates/raptor-bench/"];

/// Whether code, not a comment, begins a path there.
fn uses(line: &str, path: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(path).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let arrow = |&(name, kind): &(&str, Option<&str>)| Dependency {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
        };
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            manifest_path: format!("/r/crates/{name}/Cargo.toml").into(),
            dependencies: dependencies.iter().map(arrow).collect(),
            targets: Vec::new(),
            source: None,
        }
    }

    fn found(packages: &[Package], files: &[SourceFile]) -> Vec<String> {
        let problems = check(packages, Path::new("/r"), files);
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_service_that_leans_on_another_is_named_with_its_line() {
        let packages = [
            package("raptor-core", &[("tokio", None)]),
            package("raptor-ops", &[]),
            package("raptor-queue", &[("raptor-core", None), ("raptor-ops", None)]),
        ];
        let manifest = "[dependencies]\nraptor-core = { workspace = true }\nraptor-ops = \"1\"\n";
        let files = [SourceFile::new("crates/raptor-queue/Cargo.toml", manifest)];
        let found = found(&packages, &files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("crates/raptor-queue/Cargo.toml:3: raptor-queue must not depend"),
            "{found:?}"
        );
    }

    #[test]
    fn the_testkit_is_for_tests_alone_and_stands_alone() {
        let testkit = || package("raptor-testkit", &[]);
        let dev = package("raptor-core", &[("raptor-testkit", Some("dev"))]);
        assert!(found(&[testkit(), dev], &[]).is_empty());
        let real = package("raptor-core", &[("raptor-testkit", None)]);
        assert_eq!(found(&[testkit(), real], &[]).len(), 1);
        let upward = package("raptor-testkit", &[("raptor-core", None)]);
        assert_eq!(found(&[package("raptor-core", &[]), upward], &[]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_place_and_a_foreign_fred_are_seen() {
        assert_eq!(found(&[package("raptor-extra", &[])], &[]).len(), 1);
        assert_eq!(found(&[package("raptor-locks", &[("fred", None)])], &[]).len(), 1);
        let line = concat!("use fred", "::types::Value;\n");
        let outside = SourceFile::new("crates/raptor-core/src/reply.rs", line);
        let inside = SourceFile::new("crates/raptor-core/src/driver/fred.rs", line);
        let own = SourceFile::new(
            "crates/raptor-core/src/driver.rs",
            concat!("Ok(Arc::new(self::fred", "::FredConnection))\n"),
        );
        let control = SourceFile::new("crates/raptor-core/benches/calls/bare.rs", line);
        assert_eq!(found(&[], &[outside, inside, own, control]).len(), 1);
    }

    #[test]
    fn redis_rs_is_known_by_the_driver_and_by_what_tests() {
        let (dev, direct) = (("redis", Some("dev")), ("redis", None));
        for knows in ["raptor-core", "raptor-testkit"] {
            assert!(found(&[package(knows, &[direct])], &[]).is_empty(), "{knows}");
        }
        assert!(found(&[package("raptor-ops", &[dev])], &[]).is_empty());
        assert_eq!(found(&[package("raptor-ops", &[direct])], &[]).len(), 1);
        let seen = |path: &str| found(&[], &[SourceFile::new(path, concat!("redis", "::cmd"))]);
        assert_eq!(seen("crates/raptor-ops/src/usage.rs").len(), 1);
        for path in ["src/driver/redis/subscriber.rs", "src/driver/redis.rs", "tests/it/calls.rs"] {
            assert!(seen(&format!("crates/raptor-core/{path}")).is_empty(), "{path}");
        }
        assert!(seen("crates/raptor-testkit/src/server.rs").is_empty());
    }
}
