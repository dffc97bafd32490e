//! Acceptance 4: idle 2 s, get each 1 s → alive; absolute 5 s under constant use → dead at 5 s, to the millisecond.
//!
//! With minutes for seconds: the keys' own expiry goes by real time, and must not come first on a busy machine.

use raptor_core::ErrorKind;
use raptor_session::SessionService;
use raptor_testkit::redis;
use time::Duration;

use crate::support::{Fixture, NOW, create, is_alive, options};

const MINUTE_MS: u64 = 60_000;

#[tokio::test]
async fn use_keeps_it_alive_until_the_absolute_deadline() {
    let f = Fixture::start().await;
    let sessions = f.with(options(2 * MINUTE_MS, 5 * MINUTE_MS));
    let token = create(&sessions.pinned_at(NOW), "ann").await;
    for minutes in 1..=4 {
        let at = NOW + Duration::minutes(minutes);
        let session = sessions.pinned_at(at).get_session(&token).await.expect("an answer");
        let session = session.unwrap_or_else(|| panic!("alive after {minutes} minutes"));
        assert_eq!((session.created_at, session.last_seen_at), (NOW, at));
        assert_eq!(session.expires_at, (at + Duration::minutes(2)).min(NOW + Duration::minutes(5)));
        assert_eq!(session.absolute_deadline, NOW + Duration::minutes(5));
    }
    assert!(!is_alive(&sessions.pinned_at(NOW + Duration::minutes(5)), &token).await);
    assert!(
        !is_alive(&sessions.pinned_at(NOW), &token).await,
        "dead is dead, also if time steps back"
    );
    assert_eq!(f.keys("*").await, Vec::<String>::new());
}

/// Apart from the test above: its key then lives for a millisecond, and may end before the script ends it.
#[tokio::test]
async fn it_lives_through_its_last_millisecond_and_no_longer() {
    let f = Fixture::start().await;
    let sessions = f.with(options(2 * MINUTE_MS, 3 * MINUTE_MS));
    let token = create(&sessions.pinned_at(NOW), "ann").await;
    let at = |ms| sessions.pinned_at(NOW + Duration::milliseconds(ms));
    for ms in [60_000, 120_000, 179_999] {
        assert!(is_alive(&at(ms), &token).await, "alive after {ms} ms");
    }
    assert!(!is_alive(&at(180_000), &token).await);
}

#[tokio::test]
async fn unused_it_dies_at_its_idle_deadline() {
    let f = Fixture::start().await;
    let sessions = f.with(options(2 * MINUTE_MS, 60 * MINUTE_MS));
    let (one, other) = (
        create(&sessions.pinned_at(NOW), "ann").await,
        create(&sessions.pinned_at(NOW), "ann").await,
    );
    let at = |ms| sessions.pinned_at(NOW + Duration::milliseconds(ms));
    assert!(is_alive(&at(119_999), &one).await);
    assert!(!is_alive(&at(120_000), &other).await);
    assert!(is_alive(&at(239_998), &one).await);
}

#[tokio::test]
async fn a_clock_that_steps_back_does_not_shorten_a_session() {
    let f = Fixture::start().await;
    let sessions = f.with(options(2 * MINUTE_MS, 60 * MINUTE_MS));
    let token = create(&sessions.pinned_at(NOW), "ann").await;
    let earlier = sessions.pinned_at(NOW - Duration::minutes(30));
    let session = earlier.get_session(&token).await.expect("an answer").expect("alive");
    assert_eq!(session.last_seen_at, NOW);
    let last = NOW + Duration::milliseconds(119_999);
    assert!(is_alive(&sessions.pinned_at(last), &token).await);
}

#[tokio::test]
async fn the_servers_clock_and_the_keys_ttl_agree() {
    let f = Fixture::start().await;
    let sessions = f.with(options(60_000, 90_000));
    let token = create(&sessions, "ann").await;
    let session = sessions.get_session(&token).await.expect("an answer").expect("alive");
    let expires_ms = (session.expires_at.unix_timestamp_nanos() / 1_000_000) as i64;
    for pattern in ["*session:*", "*session~user:*"] {
        let key = &f.keys(pattern).await[0];
        let at_ms = f.int(redis::cmd("PEXPIRETIME").arg(key)).await;
        assert!((at_ms - expires_ms).abs() <= 50, "{pattern}: {}", at_ms - expires_ms);
    }
    assert_eq!(session.expires_at - session.created_at, Duration::seconds(60));
    assert_eq!(session.absolute_deadline - session.created_at, Duration::seconds(90));
}

/// A slide is written when it moves the deadline by a 64th of the idle timeout or a second: never later than the idle
/// timeout, and earlier by less than that.
#[tokio::test]
async fn a_slide_that_is_not_worth_a_write_is_none() {
    let f = Fixture::start().await;
    for (idle_ms, worth_ms) in [(6_400, 100), (2 * MINUTE_MS as i64, 1_000)] {
        let sessions = f.with(options(idle_ms as u64, 5 * MINUTE_MS));
        let token = create(&sessions.pinned_at(NOW), "ann").await;
        let at = |ms| NOW + Duration::milliseconds(ms);
        let read = async |ms| {
            let session = sessions.pinned_at(at(ms)).get_session(&token).await;
            session.expect("an answer").expect("alive")
        };
        let before = f.dump().await;
        let session = read(worth_ms - 1).await;
        assert_eq!((session.last_seen_at, session.expires_at), (at(worth_ms - 1), at(idle_ms)));
        assert_eq!(f.dump().await, before, "nothing was written");
        assert_eq!(read(worth_ms).await.expires_at, at(worth_ms + idle_ms));
        assert!(f.dump().await != before);
    }
}

#[tokio::test]
async fn extend_puts_off_the_end_once_never_back_and_never_past_the_absolute_deadline() {
    let f = Fixture::start().await;
    let sessions = f.with(options(2 * MINUTE_MS, 10 * MINUTE_MS));
    let token = create(&sessions.pinned_at(NOW), "ann").await;
    let at = |minutes| NOW + Duration::minutes(minutes);
    let extend = async |minute, by_minutes| {
        let by = std::time::Duration::from_secs(60 * by_minutes);
        sessions.pinned_at(at(minute)).extend_session(&token, by).await.expect("an answer")
    };
    assert_eq!(extend(0, 5).await, Some(at(5)));
    assert_eq!(extend(1, 1).await, Some(at(5)), "never back");
    assert!(is_alive(&sessions.pinned_at(at(4)), &token).await);
    let session = sessions.pinned_at(at(4)).get_session(&token).await.expect("an answer");
    assert_eq!(session.expect("alive").expires_at, at(6), "slides on");
    assert_eq!(extend(5, u64::from(u32::MAX)).await, Some(at(10)));
    let session = sessions.pinned_at(at(9)).get_session(&token).await.expect("an answer");
    assert_eq!(session.expect("alive").expires_at, at(10));
    assert_eq!(extend(10, 5).await, None, "it has ended");
    assert!(!is_alive(&sessions.pinned_at(at(10)), &token).await);
    let none = sessions.extend_session(&token, std::time::Duration::ZERO).await;
    assert_eq!(none.expect_err("refused").kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn contradictory_timeouts_are_refused() {
    let f = Fixture::start().await;
    for bad in [options(0, 1), options(2, 1), options(1, 11 * 365 * 86_400_000)] {
        let error = SessionService::new(f.client.clone(), bad).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
