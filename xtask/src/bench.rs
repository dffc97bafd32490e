//! `cargo xtask bench`: runs what benches there are, and publishes their figures.

mod page;

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Metadata;
use crate::{process, workspace};

/// Run the benches of all packages that have some.
///
/// Needs nothing beyond what `cargo xtask test` needs. Each bench prints its table and writes it as
/// JSON to `target/bench`. Figures are worth reading only on an idle machine.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run only workloads whose names contain this
    filter: Option<String>,
    /// Only the benches of this package
    #[arg(short, long)]
    package: Option<String>,
    /// Write docs/benchmarks.md from the JSON of the last complete runs
    #[arg(long, conflicts_with = "filter")]
    publish: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench gcra
  cargo xtask bench -p raptor-core --publish";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let metadata = Metadata::of_workspace()?;
    let mut failed = 0;
    for package in metadata.packages.iter().filter(|package| package.has_target("bench", None)) {
        if args.package.as_ref().is_some_and(|only| *only != package.name) {
            continue;
        }
        eprintln!("── benches of {}", package.name);
        let mut bench = process::cargo();
        bench.args(["bench", "--all-features", "--bench", "*", "--package", &package.name]);
        bench.arg("--").args(&args.filter).current_dir(workspace::root());
        failed += u8::from(!process::status(&mut bench)?.success());
    }
    anyhow::ensure!(failed == 0, "{failed} packages' benches failed");
    if args.publish {
        let page = workspace::root().join("docs/benchmarks.md");
        std::fs::write(&page, page::of(&metadata.target_directory.join("bench"))?)?;
        eprintln!("wrote docs/benchmarks.md");
    }
    Ok(ExitCode::SUCCESS)
}
