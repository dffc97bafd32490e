//! What must hold of stored values: they come back, only from where they were put, at a cost that
//! their bytes justify, and for as long as there are versions.

mod golden;
mod hostile;

use std::collections::BTreeMap;
use std::fmt::Debug;

use raptor_core::codec::{Compression, Flaw, Format, MAX_LEN, Plaintext};
use raptor_core::{
    Codec, CodecOptions, Envelope, Error, ErrorKind, Family, Key, KeySpace, Keyring,
};
use serde::{Deserialize, Serialize};

const NEW: &str = "new:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
const OLD: &str = "old:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=";
const FORMATS: [Format; 2] = [Format::MessagePack, Format::Json];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    total: f64,
    paid: Option<bool>,
    lines: Vec<Line>,
    notes: BTreeMap<String, String>,
    state: State,
    digest: [u8; 4],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    count: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Open,
    Shipped { carrier: String },
    Returned(u8, u8),
}

fn order() -> Order {
    Order {
        id: u64::MAX,
        customer: "Ada Lovelace – ☕".into(),
        total: 0.1 + 0.2,
        paid: Some(true),
        lines: (-2..6).map(|count| Line { sku: format!("SKU-{count:+}"), count }).collect(),
        notes: [("left at".to_owned(), "door".to_owned())].into(),
        state: State::Shipped { carrier: "post".into() },
        digest: [0, 127, 128, 255],
    }
}

fn keyring(text: &str) -> Keyring {
    Keyring::parse(text).expect("a keyring")
}

fn codec(options: CodecOptions) -> Codec {
    Codec::new(options).expect("valid options")
}

fn plain() -> Codec {
    Codec::default()
}

fn encrypting() -> Codec {
    codec(CodecOptions::default().keyring(keyring(NEW)))
}

/// Every format, with and without compression, with and without encryption.
fn codecs() -> Vec<Codec> {
    let mut all = Vec::new();
    for format in FORMATS {
        for compress_above in [None, Some(0)] {
            let options = CodecOptions::default().format(format).compress_above(compress_above);
            all.push(codec(options.clone()));
            all.push(codec(options.keyring(keyring(NEW))));
        }
    }
    all
}

fn key(part: &str) -> Key {
    KeySpace::default().key(&Family::RATE, "acme", &[part]).expect("a key")
}

fn flaw<T: Debug>(result: Result<T, Error>) -> Flaw {
    let error = result.expect_err("refused");
    Flaw::of(&error).unwrap_or_else(|| panic!("no flaw in {error:?}")).clone()
}

fn decode(codec: &Codec, stored: &[u8]) -> Result<Order, Error> {
    codec.decode(&key("a"), stored)
}

#[test]
fn every_byte_of_an_envelope_is_where_the_documentation_says() {
    let key = Key::raw("k");
    let stored = plain().encode(&key, &("hi", 7)).expect("encoded");
    let hex = "c1 01 01 00 00 54db7bb477a7f7d9 00000005 92 a26869 07".replace(' ', "");
    assert_eq!(to_hex(&stored), hex);

    let codec = codec(CodecOptions::default().keyring(keyring(NEW)).compress_above(0));
    let stored = codec.encode_raw(&key, &[b'x'; 300]).expect("encoded");
    // How short LZ4 gets it is LZ4's own affair: all but the header, nonce and tag is payload.
    let payload_len = stored.len() - (24 + 12 + 16);
    let header = format!("c1 01 00 01 03 6e6577 54db7bb477a7f7d9 {payload_len:08x} 0000012c");
    assert_eq!(to_hex(&stored[..24]), header.replace(' ', ""));
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_envelope_can_be_looked_at_without_a_key() {
    let codec = codec(CodecOptions::default().keyring(keyring(NEW)).format(Format::Json));
    let stored = codec.encode(&key("a"), &"x".repeat(5_000)).expect("encoded");
    let envelope = Envelope::peek(&stored).expect("an envelope");
    assert_eq!((envelope.version(), envelope.format()), (1, Some(Format::Json)));
    assert_eq!(envelope.compression(), Compression::Lz4);
    assert_eq!(envelope.key_id().expect("encrypted").as_str(), "new");
    assert_eq!((envelope.payload_len(), envelope.stored_len()), (5_002, stored.len()));
    assert!(envelope.is_for(&key("a")) && !envelope.is_for(&key("b")));
    assert!(stored.len() < 200);
}

#[test]
fn values_swapped_between_keys_are_refused_encrypted_or_not() {
    for codec in codecs() {
        let stored = codec.encode(&key("a"), &order()).expect("encoded");
        let error = codec.decode::<Order>(&key("b"), &stored).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert_eq!(Flaw::of(&error), Some(&Flaw::OtherKey));
        let said = format!("{error:?}").matches("belongs to another Redis key").count();
        assert_eq!(said, 1, "{error:?}");
        // Another prefix, and another family, is another key.
        let other = KeySpace::new("other:").expect("valid");
        let other = other.key(&Family::RATE, "acme", &["a"]).expect("a key");
        assert_eq!(flaw(codec.decode::<Order>(&other, &stored)), Flaw::OtherKey);
        let stored = codec.encode_raw(&key("a"), b"bytes").expect("encoded");
        assert_eq!(flaw(codec.decode_raw(&key("b"), &stored)), Flaw::OtherKey);
    }
}

#[test]
fn a_forged_fingerprint_does_not_move_an_encrypted_value() {
    let codec = encrypting();
    let mut moved = codec.encode(&key("a"), &order()).expect("encoded").to_vec();
    let target = codec.encode(&key("b"), &order()).expect("encoded");
    moved[8..16].copy_from_slice(&target[8..16]);
    let id = keyring(NEW).newest();
    assert_eq!(flaw(codec.decode::<Order>(&key("b"), &moved)), Flaw::Altered(id));
}

#[test]
fn truncated_data_is_refused_at_every_length() {
    for codec in codecs() {
        let stored = codec.encode(&key("a"), &order()).expect("encoded");
        for len in 0..stored.len() {
            let expected = if len == 0 { Flaw::NotAnEnvelope } else { Flaw::Truncated };
            assert_eq!(flaw(decode(&codec, &stored[..len])), expected, "{len} of {codec:?}");
        }
        let longer = [&stored, &[0][..]].concat();
        assert_eq!(flaw(decode(&codec, &longer)), Flaw::Overlong);
    }
    let stored = plain().encode_raw(&key("a"), b"raw bytes").expect("encoded");
    let cut = stored.slice(..stored.len() - 1);
    assert_eq!(flaw(plain().decode_raw(&key("a"), &cut)), Flaw::Truncated);
}

#[test]
fn a_wrong_key_id_is_a_typed_error_that_says_what_to_add() {
    let stored = encrypting().encode(&key("a"), &order()).expect("encoded");
    let other = codec(CodecOptions::default().keyring(keyring(OLD)));
    let error = decode(&other, &stored).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "the stored value is encrypted with key id `new`: add key id `new` to RAPTOR_KEYRING"
    );
    let error = decode(&plain(), &stored).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().ends_with("give the codec a keyring (RAPTOR_KEYRING)"), "{error}");
    // The right id on another key.
    let impostor = OLD.replace("old:", "new:");
    let impostor = codec(CodecOptions::default().keyring(keyring(&impostor)));
    assert!(matches!(flaw(decode(&impostor, &stored)), Flaw::Altered(_)));
}

#[test]
fn each_flaw_of_a_header_has_its_own_error() {
    let stored = plain().encode(&key("a"), &order()).expect("encoded").to_vec();
    let with = |at: usize, byte: u8| {
        let mut stored = stored.clone();
        stored[at] = byte;
        flaw(decode(&plain(), &stored))
    };
    assert_eq!(with(0, b'$'), Flaw::NotAnEnvelope);
    assert_eq!(with(1, 2), Flaw::Version(2));
    assert_eq!(with(1, 0), Flaw::Version(0));
    assert_eq!(with(2, 3), Flaw::UnknownFormat(3));
    assert_eq!(with(3, 2), Flaw::UnknownCompression(2));
    assert_eq!(with(4, 1), Flaw::BadKeyId);
    assert_eq!(with(4, 17), Flaw::BadKeyId);
    assert_eq!(with(4, 255), Flaw::BadKeyId);
    assert_eq!(with(5, stored[5] ^ 1), Flaw::OtherKey);
    assert_eq!(with(13, 0xff), Flaw::Truncated);
    assert_eq!(with(16, 0), Flaw::Overlong);
    assert_eq!(with(17, 0xc1), Flaw::Malformed(Format::MessagePack));
    // A newer version says what to do.
    let mut newer = stored.clone();
    newer[1] = 2;
    let text = decode(&plain(), &newer).expect_err("refused").to_string();
    assert_eq!(
        text,
        "the stored value is an envelope of version 2, and this build reads up to 1: upgrade \
         readers before writers"
    );
}

#[test]
fn raw_bytes_and_typed_values_are_not_taken_for_each_other() {
    let codec = plain();
    let raw = codec.encode_raw(&key("a"), b"\x01").expect("encoded");
    assert_eq!(flaw(codec.decode::<u8>(&key("a"), &raw)), Flaw::RawBytes);
    let typed = codec.encode(&key("a"), &1_u8).expect("encoded");
    let expected = Flaw::TypedValue(Format::MessagePack);
    assert_eq!(flaw(codec.decode_raw(&key("a"), &typed)), expected);
}

#[test]
fn what_is_too_long_is_neither_written_nor_read() {
    let small = codec(CodecOptions::default().max_len(100).compress_above(0));
    let long = "secret".repeat(20);
    for error in [
        small.encode(&key("a"), &long).expect_err("refused"),
        small.encode_raw(&key("a"), long.as_bytes()).expect_err("refused"),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().ends_with("is longer than 100 bytes, the codec's limit"));
    }
    let stored = plain().encode(&key("a"), &long).expect("encoded");
    assert_eq!(
        flaw(small.decode::<String>(&key("a"), &stored)),
        Flaw::TooLong { len: 122, max: 100 }
    );
    // Short as stored, long once decompressed.
    let large = codec(CodecOptions::default().compress_above(0));
    let stored = large.encode(&key("a"), &long).expect("encoded");
    assert!(stored.len() < 60, "{}", stored.len());
    assert_eq!(
        flaw(small.decode::<String>(&key("a"), &stored)),
        Flaw::TooLong { len: 122, max: 100 }
    );
    for bad in [0, MAX_LEN + 1] {
        let error = Codec::new(CodecOptions::default().max_len(bad)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[test]
fn errors_show_nothing_of_the_payload() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read from")]
    struct Wanted {
        id: u64,
        added: u64,
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read from")]
    enum Choice {
        One,
    }
    #[derive(Serialize)]
    struct Unwritable(BTreeMap<Vec<u8>, String>);

    let value = BTreeMap::from([("id", "s3cret")]);
    for format in FORMATS {
        let codec = codec(CodecOptions::default().format(format));
        let stored = codec.encode(&key("a"), &value).expect("encoded");
        let text_only = codec.encode(&key("a"), "s3cret").expect("encoded");
        for error in [
            codec.decode::<Wanted>(&key("a"), &stored).expect_err("refused"),
            codec.decode::<u64>(&key("a"), &stored).expect_err("refused"),
            codec.decode::<Choice>(&key("a"), &text_only).expect_err("refused"),
        ] {
            let text = format!("{error} {error:?} {:?}", Flaw::of(&error));
            assert!(text.contains("does not fit the type") && !text.contains("s3cret"), "{text}");
        }
        let stored = codec.encode(&key("a"), &BTreeMap::from([("id", 7)])).expect("encoded");
        let error = codec.decode::<Wanted>(&key("a"), &stored).expect_err("refused");
        assert!(error.to_string().contains("the field `added` is missing"), "{error}");
    }
    let json = codec(CodecOptions::default().format(Format::Json));
    let value = Unwritable([(b"s3cret".to_vec(), "s3cret".to_owned())].into());
    let error = json.encode(&key("a"), &value).expect_err("refused");
    let text = format!("{error:?}");
    assert!(text.contains("Unwritable cannot be written as JSON"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_type_that_gained_a_field_reads_old_data_and_old_code_reads_new() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        name: String,
        state: Simple,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        // At the front and of a structured type: neither place nor shape may matter.
        #[serde(default)]
        tags: BTreeMap<String, Vec<u8>>,
        name: String,
        #[serde(default)]
        email: Option<String>,
        state: Simple,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Simple {
        Open,
        Closed { by: String },
    }

    for codec in codecs() {
        let state = || Simple::Closed { by: "ada".into() };
        let old = Before { name: "Ada".into(), state: state() };
        let stored = codec.encode(&key("a"), &old).expect("encoded");
        let read: After = codec.decode(&key("a"), &stored).expect("new code reads old data");
        let name = "Ada".to_owned();
        assert_eq!(read, After { tags: BTreeMap::new(), name, email: None, state: state() });

        let tags = [("a".to_owned(), vec![1, 2, 3])].into();
        let email = Some("ada@example.org".to_owned());
        let new = After { tags, name: "Ada".into(), email, state: state() };
        let stored = codec.encode(&key("a"), &new).expect("encoded");
        let read: Before = codec.decode(&key("a"), &stored).expect("old code reads new data");
        assert_eq!(read, old);
    }
}

#[test]
fn rotation_reads_the_old_writes_the_new_and_says_what_is_left() {
    let before = codec(CodecOptions::default().keyring(keyring(OLD)));
    let after = codec(CodecOptions::default().keyring(keyring(&format!("{NEW},{OLD}"))));
    let old = before.encode(&key("a"), &order()).expect("encoded");
    assert!(after.needs_rotation(&old) && !before.needs_rotation(&old));
    let value = decode(&after, &old).expect("the old key still decrypts");
    let new = after.encode(&key("a"), &value).expect("encoded");
    assert!(!after.needs_rotation(&new));
    assert_eq!(Envelope::peek(&new).expect("valid").key_id().expect("set").as_str(), "new");

    let unencrypted = plain().encode(&key("a"), &order()).expect("encoded");
    assert!(after.needs_rotation(&unencrypted) && !plain().needs_rotation(&unencrypted));
    for no_envelope in [&b""[..], b"text", b"\xc1"] {
        assert!(!after.needs_rotation(no_envelope));
    }
}

#[test]
fn with_a_keyring_a_value_that_is_not_encrypted_is_refused_until_accepted() {
    let stored = plain().encode(&key("a"), &order()).expect("encoded");
    assert_eq!(flaw(decode(&encrypting(), &stored)), Flaw::NotEncrypted);
    let options = CodecOptions::default().keyring(keyring(NEW)).plaintext(Plaintext::Accept);
    assert_eq!(decode(&codec(options), &stored).expect("accepted"), order());
}

#[test]
fn encryption_shows_nothing_and_never_repeats() {
    let codec = encrypting();
    let first = codec.encode_raw(&key("a"), b"correct horse battery staple").expect("encoded");
    let second = codec.encode_raw(&key("a"), b"correct horse battery staple").expect("encoded");
    assert_ne!(first[20..], second[20..]);
    assert!(!first.windows(7).any(|window| window == b"correct"));
    let text = format!("{codec:?} {:?}", CodecOptions::default().keyring(keyring(NEW)));
    assert!(text.contains("new") && !text.contains("q83v"), "{text}");
}

#[test]
fn raw_bytes_that_stand_as_they_are_are_not_copied() {
    let stored = plain().encode_raw(&key("a"), b"some bytes").expect("encoded");
    let payload = plain().decode_raw(&key("a"), &stored).expect("decoded");
    assert_eq!(payload.as_ptr(), stored[17..].as_ptr());
}

#[test]
fn json_numbers_come_back_to_the_last_bit() {
    let codec = codec(CodecOptions::default().format(Format::Json));
    // Off by one bit without serde_json's `float_roundtrip`.
    for number in [51.249_817_614_417_97_f64, 5e-324, f64::MAX, -0.0, 0.1 + 0.2] {
        let stored = codec.encode(&key("a"), &number).expect("encoded");
        let read: f64 = codec.decode(&key("a"), &stored).expect("decoded");
        assert_eq!(read.to_bits(), number.to_bits());
    }
}
