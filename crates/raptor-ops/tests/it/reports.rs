//! Pages see each name once, in order, also while events are recorded; limits hold; keys expire.

use raptor_core::ErrorKind;
use raptor_ops::usage::{Cursor, Dimension, MAX_PAGE, PeriodRule, UsageEvent};
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, NOW, event, id_at, period};

/// By 64 recorders: thousands at once would time out on a busy machine.
async fn record_users(f: &Fixture, users: std::ops::Range<u128>) {
    let mut recorders = JoinSet::new();
    for recorder in 0..64 {
        let (usage, users) = (f.usage.clone(), users.clone());
        recorders.spawn(async move {
            for n in users.skip(recorder).step_by(64) {
                let event = UsageEvent::new("acme", "mini").with_id(id_at(NOW, n));
                let event = event.user(format!("u{n:05}")).input(1);
                let _ = usage.record(&event).await.expect("charged");
            }
        });
    }
    recorders.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_see_every_user_once_in_order() {
    let f = Fixture::start().await;
    record_users(&f, 0..2_500).await;
    let expected: Vec<Option<String>> = (0..2_500).map(|n| Some(format!("u{n:05}"))).collect();
    for limit in [MAX_PAGE, 500, 333] {
        let lines = f.walk("acme", PeriodRule::DAY, Dimension::User, limit).await;
        assert!(lines.iter().all(|line| line.usage.counts.input == 1));
        let names: Vec<Option<String>> = lines.into_iter().map(|line| line.name).collect();
        assert_eq!(names, expected, "pages of {limit}");
    }
    let day = period(PeriodRule::DAY, NOW);
    let after = Cursor::after("u02399");
    for (limit, last) in [(99, false), (100, true), (101, true)] {
        let page = f.usage.breakdown("acme", &day, Dimension::User, Some(&after), limit).await;
        assert_eq!(page.expect("a page").next.is_none(), last, "the last 100 by {limit}");
    }
    let report = f.report("acme", PeriodRule::DAY).await;
    assert_eq!(report.by_user.lines.len(), 100);
    assert_eq!(report.by_user.next, Some(Cursor::after("u00099")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_under_writers_still_sees_each_name_once() {
    let f = Fixture::start().await;
    record_users(&f, 0..300).await;
    let (lines, ()) = tokio::join!(
        f.walk("acme", PeriodRule::DAY, Dimension::User, 7),
        record_users(&f, 300..600),
    );
    let names: Vec<_> = lines.iter().map(|line| line.name.clone()).collect();
    assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]));
    assert!((300..=600).contains(&names.len()), "{}", names.len());
}

#[tokio::test]
async fn limits_of_a_page_are_checked() {
    let f = Fixture::start().await;
    let day = period(PeriodRule::DAY, NOW);
    for limit in [0, MAX_PAGE + 1, usize::MAX] {
        let page = f.usage.breakdown("acme", &day, Dimension::User, None, limit).await;
        assert_eq!(page.expect_err("refused").kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn every_key_expires_when_its_retention_ends() {
    let f = Fixture::start().await;
    let _ = f.usage.record(&event(1).user("ann").agent("a").input(1)).await.expect("charged");
    let keys = f.dump().await;
    assert_eq!(keys.len(), 1 + 2 * 7);
    for key in keys.keys() {
        let ttl_ms: i64 = f.backend.query(redis::cmd("PTTL").arg(key)).await.expect("a TTL");
        let text = String::from_utf8_lossy(key);
        let end = |rule| period(rule, NOW).end() + period(rule, NOW).rule().unit().retention();
        let until = if text.contains("usage~seen:") {
            period(PeriodRule::HOUR, NOW).end() + time::Duration::hours(25)
        } else if text.contains(":2026-03-31") {
            end(PeriodRule::DAY)
        } else {
            end(PeriodRule::MONTH)
        };
        let expected_ms = (until - NOW).whole_milliseconds() as i64;
        assert!(
            (expected_ms - 5_000..=expected_ms).contains(&ttl_ms),
            "{text}: {ttl_ms} {expected_ms}"
        );
    }
}
