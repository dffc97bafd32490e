//! Our files: what git tracks, and what it would.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// A text file of ours.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the workspace's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// Its lines with their numbers, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

/// Every text file that git tracks or would track; outside a git checkout, every file but cargo's.
pub(crate) fn tracked(root: &Path) -> Result<Vec<SourceFile>> {
    let mut paths = listed_by_git(root).map_or_else(|| walk(root), Ok)?;
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        // Deleted but not yet committed, or not text: nothing to check.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            files.push(SourceFile { path, text });
        }
    }
    Ok(files)
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().ok().filter(|output| output.status.success())?;
    let listed = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> =
        listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    (!paths.is_empty()).then_some(paths)
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "target" && name != ".git" {
                folders.push(path);
            } else if let (true, Ok(path)) = (path.is_file(), path.strip_prefix(root)) {
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_git_all_but_cargos_folder_is_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            std::fs::write(path, "x").expect("written");
        };
        write("crates/a/src/lib.rs");
        write("target/debug/x.rs");
        let found = walk(folder.path()).expect("walks");
        assert_eq!(found, ["crates/a/src/lib.rs"]);
    }
}
