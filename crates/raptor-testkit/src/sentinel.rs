//! A private sentinel set: a primary, its replicas, and the sentinels that watch them, ready to fail over at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::cluster_view::field;
use crate::{Error, SentinelBuilder, Server, eventually};

/// The service name under which the sentinels know the primary.
pub const SERVICE: &str = "mymaster";

/// Long enough for a failover on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

type Fields = HashMap<String, String>;

/// Running sentinels with the servers that they watch. All end when this is dropped, and when the test process is killed.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), raptor_testkit::Error> {
/// let set = raptor_testkit::Sentinel::builder().replicas(1).sentinels(3).start().await?;
/// let before = set.master().await?;
/// let after = set.force_failover().await?;
/// assert_ne!(before, after);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Sentinel {
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

impl Sentinel {
    /// A set with settings of your own; by default 2 replicas and 3 sentinels.
    pub fn builder() -> SentinelBuilder {
        SentinelBuilder::new()
    }

    /// Where clients connect: `redis-sentinel://127.0.0.1:S1,127.0.0.1:S2,…/?sentinelServiceName=mymaster`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| one.addr().to_string()).collect();
        format!("redis-sentinel://{}/?sentinelServiceName={SERVICE}", hosts.join(","))
    }

    /// The data servers: first the one that was primary at the start, then its replicas.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The sentinels, to kill, stop or ask them.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The data server at this address.
    pub fn server_at(&self, addr: SocketAddr) -> Option<&Server> {
        self.servers.iter().find(|server| server.addr() == addr)
    }

    /// Where most running sentinels say that the primary is.
    pub async fn master(&self) -> Result<SocketAddr, Error> {
        let mut votes: HashMap<SocketAddr, usize> = HashMap::new();
        for sentinel in self.watching() {
            *votes.entry(master_said_by(sentinel).await?).or_default() += 1;
        }
        let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
        most.map(|(addr, _)| addr).ok_or_else(|| Error::NotRunning { at: self.url() })
    }

    /// Makes the sentinels promote a replica, and returns its address when all running ones name it and it says itself
    /// that it is primary.
    ///
    /// The old primary lives on as a primary until the sentinels make it a replica, 10 to 30 s later, as in production;
    /// [`Sentinel::rejoin`] does it at once.
    pub async fn force_failover(&self) -> Result<SocketAddr, Error> {
        let old = self.master().await?;
        eventually("the sentinels to accept SENTINEL FAILOVER", PATIENCE, || async {
            let sentinel = self.watching().next().ok_or("no sentinel is running")?;
            ask::<()>(sentinel, "FAILOVER").await
        })
        .await?;
        self.master_after(old).await
    }

    /// Kills the primary's process and returns its address; [`Sentinel::master_after`] waits for the next one.
    pub async fn kill_master(&self) -> Result<SocketAddr, Error> {
        let (addr, server) = self.master_server().await?;
        server.kill()?;
        Ok(addr)
    }

    /// Freezes the primary's process and returns its address; `server_at(addr)` has `cont()` to let it go on.
    pub async fn stop_master(&self) -> Result<SocketAddr, Error> {
        let (addr, server) = self.master_server().await?;
        server.stop()?;
        Ok(addr)
    }

    /// Waits until all running sentinels name a primary other than `old`, and it says itself that it is one.
    ///
    /// After a death this takes the second until the sentinels notice, and one or two more to elect.
    pub async fn master_after(&self, old: SocketAddr) -> Result<SocketAddr, Error> {
        eventually(&format!("a primary other than {old}"), PATIENCE, || async {
            let mut found = None;
            for sentinel in self.watching() {
                let said = master_said_by(sentinel).await.map_err(|error| error.to_string())?;
                if said == old || found.is_some_and(|found| found != said) {
                    return Err(format!("the sentinel on {} names {said}", sentinel.addr()));
                }
                found = Some(said);
            }
            let new = found.ok_or("no sentinel is running")?;
            let server = self.server_at(new).ok_or_else(|| format!("unknown server {new}"))?;
            let role: (String, redis::Value, redis::Value) =
                server.query(&redis::cmd("ROLE")).await.map_err(|error| error.to_string())?;
            if role.0 == "master" {
                Ok(new)
            } else {
                Err(format!("{new} says that it is {}", role.0))
            }
        })
        .await
    }

    /// Makes an old primary a replica of the present one, restarting it first if it is dead or frozen, and waits until it is in sync.
    ///
    /// The sentinels do the same by themselves, but it takes them 10 to 30 s to be sure.
    pub async fn rejoin(&self, addr: SocketAddr) -> Result<(), Error> {
        let master = self.master().await?;
        let unknown = || Error::NotRunning { at: addr.to_string() };
        let server = self.server_at(addr).ok_or_else(unknown)?;
        if !server.is_running() {
            server.restart().await?;
        }
        let mut follow = redis::cmd("REPLICAOF");
        let () = server.query(follow.arg(master.ip().to_string()).arg(master.port())).await?;
        eventually(&format!("{addr} to be in sync with {master}"), PATIENCE, || async {
            let info = server.query::<String>(redis::cmd("INFO").arg("replication")).await;
            let info = info.map_err(|error| error.to_string())?;
            match field(&info, "master_link_status") {
                Some("up") => Ok(()),
                seen => Err(format!("master_link_status is {seen:?}")),
            }
        })
        .await
    }

    /// Waits until every sentinel sees the primary, all replicas in sync, and all other sentinels.
    pub async fn wait_ok(&self) -> Result<(), Error> {
        eventually("the sentinels to know everyone", PATIENCE, || async {
            for sentinel in self.watching() {
                self.look(sentinel).await.map_err(|seen| format!("{}: {seen}", sentinel.addr()))?;
            }
            Ok(())
        })
        .await
    }

    async fn look(&self, sentinel: &Server) -> Result<(), String> {
        let master: Fields = ask(sentinel, "MASTER").await?;
        let wanted = [
            ("flags", "master".to_owned()),
            ("num-slaves", (self.servers.len() - 1).to_string()),
            ("num-other-sentinels", (self.sentinels.len() - 1).to_string()),
        ];
        for (name, value) in wanted {
            expect(&master, name, &value)?;
        }
        for replica in ask::<Vec<Fields>>(sentinel, "REPLICAS").await? {
            expect(&replica, "flags", "slave")?;
            expect(&replica, "master-link-status", "ok")?;
        }
        for other in ask::<Vec<Fields>>(sentinel, "SENTINELS").await? {
            expect(&other, "flags", "sentinel")?;
        }
        ask::<String>(sentinel, "CKQUORUM").await.map(drop)
    }

    fn watching(&self) -> impl Iterator<Item = &Server> {
        self.sentinels.iter().filter(|sentinel| sentinel.is_running())
    }

    async fn master_server(&self) -> Result<(SocketAddr, &Server), Error> {
        let addr = self.master().await?;
        let server = self.server_at(addr);
        server
            .map(|server| (addr, server))
            .ok_or_else(|| Error::NotRunning { at: addr.to_string() })
    }
}

async fn ask<T>(sentinel: &Server, what: &str) -> Result<T, String>
where
    T: redis::FromRedisValue + Send + 'static,
{
    let reply = sentinel.query(redis::cmd("SENTINEL").arg(what).arg(SERVICE)).await;
    reply.map_err(|error| error.to_string())
}

fn expect(fields: &Fields, name: &str, value: &str) -> Result<(), String> {
    match fields.get(name) {
        Some(seen) if seen == value => Ok(()),
        seen => Err(format!("{name} is {seen:?}, not {value}")),
    }
}

async fn master_said_by(sentinel: &Server) -> Result<SocketAddr, Error> {
    let mut command = redis::cmd("SENTINEL");
    let (ip, port): (String, u16) =
        sentinel.query(command.arg("GET-MASTER-ADDR-BY-NAME").arg(SERVICE)).await?;
    let doing = || format!("reading the address {ip}:{port}");
    let ip = ip.parse::<std::net::IpAddr>();
    let ip = ip.map_err(|error| Error::io(doing())(std::io::Error::other(error)))?;
    Ok((ip, port).into())
}
