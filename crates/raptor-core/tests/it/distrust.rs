//! A value of another key: a connection whose replies are shifted is closed, and one that only shows
//! what somebody put there is kept.

use raptor_core::codec::Flaw;
use raptor_core::{Codec, ErrorKind, Expiry, Key};
use raptor_testkit::{Server, redis};

use crate::captured::Captured;
use crate::desync::{Stray, shifting_front};
use crate::fixture;

#[tokio::test]
async fn a_value_that_was_copied_is_refused_each_time_and_costs_nobody_a_connection() {
    let log = Captured::start();
    let (server, client) = fixture::server().await;
    let codec = Codec::default();
    let values = client.atomic().values(&codec);
    let (a, b) = (Key::raw("{t}a"), Key::raw("{t}b"));
    values.set_if_absent(&a, &7_u32, Expiry::Keep).await.expect("SET");
    let stored: Vec<u8> = server.query(redis::cmd("GET").arg("{t}a")).await.expect("GET");
    server.query::<()>(redis::cmd("COPY").arg("{t}a").arg("{t}b")).await.expect("COPY");
    for _ in 0..50 {
        let add = |n: Option<u32>| n.unwrap_or_default() + 1;
        for outcome in [
            values.get::<u32>(&b).await.map(drop),
            values.update(&b, Expiry::Keep, add).await.map(drop),
            values.compare_and_set(&b, None, &7_u32, Expiry::Keep).await.map(drop),
            values.compare_and_delete(&b, &7_u32).await.map(drop),
        ] {
            let error = outcome.expect_err("another key's");
            assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
            assert_eq!(Flaw::of(&error), Some(&Flaw::OtherKey));
        }
    }
    let kept: Vec<u8> = server.query(redis::cmd("GET").arg("{t}b")).await.expect("GET");
    assert_eq!(kept, stored, "it was left alone");
    assert_eq!(values.get::<u32>(&a).await.expect("GET"), Some(7));
    assert!(!log.text().contains("connection lost"), "{}", log.text());
}

/// Replies to `GET` carry no tag: only the value's fingerprint tells, and the connection ends with it.
#[tokio::test]
async fn a_shifted_reply_that_only_its_fingerprint_betrays_closes_the_connection() {
    let server = Server::start().await.expect("a server starts");
    let codec = Codec::default();
    let keys = [Key::raw("a"), Key::raw("b")];
    let envelope = codec.encode(&keys[1], &1_u64).expect("encoded");
    let strays: [Vec<u8>; 3] = [
        [format!("${}\r\n", envelope.len()).as_bytes(), &envelope, b"\r\n"].concat(),
        b"-WRONGTYPE of another call\r\n".to_vec(),
        b"$-1\r\n".to_vec(),
    ];
    for stray in strays {
        server.query::<()>(&redis::cmd("FLUSHALL")).await.expect("flushes");
        let front = shifting_front(server.addr(), stray, Stray::BeforeAReply).await;
        let client = fixture::client(&format!("redis://{front}?protocol=2")).await;
        let values = client.atomic().values(&codec);
        for (key, value) in keys.iter().zip(0_u64..) {
            values.set_if_absent(key, &value, Expiry::Keep).await.expect("SET");
        }
        let mut wrong = 0;
        for round in 0..40 {
            let (key, value) = (&keys[round % 2], round as u64 % 2);
            match values.get::<u64>(key).await {
                Ok(got) if got == Some(value) => {}
                // What has no envelope cannot be told; the value behind it can.
                Ok(got) => assert!(got.is_none() && wrong == 0, "{round}: {got:?}"),
                Err(_) => wrong += 1,
            }
        }
        assert!((1..=3).contains(&wrong), "{wrong} reads failed: one or two until it is found out");
    }
}
