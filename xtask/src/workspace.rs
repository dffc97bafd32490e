//! The workspace as cargo sees it: its root, its packages, their dependencies.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let xtask = here.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask.parent().map_or(xtask.clone(), Path::to_path_buf)
}

/// The part of `cargo metadata` that we read.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// A package of the workspace, or a dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    /// Where it comes from; none for our own.
    pub(crate) source: Option<String>,
}

/// An arrow from one package to another.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None for an ordinary one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// Something that cargo builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

impl Metadata {
    /// Our own packages, without dependencies: needs no network.
    pub(crate) fn of_workspace() -> Result<Self> {
        Self::read(&["--no-deps"])
    }

    /// Our packages and everything that they build with on this machine.
    ///
    /// Offline first: what has been built once is there already.
    pub(crate) fn with_dependencies() -> Result<Self> {
        let mut rustc = std::process::Command::new("rustc");
        let told = process::stdout(rustc.arg("-vV"))?;
        let host = told.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("`rustc -vV` names no host")?;
        let all = ["--all-features", "--filter-platform", host];
        let offline = [&all[..], &["--offline"]].concat();
        Self::read(&offline).or_else(|_| Self::read(&all))
    }

    fn read(options: &[&str]) -> Result<Self> {
        let mut command = process::cargo();
        command.args(["metadata", "--format-version", "1"]).args(options).current_dir(root());
        let output = command.output().context("running cargo metadata")?;
        anyhow::ensure!(
            output.status.success(),
            "{} failed: {}",
            process::shown(&command),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::from_slice(&output.stdout).context("reading cargo metadata")
    }
}

impl Package {
    /// The folder of its `Cargo.toml`.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// Whether it is one of `crates/`.
    pub(crate) fn is_crate(&self) -> bool {
        self.source.is_none() && self.folder().parent().is_some_and(|up| up.ends_with("crates"))
    }

    /// Whether it has a target of this kind, with this name if one is given.
    pub(crate) fn has_target(&self, kind: &str, name: Option<&str>) -> bool {
        self.targets.iter().any(|target| {
            target.kind.iter().any(|one| one == kind) && name.is_none_or(|name| target.name == name)
        })
    }
}
