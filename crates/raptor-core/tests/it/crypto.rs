//! What must hold of sealed texts and of keyrings: bound to their place and purpose, rotated
//! without loss, and never shown.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use raptor_core::{ErrorKind, KeyId, Keyring, Sealer};

const NEW: &str = "new:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
const OLD: &str = "old:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=";
const PURPOSE: &str = "session field v1";

fn sealer(keys: &str) -> Sealer {
    Keyring::parse(keys).expect("a keyring").sealer(PURPOSE)
}

fn refused(sealer: &Sealer, place: &[u8], sealed: &[u8]) -> (ErrorKind, String) {
    let error = sealer.open(place, sealed).expect_err("refused");
    (error.kind(), error.to_string())
}

#[test]
fn a_sealed_text_opens_at_its_place_for_its_purpose_and_nowhere_else() {
    let sealer = sealer(NEW);
    let sealed = sealer.seal(b"s1\0email", b"ada@example.org").expect("sealed");
    assert_eq!(sealer.open(b"s1\0email", &sealed).expect("opened"), b"ada@example.org");
    assert_eq!(sealed.len(), 15 + 31 + "new".len());
    let other = Keyring::parse(NEW).expect("a keyring").sealer("another purpose");
    for (sealer, place) in [(&sealer, &b"s2\0email"[..]), (&sealer, b""), (&other, b"s1\0email")] {
        let (kind, text) = refused(sealer, place, &sealed);
        assert_eq!(kind, ErrorKind::Codec);
        assert!(text.contains("belongs to another place or purpose"), "{text}");
    }
}

#[test]
fn each_flaw_of_a_sealed_text_has_its_own_error() {
    let sealer = sealer(NEW);
    let sealed = sealer.seal(b"place", b"text").expect("sealed");
    for (bytes, expected) in [
        (&b""[..], "not a sealed text"),
        (b"text", "not a sealed text"),
        (b"\xf5", "cut short"),
        (b"\xf5\x02rest", "of version 2, this build reads version 1"),
        (b"\xf5\x01\x00rest", "names no valid key id"),
        (b"\xf5\x01\x03NEWrest", "names no valid key id"),
        (&sealed[..20], "cut short"),
        (&sealed[..sealed.len() - 1], "altered or cut short"),
    ] {
        let (kind, text) = refused(&sealer, b"place", bytes);
        assert!(kind == ErrorKind::Codec && text.contains(expected), "{text}");
    }
}

#[test]
fn a_wrong_key_id_is_a_typed_error_that_says_what_to_add() {
    let sealed = sealer(NEW).seal(b"place", b"text").expect("sealed");
    let (kind, text) = refused(&sealer(OLD), b"place", &sealed);
    assert_eq!(kind, ErrorKind::Config);
    assert!(text.contains("needs key id `new`") && text.contains("RAPTOR_KEYRING"), "{text}");
}

#[test]
fn the_newest_key_seals_and_any_opens() {
    let (before, after) = (sealer(OLD), sealer(&format!("{NEW},{OLD}")));
    let old = before.seal(b"place", b"text").expect("sealed");
    assert_eq!(after.open(b"place", &old).expect("opened"), b"text");
    assert!(after.needs_rotation(&old) && !before.needs_rotation(&old));
    let new = after.seal(b"place", b"text").expect("sealed");
    assert!(!after.needs_rotation(&new));
    assert!(!after.needs_rotation(b"no sealed text"));
    let ids: Vec<_> = Keyring::parse(&format!("{NEW},{OLD}")).expect("valid").ids().collect();
    assert_eq!(ids, [KeyId::new("new").expect("valid"), KeyId::new("old").expect("valid")]);
}

#[test]
fn nothing_shows_a_key() {
    let keyring = Keyring::parse(&format!("{NEW},{OLD}")).expect("a keyring");
    let text = format!("{keyring:?} {:#?} {:?}", keyring, keyring.sealer(PURPOSE));
    assert!(text.contains("Keyring(new, old)"), "{text}");
    for secret in ["q83v", "ASNF", "171", "205"] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// Sealed by version 1, at the place `golden`; never change it, add versions.
const GOLDEN: &str = include_str!("../golden/sealed-v1.hex");

#[test]
fn sealed_texts_of_every_version_stay_readable() {
    let hex = GOLDEN.trim();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    let sealed: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let opened = sealer(&format!("{NEW},{OLD}")).open(b"golden", &sealed).expect("opened");
    assert_eq!(opened, "sealed by version 1".as_bytes());
}

proptest! {
    #[test]
    fn every_text_comes_back_and_no_altered_one_does(
        place in vec(any::<u8>(), 0..40),
        text in vec(any::<u8>(), 0..300),
        at in any::<Index>(),
        flip in 1_u8..,
    ) {
        let sealer = sealer(NEW);
        let mut sealed = sealer.seal(&place, &text).expect("sealed");
        prop_assert_eq!(sealer.open(&place, &sealed).expect("opened"), text);
        let at = at.index(sealed.len());
        sealed[at] ^= flip;
        prop_assert!(sealer.open(&place, &sealed).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..100), text in any::<String>()) {
        let sealer = sealer(NEW);
        let _ = (sealer.open(b"place", &bytes), sealer.needs_rotation(&bytes));
        let _ = sealer.open(b"place", &[&[0xf5, 1, 3][..], &bytes].concat());
        let _ = (Keyring::parse(&text), KeyId::new(&text));
    }
}
