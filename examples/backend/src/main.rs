//! The demo: a small multi-tenant backend on Raptor, its books checked to the token.
//!
//! | file | one idea |
//! | --- | --- |
//! | backend.rs | **what happens to one request**: session, rate limit, usage; start here |
//! | args.rs | the command line |
//! | trace.rs, generate.rs | where requests come from: a file, or generated ones of its shape |
//! | people.rs, models.rs | whose requests they are, and what they ask for |
//! | replay.rs | lets them arrive, a bounded number at a time, each user's in order |
//! | tally.rs | what happened, by the demo's own count |
//! | statement.rs | what the usage service says happened |
//! | books.rs | that both are the same |
//! | server.rs | what it cost the server |
//! | batches.rs | how many operations rode together in a script call |
//! | cleanup.rs | leaves the server as it was |
//! | report.rs | the tables |

mod args;
mod backend;
mod batches;
mod books;
mod cleanup;
mod generate;
mod models;
mod people;
mod replay;
mod report;
mod server;
mod statement;
mod tally;
mod trace;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use raptor::Raptor;
use raptor::core::{ErrorKind, RedisConfig};
use raptor::session::{SessionToken, Ulid};

use crate::args::Args;
use crate::backend::Backend;
use crate::batches::BatchRecorder;
use crate::books::{Accounts, Ends};
use crate::people::People;
use crate::replay::{Replay, Source};
use crate::server::Counters;
use crate::trace::TraceError;

/// An argument or a trace that is no good; as clap ends for those that it sees itself.
const BAD_INPUT: u8 = 2;
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = args.validate() {
        Args::command().error(clap::error::ErrorKind::ValueValidation, error).exit();
    }
    run(&args).await.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(if is_bad_input(&error) { BAD_INPUT } else { 1 })
    })
}

fn is_bad_input(error: &anyhow::Error) -> bool {
    let config = |error: &raptor::core::Error| error.kind() == ErrorKind::Config;
    error.is::<TraceError>() || error.downcast_ref().is_some_and(config)
}

async fn run(args: &Args) -> Result<ExitCode> {
    let source = Source::open(args.trace.as_deref(), args.requests)?;
    let batches = BatchRecorder::default();
    metrics::set_global_recorder(batches.clone()).context("taking the metrics down")?;
    let raptor = Raptor::connect(config(args.url.as_deref())?).await?;
    let backend = Arc::new(Backend::new(raptor, args.limit.clone())?);
    let people = People::new(args.tenants, args.users_per_tenant);
    let width = args.concurrency as usize;
    let tokens = Arc::new(log_everybody_in(&backend, &people, width).await?);

    let before = Counters::read(&backend.raptor).await;
    let replay = replay::replay(&backend, &people, &tokens, source, args).await?;
    let after = Counters::read(&backend.raptor).await;
    let spent = after.zip(before).and_then(|(after, before)| after.since(&before));

    let hours = &replay.tally.hours;
    let reported = match replay.broken {
        None => reported(&backend, &people, &replay, width).await,
        Some(_) => Ok(Vec::new()),
    };
    let cleaned = cleanup::remove_all(&backend, &people, &tokens, hours, width).await;
    if let Err(error) = cleaned {
        let prefix = backend.raptor.client().keys().prefix();
        let mut err = std::io::stderr();
        let _ = writeln!(err, "warning: keys under {prefix} were left behind: {error:#}");
    }
    if let Some(error) = replay.broken {
        return Err(error);
    }
    let reported = reported.context("reading the usage reports")?;
    let total = reported.first().map(|(_, accounts)| accounts.total()).unwrap_or_default();
    let wrong = books::check(ends(&replay), &replay.tally.accounts, &reported);

    let mut out = std::io::stdout();
    writeln!(out, "{}", report::tables(&replay, spent, &batches, total))?;
    if replay.interrupted {
        writeln!(out, "interrupted: what had arrived by then was answered")?;
    }
    writeln!(out, "{}", report::verdict(&wrong))?;
    Ok(match (wrong.is_empty(), replay.interrupted) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(INTERRUPTED),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// The server that `--url` or the environment names, under a prefix that nobody else has.
///
/// An own `REDIS_KEY_PREFIX` stands in front, for an ACL may ask for it.
fn config(url: Option<&str>) -> Result<RedisConfig, raptor::core::Error> {
    let own = std::env::var("REDIS_KEY_PREFIX").unwrap_or_else(|_| "raptor-demo:".to_owned());
    let mut random = [0_u8; 16];
    // Without randomness the time keeps runs apart.
    let _ = getrandom::fill(&mut random);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64;
    let run = Ulid::from_parts(now, u128::from_be_bytes(random));
    let prefix = format!("{own}{run}:");
    match url {
        Some(url) => RedisConfig::builder().url(url).key_prefix(prefix).build(),
        None => RedisConfig::from_lookup(|name| match name {
            "REDIS_KEY_PREFIX" => Some(prefix.clone()),
            other => std::env::var(other).ok(),
        }),
    }
}

/// Every user has a session before the first request arrives.
async fn log_everybody_in(
    backend: &Arc<Backend>,
    people: &People,
    width: usize,
) -> Result<Vec<SessionToken>> {
    let names = people.everybody().map(|person| (people.user(person), people.tenant(person)));
    let backend = Arc::clone(backend);
    replay::spread(names.collect(), width, move |(user, tenant)| {
        let backend = Arc::clone(&backend);
        async move { backend.log_in(&user, &tenant).await }
    })
    .await
    .context("logging the users in")
}

/// The usage service's own account of the run, once for each way to cut time.
async fn reported(
    backend: &Arc<Backend>,
    people: &People,
    replay: &Replay,
    width: usize,
) -> Result<Vec<(&'static str, Accounts)>> {
    let mut reported = Vec::new();
    for (cut, rule) in statement::CUTS {
        let periods = statement::periods(rule, &replay.tally.hours)?;
        let tenants = people.tenants().collect();
        let accounts = statement::reported(backend, tenants, periods, width).await?;
        reported.push((cut, accounts));
    }
    Ok(reported)
}

fn ends(replay: &Replay) -> Ends {
    Ends {
        arrived: replay.arrived,
        admitted: replay.tally.admitted,
        denied: replay.tally.denied,
        failed: replay.tally.failed,
        strange_duplicates: replay.tally.strange_duplicates,
    }
}
