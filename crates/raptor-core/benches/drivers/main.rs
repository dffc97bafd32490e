//! Both client libraries under the same Raptor, in one run: what each costs the server and us.
#![allow(missing_docs)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use raptor_bench::{Bench, Way};
use raptor_core::config::Driver;
use raptor_core::{
    Call, Coalescer, Incoming, Key, RedisClient, RedisConfig, Reply, Script, Vectorised, Weight,
};
use raptor_testkit::Server;
use tokio::sync::mpsc;

const CALLERS: [usize; 3] = [1, 64, 512];
const KEYS: usize = 1_000;
const BATCH: usize = 100;
const MEGABYTE: usize = 1 << 20;
const LISTENERS: usize = 100;
const NAMES: [[&str; 2]; 2] = [["fred", "fred, coalesced"], ["redis-rs", "redis-rs, coalesced"]];

static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "bench.count",
        "local out = {'ok'}
         for i = 1, #KEYS do out[i + 1] = redis.call('INCR', KEYS[i]) end
         return out",
    )
});

struct Count;

impl Vectorised for Count {
    type Op = Key;
    type Out = ();

    fn script(&self) -> &Script {
        &COUNT
    }

    fn key<'op>(&self, op: &'op Key) -> &'op Key {
        op
    }

    fn weight(&self, op: &Key) -> Weight {
        Weight { arguments: 1, bytes: op.as_bytes().len() }
    }

    fn write<'c>(&self, ops: &[Key], call: Call<'c>) -> Call<'c> {
        ops.iter().fold(call, |call, key| call.key(key))
    }

    fn read(&self, ops: &[Key], reply: Reply) -> raptor_core::Result<Vec<raptor_core::Result<()>>> {
        reply.decode::<Vec<Reply>>()?;
        Ok(ops.iter().map(|_| Ok(())).collect())
    }
}

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

fn key(kind: &str, n: usize) -> Key {
    Key::raw(format!("bench:{kind}:{}", n.wrapping_mul(7_919) % KEYS))
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let what = "the same calls through both client libraries, one by one and coalesced";
    let Some(mut bench) = Bench::new("drivers", what, &server) else { return Ok(()) };
    let mut clients = Vec::new();
    for driver in [Driver::Fred, Driver::Redis] {
        let config = RedisConfig::builder().url(server.url()).driver(driver);
        let config = config.command_timeout(Duration::from_secs(30)).build()?;
        clients.push(RedisClient::connect(config).await?);
    }
    for n in 0..KEYS {
        let set = clients[0].command("SET").key(&key("get", n)).arg("x".repeat(100));
        set.run::<()>().await?;
    }
    let large = vec![b'x'; MEGABYTE];
    clients[0].command("SET").key(&key("large", 0)).arg(large).run::<()>().await?;
    for callers in CALLERS {
        if bench.wants("get") {
            bench.compare("get", callers, gets(&clients, callers)).await?;
        }
        if bench.wants("evalsha") {
            bench.compare("evalsha", callers, scripts(&clients, callers)).await?;
        }
        if bench.wants("batch of 100") {
            bench.compare("batch of 100", callers, batches(&clients, callers)).await?;
        }
        if bench.wants("1 MB") {
            bench.compare("1 MB", callers, large_values(&clients, callers)).await?;
        }
    }
    if bench.wants("fan-out to 100") {
        let mut ways = Vec::new();
        for (client, [name, _]) in clients.iter().zip(NAMES) {
            ways.push(fan_out(client, name).await?);
        }
        bench.compare("fan-out to 100", 1, ways).await?;
    }
    bench.finish()
}

fn gets(clients: &[RedisClient], callers: usize) -> Vec<Way> {
    let ways = clients.iter().zip(NAMES).flat_map(|(client, [single, coalesced])| {
        let (one, many) = (client.clone(), client.clone());
        [
            Way::new(single, callers, move |n| {
                let client = one.clone();
                async move {
                    client.command("GET").key(&key("get", n)).run::<Reply>().await?;
                    Ok(())
                }
            }),
            Way::new(coalesced, callers, move |n| {
                let client = many.clone();
                async move {
                    client.get(&key("get", n)).await?;
                    Ok(())
                }
            }),
        ]
    });
    ways.collect()
}

fn scripts(clients: &[RedisClient], callers: usize) -> Vec<Way> {
    let ways = clients.iter().zip(NAMES).flat_map(|(client, [single, coalesced])| {
        let (one, many) = (client.clone(), client.clone());
        let counts = Arc::new(Coalescer::new(Count));
        [
            Way::new(single, callers, move |n| {
                let client = one.clone();
                async move {
                    client.script(&COUNT).key(&key("count", n)).run::<Reply>().await?;
                    Ok(())
                }
            }),
            Way::new(coalesced, callers, move |n| {
                let (client, counts) = (many.clone(), Arc::clone(&counts));
                async move {
                    counts.submit(&client, key("count", n)).await?;
                    Ok(())
                }
            }),
        ]
    });
    ways.collect()
}

fn batches(clients: &[RedisClient], callers: usize) -> Vec<Way> {
    let way = |(client, [name, _]): (&RedisClient, [&'static str; 2])| {
        let client = client.clone();
        Way::new(name, callers, move |n| {
            let client = client.clone();
            async move {
                let mut pipeline = client.pipeline();
                for i in 0..BATCH {
                    pipeline.push(client.command("GET").key(&key("get", n + i)));
                }
                pipeline.execute().await?;
                Ok(())
            }
        })
        .operations(BATCH)
    };
    clients.iter().zip(NAMES).map(way).collect()
}

fn large_values(clients: &[RedisClient], callers: usize) -> Vec<Way> {
    let way = |(client, [name, _]): (&RedisClient, [&'static str; 2])| {
        let client = client.clone();
        Way::new(name, callers, move |_| {
            let client = client.clone();
            async move {
                let value = client.command("GET").key(&key("large", 0)).large();
                let value: bytes::Bytes = value.run().await?;
                anyhow::ensure!(value.len() == MEGABYTE, "{} bytes", value.len());
                Ok(())
            }
        })
    };
    clients.iter().zip(NAMES).map(way).collect()
}

/// Messages of one subscription, told to a hundred listeners of this process.
async fn fan_out(client: &RedisClient, name: &'static str) -> Result<Way> {
    let channel = format!("bench:{name}");
    let mut subscription = client.subscribe([channel.clone()]).await?;
    let (heard, told) = mpsc::unbounded_channel::<()>();
    let told = Arc::new(tokio::sync::Mutex::new(told));
    let (tell, _) = tokio::sync::broadcast::channel::<bytes::Bytes>(1_024);
    for _ in 0..LISTENERS {
        let (mut listener, heard) = (tell.subscribe(), heard.clone());
        tokio::spawn(
            async move { while listener.recv().await.is_ok() && heard.send(()).is_ok() {} },
        );
    }
    tokio::spawn(async move {
        while let Some(event) = subscription.next().await {
            if let Incoming::Message { payload, .. } = event {
                let _ = tell.send(payload);
            }
        }
    });
    let client = client.clone();
    let way = Way::new(name, 1, move |_| {
        let (client, told, channel) = (client.clone(), Arc::clone(&told), channel.clone());
        async move {
            let mut told = told.lock().await;
            let published = (0..10).map(|_| {
                client.command("PUBLISH").arg(channel.as_str()).arg("a message").run::<()>()
            });
            try_join_all(published).await?;
            for _ in 0..10 * LISTENERS {
                told.recv().await.context("the listeners have gone")?;
            }
            Ok(())
        }
    });
    Ok(way.operations(10 * LISTENERS))
}
