//! One limit of a session's fields, counted alike by a login, an update and a promotion, with a keyring and without.

use raptor_core::{ErrorKind, Keyring};
use raptor_session::{
    Changes, MAX_FIELDS, MAX_METADATA_BYTES, Metadata, SessionOptions, SessionService,
    SessionToken, Updated,
};

use crate::support::{Fixture, peppers};

const SHORT: &str = "k:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=";
const LONG: &str = "sixteen-letters-:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

fn sealed(keys: &str) -> SessionOptions {
    SessionOptions::new(peppers()).keyring(Keyring::parse(keys).expect("a keyring"))
}

/// A text that takes so many bytes as the field of a name of one letter: that, the format and MessagePack's four.
fn text(bytes: usize) -> String {
    "x".repeat(bytes - 5)
}

async fn set(
    sessions: &SessionService,
    token: &SessionToken,
    name: &str,
    bytes: usize,
) -> raptor_core::Result<Updated> {
    sessions.update_session(token, Changes::new().set(name, &text(bytes))?).await
}

#[tokio::test]
async fn what_fits_is_the_same_for_a_login_an_update_and_a_promotion() {
    let f = Fixture::start().await;
    let both = [format!("{LONG},{SHORT}"), format!("{SHORT},{LONG}")];
    let plain = f.with(SessionOptions::new(peppers()));
    // Sealed under one key, changed under the other.
    let pairs = [
        (plain.clone(), plain),
        (f.with(sealed(SHORT)), f.with(sealed(SHORT))),
        (f.with(sealed(&both[0])), f.with(sealed(&both[1]))),
        (f.with(sealed(&both[1])), f.with(sealed(&both[0]))),
    ];
    for (one, other) in pairs {
        let fields = Metadata::new().with("a", &text(30_000)).expect("it fits");
        let token = one.create_anonymous(&fields).await.expect("a session");
        let left = MAX_METADATA_BYTES - 30_000;
        for _ in 0..3 {
            let error = set(&other, &token, "b", left + 1).await.expect_err("one byte more");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(set(&other, &token, "b", left).await.expect("it fits").is_done());
            assert!(set(&other, &token, "a", 30_000).await.expect("the same").is_done());
            assert!(set(&one, &token, "b", 20_000).await.expect("less").is_done());
        }
        assert_eq!(
            other.take_flash::<String>(&token, "b").await.expect("taken"),
            Some(text(20_000))
        );
        assert!(set(&one, &token, "b", left + 1).await.is_err());
        assert!(set(&one, &token, "b", left).await.expect("it fits").is_done());
        let login = one.promote_session(&token, "ann", "acme", &Metadata::new()).await;
        let login = login.expect("all that an update took");
        assert!(set(&other, &login, "b", left).await.expect("it fits").is_done());
        assert!(set(&other, &login, "c", 300).await.is_err());
    }
}

#[tokio::test]
async fn the_smallest_fields_up_to_their_number_are_promoted() {
    let f = Fixture::start().await;
    let sessions = f.with(sealed(LONG));
    let token = sessions.create_anonymous(&Metadata::new()).await.expect("a session");
    for part in 0..4 {
        let from = part * MAX_FIELDS / 4;
        let some = (from..from + MAX_FIELDS / 4)
            .try_fold(Changes::new(), |c, n| c.set(format!("{n:03}"), &"x".repeat(247)));
        let updated = sessions.update_session(&token, some.expect("changes")).await;
        assert!(updated.expect("it fits").is_done(), "{part}");
    }
    let changes = Changes::new().set("one more", &1).expect("a change");
    assert!(sessions.update_session(&token, changes).await.is_err());
    sessions.promote_session(&token, "ann", "acme", &Metadata::new()).await.expect("a login");
}
