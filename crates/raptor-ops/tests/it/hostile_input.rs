//! Names of any bytes stay apart from one another; what cannot be a name is a typed error.

use raptor_core::ErrorKind;
use raptor_ops::usage::{MAX_NAME_BYTES, PeriodRule, UsageEvent};

use crate::support::{Fixture, NOW, id_at, prices};

const NASTY: [&str; 12] =
    [":", "a:b", "{x}", "}{", "\0", "a\0b", "i:x", "names", "%3A", "(", "-", "+\r\nDEL x"];

#[tokio::test]
async fn hostile_names_are_charged_apart() {
    let f = Fixture::start().await;
    for (n, name) in NASTY.iter().enumerate() {
        let event = UsageEvent::new("acme", "mini")
            .with_id(id_at(NOW, n as u128))
            .user(*name)
            .agent(*name)
            .input(1 + n as u64);
        let _ = f.usage.record(&event).await.expect("charged");
    }
    let report = f.report("acme", PeriodRule::DAY).await;
    assert_eq!(report.by_user.lines.len(), NASTY.len());
    assert_eq!(report.by_user, report.by_agent);
    for line in report.by_user.lines {
        let n = NASTY.iter().position(|&name| Some(name) == line.name.as_deref()).expect("known");
        assert_eq!(line.usage.counts.input, 1 + n as u64, "{:?}", line.name);
    }
}

#[tokio::test]
async fn hostile_names_page_one_by_one() {
    let f = Fixture::start().await;
    for (n, name) in NASTY.iter().enumerate() {
        let event = UsageEvent::new("acme", "mini").with_id(id_at(NOW, n as u128)).user(*name);
        let _ = f.usage.record(&event).await.expect("charged");
    }
    let nameless = UsageEvent::new("acme", "mini").with_id(id_at(NOW, 99));
    let _ = f.usage.record(&nameless).await.expect("charged");
    let mut sorted: Vec<Option<&str>> = NASTY.iter().map(|&name| Some(name)).collect();
    sorted.push(None);
    sorted.sort_unstable();
    let dimension = raptor_ops::usage::Dimension::User;
    let lines = f.walk("acme", PeriodRule::DAY, dimension, 1).await;
    assert_eq!(lines.iter().map(|line| line.name.as_deref()).collect::<Vec<_>>(), sorted);
}

#[tokio::test]
async fn hostile_workspaces_do_not_meet() {
    let f = Fixture::start().await;
    for (n, workspace) in NASTY.iter().enumerate() {
        let event = UsageEvent::new(*workspace, "mini").with_id(id_at(NOW, 1)).input(1 + n as u64);
        let _ = f.usage.record(&event).await.expect("charged");
    }
    for (n, workspace) in NASTY.iter().enumerate() {
        let totals = f.report(workspace, PeriodRule::DAY).await.totals;
        assert_eq!(
            (totals.counts.input, totals.counts.requests),
            (1 + n as u64, 1),
            "{workspace:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_charged_is_a_typed_error_and_writes_nothing() {
    let f = Fixture::start().await;
    let long = "x".repeat(10 * 1_024);
    let event = || UsageEvent::new("acme", "mini").with_id(id_at(NOW, 1));
    for (why, bad) in [
        ("empty workspace", UsageEvent::new("", "mini").with_id(id_at(NOW, 1))),
        ("long workspace", UsageEvent::new(long.clone(), "mini").with_id(id_at(NOW, 1))),
        ("empty user", event().user("")),
        ("long user", event().user(long.clone())),
        ("long agent", event().agent(long)),
        ("unknown model", UsageEvent::new("acme", "other").with_id(id_at(NOW, 1))),
        ("overflow", event().output(u64::MAX)),
        ("nothing", event().requests(0)),
        ("past the year 9999", event().with_id(raptor_ops::usage::Ulid::from_bytes([255; 16]))),
    ] {
        let error = f.usage.record(&bad).await.expect_err(why);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{why}: {error}");
    }
    assert!(f.dump().await.is_empty());
    let longest = event().user("é".repeat(MAX_NAME_BYTES / 2));
    let _ = f.usage.record(&longest).await.expect("charged");
    assert!(prices().price_at("other", NOW).is_err());
}
