//! Acceptance 1: what is logged, shown or told of an error holds no token.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raptor_core::{RedisClient, RedisConfig};
use raptor_session::{Changes, Metadata, SessionOptions, SessionService};
use raptor_testkit::{Backend, redis};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

use crate::support::peppers;

/// Keeps every event of its thread, whatever the level, as text.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<String>>);

impl Subscriber for Capture {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().expect("nobody panicked with it")));
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.0.lock().expect("nobody panicked with it")));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().expect("nobody panicked with it")));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = writeln!(self.0, "{}={value:?}", field.name());
    }
}

#[tokio::test]
async fn a01_the_logs_of_every_call_hold_no_token_and_no_value() {
    let logs = Capture::default();
    let _guard = tracing::subscriber::set_default(logs.clone());
    let backend = Backend::start().await.expect("servers");
    let config = RedisConfig::builder().url(backend.url()).debug_commands(true);
    let config = config.driver(raptor_testkit::driver().expect("a driver")).build();
    let client = RedisClient::connect(config.expect("a config")).await.expect("a connection");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");

    let fields = Metadata::new().with("flash", "s3cret").expect("a field");
    let old = sessions.create_session("ann", "acme", &fields).await.expect("a session");
    let mut shown = String::new();
    let mut tell = |what: &dyn Debug| {
        let _ = writeln!(shown, "{what:?}");
    };
    tell(&sessions);
    let new = sessions.rotate_session(&old).grace(Duration::from_secs(9)).await;
    let new = new.expect("an answer").expect("rotated");
    for token in [&old, &new] {
        tell(token);
        tell(&sessions.get_session(token).await);
        let changes = Changes::new().set("n", "s3cret").expect("a change");
        let update = sessions.update_session(token, changes);
        tell(&update);
        tell(&update.await);
        tell(&sessions.extend_session(token, Duration::from_secs(3_600)).await);
    }
    tell(&sessions.list_sessions("ann", "acme", 9, None).await);
    // Errors as well: another type under the session's key.
    let keys: Vec<String> = backend.keys("*session:*").await.expect("keys");
    for key in keys {
        let _: redis::Value =
            backend.query(redis::cmd("SET").arg(key).arg("foreign")).await.expect("an answer");
    }
    tell(&sessions.get_session(&new).await.expect_err("foreign"));
    tell(&sessions.take_flash::<u8>(&new, "flash").await.expect_err("foreign"));
    tell(&sessions.delete_session(&new).await.expect_err("foreign"));

    let logged = logs.0.lock().expect("nobody panicked with it").clone();
    assert!(logged.contains("session.get") && shown.contains("acme"), "something was looked at");
    for text in [&logged, &shown] {
        assert!(!text.contains("s3cret"));
        for token in [&old, &new] {
            let parts = token.expose().as_bytes().windows(10);
            let mut parts = parts.map(|part| std::str::from_utf8(part).expect("ASCII")).skip(3);
            assert!(!parts.any(|part| text.contains(part)));
        }
    }
}
