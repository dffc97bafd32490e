//! A subscriber that keeps every log event of its thread, whatever the level, as text.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// The events so far; a test that runs on one thread sees those of all its tasks.
pub(crate) struct Captured {
    events: Arc<Mutex<Vec<Logged>>>,
    _guard: DefaultGuard,
}

/// An event: `debug raptor_core::commands command="GET" keys=1 …`.
#[derive(Clone, Debug)]
pub(crate) struct Logged(String);

impl Captured {
    pub(crate) fn start() -> Self {
        let events = Arc::<Mutex<Vec<Logged>>>::default();
        let guard = tracing::subscriber::set_default(Capture(Arc::clone(&events)));
        Self { events, _guard: guard }
    }

    /// Everything, in one text.
    pub(crate) fn text(&self) -> String {
        let events = self.events.lock().expect("nobody panicked with it");
        events.iter().map(|event| format!("{}\n", event.0)).collect()
    }

    /// The events of debug mode, which are taken out.
    pub(crate) fn take_commands(&self) -> Vec<Logged> {
        let mut events = self.events.lock().expect("nobody panicked with it");
        let (commands, others) =
            events.drain(..).partition(|event| event.0.starts_with("DEBUG raptor_core::commands "));
        *events = others;
        commands
    }
}

impl Logged {
    /// The value of a field, as it is written.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.0.split_once(&format!(" {name}="))?;
        Some(match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => rest.split(' ').next()?,
        })
    }
}

struct Capture(Arc<Mutex<Vec<Logged>>>);

impl Subscriber for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut line);
        self.0.lock().expect("nobody panicked with it").push(Logged(line.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
