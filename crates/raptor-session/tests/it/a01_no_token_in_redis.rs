//! Acceptance 1: a dump of Redis contains no token. (100k tokens unique: token.rs.)

use std::collections::HashSet;

use raptor_session::Metadata;
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::Fixture;

const SESSIONS: usize = 10_000;
const WINDOW: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_redis_contains_no_token_nor_its_random_bits() {
    let f = Fixture::start().await;
    // Compressed values could hide what we look for.
    f.run_everywhere(redis::cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no")).await;
    let mut creators = JoinSet::new();
    for creator in 0..32 {
        let sessions = f.sessions.clone();
        creators.spawn(async move {
            let mut tokens = Vec::new();
            for n in (creator..SESSIONS).step_by(32) {
                let fields = Metadata::new().with("n", &n).expect("a field");
                let user = format!("user {}", n % 500);
                tokens.push(
                    sessions.create_session(&user, "acme", &fields).await.expect("a session"),
                );
            }
            tokens
        });
    }
    let tokens: Vec<_> = creators.join_all().await.into_iter().flatten().collect();
    let unique: HashSet<&str> = tokens.iter().map(|token| token.expose()).collect();
    assert_eq!(unique.len(), SESSIONS);

    // A part of each token out of its random bits, as text and as bytes.
    let mut secrets: HashSet<Vec<u8>> = HashSet::new();
    for text in unique {
        secrets.insert(text.as_bytes()[8..8 + WINDOW].to_vec());
        secrets.insert(decode(&text[8..24]));
    }
    assert_eq!(secrets.len(), 2 * SESSIONS);

    assert_eq!(leaks(&f, &secrets), 0);

    // The search would find one, as text and as bytes.
    let text = tokens[0].expose();
    f.run(redis::cmd("SET").arg("text").arg(format!("a cookie of {text}!"))).await;
    f.run(
        redis::cmd("HSET").arg("bytes").arg("x").arg([&b"..."[..], &decode(&text[..44])].concat()),
    )
    .await;
    assert_eq!(leaks(&f, &secrets), 2);
}

/// How many keys, or their values, hold one of the secrets.
fn leaks(f: &Fixture, secrets: &HashSet<Vec<u8>>) -> usize {
    let leaky = |bytes: &[u8]| bytes.windows(WINDOW).any(|window| secrets.contains(window));
    let (mut seen, mut found) = (0, 0);
    for node in f.backend.nodes() {
        let mut admin = node.admin().expect("a connection");
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut admin).expect("keys");
        seen += keys.len();
        for keys in keys.chunks(1_000) {
            let mut dumps = redis::pipe();
            for key in keys {
                dumps.cmd("DUMP").arg(key);
            }
            let values: Vec<Vec<u8>> = dumps.query(&mut admin).expect("values");
            let pairs = keys.iter().zip(&values);
            found += pairs.filter(|(key, value)| leaky(key) || leaky(value)).count();
        }
    }
    assert!(seen >= SESSIONS + 500);
    found
}

/// URL-safe base64 without padding, of whole groups of four characters.
fn decode(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |four: &[u8]| {
        let bits = four.iter().fold(0_u32, |bits, c| {
            (bits << 6) | ALPHABET.iter().position(|a| a == c).expect("the alphabet") as u32
        });
        bits.to_be_bytes()[1..].to_vec()
    };
    text.as_bytes().chunks(4).flat_map(group).collect()
}
