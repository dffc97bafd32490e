//! Acceptance 10: malformed, truncated, foreign or 10 MB tokens → `None`, and no call for what cannot be a token.

use raptor_session::{MAX_GRACE, Metadata, Peppers, SessionOptions, Updated};

use crate::support::{Fixture, create, script_calls};

#[tokio::test]
async fn what_cannot_be_a_token_costs_no_call() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let genuine = token.expose().to_owned();
    let foreign_peppers = Peppers::parse(&format!("other:{}", "QUFB".repeat(11))).expect("peppers");
    let foreign = create(&f.with(SessionOptions::new(foreign_peppers)), "ann").await;

    let mut bad: Vec<String> = (0..genuine.len()).map(|len| genuine[..len].to_owned()).collect();
    bad.extend([
        format!("{genuine}A"),
        format!("{genuine}="),
        format!(" {genuine}"),
        format!("{genuine}\0"),
        format!("{}{}", &genuine[..46], "é"),
        genuine.replace(|_: char| true, "!"),
        "A".repeat(10 * 1_024 * 1_024),
        genuine.repeat(200_000),
        foreign.expose().to_owned(),
    ]);
    let before = script_calls(&f).await;
    for text in &bad {
        assert_eq!(f.sessions.get_session(text).await.expect("an answer"), None);
        assert!(!f.sessions.delete_session(text).await.expect("an answer"));
        let update = f.sessions.update_session(text, Metadata::new().with("n", &1).expect("one"));
        assert_eq!(update.await.expect("an answer"), Updated::Gone);
        assert_eq!(f.sessions.extend_session(text, MAX_GRACE).await.expect("an answer"), None);
        assert!(f.sessions.rotate_session(text).await.expect("an answer").is_none());
        assert_eq!(f.sessions.take_flash::<u8>(text, "n").await.expect("an answer"), None);
    }
    assert_eq!(script_calls(&f).await, before);
    assert!(f.sessions.get_session(&genuine).await.expect("an answer").is_some());
    assert!(script_calls(&f).await > before, "the count sees calls");
}

#[tokio::test]
async fn a_forged_token_of_the_right_form_is_none() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let before = f.dump().await;
    // Another shard (byte 1) or other random bits: well-formed, but the MAC names nothing.
    for at in [1, 2, 5, 20, 40] {
        let mut forged = token.expose().as_bytes().to_vec();
        forged[at] = if forged[at] == b'B' { b'C' } else { b'B' };
        let forged = String::from_utf8(forged).expect("ASCII");
        assert_eq!(f.sessions.get_session(&forged).await.expect("an answer"), None, "{at}");
        assert!(!f.sessions.delete_session(&forged).await.expect("an answer"));
    }
    assert_eq!(f.dump().await, before);
}
