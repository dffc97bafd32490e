//! The client libraries alone: the controls that every figure stands beside.
//!
//! Their sockets are set as ours are, without Nagle's algorithm. Both leave it on, which on loopback makes two
//! callers take turns, and over any network makes the second wait for the first (decision 4).

use anyhow::{Context, Result};
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Config, ConnectionConfig, Server, ServerConfig, TcpConfig};
use fred::types::{ClusterHash, CustomCommand, RespVersion, Value};
use redis::IntoConnectionInfo;
use redis::io::tcp::TcpSettings;
use sha1::{Digest, Sha1};

use crate::workload::{GCRA, STRICT, Workload};

pub(crate) struct Bare {
    client: Client,
    redis: redis::aio::MultiplexedConnection,
    gcra: String,
    strict: String,
}

impl Bare {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let config = Config {
            server: ServerConfig::Centralized { server: Server::new("127.0.0.1", port) },
            version: RespVersion::RESP3,
            ..Config::default()
        };
        let tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        let connection = ConnectionConfig { tcp, ..ConnectionConfig::default() };
        let client = Client::new(config, None, Some(connection), None);
        client.init().await?;
        let sha = |source: &str| {
            Sha1::digest(source).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let redis = format!("redis://127.0.0.1:{port}/?protocol=resp3").into_connection_info()?;
        let redis = redis.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let redis = redis::Client::open(redis)?;
        let redis = redis.get_multiplexed_async_connection().await?;
        Ok(Self { client, redis, gcra: sha(GCRA), strict: sha(STRICT) })
    }

    pub(crate) async fn load(&self, source: &str) -> Result<()> {
        let load = CustomCommand::new_static("SCRIPT", ClusterHash::Random, false);
        self.client.custom::<Value, _>(load, vec!["LOAD", source]).await.context("SCRIPT LOAD")?;
        Ok(())
    }

    pub(crate) async fn one(&self, workload: Workload, n: usize) -> Result<()> {
        if workload == Workload::Get {
            self.client.get::<Value, _>(workload.key(n)).await?;
        } else {
            self.client.custom::<Value, _>(evalsha(), self.args(workload, n)).await?;
        }
        Ok(())
    }

    pub(crate) async fn one_by_redis(&self, workload: Workload, n: usize) -> Result<()> {
        let mut redis = self.redis.clone();
        self.command(workload, n).query_async::<redis::Value>(&mut redis).await?;
        Ok(())
    }

    pub(crate) async fn many_by_redis(
        &self,
        workload: Workload,
        n: usize,
        count: usize,
    ) -> Result<()> {
        let mut pipeline = redis::Pipeline::with_capacity(count);
        for i in 0..count {
            pipeline.add_command(self.command(workload, n + i)).ignore();
        }
        let mut redis = self.redis.clone();
        pipeline.query_async::<()>(&mut redis).await?;
        Ok(())
    }

    fn command(&self, workload: Workload, n: usize) -> redis::Cmd {
        if workload == Workload::Get {
            return redis::Cmd::get(workload.key(n));
        }
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.args(workload, n));
        command
    }

    pub(crate) async fn many(&self, workload: Workload, n: usize, count: usize) -> Result<()> {
        let pipeline = self.client.pipeline();
        for i in 0..count {
            if workload == Workload::Get {
                let () = pipeline.get(workload.key(n + i)).await?;
            } else {
                let () = pipeline.custom(evalsha(), self.args(workload, n + i)).await?;
            }
        }
        pipeline.all::<Value>().await?;
        Ok(())
    }

    fn args(&self, workload: Workload, n: usize) -> Vec<String> {
        let sha = if workload == Workload::Gcra { &self.gcra } else { &self.strict };
        let mut args = vec![sha.clone(), "1".to_owned(), workload.key(n)];
        let (once, each) = workload.args();
        args.extend(once.iter().chain(each).map(|arg| (*arg).to_owned()));
        args
    }
}

fn evalsha() -> CustomCommand {
    CustomCommand::new_static("EVALSHA", ClusterHash::Random, false)
}
