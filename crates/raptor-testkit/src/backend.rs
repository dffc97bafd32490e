//! The servers behind a service's suite, as the test run chose them: one server, a cluster, RESP2, Upstash, an ACL.
//!
//! A suite that is written against [`Backend`] runs unchanged on all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::{ACL_RULE_VARIABLE, AclRule, Cluster, Error, Server, UpstashFront};

/// Names the kind of backend: `standalone` (the default), `cluster`, `resp2`, `upstash`, or `acl`: one server, where the
/// client may do what [`ACL_RULE_VARIABLE`] says and nothing else.
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
    Acl(Server),
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
            Ok("acl") => {
                let rule = std::env::var(ACL_RULE_VARIABLE).map_err(|_| Error::NoAclRule)?;
                return Self::with_acl(&AclRule::parse(&rule)).await;
            }
            Ok(other) => return Err(Error::UnknownBackend { name: other.to_owned() }),
        };
        Ok(Self { kind })
    }

    /// One server, whatever the test run chose, where the client may do what `rule` says and nothing else.
    ///
    /// Looking behind the client stays unrestricted; [`AclRule::command`] sent through [`Backend::query`] changes the
    /// rule.
    pub async fn with_acl(rule: &AclRule) -> Result<Self, Error> {
        let server = Server::start().await?;
        server.query::<()>(&rule.command()).await?;
        Ok(Self { kind: Kind::Acl(server) })
    }

    /// What the client under test connects to.
    pub fn url(&self) -> String {
        match &self.kind {
            Kind::Standalone { server, query } => format!("{}{query}", server.url()),
            Kind::Cluster(cluster) => cluster.url(),
            Kind::Upstash { front, .. } => front.url(),
            Kind::Acl(server) => format!("redis://{}@{}", AclRule::userinfo(), server.addr()),
        }
    }

    /// The servers that hold the data, for looking behind the client.
    pub fn nodes(&self) -> &[Server] {
        match &self.kind {
            Kind::Standalone { server, .. } | Kind::Upstash { server, .. } | Kind::Acl(server) => {
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

    /// Every key with its DUMP and when it ends, in ms (negative: never): equal before and after means that nothing
    /// was written.
    pub async fn snapshot(&self) -> Result<BTreeMap<Vec<u8>, (Vec<u8>, i64)>, Error> {
        let mut snapshot = BTreeMap::new();
        for key in self.keys::<Vec<u8>>("*").await? {
            let value: Option<Vec<u8>> = self.query(redis::cmd("DUMP").arg(&key)).await?;
            let ends_ms = self.query(redis::cmd("PEXPIRETIME").arg(&key)).await?;
            snapshot.extend(value.map(|value| (key, (value, ends_ms))));
        }
        Ok(snapshot)
    }

    fn redirected(&self, error: &redis::RedisError) -> Option<&Server> {
        let (address, _) = error.redirect_node()?;
        let address: SocketAddr = address.parse().ok()?;
        self.nodes().iter().find(|node| node.addr() == address)
    }
}
