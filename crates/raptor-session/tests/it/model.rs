//! The life of sessions held against a plain model: any calls in any order, by any of the tokens there ever were.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use raptor_session::{Changes, Metadata, SessionService, SessionToken, Updated};

use crate::support::{Fixture, NOW, options};

const IDLE_MS: i64 = 60_000;
const ABSOLUTE_MS: i64 = 200_000;
const POINTER_MS: i64 = 60_000;

#[derive(Clone, Debug)]
enum Step {
    Create,
    Get(usize),
    Set(usize, u8, u8),
    Remove(usize, u8),
    SetIf(usize, u8, u64),
    Take(usize, u8),
    Extend(usize, i64),
    Rotate(usize, i64),
    Delete(usize),
    RevokeExcept(usize),
    List,
    Pass(i64),
}

/// One session, or what an old token leads to.
#[derive(Clone, Debug)]
enum Place {
    Live(Live),
    Pointer { to: usize, readable_ms: i64, until_ms: i64 },
    Gone,
}

#[derive(Clone, Debug)]
struct Live {
    fields: BTreeMap<u8, u8>,
    seen_ms: i64,
    deadline_ms: i64,
    absolute_ms: i64,
    revision: u64,
}

/// By token, in the order in which they were made.
#[derive(Default)]
struct Model {
    places: Vec<Place>,
    now_ms: i64,
}

impl Model {
    /// The place of the session that a token leads to.
    fn find(&self, token: usize, by_pointer: bool) -> Option<usize> {
        match self.places.get(token)? {
            Place::Live(live) => (self.now_ms < live.deadline_ms).then_some(token),
            Place::Pointer { to, readable_ms, until_ms } => {
                let may = self.now_ms < *readable_ms || (by_pointer && self.now_ms < *until_ms);
                if may { self.find(*to, by_pointer) } else { None }
            }
            Place::Gone => None,
        }
    }

    fn live(&mut self, token: usize) -> Option<&mut Live> {
        let at = self.find(token, false)?;
        match &mut self.places[at] {
            Place::Live(live) => Some(live),
            _ => None,
        }
    }

    fn alive(&self) -> usize {
        let is =
            |place: &&Place| matches!(place, Place::Live(live) if self.now_ms < live.deadline_ms);
        self.places.iter().filter(is).count()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let token = 0..8_usize;
    prop_oneof![
        2 => Just(Step::Create),
        4 => token.clone().prop_map(Step::Get),
        3 => (token.clone(), 0..4_u8, any::<u8>()).prop_map(|(t, f, v)| Step::Set(t, f, v)),
        1 => (token.clone(), 0..4_u8).prop_map(|(t, f)| Step::Remove(t, f)),
        2 => (token.clone(), 0..4_u8, 1..4_u64).prop_map(|(t, f, r)| Step::SetIf(t, f, r)),
        1 => (token.clone(), 0..4_u8).prop_map(|(t, f)| Step::Take(t, f)),
        1 => (token.clone(), 1..300_000_i64).prop_map(|(t, ms)| Step::Extend(t, ms)),
        3 => (token.clone(), prop_oneof![Just(0), 1..20_000_i64]).prop_map(|(t, g)| Step::Rotate(t, g)),
        1 => token.clone().prop_map(Step::Delete),
        1 => token.prop_map(Step::RevokeExcept),
        1 => Just(Step::List),
        4 => prop_oneof![1..2_000_i64, 1..70_000_i64].prop_map(Step::Pass),
    ]
}

fn named(field: u8) -> String {
    format!("field {field}")
}

async fn run(sessions: &SessionService, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut model, mut tokens) = (Model::default(), Vec::<SessionToken>::new());
    let user = format!("ann {}", sessions.next_user());
    for step in steps {
        let now = model.now_ms;
        let at = sessions.at(now);
        let pick =
            |t: usize, tokens: &[SessionToken]| (!tokens.is_empty()).then(|| t % tokens.len());
        match step.clone() {
            Step::Pass(ms) => model.now_ms += ms,
            Step::Create => {
                tokens.push(
                    at.create_session(&user, "acme", &Metadata::new()).await.expect("created"),
                );
                model.places.push(Place::Live(Live {
                    fields: BTreeMap::new(),
                    seen_ms: now,
                    deadline_ms: now + IDLE_MS,
                    absolute_ms: now + ABSOLUTE_MS,
                    revision: 1,
                }));
            }
            Step::Get(t) => {
                let Some(t) = pick(t, &tokens) else { continue };
                let got = at.get_session(&tokens[t]).await.expect("an answer");
                let expected = model.live(t).map(|live| {
                    if now - live.seen_ms >= 937.5_f64.ceil() as i64 {
                        live.deadline_ms =
                            live.deadline_ms.max((now + IDLE_MS).min(live.absolute_ms));
                        live.seen_ms = now;
                    }
                    live.clone()
                });
                prop_assert_eq!(got.is_some(), expected.is_some(), "{:?} at {}", step, now);
                if let (Some(got), Some(live)) = (got, expected) {
                    let ms = |at: time::OffsetDateTime| (at - NOW).whole_milliseconds() as i64;
                    prop_assert_eq!(ms(got.expires_at), live.deadline_ms);
                    prop_assert_eq!(ms(got.absolute_deadline), live.absolute_ms);
                    prop_assert_eq!(got.revision, live.revision);
                    let mut fields = BTreeMap::new();
                    for field in 0..4 {
                        if let Some(value) = got.get::<u8>(&named(field)).expect("a number") {
                            fields.insert(field, value);
                        }
                    }
                    prop_assert_eq!(fields, live.fields);
                }
            }
            Step::Set(t, field, _) | Step::Remove(t, field) | Step::SetIf(t, field, _) => {
                let Some(t) = pick(t, &tokens) else { continue };
                let (value, wanted) = match step {
                    Step::Set(_, _, value) => (Some(value), None),
                    Step::SetIf(_, _, revision) => (Some(7), Some(revision)),
                    _ => (None, None),
                };
                let changes = match value {
                    Some(value) => Changes::new().set(named(field), &value),
                    None => Changes::new().remove(named(field)),
                };
                let update = at.update_session(&tokens[t], changes.expect("changes"));
                let update = match wanted {
                    Some(revision) => update.if_revision(revision),
                    None => update,
                };
                let expected = match model.live(t) {
                    None => Updated::Gone,
                    Some(live) if wanted.is_some_and(|wanted| wanted != live.revision) => {
                        Updated::Conflict { revision: live.revision }
                    }
                    Some(live) => {
                        live.revision += 1;
                        match value {
                            Some(value) => live.fields.insert(field, value),
                            None => live.fields.remove(&field),
                        };
                        Updated::Done { revision: live.revision }
                    }
                };
                prop_assert_eq!(update.await.expect("an answer"), expected, "{:?}", step);
            }
            Step::Take(t, field) => {
                let Some(t) = pick(t, &tokens) else { continue };
                let taken =
                    at.take_flash::<u8>(&tokens[t], &named(field)).await.expect("an answer");
                let expected = model.live(t).and_then(|live| {
                    let value = live.fields.remove(&field)?;
                    live.revision += 1;
                    Some(value)
                });
                prop_assert_eq!(taken, expected);
            }
            Step::Extend(t, ms) => {
                let Some(t) = pick(t, &tokens) else { continue };
                let by = Duration::from_millis(ms as u64);
                let until = at.extend_session(&tokens[t], by).await.expect("an answer");
                let expected = model.live(t).map(|live| {
                    let to = (now + ms).min(live.absolute_ms);
                    if to > live.deadline_ms {
                        (live.deadline_ms, live.seen_ms) = (to, now);
                    }
                    live.deadline_ms
                });
                prop_assert_eq!(until.map(|at| (at - NOW).whole_milliseconds() as i64), expected);
            }
            Step::Rotate(t, grace_ms) => {
                let Some(t) = pick(t, &tokens) else { continue };
                let grace = Duration::from_millis(grace_ms as u64);
                let new = at.rotate_session(&tokens[t]).grace(grace).await.expect("an answer");
                // By itself only, never by an old token.
                let live = match &model.places[t] {
                    Place::Live(live) if now < live.deadline_ms => Some(live.clone()),
                    _ => None,
                };
                prop_assert_eq!(new.is_some(), live.is_some());
                if let (Some(new), Some(live)) = (new, live) {
                    let stay = POINTER_MS.max(grace_ms).min(live.absolute_ms - now);
                    let (to, readable_ms) = (tokens.len(), now + grace_ms);
                    model.places[t] = Place::Pointer { to, readable_ms, until_ms: now + stay };
                    model.places.push(Place::Live(live));
                    tokens.push(new);
                }
            }
            Step::Delete(t) => {
                let Some(t) = pick(t, &tokens) else { continue };
                // The pointer's end goes by real time, so the model does not ask after it.
                if let Place::Pointer { until_ms, .. } = model.places[t]
                    && now >= until_ms
                {
                    continue;
                }
                let deleted = at.delete_session(&tokens[t]).await.expect("an answer");
                let expected = model.find(t, true);
                let stale = tokens_lead_over_an_end(&model, t);
                if !stale {
                    prop_assert_eq!(deleted, expected.is_some(), "{:?} at {}", step, now);
                }
                if let Some(at) = if deleted { model.find_any(t) } else { None } {
                    model.places[at] = Place::Gone;
                }
            }
            Step::RevokeExcept(t) => {
                let Some(t) = pick(t, &tokens) else { continue };
                let spared = match &model.places[t] {
                    Place::Live(live) if now < live.deadline_ms => Some(t),
                    _ => None,
                };
                // An old token may or may not spare its session once its pointer is gone: so only live ones.
                let mut revoke = at.revoke_workspace_user(&user, "acme");
                if spared.is_some() {
                    revoke = revoke.except(&tokens[t]);
                }
                revoke.await.expect("an answer");
                for (n, place) in model.places.iter_mut().enumerate() {
                    if matches!(place, Place::Live(_)) && Some(n) != spared {
                        *place = Place::Gone;
                    }
                }
            }
            Step::List => {
                let page = at.list_sessions(&user, "acme", 100, None).await.expect("a page");
                prop_assert_eq!(page.sessions.len(), model.alive(), "at {}", now);
            }
        }
    }
    Ok(())
}

/// Whether a pointer on the way is over by the model's clock, but may still be there by the server's.
fn tokens_lead_over_an_end(model: &Model, token: usize) -> bool {
    match model.places.get(token) {
        Some(Place::Pointer { to, until_ms, .. }) => {
            model.now_ms >= *until_ms || tokens_lead_over_an_end(model, *to)
        }
        _ => false,
    }
}

impl Model {
    /// Where a token leads in the end, whatever the clock says.
    fn find_any(&self, token: usize) -> Option<usize> {
        match self.places.get(token)? {
            Place::Pointer { to, .. } => self.find_any(*to),
            Place::Live(_) => Some(token),
            Place::Gone => None,
        }
    }
}

/// The service at moments of the model's clock.
trait Moments {
    fn at(&self, now_ms: i64) -> SessionService;
    fn next_user(&self) -> u64;
}

impl Moments for SessionService {
    fn at(&self, now_ms: i64) -> SessionService {
        self.pinned_at(NOW + time::Duration::milliseconds(now_ms))
    }

    /// Each case has a user of its own.
    fn next_user(&self) -> u64 {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn any_calls_in_any_order_do_what_the_model_does() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let f = runtime.block_on(Fixture::start());
    let sessions = f.with(options(IDLE_MS as u64, ABSOLUTE_MS as u64));
    let mut runner =
        TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(step(), 1..60), |steps| {
        runtime.block_on(run(&sessions, steps))
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    drop(runtime.enter());
}
