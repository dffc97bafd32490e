//! `cargo xtask bench`: runs what benches there are, and says so when there are none.

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Metadata;
use crate::{process, workspace};

/// Run the benches of all packages that have some.
///
/// Needs nothing beyond what `cargo xtask test` needs. Figures are worth reading only on an idle
/// machine.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run only benches whose names contain this
    filter: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench acquire";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let metadata = Metadata::of_workspace()?;
    let with_benches: Vec<_> =
        metadata.packages.iter().filter(|package| package.has_target("bench", None)).collect();
    if with_benches.is_empty() {
        eprintln!("no package of the workspace has benches yet; nothing was measured");
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = 0;
    for package in with_benches {
        eprintln!("── benches of {}", package.name);
        let mut bench = process::cargo();
        bench.args(["bench", "--all-features", "--bench", "*", "--package", &package.name]);
        bench.arg("--").args(&args.filter).current_dir(workspace::root());
        failed += u8::from(!process::status(&mut bench)?.success());
    }
    anyhow::ensure!(failed == 0, "{failed} packages' benches failed");
    Ok(ExitCode::SUCCESS)
}
