//! What a stranger tried by HTTP: a cookie that is set over a login, a session that changes too late, a dead store.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::stream;
use raptor_core::{ErrorKind, Keyring, Result};
use raptor_session::web::{CookiePolicy, SessionHandle, SessionLayer};
use raptor_session::{Changes, Metadata, SessionOptions, SessionService};
use raptor_testkit::redis;
use std::time::Duration;

use crate::http::{Browser, serve};
use crate::support::{Fixture, create, peppers, script_calls};

fn fields() -> Metadata {
    Metadata::new().with("basket", &["tea"]).expect("a field")
}

async fn begin(session: SessionHandle) -> Result<(), raptor_session::web::Rejection> {
    Ok(session.begin(&fields()).await?)
}

/// A browser of a server that begins a session where there is none.
async fn visitor(sessions: &SessionService, cookie: &str) -> Browser {
    let policy = CookiePolicy::insecure("session").expect("a name");
    let layer = SessionLayer::new(sessions.clone()).cookie(policy);
    let app = Router::new().route("/begin", post(begin)).layer(layer);
    let browser = Browser::new(serve(app).await);
    Browser { cookie: Some(format!("session={cookie}")), ..browser }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_begins_by_a_token_that_another_request_rotated() {
    let f = Fixture::start().await;
    for grace in [0, 60] {
        let old = create(&f.sessions, "ann").await;
        let mut in_flight = visitor(&f.sessions, old.expose()).await;
        let rotate = f.sessions.rotate_session(&old).grace(Duration::from_secs(grace));
        let new = rotate.await.expect("an answer").expect("rotated");
        let page = in_flight.post("/begin").await;
        assert_eq!(page.header("set-cookie"), None, "the browser would lose its login");
        if grace > 0 {
            assert_eq!(page.status, 200, "it is read by its old token");
        } else {
            assert_eq!((page.status, page.header("retry-after")), (503, Some("1")));
        }
        let mut repeated = visitor(&f.sessions, new.expose()).await;
        let page = repeated.post("/begin").await;
        assert_eq!((page.status, page.header("set-cookie")), (200, None));
        // Of a login over it no pointer stays: so it says in the documentation.
        f.sessions.promote_session(&new, "ann", "acme", &fields()).await.expect("a login");
        assert!(repeated.post("/begin").await.header("set-cookie").is_some());
    }
}

/// The pointer stays for its grace; the session that it led to does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_begins_where_a_rotated_one_has_ended() {
    let f = Fixture::start().await;
    let old = create(&f.sessions, "ann").await;
    let rotate = f.sessions.rotate_session(&old).grace(Duration::from_secs(3_600));
    rotate.await.expect("an answer").expect("rotated");
    assert_eq!(f.sessions.revoke_workspace_user("ann", "acme").await.expect("an answer"), 1);
    let page = visitor(&f.sessions, old.expose()).await.post("/begin").await;
    assert_eq!((page.status, page.header("set-cookie").is_some()), (200, true));
}

/// Begins in a task, and does not wait for it: the head does.
async fn rotate_meanwhile(session: SessionHandle) {
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut rotation = std::pin::pin!(session.rotate(Duration::ZERO));
        assert!(futures_util::poll!(&mut rotation).is_pending());
        begun.send(()).expect("the handler waits");
        rotation.await.expect("an answer");
    });
    has_begun.await.expect("begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_under_way_when_the_handler_answers_reaches_the_browser() {
    let f = Fixture::start().await;
    let layer = SessionLayer::new(f.sessions.clone())
        .cookie(CookiePolicy::insecure("session").expect("a name"));
    let app = Router::new().route("/rotate", post(rotate_meanwhile)).layer(layer);
    let at = serve(app).await;
    for _ in 0..20 {
        let token = create(&f.sessions, "ann").await;
        let mut browser = Browser::new(at);
        browser.cookie = Some(format!("session={}", token.expose()));
        let page = browser.post("/rotate").await;
        assert_eq!((page.status, page.header("set-cookie").is_some()), (200, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_begins_over_a_session_that_another_process_can_read() {
    let f = Fixture::start().await;
    let keyring = |id| {
        let keys = format!("{id}:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=");
        let keyring = Keyring::parse(&keys).expect("a keyring");
        f.with(SessionOptions::new(peppers()).keyring(keyring))
    };
    let (sealed, of_another_key) = (keyring("a"), keyring("b"));
    let token = sealed.create_session("ann", "acme", &fields()).await.expect("a session");
    for sessions in [&f.sessions, &of_another_key] {
        let page = visitor(sessions, token.expose()).await.post("/begin").await;
        assert_eq!((page.status, page.header("set-cookie")), (500, None));
        // A login ends it, and brings nothing along.
        let old = sealed.create_session("ann", "acme", &fields()).await.expect("a session");
        let new = sessions.promote_session(&old, "ann", "acme", &Metadata::new()).await;
        let new = sessions.get_session(&new.expect("a login")).await.expect("an answer");
        assert!(new.expect("alive").metadata.is_empty());
        assert_eq!(sealed.get_session(&old).await.expect("an answer"), None);
    }
    f.run_everywhere(&redis::cmd("FLUSHALL")).await;
    let token = create(&f.sessions, "ann").await;
    let key = f.keys("*session:*").await.remove(0);
    let head: String =
        f.backend.query(redis::cmd("HGET").arg(&key).arg("h")).await.expect("a head");
    let mut ann = visitor(&f.sessions, token.expose()).await;
    for (head, status) in [(format!("2{}", &head[1..]), 500), ("damage".to_owned(), 200)] {
        f.run(redis::cmd("HSET").arg(&key).arg("h").arg(&head)).await;
        let page = ann.post("/begin").await;
        assert_eq!((page.status, page.header("set-cookie").is_some()), (status, status == 200));
    }
}

fn told(outcomes: &[Result<()>]) -> String {
    let kinds = outcomes.iter().map(|outcome| match outcome {
        Ok(()) => "ok",
        Err(error) => error.kind().as_str(),
    });
    kinds.collect::<Vec<_>>().join(" ")
}

/// A body that is made when its head is gone.
fn streamed(text: impl Future<Output = String> + Send + 'static) -> Response {
    let chunk = async { Ok::<_, std::convert::Infallible>(text.await) };
    Response::new(Body::from_stream(stream::once(chunk)))
}

async fn change_too_late(session: SessionHandle) -> Response {
    streamed(async move {
        told(&[
            session.log_in("ann", "acme", &fields()).await,
            session.begin(&fields()).await,
            session.rotate(Duration::ZERO).await.map(drop),
            session.log_out().await.map(drop),
        ])
    })
}

async fn use_late(session: SessionHandle) -> Response {
    streamed(async move {
        let changes = Changes::new().set("n", &1).expect("a change");
        let updated = session.update(changes, None).await.expect("an answer");
        let taken = session.take_flash::<u8>("n").await.expect("an answer");
        let loaded = session.load().await.expect("an answer").expect("alive");
        format!("{} {taken:?} {}", updated.is_done(), loaded.user)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_body_cannot_change_which_session_it_is_for_and_can_use_it() {
    let f = Fixture::start().await;
    let app = Router::new()
        .route("/change", post(change_too_late))
        .route("/use", post(use_late))
        .layer(SessionLayer::new(f.sessions.clone()));
    let mut ann = Browser::new(serve(app).await);
    for cookie in [None, Some(create(&f.sessions, "ann").await)] {
        ann.cookie = cookie.map(|token| format!("__Host-session={}", token.expose()));
        let before = script_calls(&f).await;
        let page = ann.post("/change").await;
        let refused = [ErrorKind::InvalidInput.as_str(); 4].join(" ");
        assert!(page.body.contains(&refused), "{}", page.body);
        assert_eq!(script_calls(&f).await, before, "the store was not asked");
    }
    let page = ann.post("/use").await;
    assert!(page.body.contains("true Some(1) ann"), "{}", page.body);
}

/// A task that outlives its request can only be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_given_up_is_past_its_head_too() {
    let f = Fixture::start().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let panics = get(move |session: SessionHandle| async move {
        tell.send(session).expect("a listener");
        panic!("the handler's own");
        #[allow(unreachable_code, reason = "a handler has to answer")]
        ()
    });
    let app = Router::new().route("/", panics).layer(SessionLayer::new(f.sessions.clone()));
    let addr = serve(app).await;
    let request = tokio::spawn(async move { Browser::new(addr).get("/").await });
    let session = told.recv().await.expect("a session");
    assert!(request.await.is_err(), "there is no answer");
    let error = session.begin(&fields()).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// For it asserts durations.
mod serial {
    use std::time::Instant;

    use raptor_core::RedisClient;
    use raptor_testkit::{Fault, Proxy, Server};

    use super::*;
    use crate::support::config;

    async fn call(session: &SessionHandle, call: usize) -> Result<()> {
        match call {
            0 => session.load().await.map(drop),
            1 => session.log_in("ann", "acme", &fields()).await,
            2 => session.begin(&fields()).await,
            3 => session.update(&fields(), None).await.map(|_| ()),
            4 => session.take_flash::<u8>("n").await.map(drop),
            5 => session.rotate(Duration::from_secs(10)).await.map(drop),
            _ => session.log_out().await.map(drop),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_call_of_a_handle_ends_within_the_command_timeout_in_a_black_hole() {
        let server = Server::start().await.expect("a server");
        let proxy = Proxy::start(server.addr()).await.expect("a proxy");
        let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
        let timeout = client.config().command_timeout();
        let sessions =
            SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut calls = Vec::new();
        // The last two come without a cookie.
        for n in [0, 1, 2, 3, 4, 5, 6, 1, 2] {
            let token = create(&sessions, "ann").await;
            let tell = tell.clone();
            let handler = get(async move |session: SessionHandle| {
                // Twice: the second finds out what the first left behind.
                for _ in 0..2 {
                    let started = Instant::now();
                    let outcome = call(&session, n).await;
                    tell.send((n, started.elapsed(), outcome)).expect("a listener");
                }
            });
            let app = Router::new().route("/", handler).layer(SessionLayer::new(sessions.clone()));
            let mut ann = Browser::new(serve(app).await);
            if calls.len() < 7 {
                ann.cookie = Some(format!("__Host-session={}", token.expose()));
            }
            calls.push(ann);
        }
        proxy.set(Fault::BlackHole);
        let calls: Vec<_> = calls
            .into_iter()
            .map(|mut ann| tokio::spawn(async move { ann.get("/").await }))
            .collect();
        for _ in 0..2 * calls.len() {
            let (call, took, outcome) = told.recv().await.expect("an outcome");
            let error = outcome.expect_err("a black hole");
            assert!(took < timeout + Duration::from_millis(250), "call {call}, {took:?}: {error}");
        }
        for call in calls {
            assert_eq!(call.await.expect("an answer").header("set-cookie"), None);
        }
    }
}
