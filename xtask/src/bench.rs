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
    /// Run the rivals of bench/peers beside ours instead: a workspace of its own, built on demand
    #[arg(long, conflicts_with = "package")]
    peers: bool,
    /// Write docs/benchmarks.md from the JSON of the last complete runs
    #[arg(long, conflicts_with = "filter")]
    publish: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench gcra
  cargo xtask bench --peers
  cargo xtask bench -p raptor-core --publish";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let metadata = Metadata::of_workspace()?;
    let mut failed = 0;
    if args.peers {
        let mut bench = process::cargo();
        bench.args(["bench", "--manifest-path", "bench/peers/Cargo.toml", "--bench", "*"]);
        bench.arg("--target-dir").arg(&metadata.target_directory);
        bench.arg("--").args(&args.filter).current_dir(workspace::root());
        anyhow::ensure!(process::status(&mut bench)?.success(), "the peers' benches failed");
    }
    let packages = metadata.packages.iter().filter(|_| !args.peers);
    for package in packages.filter(|package| package.has_target("bench", None)) {
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
