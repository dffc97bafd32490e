//! Every service of the facade works over the one client, on a real server.

use std::time::Duration;

use raptor::Raptor;
use raptor::core::RedisConfig;
use raptor::ops::usage::{ModelPrice, PeriodRule, PriceBook, Recorded, UsageEvent, UsageOptions};
use raptor::ratelimit::{AcquireOptions, Limit, Outcome, Subject};
use raptor::session::{Metadata, Peppers, SessionOptions};
use raptor_testkit::{Server, redis};
use tokio::task::JoinSet;

/// Settings on the driver that the test run chose.
fn config(server: &Server) -> RedisConfig {
    let driver = raptor_testkit::driver().expect("a driver");
    RedisConfig::builder().url(server.url()).driver(driver).build().expect("a config")
}

#[tokio::test]
async fn services_share_a_client() {
    let server = Server::start().await.expect("a server");
    let raptor = Raptor::connect(config(&server)).await.expect("a connection");

    let peppers = Peppers::parse("t:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let options = SessionOptions::new(peppers.expect("peppers"));
    let sessions = raptor.sessions(options).expect("a service");
    let token = sessions.create_session("ann", "acme", &Metadata::new()).await.expect("created");
    let session = sessions.get_session(&token).await.expect("an answer").expect("a session");
    assert_eq!(session.user, "ann");

    let subject = Subject::new("ann", "POST /chat").expect("a subject");
    let limit = Limit::strict(1, Duration::from_secs(60)).expect("a limit");
    let limits = raptor.rate_limits();
    let one = AcquireOptions::default();
    let acquire = || limits.acquire(&subject, std::slice::from_ref(&limit), &one);
    assert_eq!(acquire().await.expect("a decision").outcome, Outcome::Allowed);
    let second = acquire().await.expect("a decision").outcome;
    assert!(matches!(second, Outcome::Denied { .. }), "{second:?}");

    let prices = PriceBook::new().with_price("mini", ModelPrice::FREE);
    let usage = raptor.usage(UsageOptions::new(prices)).expect("a service");
    let event = UsageEvent::new("acme", "mini").input(7);
    let _ = usage.record(&event).await.expect("recorded");
    let month = PeriodRule::MONTH.period_at(time::OffsetDateTime::now_utc()).expect("a period");
    let report = usage.report("acme", &month).await.expect("a report");
    assert_eq!(report.totals.counts.input, 7);
}

/// Script calls that the server has seen.
async fn script_calls(server: &Server) -> u64 {
    let info: String =
        server.query(redis::cmd("INFO").arg("commandstats")).await.expect("statistics");
    let calls = info.lines().filter_map(|line| {
        let stats = ["cmdstat_evalsha:calls=", "cmdstat_eval:calls="];
        let rest = stats.iter().find_map(|name| line.strip_prefix(name))?;
        rest.split(',').next()?.parse::<u64>().ok()
    });
    calls.sum()
}

#[tokio::test]
async fn calls_of_all_that_was_handed_out_ride_together() {
    const CALLERS: u64 = 64;
    let server = Server::start().await.expect("a server");
    let raptor = Raptor::connect(config(&server)).await.expect("a connection");

    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let raptor = raptor.clone();
        callers.spawn(async move {
            let subject = Subject::new("ann", "POST /chat").expect("a subject");
            let limit = Limit::strict(CALLERS, Duration::from_secs(600)).expect("a limit");
            let limits = raptor.rate_limits();
            limits.acquire(&subject, &[limit], &AcquireOptions::default()).await
        });
    }
    for decision in callers.join_all().await {
        assert!(decision.expect("a decision").is_allowed());
    }
    let calls = script_calls(&server).await;
    assert!(calls < CALLERS / 4, "{CALLERS} checks in {calls} calls");

    // Sessions, whatever the options of each.
    let peppers = Peppers::parse("t:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let options = SessionOptions::new(peppers.expect("peppers"));
    let sessions = raptor.sessions(options.clone()).expect("a service");
    let token = sessions.create_session("ann", "acme", &Metadata::new()).await.expect("created");
    let before = script_calls(&server).await;
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let (raptor, options, token) = (raptor.clone(), options.clone(), token.clone());
        callers.spawn(async move {
            let sessions = raptor.sessions(options.idle(Duration::from_secs(60 + n)));
            sessions.expect("a service").get_session(&token).await
        });
    }
    for session in callers.join_all().await {
        assert!(session.expect("an answer").is_some());
    }
    let calls = script_calls(&server).await - before;
    assert!(calls < CALLERS / 4, "{CALLERS} reads in {calls} calls");

    let calls = script_calls(&server).await;
    // Usage, alike.
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let raptor = raptor.clone();
        callers.spawn(async move {
            let prices = PriceBook::new().with_price("mini", ModelPrice::FREE);
            let late = Duration::from_secs(60 * (1 + n));
            let options = UsageOptions::new(prices).accept_late(late);
            let usage = raptor.usage(options).expect("a service");
            usage.record(&UsageEvent::new("acme", "mini").input(1)).await
        });
    }
    for recorded in callers.join_all().await {
        assert!(matches!(recorded.expect("an answer"), Recorded::Charged(_)));
    }
    let calls = script_calls(&server).await - calls;
    assert!(calls < CALLERS / 4, "{CALLERS} events in {calls} calls");
}
