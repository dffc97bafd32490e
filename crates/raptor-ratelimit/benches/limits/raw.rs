//! The control: the script itself through redis-rs alone, one call a check.

use anyhow::Result;
use raptor_ratelimit::{Algorithm, Limit};

const SOURCE: &str = include!("../../src/lua/source.in");

pub(crate) struct Raw {
    connection: redis::aio::MultiplexedConnection,
    sha: String,
}

impl Raw {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/?protocol=resp3"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut load = redis::cmd("SCRIPT");
        let sha = load.arg("LOAD").arg(SOURCE).query_async(&mut connection).await?;
        Ok(Self { connection, sha })
    }

    pub(crate) async fn check(&self, user: usize, request: &str) -> Result<()> {
        let key = format!("raw:{{user-{user}}}:{request}");
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.sha).arg(1).arg(key).arg(request);
        call.query_async::<redis::Value>(&mut self.connection.clone()).await?;
        Ok(())
    }
}

/// One unit of `limit`, as the script takes it.
pub(crate) fn request(limit: &Limit) -> String {
    let letter = match limit.algorithm() {
        Algorithm::Log => 'L',
        Algorithm::Bucket => 'G',
        Algorithm::Fixed => 'F',
        Algorithm::Counter => 'C',
        _ => 'S',
    };
    format!(";1;{letter}{}/{}", limit.limit(), limit.window().as_micros())
}
