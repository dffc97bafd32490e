//! Arbitrary bytes as an envelope, and as the payload of a well-formed one.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use raptor_core::codec::{Codec, CodecOptions, Envelope};
use raptor_core::{Key, Keyring};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

#[derive(Deserialize)]
#[allow(dead_code, reason = "only read from")]
enum Tree {
    Leaf(Option<f64>),
    Node(Vec<Tree>),
    Named { name: String, children: BTreeMap<String, Tree> },
}

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse("old:ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=").expect("a keyring")
});

static PLAIN: LazyLock<Codec> = LazyLock::new(Codec::default);

static ENCRYPTING: LazyLock<Codec> = LazyLock::new(|| {
    Codec::new(CodecOptions::default().keyring(KEYRING.clone())).expect("valid options")
});

fn read<T: DeserializeOwned>(stored: &[u8]) {
    let key = Key::raw("k");
    let _ = PLAIN.decode::<T>(&key, stored);
    let _ = ENCRYPTING.decode::<T>(&key, stored);
}

fn read_all(stored: &[u8]) {
    let _ = (Envelope::peek(stored), ENCRYPTING.needs_rotation(stored));
    let _ = PLAIN.decode_raw(&Key::raw("k"), &stored.to_vec().into());
    read::<Tree>(stored);
    read::<Vec<Vec<u64>>>(stored);
    read::<(String, [u8; 4], BTreeMap<u8, char>)>(stored);
    read::<IgnoredAny>(stored);
}

fuzz_target!(|bytes: &[u8]| {
    read_all(bytes);
    let Some((choice, payload)) = bytes.split_first() else { return };
    let stored = PLAIN.encode_raw(&Key::raw("k"), payload).expect("short enough");
    if stored[3] != 0 {
        return; // compressed: the bytes after the header are not the fuzzer's
    }
    let mut stored = stored.to_vec();
    stored[2] = choice % 3;
    if choice & 0x80 != 0 {
        // As an LZ4 block, with a length of its own choice.
        stored[3] = 1;
        let stated =
            payload.iter().take(3).fold(0_u32, |stated, byte| stated << 8 | u32::from(*byte));
        stored.splice(17..17, stated.to_be_bytes());
    }
    read_all(&stored);
});
