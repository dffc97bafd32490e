//! A private server: started in milliseconds, on a free port and a unix socket, gone when dropped.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::ports::PortLease;
use crate::process::{Process, Signal};
use crate::ready::ready;
use crate::recipe::{Recipe, Role};
use crate::{Error, ServerBuilder};

/// A unix socket's path has room for 107 bytes on Linux, 103 on macOS; `/s` and a random name are ours.
const LONGEST_TEMP_DIR: usize = 80;

/// A running Redis or Valkey server of the test's own.
///
/// It ends when this is dropped, and also when the test process is killed. Dropping does not wait: the end comes a few
/// milliseconds later ([`Server::shutdown`] waits). Nothing is persisted unless asked for.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use raptor_testkit::{Server, redis};
///
/// let server = Server::start().await?;
/// let mut admin = server.admin()?;
/// redis::cmd("SET").arg("greeting").arg("hello").exec(&mut admin)?;
/// let greeting: String = server.query(redis::cmd("GET").arg("greeting")).await?;
/// assert_eq!(greeting, "hello");
/// assert!(server.url().starts_with("redis://127.0.0.1:"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    recipe: Recipe,
    folder: PathBuf,
    socket: PathBuf,
    leases: Arc<Vec<PortLease>>,
    process: Mutex<Arc<Process>>,
    paused: AtomicBool,
}

impl Server {
    /// Starts a server with the defaults: the engine of [`Engine::find`](crate::Engine::find), a free TCP port on
    /// 127.0.0.1, a unix socket, no password, no persistence.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// A server with settings of your own.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// Starts what the recipe says, on freshly chosen ports; tries others if one was taken in the meantime.
    pub(crate) async fn launch(recipe: Recipe) -> Result<Self, Error> {
        let mut attempts_left = 5;
        loop {
            let leases =
                (0..recipe.ports_needed()).map(|_| PortLease::take()).collect::<Result<_, _>>()?;
            let failure = match Self::launch_on(recipe.clone(), leases).await {
                Ok(server) => return Ok(server),
                Err(failure) => failure,
            };
            attempts_left -= 1;
            let taken = matches!(&failure, Error::Start { log, .. } if log.contains("ddress already in use"));
            if !taken || attempts_left == 0 {
                return Err(failure);
            }
        }
    }

    /// Starts what the recipe says on these ports: for clients first, then for the cluster bus.
    pub(crate) async fn launch_on(recipe: Recipe, leases: Vec<PortLease>) -> Result<Self, Error> {
        let folder = temp_folder()?;
        let socket = folder.path().join("s");
        let ports: Vec<u16> = leases.iter().map(PortLease::port).collect();
        let config = folder.path().join("server.conf");
        std::fs::write(&config, recipe.config(folder.path(), &socket, &ports))
            .map_err(Error::io(format!("writing {}", config.display())))?;
        let leases = Arc::new(leases);
        let process = spawn(&recipe, folder.path(), Arc::clone(&leases))?;
        // From here the supervisor removes the folder.
        let folder = folder.keep();
        let process = Mutex::new(Arc::new(process));
        let server =
            Self { recipe, folder, socket, leases, process, paused: AtomicBool::new(false) };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Where clients connect: `redis://127.0.0.1:PORT`, with `:PASSWORD@` if one is set; [`Server::unix_url`]
    /// for a server without a TCP port.
    pub fn url(&self) -> String {
        match self.port_if_any() {
            Some(port) => format!("redis://{}127.0.0.1:{port}", self.userinfo()),
            None => self.unix_url(),
        }
    }

    /// The server's unix socket: `unix:///path`, with `:PASSWORD@` before the path if one is set.
    pub fn unix_url(&self) -> String {
        format!("unix://{}{}", self.userinfo(), self.socket.display())
    }

    /// Path of the unix socket.
    pub fn unix_socket(&self) -> &Path {
        &self.socket
    }

    /// The TCP address; port 0 if the server has none ([`ServerBuilder::unix`]).
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The TCP port; 0 if the server has none ([`ServerBuilder::unix`]).
    pub fn port(&self) -> u16 {
        self.port_if_any().unwrap_or_default()
    }

    /// The engine that it runs on.
    pub fn engine(&self) -> &crate::Engine {
        &self.recipe.engine
    }

    /// The server's process id (of the last process, if it has ended).
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Whether the process lives and is not stopped by [`Server::stop`].
    pub fn is_running(&self) -> bool {
        self.process().exit_status().is_none() && !self.paused.load(Ordering::SeqCst)
    }

    /// A blocking connection of a client that is not ours, over the unix socket: for setting up and checking.
    ///
    /// Its calls block the thread for some 50 µs each, and give up after 10 s; [`Server::query`] does not block.
    pub fn admin(&self) -> Result<redis::Connection, Error> {
        connect(&self.socket, self.recipe.password.as_deref())
    }

    /// Sends one command through [`Server::admin`], off the runtime's threads.
    ///
    /// Takes `redis::cmd("GET").arg("key")` as it is.
    pub async fn query<T>(&self, command: &redis::Cmd) -> Result<T, Error>
    where
        T: redis::FromRedisValue + Send + 'static,
    {
        let doing = format!("{} on {}", verb(command), self.place());
        let (socket, password) = (self.socket.clone(), self.recipe.password.clone());
        let command = command.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = connect(&socket, password.as_deref())?;
            command.query(&mut connection).map_err(Error::redis(doing))
        });
        task.await.map_err(|error| Error::io("an admin command")(std::io::Error::other(error)))?
    }

    /// Freezes the process (SIGSTOP): its sockets stay open, nothing is answered. Until [`Server::cont`].
    pub fn stop(&self) -> Result<(), Error> {
        self.signal(Signal::Stop)?;
        self.paused.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn cont(&self) -> Result<(), Error> {
        self.signal(Signal::Continue)?;
        self.paused.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Ends the process as a crash does (SIGKILL) and returns when it has ended, a few milliseconds later. The
    /// port stays reserved for [`Server::restart`]. Fine to call on a server that has ended already.
    pub fn kill(&self) -> Result<(), Error> {
        self.process().kill()?;
        self.paused.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Asks the process to end in good order (SIGTERM) and waits until it has.
    pub async fn terminate(&self) -> Result<(), Error> {
        self.signal(Signal::Terminate)?;
        self.paused.store(false, Ordering::SeqCst);
        let process = self.process();
        let waiting = tokio::task::spawn_blocking(move || process.wait_exit());
        waiting.await.map_err(|error| Error::io("waiting")(std::io::Error::other(error)))?
    }

    /// Kills the process if it still runs and starts a new one on the same ports, socket and folder.
    ///
    /// Data is gone unless [`ServerBuilder::persistent`] was asked for. Scripts, connections and settings made by
    /// CONFIG SET are gone in any case.
    pub async fn restart(&self) -> Result<(), Error> {
        self.kill()?;
        self.process().leave_folder()?;
        let _ = std::fs::remove_file(&self.socket);
        let process = spawn(&self.recipe, &self.folder, Arc::clone(&self.leases))?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(process);
        self.wait_ready().await
    }

    /// Ends the server and returns when its process and its folder are gone.
    pub async fn shutdown(self) {
        let process = self.process();
        let _ = tokio::task::spawn_blocking(move || process.end()).await;
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.join("server.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.recipe.password.as_deref()
    }

    fn port_if_any(&self) -> Option<u16> {
        self.leases.first().map(PortLease::port).filter(|_| self.recipe.tcp)
    }

    /// The cluster bus port; 0 outside a cluster.
    pub(crate) fn bus_port(&self) -> u16 {
        self.leases.get(1).map(PortLease::port).unwrap_or_default()
    }

    /// How messages name this server.
    pub(crate) fn place(&self) -> String {
        self.port_if_any()
            .map_or_else(|| self.socket.display().to_string(), |port| format!("127.0.0.1:{port}"))
    }

    pub(crate) fn userinfo(&self) -> String {
        let escaped = |password| utf8_percent_encode(password, NON_ALPHANUMERIC).to_string();
        self.recipe
            .password
            .as_deref()
            .map(|word| format!(":{}@", escaped(word)))
            .unwrap_or_default()
    }

    fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        if self.process().signal(signal)? {
            Ok(())
        } else {
            Err(Error::NotRunning { at: self.place() })
        }
    }

    async fn wait_ready(&self) -> Result<(), Error> {
        let process = self.process();
        ready(&process, &self.socket).await.map_err(|error| match error {
            Error::Start { reason, .. } => Error::Start { reason, log: tail(&self.log()) },
            other => other,
        })
    }
}

fn spawn(recipe: &Recipe, folder: &Path, leases: Arc<Vec<PortLease>>) -> Result<Process, Error> {
    let mut args = vec![OsString::from("server.conf")];
    if recipe.role == Role::Sentinel {
        args.push("--sentinel".into());
    }
    Process::spawn(&recipe.engine.binary, &args, folder, leases)
}

/// A folder with a path short enough for a socket in it.
fn temp_folder() -> Result<tempfile::TempDir, Error> {
    let usual = std::env::temp_dir();
    let parent =
        if usual.as_os_str().len() > LONGEST_TEMP_DIR { PathBuf::from("/tmp") } else { usual };
    let doing = format!("creating a folder in {}", parent.display());
    tempfile::Builder::new().prefix("raptor-").tempdir_in(parent).map_err(Error::io(doing))
}

fn connect(socket: &Path, password: Option<&str>) -> Result<redis::Connection, Error> {
    let doing = || format!("connecting to {}", socket.display());
    let mut url = format!("redis+unix://{}", socket.display());
    if let Some(password) = password {
        url.push_str(&format!("?pass={}", utf8_percent_encode(password, NON_ALPHANUMERIC)));
    }
    let patience = Duration::from_secs(10);
    let connection = redis::Client::open(url)
        .and_then(|client| client.get_connection_with_timeout(patience))
        .map_err(Error::redis(doing()))?;
    connection.set_read_timeout(Some(patience)).map_err(Error::redis(doing()))?;
    Ok(connection)
}

/// The command's name, for messages: never its arguments.
fn verb(command: &redis::Cmd) -> String {
    match command.args_iter().next() {
        Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => "a command".to_owned(),
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
