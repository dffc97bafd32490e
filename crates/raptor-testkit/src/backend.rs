//! The servers behind a service's suite, as the test run chose them: one server, a cluster, RESP2, Upstash.
//!
//! A suite that is written against [`Backend`] runs unchanged on all of them.

use std::net::SocketAddr;

use crate::{Cluster, Error, Server, UpstashFront};

/// Names the kind of backend: `standalone` (the default), `cluster`, `resp2` or `upstash`.
pub const BACKEND_VARIABLE: &str = "RAPTOR_TEST_BACKEND";

/// Private servers of the kind that [`BACKEND_VARIABLE`] names.
#[derive(Debug)]
pub struct Backend {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Standalone { server: Server, query: &'static str },
    Cluster(Cluster),
    Upstash { server: Server, front: UpstashFront },
}

impl Backend {
    /// Starts what [`BACKEND_VARIABLE`] names.
    pub async fn start() -> Result<Self, Error> {
        let kind = match std::env::var(BACKEND_VARIABLE).as_deref() {
            Err(_) | Ok("standalone") => {
                Kind::Standalone { server: Server::start().await?, query: "" }
            }
            Ok("resp2") => {
                Kind::Standalone { server: Server::start().await?, query: "?protocol=2" }
            }
            Ok("cluster") => Kind::Cluster(Cluster::builder().start().await?),
            Ok("upstash") => {
                let server = Server::start().await?;
                let front = UpstashFront::start(server.addr(), "token-of-the-test").await?;
                Kind::Upstash { server, front }
            }
            Ok(other) => return Err(Error::UnknownBackend { name: other.to_owned() }),
        };
        Ok(Self { kind })
    }

    /// What the client under test connects to.
    pub fn url(&self) -> String {
        match &self.kind {
            Kind::Standalone { server, query } => format!("{}{query}", server.url()),
            Kind::Cluster(cluster) => cluster.url(),
            Kind::Upstash { front, .. } => front.url(),
        }
    }

    /// The servers that hold the data, for looking behind the client.
    pub fn nodes(&self) -> &[Server] {
        match &self.kind {
            Kind::Standalone { server, .. } | Kind::Upstash { server, .. } => {
                std::slice::from_ref(server)
            }
            Kind::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Sends one command to the node that has its key, past any front; one without a key to the first node.
    pub async fn query<T>(&self, command: &redis::Cmd) -> Result<T, Error>
    where
        T: redis::FromRedisValue + Send + 'static,
    {
        match self.nodes()[0].query(command).await {
            Err(Error::Redis { doing, source }) => match self.redirected(&source) {
                Some(owner) => owner.query(command).await,
                None => Err(Error::Redis { doing, source }),
            },
            answered => answered,
        }
    }

    /// Sends one command to each node, and gives their answers.
    pub async fn query_all<T>(&self, command: &redis::Cmd) -> Result<Vec<T>, Error>
    where
        T: redis::FromRedisValue + Send + 'static,
    {
        let mut answers = Vec::new();
        for node in self.nodes() {
            answers.push(node.query(command).await?);
        }
        Ok(answers)
    }

    /// All keys of all nodes that match a glob.
    pub async fn keys<T>(&self, glob: &str) -> Result<Vec<T>, Error>
    where
        T: redis::FromRedisValue + Send + 'static,
    {
        let keys: Vec<Vec<T>> = self.query_all(redis::cmd("KEYS").arg(glob)).await?;
        Ok(keys.into_iter().flatten().collect())
    }

    fn redirected(&self, error: &redis::RedisError) -> Option<&Server> {
        let (address, _) = error.redirect_node()?;
        let address: SocketAddr = address.parse().ok()?;
        self.nodes().iter().find(|node| node.addr() == address)
    }
}
