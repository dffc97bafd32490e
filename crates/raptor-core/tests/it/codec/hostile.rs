//! Hostile bytes: bombs, depths, anything at all, and envelopes with some bytes altered.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use raptor_core::codec::{Flaw, Format, MAX_DEPTH};
use raptor_core::{Codec, CodecOptions, Envelope, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{FORMATS, Line, Order, State, codec, codecs, decode, encrypting, flaw, key, plain};

/// A type that nests as deep as its data does.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node(Vec<Tree>),
}

fn orders() -> impl Strategy<Value = Order> {
    let state = prop_oneof![
        Just(State::Open),
        any::<String>().prop_map(|carrier| State::Shipped { carrier }),
        any::<(u8, u8)>().prop_map(|(a, b)| State::Returned(a, b)),
    ];
    let line = any::<(String, i32)>().prop_map(|(sku, count)| Line { sku, count });
    let finite = any::<f64>().prop_filter("JSON has no NaN", |number| number.is_finite());
    let parts = (any::<(u64, String, Option<bool>, BTreeMap<String, String>, [u8; 4])>(), finite);
    (parts, vec(line, 0..20), state).prop_map(
        |(((id, customer, paid, notes, digest), total), lines, state)| Order {
            id,
            customer,
            total,
            paid,
            lines,
            notes,
            state,
            digest,
        },
    )
}

#[test]
fn a_bomb_does_not_go_off() {
    let codec = codec(CodecOptions::default().compress_above(0));
    let stored = codec.encode_raw(&key("a"), &[0; 10_000]).expect("encoded");
    for stated in [9_999_u32, 10_001, 16 << 20, u32::MAX] {
        let mut bomb = stored.to_vec();
        bomb[17..21].copy_from_slice(&stated.to_be_bytes());
        let flaw = flaw(codec.decode_raw(&key("a"), &bomb.into()));
        assert!(matches!(flaw, Flaw::Compression | Flaw::TooLong { .. }), "{stated}: {flaw}");
    }
}

#[test]
fn nesting_is_bounded_both_ways_and_what_fits_does_not_overflow_the_stack() {
    let nested = |depth| (0..depth).fold(Tree::Leaf, |tree, _| Tree::Node(vec![tree]));
    for format in FORMATS {
        let codec = codec(CodecOptions::default().format(format));
        // An enum is a map of one, and its content an array.
        let deepest = nested(MAX_DEPTH / 2);
        let stored = codec.encode(&key("a"), &deepest).expect("encoded");
        assert_eq!(codec.decode::<Tree>(&key("a"), &stored).expect("decoded"), deepest);
        let error = codec.encode(&key("a"), &nested(MAX_DEPTH / 2 + 1)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().ends_with("is nested deeper than 100"), "{error}");
    }
    let hostile = [
        (Format::MessagePack, vec![0x91; 1_000_000]),
        (Format::MessagePack, [0x81, 0xa4, b'N', b'o', b'd', b'e', 0x91].repeat(100_000)),
        (Format::Json, vec![b'['; 1_000_000]),
        (Format::Json, br#"{"Node":["#.repeat(100_000)),
    ];
    for (format, payload) in hostile {
        let stored = envelope_around(format, &payload);
        assert_eq!(flaw(plain().decode::<Tree>(&key("a"), &stored)), Flaw::TooDeep);
    }
}

/// A plain envelope with any payload.
fn envelope_around(format: Format, payload: &[u8]) -> Vec<u8> {
    let mut stored =
        codec(CodecOptions::default().compress_above(None)).encode_raw(&key("a"), payload);
    let mut stored = Vec::from(stored.as_mut().expect("encoded").as_ref());
    stored[2] = if format == Format::Json { 2 } else { 1 };
    stored
}

/// Decodes as everything: types whose readers reserve, recurse, borrow and skip.
fn decode_as_anything(codec: &Codec, stored: &[u8]) -> bool {
    fn fits<T: DeserializeOwned>(codec: &Codec, stored: &[u8]) -> bool {
        codec.decode::<T>(&key("a"), stored).is_ok()
    }
    let raw = codec.decode_raw(&key("a"), &Bytes::copy_from_slice(stored)).is_ok();
    let _ = (Envelope::peek(stored), codec.needs_rotation(stored));
    [
        fits::<Order>,
        fits::<Tree>,
        fits::<Vec<u64>>,
        fits::<Vec<Vec<Vec<String>>>>,
        fits::<BTreeMap<String, Option<i128>>>,
        fits::<(String, [f32; 3], char)>,
        fits::<serde::de::IgnoredAny>,
    ]
    .iter()
    .fold(raw, |any, fits| any | fits(codec, stored))
}

proptest! {
    // Each case runs through eight codecs; fuzzing is where many cases are run.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_value_comes_back(value in orders(), raw in vec(any::<u8>(), 0..2_000)) {
        for codec in codecs() {
            let stored = codec.encode(&key("a"), &value).expect("encoded");
            prop_assert_eq!(&decode(&codec, &stored).expect("decoded"), &value);
            let stored = codec.encode_raw(&key("a"), &raw).expect("encoded");
            prop_assert_eq!(&codec.decode_raw(&key("a"), &stored).expect("decoded"), &raw);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_the_decoder(bytes in vec(any::<u8>(), 0..600)) {
        let _ = decode_as_anything(&plain(), &bytes);
        // Behind a header that is right, so that the payload's reader is reached.
        for format in FORMATS {
            let _ = decode_as_anything(&plain(), &envelope_around(format, &bytes));
        }
        let mut lz4 = envelope_around(Format::MessagePack, &bytes);
        lz4[3] = 1;
        let _ = decode_as_anything(&plain(), &lz4);
    }

    #[test]
    fn a_mutated_envelope_never_panics_the_decoder(
        value in orders(),
        edits in vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Option<Index>>(),
    ) {
        for codec in codecs() {
            let stored = codec.encode(&key("a"), &value).expect("encoded");
            let mutated = mutate(&stored, &edits, cut.as_ref());
            let _ = decode_as_anything(&codec, &mutated);
        }
    }

    #[test]
    fn a_mutated_encrypted_envelope_is_always_refused(
        value in orders(),
        edits in vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Option<Index>>(),
    ) {
        let codec = encrypting();
        let stored = codec.encode(&key("a"), &value).expect("encoded");
        let mutated = mutate(&stored, &edits, cut.as_ref());
        let accepted = decode_as_anything(&codec, &mutated);
        prop_assert!(!accepted || mutated == stored, "{mutated:02x?} was {stored:02x?}");
    }
}

fn mutate(stored: &[u8], edits: &[(Index, u8)], cut: Option<&Index>) -> Vec<u8> {
    let mut mutated = stored.to_vec();
    for (index, byte) in edits {
        let at = index.index(mutated.len());
        mutated[at] = *byte;
    }
    if let Some(cut) = cut {
        mutated.truncate(cut.index(stored.len() + 1));
    }
    mutated
}
