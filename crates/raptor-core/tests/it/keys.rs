//! Keys: no two inputs meet in one key, equal tags share a slot, nothing leaves its family.

use std::collections::HashSet;

use proptest::prelude::*;
use raptor_core::ErrorKind;
use raptor_core::keys::{
    Family, Key, KeySpace, MAX_PART_LEN, NO_PARTS, catalogue_markdown, decode_part, slot_of,
};

/// What a key is made from.
type Inputs = (&'static Family, Vec<u8>, Vec<Vec<u8>>);

/// Bytes of every kind, thick with what could be taken for a separator.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(vec![
        "a", "b", ":", "{", "}", "%", "%3A", "%7D", "*", "?", "[", "]", "\\", "\0", "\n", " ", "~",
        "/", "é", "𝄞", "session", "}:", ":{", "a:b", "{}", "%%",
    ]);
    prop_oneof![
        prop::collection::vec(nasty, 1..6).prop_map(|words| words.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 1..40),
        "\\PC{1,20}".prop_map(String::into_bytes),
    ]
}

fn family() -> impl Strategy<Value = &'static Family> {
    prop::sample::select(Family::ALL.iter().collect::<Vec<_>>())
}

fn inputs() -> impl Strategy<Value = Inputs> {
    (family(), part(), prop::collection::vec(part(), 0..4))
}

fn space() -> impl Strategy<Value = KeySpace> {
    "[A-Za-z0-9_./:-]{1,64}".prop_map(|prefix| KeySpace::new(&prefix).expect("a valid prefix"))
}

fn key(space: &KeySpace, (family, tag, parts): &Inputs) -> Key {
    space.key(family, tag, parts).expect("every non-empty part makes a key")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn distinct_inputs_give_distinct_keys(one in inputs(), two in inputs()) {
        let space = KeySpace::default();
        prop_assert_eq!(one == two, key(&space, &one) == key(&space, &two));
    }

    #[test]
    fn moving_a_separator_between_parts_gives_another_key(
        family in family(), tag in part(), a in part(), b in part(), sep in "[:{}%]{1,2}",
    ) {
        let space = KeySpace::default();
        let join = |x: &[u8], y: &[u8]| [x, sep.as_bytes(), y].concat();
        let keys: HashSet<Key> = [
            (family, tag.clone(), vec![a.clone(), b.clone()]),
            (family, tag.clone(), vec![join(&a, &b)]),
            (family, tag.clone(), vec![join(&a, b""), b.clone()]),
            (family, tag.clone(), vec![a.clone(), join(b"", &b)]),
            (family, join(&tag, &a), vec![b.clone()]),
        ].iter().map(|inputs| key(&space, inputs)).collect();
        prop_assert_eq!(keys.len(), 5);
    }

    #[test]
    fn equal_tags_share_a_slot_whatever_family_and_parts(one in inputs(), two in inputs(), s1 in space(), s2 in space()) {
        let two: Inputs = (two.0, one.1.clone(), two.2);
        prop_assert_eq!(key(&s1, &one).slot(), key(&s2, &two).slot());
    }

    #[test]
    fn the_servers_own_rule_finds_the_same_slot(inputs in inputs(), space in space()) {
        let key = key(&space, &inputs);
        prop_assert_eq!(slot_of(key.as_bytes()), key.slot());
        prop_assert_eq!(Key::raw(key.bytes()).slot(), key.slot());
    }

    #[test]
    fn nothing_leaves_its_family(inputs in inputs(), space in space()) {
        let key = key(&space, &inputs);
        for family in Family::ALL {
            let head = format!("{}{}:{{", space.prefix(), family.name);
            prop_assert_eq!(key.as_bytes().starts_with(head.as_bytes()), family == inputs.0);
            prop_assert_eq!(family.pattern(&space), format!("{head}*"));
        }
        let parsed = space.parse(key.as_bytes()).expect("our own key");
        prop_assert_eq!((parsed.family, parsed.tag, parsed.parts), inputs);
    }

    #[test]
    fn different_prefixes_share_no_key(one in inputs(), two in inputs(), s1 in space(), s2 in space()) {
        prop_assume!(s1 != s2);
        prop_assert_ne!(key(&s1, &one), key(&s2, &two));
    }

    #[test]
    fn only_our_own_keys_are_parsed(bytes in part(), inputs in inputs(), at in any::<prop::sample::Index>()) {
        // A key with something pushed into it is refused, or is the very key that it parses to.
        let space = KeySpace::default();
        let mut raw = key(&space, &inputs).as_bytes().to_vec();
        let at = at.index(raw.len() + 1);
        raw.splice(at..at, bytes);
        if let Some(parsed) = space.parse(&raw) {
            let again = space.key(parsed.family, &parsed.tag, &parsed.parts).expect("parts that parsed");
            prop_assert_eq!(again.as_bytes(), &raw[..]);
        }
    }

    #[test]
    fn decoding_accepts_only_what_encoding_makes(text in prop_oneof![part(), "[a:%0-9A-F]{1,8}".prop_map(String::into_bytes)]) {
        if let Ok(part) = decode_part(&text) {
            let key = KeySpace::default().key(&Family::RATE, &part, NO_PARTS).expect("a decoded part");
            let expected = [b"raptorflow:rate:{", &text[..], b"}"].concat();
            prop_assert_eq!(key.as_bytes(), &expected[..]);
        }
    }
}

#[test]
fn keys_look_as_documented() {
    let space = KeySpace::new("app:").expect("a valid prefix");
    for (family, tag, parts, expected) in [
        (&Family::SESSION, "s007", &["q3-_Zm"][..], "app:session:{s007}:q3-_Zm"),
        (
            &Family::SESSION_USER,
            "s007",
            &["acme", "bob@x.io"],
            "app:session~user:{s007}:acme:bob@x.io",
        ),
        (&Family::RATE, "a:b", &["/v1/chat", "m"], "app:rate:{a%3Ab}:%2Fv1%2Fchat:m"),
        (&Family::RATE, "{x}", &["\0", "*?"], "app:rate:{%7Bx%7D}:%00:%2A%3F"),
        (&Family::USAGE, "é", &["2025-01"], "app:usage:{%C3%A9}:2025-01"),
    ] {
        let key = space.key(family, tag, parts).expect("valid parts");
        assert_eq!(String::from_utf8_lossy(key.as_bytes()), expected);
    }
}

#[test]
fn empty_and_over_long_parts_are_typed_errors_that_name_the_part_only() {
    let space = KeySpace::default();
    let long = "secret".repeat(100);
    for (tag, parts, named) in [
        ("", vec!["x"], "the tag (user)"),
        (&long, vec!["x"], "the tag (user)"),
        ("u", vec!["", "x"], "part 1 (endpoint)"),
        ("u", vec!["x", &long], "part 2 (policy)"),
        ("u", vec!["x", "y", ""], "part 3"),
    ] {
        let error = space.key(&Family::RATE, tag, &parts).expect_err("a bad part");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = format!("{error} {error:?}");
        assert!(text.contains(named) && text.contains("rate key"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    let longest = vec![0xFF; MAX_PART_LEN];
    assert!(space.key(&Family::RATE, &longest, &[&longest]).is_ok());
}

#[test]
fn foreign_keys_are_not_parsed() {
    let space = KeySpace::default();
    for raw in [
        &b""[..],
        b"raptorflow:",
        b"other:rate:{u}:e:p",
        b"raptorflow:unknown:{u}:e:p",
        b"raptorflow:rate:u:e:p",
        b"raptorflow:rate:{u",
        b"raptorflow:rate:{}:e",
        b"raptorflow:rate:{u}e",
        b"raptorflow:rate:{u}:",
        b"raptorflow:rate:{u}::p",
        b"raptorflow:rate:{u}:%zz",
        b"raptorflow:rate:{u}:\xFF",
        b"raptorflow:rate:x:{u}:e",
    ] {
        assert!(space.parse(raw).is_none(), "{}", String::from_utf8_lossy(raw));
    }
}

#[test]
fn a_keys_debug_shows_no_part() {
    let key =
        KeySpace::default().key(&Family::SESSION, "s001", &["c2VjcmV0"]).expect("valid parts");
    assert_eq!(format!("{key:?}"), "Key(session, 34 bytes)");
}

#[test]
fn docs_list_every_family_as_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/keys.md");
    let text = std::fs::read_to_string(path).expect("docs/keys.md is readable");
    let table = catalogue_markdown();
    assert!(
        text.contains(&format!("\n\n{table}\n")),
        "docs/keys.md must hold this table:\n\n{table}"
    );
}
