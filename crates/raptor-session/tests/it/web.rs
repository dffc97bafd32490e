//! The tower layer and axum's extractors, by the example's server and real requests.

use raptor_core::RedisClient;
use raptor_session::web::{CookiePolicy, LoggedIn, SessionLayer};
use raptor_session::{AtCap, SessionOptions, SessionService};
use raptor_testkit::{Fault, Proxy, Server};

use crate::http::{Browser, serve};
use crate::support::{Fixture, config, create, peppers, script_calls};

#[allow(dead_code, reason = "the example's `main`")]
#[path = "../../examples/axum_login.rs"]
mod axum_login;

async fn browser(sessions: &SessionService) -> Browser {
    let policy = CookiePolicy::insecure("session").expect("a name");
    Browser::new(serve(axum_login::app(sessions.clone(), policy)).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_strangers_basket_over_the_login_to_the_logout() {
    let f = Fixture::start().await;
    let mut ann = browser(&f.sessions).await;
    assert_eq!(ann.get("/me").await.status, 401);
    assert_eq!(ann.get("/greeting").await.body, "hello, stranger");
    let page = ann.post("/basket").await;
    let set = page.header("set-cookie").expect("a cookie");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(ann.get("/me").await.status, 401, "a basket is no user");
    assert!(ann.post("/basket").await.header("set-cookie").is_none(), "there is one");

    let mut planted = ann.clone();
    assert_eq!(ann.post("/login").await.status, 200);
    assert_ne!(ann.cookie, planted.cookie);
    assert_eq!(planted.get("/me").await.status, 401, "the old cookie is worth nothing");
    assert_eq!(ann.get("/me").await.body, r#"ann ["tea"] welcome"#);
    assert_eq!(ann.get("/me").await.body, r#"ann ["tea"] "#, "the message comes once");

    let mut in_flight = ann.clone();
    assert_eq!(ann.post("/sudo").await.body, "yes");
    assert_ne!(ann.cookie, in_flight.cookie);
    assert_eq!(in_flight.get("/me").await.status, 200, "in its grace");
    // Logged out by the old cookie, and out is out.
    let page = in_flight.post("/logout").await;
    assert!(page.header("set-cookie").expect("cleared").contains("Max-Age=0"));
    let page = ann.get("/me").await;
    assert_eq!((page.status, page.header("set-cookie")), (401, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logout_everywhere_ends_all_of_a_users_sessions() {
    let f = Fixture::start().await;
    let mut ann = browser(&f.sessions).await;
    let mut others = vec![ann.clone(), ann.clone()];
    for browser in others.iter_mut().chain([&mut ann]) {
        assert_eq!(browser.post("/login").await.status, 200);
    }
    assert_eq!(ann.post("/logout-everywhere").await.body, "3");
    assert_eq!(ann.cookie, None);
    for browser in &mut others {
        assert_eq!(browser.get("/me").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_ask_costs_no_call_nor_does_what_is_no_token() {
    let f = Fixture::start().await;
    let mut ann = browser(&f.sessions).await;
    ann.post("/login").await;
    let before = script_calls(&f).await;
    assert_eq!(ann.get("/").await.body, "hello");
    let mut stranger = Browser { cookie: Some("session=no token".to_owned()), ..ann.clone() };
    assert_eq!(stranger.get("/me").await.status, 401);
    assert!(stranger.cookie.is_some(), "not cleared");
    assert_eq!(script_calls(&f).await, before);
    let capped = f.with(SessionOptions::new(peppers()).cap(1, AtCap::Reject));
    let mut capped = browser(&capped).await;
    assert_eq!(capped.post("/login").await.status, 409);
}

#[tokio::test]
async fn a_handler_without_the_layer_is_a_500() {
    async fn me(_: LoggedIn) {}
    let app = axum::Router::new().route("/me", axum::routing::get(me));
    assert_eq!(Browser::new(serve(app).await).get("/me").await.status, 500);
    let f = Fixture::start().await;
    let app = axum::Router::new().route("/me", axum::routing::get(me));
    let app = app.layer(SessionLayer::new(f.sessions.clone()));
    let mut ann = Browser::new(serve(app).await);
    ann.cookie = Some(format!("__Host-session={}", create(&f.sessions, "ann").await.expose()));
    assert_eq!(ann.get("/me").await.status, 200);
}

/// Acceptance 9: a cookie is not cleared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a09_while_the_store_is_away_it_is_a_503_and_the_cookie_stays() {
    let server = Server::start().await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
    let mut ann = browser(&sessions).await;
    assert_eq!(ann.post("/login").await.status, 200);
    let cookie = ann.cookie.clone();
    proxy.set(Fault::Refuse);
    proxy.cut();
    for _ in 0..3 {
        for path in ["/me", "/greeting"] {
            let page = ann.get(path).await;
            assert_eq!((page.status, page.header("retry-after")), (503, Some("1")), "{path}");
            assert!(!page.body.contains("redis"), "{}", page.body);
        }
        for path in ["/logout", "/logout-everywhere", "/basket", "/login"] {
            let page = ann.post(path).await;
            assert_eq!((page.status, page.header("set-cookie")), (503, None), "{path}");
        }
        assert_eq!(ann.get("/").await.status, 200, "who does not ask is not hurt");
    }
    assert_eq!(ann.cookie, cookie);
    proxy.set(Fault::Pass);
    let started = std::time::Instant::now();
    while ann.get("/me").await.status != 200 {
        assert!(started.elapsed().as_secs() < 10, "logged in still");
    }
}

/// A shared cache that keeps an answer with a session's cookie gives the session to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_sets_the_cookie_is_kept_by_no_shared_cache_whatever_the_handler_says() {
    use axum::response::AppendHeaders;
    use raptor_session::Metadata;
    use raptor_session::web::SessionHandle;

    const SAID: [(&[&str], &str); 9] = [
        (&[], "no-store"),
        (&["public, max-age=3600"], "no-store"),
        (&["s-maxage=60"], "no-store"),
        (&["max-age=60", "public"], "no-store"),
        (&["private=\"x-name\", max-age=60"], "no-store"),
        (&["max-age=60, private"], "max-age=60, private"),
        (&["Private"], "Private"),
        (&["No-Store"], "No-Store"),
        (&["max-age=60", "no-cache, no-store"], "max-age=60"),
    ];
    let f = Fixture::start().await;
    for (said, wanted) in SAID {
        let answer = move || {
            let lines = said.iter().map(|line| ("cache-control", *line));
            AppendHeaders(lines.chain([("cdn-cache-control", "max-age=60")]).collect::<Vec<_>>())
        };
        let log_in = move |session: SessionHandle| async move {
            session.log_in("ann", "acme", &Metadata::new()).await.expect("logged in");
            answer()
        };
        let app = axum::Router::new()
            .route("/login", axum::routing::post(log_in))
            .route("/", axum::routing::get(move || async move { answer() }))
            .layer(SessionLayer::new(f.sessions.clone()));
        let mut ann = Browser::new(serve(app).await);
        let page = ann.post("/login").await;
        assert!(page.header("set-cookie").is_some());
        assert_eq!(page.header("cache-control"), Some(wanted), "{said:?}");
        assert_eq!(page.header("cdn-cache-control"), None, "it would go before the other");
        let page = ann.get("/").await;
        assert_eq!(
            page.header("cache-control"),
            said.first().copied(),
            "no cookie, not our business"
        );
        assert_eq!(page.header("cdn-cache-control"), Some("max-age=60"));
    }
}

/// The browser would be left with a token that is dead, and nobody would know the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_without_an_answer_is_finished_by_the_next_one_of_the_same_request() {
    use std::sync::Arc;
    use std::time::Duration;

    use raptor_session::web::SessionHandle;

    let server = Server::start().await.expect("a server");
    let proxy = Arc::new(Proxy::start(server.addr()).await.expect("a proxy"));
    let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
    let sessions = SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
    let known = create(&sessions, "bob").await;
    assert!(sessions.rotate_session(&known).await.expect("an answer").is_some());

    let token = create(&sessions, "ann").await;
    let link = Arc::clone(&proxy);
    let rotate = move |session: SessionHandle| async move {
        // How long a pointer stays: in the request that rotates, and in no other.
        link.drop_reply_to(b"60000");
        let (handle, cut) = (session.clone(), Arc::clone(&link));
        let first = tokio::spawn(async move { handle.rotate(Duration::ZERO).await });
        while link.is_armed() {
            tokio::task::yield_now().await;
        }
        cut.set(Fault::Refuse);
        cut.cut();
        assert!(first.await.expect("ended").is_err());
        cut.set(Fault::Pass);
        while session.load().await.is_err() {}
        session.rotate(Duration::ZERO).await.expect("an answer").to_string()
    };
    let app = axum::Router::new()
        .route("/", axum::routing::post(rotate))
        .layer(SessionLayer::new(sessions.clone()));
    let mut ann = Browser::new(serve(app).await);
    ann.cookie = Some(format!("__Host-session={}", token.expose()));
    assert_eq!(ann.post("/").await.body, "true");
    let cookie = ann.cookie.expect("a cookie");
    let (_, new) = cookie.split_once('=').expect("a value");
    assert_ne!(new, token.expose());
    assert!(sessions.get_session(new).await.expect("an answer").is_some());
}
