//! Settings of a private server, before it starts.

use crate::recipe::Recipe;
use crate::{Engine, Error, Server};

/// Settings of a [`Server`]; [`ServerBuilder::start`] starts it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = raptor_testkit::Server::builder()
///     .arg("maxmemory", "10mb")
///     .password("secret")
///     .acl_user("app on >pw ~app:* +@all")
///     .start()
///     .await?;
/// assert!(server.url().starts_with("redis://:secret@127.0.0.1:"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until start() is called"]
pub struct ServerBuilder {
    engine: Option<Engine>,
    tcp: bool,
    persistent: bool,
    password: Option<String>,
    lines: Vec<String>,
}

impl ServerBuilder {
    pub(crate) fn new() -> Self {
        Self { engine: None, tcp: true, persistent: false, password: None, lines: Vec::new() }
    }

    /// Runs this engine instead of the one that [`Engine::find`] finds.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// A free TCP port on 127.0.0.1 besides the unix socket. The default.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// The unix socket alone, no TCP port.
    pub fn unix(mut self) -> Self {
        self.tcp = false;
        self
    }

    /// Any directive of the server's configuration file, written as it would stand there: overrules the kit's own.
    pub fn arg(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.lines.push(format!("{name} {value}"));
        self
    }

    /// A password for the default user.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// One more ACL user, in the words of ACL SETUSER: `"app on >pw ~* +@all"` (a leading `user` may stand there).
    pub fn acl_user(mut self, rule: &str) -> Self {
        self.lines.push(format!("user {}", rule.strip_prefix("user ").unwrap_or(rule)));
        self
    }

    /// Writes an append-only file, so that [`Server::restart`] keeps all data that was acknowledged before.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Starts the server and returns when it answers.
    ///
    /// Must run in a tokio runtime. Takes 8–40 ms, longer once when the embedded engine has to be fetched.
    pub async fn start(self) -> Result<Server, Error> {
        let mut recipe = Recipe::new(chosen_engine(self.engine).await?);
        recipe.tcp = self.tcp;
        recipe.persistent = self.persistent;
        recipe.password = self.password;
        recipe.lines = self.lines;
        Server::launch(recipe).await
    }
}

/// The given engine, or the one that is found; finding it may block, so it happens off the runtime's threads.
pub(crate) async fn chosen_engine(given: Option<Engine>) -> Result<Engine, Error> {
    if let Some(engine) = given {
        return Ok(engine);
    }
    let search = tokio::task::spawn_blocking(Engine::find);
    search.await.map_err(|error| Error::io("finding an engine")(std::io::Error::other(error)))?
}
