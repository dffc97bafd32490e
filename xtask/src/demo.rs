//! `cargo xtask demo`: the main job, a small but real backend on a real server.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::engine::Running;
use crate::{process, workspace};

/// Variables by which the user names a server, in the order in which they count.
pub(crate) const NAMED_BY: [&str; 3] = ["UPSTASH_REDIS_URL", "UPSTASH_REDIS_REST_URL", "REDIS_URL"];

/// Run the example backend on a private server: sessions, rate limits, usage; checks its books.
///
/// Requests of many tenants' users arrive, generated or replayed from a trace; each one
/// authenticates a session, passes a rate limit and records what it used. At the end a table says
/// what happened, how fast, and the books are checked: exit code 1 when they do not balance.
///
/// Needs nothing installed: unless --url, UPSTASH_REDIS_URL or REDIS_URL names a server it starts a
/// private one (see `cargo xtask help engine`) and ends it afterwards. The first run builds the
/// backend in release mode, which takes some minutes.
///
/// All options but --url go to the backend as they are; `cargo xtask demo -- --help` lists them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Options of the backend: --url URL, --trace FILE, --requests N, --tenants N, --speed X …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

const EXAMPLES: &str = "\
Options (the backend's):
  --url URL        this server instead of a private one
  --trace FILE     replay a CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens
  --requests N     generate N requests
  --tenants N      of N tenants
  --limit N/S      N requests a user in any S seconds, or `unlimited`
  --speed X        pace the arrivals: 1 = as recorded; without it, as fast as it goes

Examples:
  cargo xtask demo
  cargo xtask demo --requests 100000 --tenants 50
  cargo xtask demo --trace ../shared/data/llm_trace_conv.csv
  cargo xtask demo --url redis://127.0.0.1:6379 --requests 1000";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    eprintln!("building the backend (the first time takes some minutes) …");
    let built = process::status(&mut backend("build"))?;
    if !built.success() {
        return Ok(process::exit_code(built));
    }
    let mut command = backend("run");
    command.args(["--quiet", "--"]);
    let server = match server_named_by(&args.options, |name| std::env::var_os(name).is_some()) {
        Some(Named::Option) => {
            eprintln!("engine: the server that --url names");
            None
        }
        // The backend reads the variable itself: a password has no place on a command line.
        Some(Named::Variable(name)) => {
            eprintln!("engine: the server that {name} names");
            None
        }
        Some(Named::Help) => None,
        None => {
            let server = Running::standalone()?;
            eprintln!("engine: {}", server.told);
            command.args(["--url", &server.url]);
            Some(server)
        }
    };
    leave_interrupts_to_the_backend()?;
    let status = process::status(command.args(&args.options))?;
    drop(server);
    Ok(process::exit_code(status))
}

/// Ctrl-C reaches the backend too: it ends in good order, on a server that is still there.
fn leave_interrupts_to_the_backend() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    });
    Ok(())
}

/// cargo for the example, in the user's folder: a trace file is named from there.
fn backend(what: &str) -> Command {
    let mut cargo = process::cargo();
    cargo.args([what, "--release", "--package", "raptor-backend-example", "--manifest-path"]);
    cargo.arg(workspace::root().join("Cargo.toml"));
    cargo
}

#[derive(Debug, PartialEq, Eq)]
enum Named {
    Option,
    Variable(&'static str),
    /// No server is needed to read the backend's help.
    Help,
}

fn server_named_by(options: &[String], is_set: impl Fn(&str) -> bool) -> Option<Named> {
    if options.iter().any(|option| option == "--help" || option == "-h") {
        return Some(Named::Help);
    }
    if options.iter().any(|option| option == "--url" || option.starts_with("--url=")) {
        return Some(Named::Option);
    }
    NAMED_BY.into_iter().find(|name| is_set(name)).map(Named::Variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_server_comes_first() {
        let options = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let none = |_: &str| false;
        assert_eq!(server_named_by(&options("--requests 5"), none), None);
        assert_eq!(server_named_by(&options("--requests 5 --url x"), none), Some(Named::Option));
        assert_eq!(server_named_by(&options("--url=x"), |_| true), Some(Named::Option));
        assert_eq!(
            server_named_by(&options("--tenants 2"), |name| name == "REDIS_URL"),
            Some(Named::Variable("REDIS_URL"))
        );
        assert_eq!(server_named_by(&options("--help"), none), Some(Named::Help));
    }
}
