//! Acceptance 2: 100 concurrent updates of distinct fields → all present, revision +100; 50 concurrent
//! `if_revision(1)` → 1 done, 49 conflicts.

use raptor_core::ErrorKind;
use raptor_session::{Changes, MAX_FIELDS, MAX_METADATA_BYTES, Metadata, Updated};
use tokio::task::JoinSet;

use crate::support::{Fixture, create};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_concurrent_updates_of_distinct_fields_are_all_kept() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let mut updates = JoinSet::new();
    for n in 0..100_u32 {
        let (sessions, token) = (f.sessions.clone(), token.clone());
        updates.spawn(async move {
            let changes = Changes::new().set(format!("field {n}"), &n).expect("a change");
            sessions.update_session(&token, changes).await
        });
    }
    let mut revisions = Vec::new();
    for updated in updates.join_all().await {
        let Updated::Done { revision } = updated.expect("an answer") else { panic!("done") };
        revisions.push(revision);
    }
    revisions.sort_unstable();
    assert!(revisions.into_iter().eq(2..=101));
    let session = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
    assert_eq!((session.revision, session.metadata.len()), (101, 100));
    for n in 0..100 {
        assert_eq!(session.get::<u32>(&format!("field {n}")).expect("a number"), Some(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_that_compare_one_is_done_and_the_others_conflict() {
    let f = Fixture::start().await;
    let token = create(&f.sessions, "ann").await;
    let mut updates = JoinSet::new();
    for n in 0..50_u32 {
        let (sessions, token) = (f.sessions.clone(), token.clone());
        updates.spawn(async move {
            let changes = Changes::new().set("winner", &n).expect("a change");
            sessions
                .update_session(&token, changes)
                .if_revision(1)
                .await
                .map(|updated| (n, updated))
        });
    }
    let (mut winner, mut conflicts) = (None, 0);
    for outcome in updates.join_all().await {
        match outcome.expect("an answer") {
            (n, Updated::Done { revision: 2 }) => assert_eq!(winner.replace(n), None),
            (_, Updated::Conflict { revision: 2 }) => conflicts += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(conflicts, 49);
    let session = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
    assert_eq!(session.get::<u32>("winner").expect("a number"), winner);
}

#[tokio::test]
async fn fields_are_merged_removed_and_left_alone() {
    let f = Fixture::start().await;
    let fields = Metadata::new().with("a", &1).and_then(|m| m.with("b", &2)).expect("fields");
    let token = f.sessions.create_session("ann", "acme", &fields).await.expect("a session");
    let before = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
    let changes = Changes::new().set("b", &20).and_then(|c| c.set("c", &30));
    let changes = changes.and_then(|c| c.remove("a")?.remove("never there")).expect("changes");
    let updated = f.sessions.update_session(&token, changes).await.expect("an answer");
    assert_eq!(updated, Updated::Done { revision: 2 });
    let after = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
    let expected = Metadata::new().with("b", &20).and_then(|m| m.with("c", &30)).expect("fields");
    assert_eq!(after.metadata, expected);
    assert_eq!((after.expires_at, after.id), (before.expires_at, before.id));
    let nothing = f.sessions.update_session(&token, Changes::new()).await;
    assert_eq!(nothing.expect_err("refused").kind(), ErrorKind::InvalidInput);
}

/// A session of 10,000 fields, or with a field of a megabyte, meets a limit before it is sent; one that grows to it
/// meets the same where it is stored, and nothing is written.
#[tokio::test]
async fn a_session_that_grows_too_large_is_refused_and_unchanged() {
    let f = Fixture::start().await;
    let huge = "x".repeat(1 << 20);
    let error = Metadata::new().with("huge", &huge).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = (0..10_000).try_fold(Metadata::new(), |m, n| m.with(n.to_string(), &n));
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::InvalidInput);

    let token = create(&f.sessions, "ann").await;
    let set = async |names: std::ops::Range<usize>, value: &str| {
        let changes = names.fold(Changes::new(), |changes, n| {
            changes.set(n.to_string(), value).expect("a change")
        });
        f.sessions.update_session(&token, changes).await
    };
    assert!(set(0..40, "").await.expect("an answer").is_done());
    let before = f.dump().await;
    let error = set(30..MAX_FIELDS + 1, "").await.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("257 fields"), "{error}");
    let half = "x".repeat(MAX_METADATA_BYTES / 2);
    assert_eq!(f.dump().await, before);
    assert!(set(0..1, &half).await.expect("an answer").is_done());
    let before = f.dump().await;
    let error = set(1..2, &half).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(f.dump().await, before);
    // What leaves makes room, in the same update too.
    let changes = Changes::new().set("1", &half).and_then(|c| c.remove("0")).expect("changes");
    assert!(f.sessions.update_session(&token, changes).await.expect("an answer").is_done());
    assert!(set(30..MAX_FIELDS, "").await.expect("an answer").is_done());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flash_is_taken_by_exactly_one() {
    let f = Fixture::start().await;
    let fields = Metadata::new().with("flash", &"saved").and_then(|m| m.with("kept", &1));
    let fields = fields.expect("fields");
    let token = f.sessions.create_session("ann", "acme", &fields).await.expect("a session");
    let mut takers = JoinSet::new();
    for _ in 0..20 {
        let (sessions, token) = (f.sessions.clone(), token.clone());
        takers.spawn(async move { sessions.take_flash::<String>(&token, "flash").await });
    }
    let taken = takers.join_all().await.into_iter().filter_map(|taken| taken.expect("an answer"));
    assert_eq!(taken.collect::<Vec<_>>(), ["saved"]);
    let session = f.sessions.get_session(&token).await.expect("an answer").expect("alive");
    assert_eq!((session.revision, session.metadata.len()), (2, 1));
    let error = f.sessions.take_flash::<String>(&token, "kept").await.expect_err("a number");
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(f.sessions.take_flash::<u8>(&token, "kept").await.expect("an answer"), None);
    let error = f.sessions.take_flash::<u8>(&token, "").await.expect_err("no name");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
