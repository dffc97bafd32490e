//! Many at one key: nothing is lost, nothing counts twice, no bound is passed.

use std::time::Duration;

use bytes::Bytes;
use raptor_core::atomic::{Increment, Swap};
use raptor_core::{AtomicOperations, Codec, ErrorKind, Expiry, Key, RedisClient};
use serde::{Deserialize, Serialize};

use crate::atomic::{backend, encrypting};

/// A counter is read once and then only compared and set: nothing is lost, nothing counts twice.
async fn count_by_compare_and_set(atomic: AtomicOperations, key: Key) {
    let mut current: Option<Bytes> = atomic.get(&key).await.expect("GET");
    for _ in 0..100 {
        loop {
            let n: u64 = current.as_ref().map_or(0, |text| {
                std::str::from_utf8(text).expect("text").parse().expect("a number")
            });
            let next = Bytes::from((n + 1).to_string());
            let expected = current.as_deref();
            match atomic.compare_and_set(&key, expected, &next, Expiry::Keep).await.expect("runs") {
                Swap::Swapped => {
                    current = Some(next);
                    break;
                }
                Swap::Mismatch(now) => current = now,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_of_a_hundred_increments_by_compare_and_set_give_6400() {
    let (_backend, client) = backend().await;
    let key = Key::raw("n");
    let tasks: Vec<_> = (0..64)
        .map(|_| tokio::spawn(count_by_compare_and_set(client.atomic(), key.clone())))
        .collect();
    for task in tasks {
        task.await.expect("counts");
    }
    assert_eq!(client.atomic().get(&key).await.expect("GET").as_deref(), Some(&b"6400"[..]));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) owner: String,
    pub(crate) balance: u64,
}

/// Adds one to the balance.
fn paid(account: Option<Account>) -> Account {
    let balance = account.map_or(0, |account| account.balance) + 1;
    Account { owner: "Ada".into(), balance }
}

async fn pay_by_compare_and_set(client: RedisClient, codec: Codec, key: Key, task: u64) {
    let atomic = client.atomic();
    let values = atomic.values(&codec);
    for n in 0..100 {
        let mut current: Option<Account> = values.get(&key).await.expect("reads");
        let mut window_ms = 1;
        loop {
            let next = paid(current.clone());
            let swap = values.compare_and_set(&key, current.as_ref(), &next, Expiry::Keep).await;
            match swap.expect("runs") {
                Swap::Swapped => break,
                Swap::Mismatch(_) => {}
            }
            // Out of step with the others, as any such loop should be.
            tokio::time::sleep(Duration::from_millis((task * 31 + n * 17) % window_ms)).await;
            window_ms = (window_ms * 2).min(128);
            current = values.get(&key).await.expect("reads");
        }
    }
}

async fn pay_by_update(client: RedisClient, codec: Codec, key: Key) {
    let atomic = client.atomic();
    for _ in 0..100 {
        // On a busy machine the others may be faster for all of the time that a call has: then, and
        // only then, it wrote nothing and is to be tried again.
        while let Err(error) = atomic.values(&codec).update(&key, Expiry::Keep, paid).await {
            assert_eq!(error.kind(), ErrorKind::TryAgain, "{error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_of_a_hundred_increments_of_an_encrypted_value_give_6400() {
    let (_backend, client) = backend().await;
    let codec = encrypting();
    for by_update in [true, false] {
        let key = Key::raw(if by_update { "updated" } else { "compared" });
        let started = std::time::Instant::now();
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let (client, codec, key) = (client.clone(), codec.clone(), key.clone());
                match by_update {
                    true => tokio::spawn(pay_by_update(client, codec, key)),
                    false => tokio::spawn(pay_by_compare_and_set(client, codec, key, task)),
                }
            })
            .collect();
        for task in tasks {
            task.await.expect("pays");
        }
        println!("{key:?}: {:?}", started.elapsed());
        let stored = client.atomic().get(&key).await.expect("GET").expect("a value");
        let account: Account = codec.decode(&key, &stored).expect("decodes");
        assert_eq!(account.balance, 6_400);
        assert!(!stored.windows(3).any(|window| window == b"Ada"), "encrypted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounded_increments_of_many_never_pass_the_bound() {
    let (_backend, client) = backend().await;
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let atomic = client.atomic();
            tokio::spawn(async move {
                let mut granted = 0;
                for _ in 0..50 {
                    match atomic.increment(&Key::raw("seats"), 3, 0..=1_000, Expiry::Keep).await {
                        Ok(Increment::Value(_)) => granted += 3,
                        Ok(Increment::OutOfBounds { current }) => assert!(current > 997),
                        Err(error) => panic!("{error:?}"),
                    }
                }
                granted
            })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += task.await.expect("ends");
    }
    assert_eq!(granted, 999);
}
