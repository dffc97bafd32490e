//! Acceptance 9: Redis refusing connections → an error within 250 ms, a black hole → within the command timeout; never
//! "no session". (That a cookie is not cleared: web.rs.) In a module `serial`, for it asserts durations.

mod serial {
    use std::time::{Duration, Instant};

    use raptor_core::{Error, RedisClient};
    use raptor_session::{Metadata, SessionOptions, SessionService, SessionToken};
    use raptor_testkit::{Fault, Proxy, Server};

    use crate::support::{config, create, peppers};

    /// What each call says; all are to fail.
    async fn errors(sessions: &SessionService, token: &SessionToken) -> Vec<(Duration, Error)> {
        let fields = Metadata::new().with("n", &1).expect("a field");
        let mut errors = Vec::new();
        for call in 0..7 {
            let started = Instant::now();
            let outcome = match call {
                0 => sessions.get_session(token).await.map(drop),
                1 => sessions.delete_session(token).await.map(drop),
                2 => sessions.update_session(token, &fields).await.map(|_| ()),
                3 => sessions.rotate_session(token).await.map(drop),
                4 => sessions.list_sessions("ann", "acme", 10, None).await.map(drop),
                5 => sessions.revoke_workspace_user("ann", "acme").await.map(drop),
                _ => sessions.create_session("ann", "acme", &fields).await.map(drop),
            };
            errors.push((started.elapsed(), outcome.expect_err("an outage")));
        }
        errors
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn refused_connections_are_an_error_at_once_and_the_session_is_there_afterwards() {
        let server = Server::builder().start().await.expect("a server");
        let proxy = Proxy::start(server.addr()).await.expect("a proxy");
        let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
        let sessions =
            SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
        let token = create(&sessions, "ann").await;
        proxy.set(Fault::Refuse);
        proxy.cut();
        // The connection that was cut is noticed first.
        while !sessions
            .get_session(&token)
            .await
            .is_err_and(|error| error.kind() == raptor_core::ErrorKind::Unavailable)
        {}
        for (took, error) in errors(&sessions, &token).await {
            // Seen in 50 runs beside two busy loops on two cores: 0.2 ms, 8.4 ms at most.
            assert!(took < Duration::from_millis(250), "{took:?}: {error}");
            assert!(error.is_retryable(), "{error}");
        }
        proxy.set(Fault::Pass);
        let started = Instant::now();
        let session = loop {
            match sessions.get_session(&token).await {
                Ok(session) => break session,
                Err(error) => assert!(started.elapsed() < Duration::from_secs(10), "{error}"),
            }
        };
        assert!(session.is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_black_hole_is_an_error_within_the_command_timeout() {
        let server = Server::start().await.expect("a server");
        let proxy = Proxy::start(server.addr()).await.expect("a proxy");
        let client = RedisClient::connect(config(proxy.url())).await.expect("a connection");
        let timeout = client.config().command_timeout();
        let sessions =
            SessionService::new(client, SessionOptions::new(peppers())).expect("a service");
        let token = create(&sessions, "ann").await;
        proxy.set(Fault::BlackHole);
        let calls: Vec<_> = (0..8)
            .map(|n| {
                let (sessions, token) = (sessions.clone(), token.clone());
                tokio::spawn(async move {
                    let started = Instant::now();
                    let outcome = match n % 3 {
                        0 => sessions.get_session(&token).await.map(drop),
                        1 => sessions.rotate_session(&token).await.map(drop),
                        _ => {
                            sessions.create_session("ann", "acme", &Metadata::new()).await.map(drop)
                        }
                    };
                    (started.elapsed(), outcome)
                })
            })
            .collect();
        for call in calls {
            let (took, outcome) = call.await.expect("ended");
            assert!(outcome.expect_err("a black hole").is_retryable());
            // The deadline is the command timeout itself, and a timer never fires early: what is measured is that and
            // the way to here. Seen in 50 runs beside two busy loops on two cores: 1.6 ms, 40 ms at most.
            assert!(took < timeout + Duration::from_millis(100), "{took:?}");
        }
    }
}
