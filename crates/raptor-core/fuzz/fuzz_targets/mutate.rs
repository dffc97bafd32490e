//! Envelopes and sealed texts with some bytes altered.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use raptor_core::codec::{Codec, CodecOptions, Format};
use raptor_core::{Key, Keyring};

struct Subject {
    codec: Codec,
    stored: Vec<u8>,
    encrypted: bool,
}

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse("old:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=").expect("a keyring")
});

fn value() -> Vec<(String, Option<f64>)> {
    (0..20).map(|n| (format!("name {n}"), (n % 3 == 0).then_some(f64::from(n)))).collect()
}

static SUBJECTS: LazyLock<Vec<Subject>> = LazyLock::new(|| {
    let mut subjects = Vec::new();
    for format in [Format::MessagePack, Format::Json] {
        for compress_above in [None, Some(0)] {
            for encrypted in [false, true] {
                let mut options =
                    CodecOptions::default().format(format).compress_above(compress_above);
                if encrypted {
                    options = options.keyring(KEYRING.clone());
                }
                let codec = Codec::new(options).expect("valid options");
                let stored = codec.encode(&Key::raw("k"), &value()).expect("encoded").to_vec();
                subjects.push(Subject { codec, stored, encrypted });
            }
        }
    }
    subjects
});

/// Three bytes an edit: where, and what.
fn edit(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut edited = bytes.to_vec();
    for change in edits.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % edited.len();
        edited[at] ^= change[2];
    }
    edited
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, edits)) = input.split_first() else { return };
    let subject = &SUBJECTS[usize::from(*choice) % SUBJECTS.len()];
    let stored = edit(&subject.stored, edits);
    let decoded = subject.codec.decode::<Vec<(String, Option<f64>)>>(&Key::raw("k"), &stored);
    if subject.encrypted && stored != subject.stored {
        assert!(decoded.is_err(), "an altered envelope was accepted");
    }
    let sealer = KEYRING.sealer("fuzz");
    let sealed = sealer.seal(b"place", b"some plaintext").expect("sealed");
    let altered = edit(&sealed, edits);
    assert_eq!(sealer.open(b"place", &altered).is_ok(), altered == sealed);
});
