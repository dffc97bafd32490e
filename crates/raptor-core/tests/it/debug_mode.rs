//! Debug mode: every call is logged, and nothing of what is in it.

use std::time::Duration;

use raptor_core::{ErrorKind, Expiry, Family, Key, RedisClient, Reply, Script};
use raptor_testkit::{Server, redis};

use crate::captured::{Captured, Logged};
use crate::fixture;

/// Stands in each key part, value, channel and password.
const SECRET: &str = "hunter2";

async fn client(server: &Server, debug: bool) -> RedisClient {
    let config = fixture::settings(server.url()).debug_commands(debug);
    RedisClient::connect(config.build().expect("a config")).await.expect("connects")
}

async fn server() -> Server {
    Server::builder().password(format!("{SECRET}-password")).start().await.expect("starts")
}

fn key(client: &RedisClient, part: &str) -> Key {
    let part = format!("{SECRET}-{part}");
    client.keys().key(&Family::RATE, format!("{SECRET}-user"), &[part]).expect("a key")
}

/// The one event that was logged.
fn one(log: &Captured) -> Logged {
    let mut events = log.take_commands();
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn fields<const N: usize>(event: &Logged, names: [&str; N]) -> [String; N] {
    names.map(|name| event.field(name).unwrap_or("-").to_owned())
}

#[tokio::test]
async fn a_call_is_logged_by_name_families_sizes_and_outcome() {
    let log = Captured::start();
    let server = server().await;
    let client = client(&server, true).await;
    let what = ["command", "families", "keys", "arguments", "outcome", "operations", "resends"];
    assert!(log.take_commands().is_empty(), "connecting is no call");

    let key = key(&client, "a");
    client.command("SET").key(&key).arg("v").arg("EX").arg(60).run::<()>().await.expect("SET");
    let event = one(&log);
    assert_eq!(fields(&event, what), ["SET", "rate", "1", "3", "ok", "-", "0"]);
    let bytes = key.as_bytes().len() + "v".len() + "EX".len() + "60".len();
    assert_eq!(event.field("bytes"), Some(&*bytes.to_string()));
    let took: u64 = event.field("took_us").expect("a time").parse().expect("a number");
    assert!((1..2_000_000).contains(&took), "{took}");

    // Inside a script, and yet by its own name; the wrong type.
    let error = client.command("lrange").key(&key).arg(0).arg(-1).run::<Reply>().await;
    assert_eq!(error.expect_err("a string").kind(), ErrorKind::WrongType);
    let event = one(&log);
    assert_eq!(fields(&event, what), ["LRANGE", "rate", "1", "2", "wrong_type", "-", "1"]);

    // Unknown to the server, so sent twice.
    let script = Script::new("test.two", "return #KEYS + #ARGV");
    let raw = Key::raw(format!("{{{SECRET}-user}}"));
    let call = client.script(&script).key(&key).key(&raw).arg("x");
    assert_eq!(call.run::<i64>().await.expect("runs"), 3);
    let event = one(&log);
    assert_eq!(fields(&event, what), ["test.two", "rate raw", "2", "1", "ok", "-", "1"]);
    let bytes = key.as_bytes().len() + raw.as_bytes().len() + "x".len();
    assert_eq!(event.field("bytes"), Some(&*bytes.to_string()));
}

#[tokio::test]
async fn tools_are_logged_too() {
    let log = Captured::start();
    let server = server().await;
    let client = client(&server, true).await;
    let (a, b) = (key(&client, "a"), key(&client, "b"));
    let set = |key| client.command("SET").key(key).arg(SECRET);
    let what = ["command", "keys", "operations", "outcome"];

    client.pipeline().with(set(&a)).with(set(&b)).execute().await.expect("sent");
    let events = log.take_commands();
    assert_eq!(events.len(), 2, "a call each");
    assert!(events.iter().all(|event| fields(event, what) == ["SET", "1", "-", "ok"]));

    client.pipeline().with(set(&a)).with(set(&b)).atomic().execute().await.expect("sent");
    assert_eq!(fields(&one(&log), what), ["core.pipeline", "2", "2", "ok"]);

    client.get(&a).await.expect("reads");
    let event = one(&log);
    assert_eq!(fields(&event, ["command", "keys", "outcome"]), ["core.get", "1", "ok"]);

    let _ = client.atomic().compare_and_set(&a, Some(b"other"), SECRET, Expiry::Keep).await;
    assert_eq!(fields(&one(&log), what), ["core.compare_and_set", "1", "-", "ok"]);

    let channels = [format!("{SECRET}-1"), format!("{SECRET}-2")];
    let _subscription = client.subscribe(channels).await.expect("subscribes");
    let event = one(&log);
    assert_eq!(fields(&event, ["command", "channels", "outcome"]), ["SUBSCRIBE", "2", "ok"]);

    // Refused before anything is sent: no call was made.
    client.command("KEYS\n").run::<()>().await.expect_err("no name");
    assert!(log.take_commands().is_empty());
}

#[tokio::test]
async fn who_goes_away_before_the_end_is_logged_as_such() {
    let log = Captured::start();
    let server = server().await;
    let client = client(&server, true).await;
    server.stop().expect("stops");
    let ping = client.command("PING").run::<()>();
    tokio::time::timeout(Duration::from_millis(20), ping).await.expect_err("no answer");
    assert_eq!(fields(&one(&log), ["command", "outcome"]), ["PING", "caller_gone"]);
    let silent = client.command("PING").timeout(Duration::from_millis(20)).run::<()>().await;
    assert_eq!(silent.expect_err("no answer").kind(), ErrorKind::Timeout);
    assert_eq!(fields(&one(&log), ["command", "outcome"]), ["PING", "timeout"]);
    server.cont().expect("goes on");
}

#[tokio::test]
async fn no_log_holds_a_key_part_a_value_or_a_password_also_where_an_error_quotes_it() {
    let log = Captured::start();
    let server = server().await;
    let client = client(&server, true).await;
    let (key, raw) = (key(&client, "a"), Key::raw(format!("{SECRET}-raw")));
    client.command("SET").key(&key).arg(SECRET).run::<()>().await.expect("SET");
    client.command("GET").key(&key).run::<String>().await.expect("GET");
    client.get(&raw).await.expect("reads");
    let quoting = Script::new("test.quoting", "error('wrong: ' .. ARGV[1] .. KEYS[1])");
    let error = client.script(&quoting).key(&raw).arg(SECRET).run::<()>().await;
    let error = error.expect_err("raised");
    assert!(error.to_string().contains(SECRET), "the server quotes it: {error}");
    let unknown = client.command("NONSENSE").key(&raw).arg(SECRET).run::<()>().await;
    assert_eq!(unknown.expect_err("unknown").kind(), ErrorKind::Server);
    let _ = client.subscribe([format!("{SECRET}-channel")]).await.expect("subscribes");
    // A cut, a new connection, and a password that is wrong by now.
    let mut admin = server.admin().expect("a connection");
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("new").exec(&mut admin).expect("sets");
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut admin).expect("kills");
    let refused = async || {
        let outcome = client.command("GET").key(&key).run::<Reply>().await;
        outcome.is_err_and(|error| error.kind() == ErrorKind::Auth)
    };
    fixture::until(Duration::from_secs(20), "a refusal", refused).await.expect("refused");
    let text = log.text();
    assert!(text.contains("test.quoting") && text.contains("outcome=\"server\""), "{text}");
    assert!(text.contains("outcome=\"auth\"") && text.contains("connection lost"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn nothing_is_logged_when_it_is_off() {
    let log = Captured::start();
    let server = server().await;
    for client in [client(&server, false).await, fixture::client(&server.url()).await] {
        let key = key(&client, "a");
        client.command("SET").key(&key).arg(SECRET).run::<()>().await.expect("SET");
        client.get(&key).await.expect("reads");
        let _subscription = client.subscribe([SECRET]).await.expect("subscribes");
    }
    assert!(log.take_commands().is_empty());
}
