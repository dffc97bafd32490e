//! What is asked: a GCRA check, a strict-window check, a GET; as one script each, for one or many.

use std::sync::LazyLock;

use anyhow::Result;
use raptor_core::{Call, Coalescer, Key, RedisClient, Reply, Script, Vectorised, Weight};

use crate::bare::Bare;

pub(crate) const KEYS: usize = 1_000;

/// GCRA with integers, for n keys: the smallest useful limiter.
pub(crate) const GCRA: &str = "\
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local out = {'ok'}
for i = 1, #KEYS do
  local tat = math.max(tonumber(call('GET', KEYS[i]) or '0'), now)
  if tat - now <= burst - interval then
    tat = tat + interval
    call('SET', KEYS[i], tat, 'PX', math.ceil((tat - now) / 1000))
    out[i + 1] = 1
  else
    out[i + 1] = 0
  end
end
return out";
/// The script of `raptor-ratelimit`, as it is.
pub(crate) const STRICT: &str = include!("../../../raptor-ratelimit/src/lua/source.in");

static GCRA_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new("bench.gcra", GCRA));
static STRICT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new("bench.strict", STRICT));

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    Gcra,
    Strict,
    Get,
}

impl Workload {
    pub(crate) const ALL: [Self; 3] = [Self::Gcra, Self::Strict, Self::Get];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::Strict => "strict window",
            Self::Get => "get",
        }
    }

    pub(crate) fn key(self, n: usize) -> String {
        format!("bench:{}:{}", self.name(), n.wrapping_mul(7_919) % KEYS)
    }

    /// What one call has beside its keys, before and for each operation.
    pub(crate) fn args(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Gcra => (&["60", "60000000"], &[]),
            Self::Strict => (&[], &[";1;S1000000000/60000000"]),
            Self::Get => (&[], &[]),
        }
    }

    pub(crate) async fn prepare(self, client: &RedisClient, bare: &Bare) -> Result<()> {
        match self {
            Self::Gcra => bare.load(GCRA).await?,
            Self::Strict => bare.load(STRICT).await?,
            Self::Get => {
                for n in 0..KEYS {
                    let key = Key::raw(self.key(n));
                    client.command("SET").key(&key).arg("x".repeat(100)).run::<()>().await?;
                }
            }
        }
        Ok(())
    }
}

/// A workload through Raptor.
pub(crate) struct Rider {
    workload: Workload,
    coalescer: Coalescer<Checks>,
}

impl Rider {
    pub(crate) fn new(workload: Workload) -> Self {
        Self { workload, coalescer: Coalescer::new(Checks(workload)) }
    }

    pub(crate) async fn alone(&self, client: &RedisClient, n: usize) -> Result<()> {
        let key = Key::raw(self.workload.key(n));
        if self.workload == Workload::Get {
            client.command("GET").key(&key).run::<Reply>().await?;
            return Ok(());
        }
        let checks = Checks(self.workload);
        let call = checks.write(std::slice::from_ref(&key), client.script(checks.script()));
        call.run::<Reply>().await?;
        Ok(())
    }

    pub(crate) async fn together(&self, client: &RedisClient, n: usize) -> Result<()> {
        let key = Key::raw(self.workload.key(n));
        if self.workload == Workload::Get {
            client.get(&key).await?;
        } else {
            self.coalescer.submit(client, key).await?;
        }
        Ok(())
    }
}

struct Checks(Workload);

impl Vectorised for Checks {
    type Op = Key;
    type Out = ();

    fn script(&self) -> &Script {
        match self.0 {
            Workload::Gcra => &GCRA_SCRIPT,
            Workload::Strict | Workload::Get => &STRICT_SCRIPT,
        }
    }

    fn key<'op>(&self, op: &'op Key) -> &'op Key {
        op
    }

    fn weight(&self, op: &Key) -> Weight {
        Weight { arguments: 1 + self.0.args().1.len(), bytes: op.as_bytes().len() + 32 }
    }

    fn write<'c>(&self, ops: &[Key], call: Call<'c>) -> Call<'c> {
        let (once, each) = self.0.args();
        let call = call.args(once.iter().copied());
        ops.iter().fold(call, |call, key| call.key(key).args(each.iter().copied()))
    }

    fn read(&self, ops: &[Key], reply: Reply) -> raptor_core::Result<Vec<raptor_core::Result<()>>> {
        reply.decode::<Vec<Reply>>()?;
        Ok(ops.iter().map(|_| Ok(())).collect())
    }
}
