//! What decoding hostile bytes may cost in memory. A binary of its own, with one test: the
//! allocator counts for the whole process.

use std::collections::BTreeMap;

use peak_alloc::PeakAlloc;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use raptor_core::{Codec, CodecOptions, Key};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[derive(Serialize, Deserialize)]
enum Tree {
    Leaf(u8),
    Node(Vec<Tree>),
}

/// For each payload byte: the largest element here has 32 bytes and comes from one or more; a
/// growing vector holds its old half and its new whole.
const PER_BYTE: usize = 100;

/// For errors, and for small things that are made whatever the input.
const FIXED: usize = 4 * 1024;

/// The most that decoding took at once, beyond what was there before.
fn peak_of<T: DeserializeOwned>(codec: &Codec, stored: &[u8]) -> usize {
    let key = Key::raw("k");
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = codec.decode::<T>(&key, stored);
    let peak = MEMORY.peak_usage();
    drop(result);
    peak.saturating_sub(before)
}

fn worst(codec: &Codec, stored: &[u8]) -> usize {
    [
        peak_of::<Vec<u64>>,
        peak_of::<Vec<Vec<Vec<u64>>>>,
        peak_of::<Tree>,
        peak_of::<String>,
        peak_of::<BTreeMap<String, Vec<u32>>>,
    ]
    .iter()
    .map(|peak| peak(codec, stored))
    .max()
    .unwrap_or_default()
}

/// A payload in a plain envelope, as if it were of the format of this number.
fn envelope(format: u8, payload: &[u8]) -> Vec<u8> {
    let plain = Codec::new(CodecOptions::default().compress_above(None)).expect("valid");
    let mut stored = plain.encode_raw(&Key::raw("k"), payload).expect("encoded").to_vec();
    stored[2] = format;
    stored
}

/// The same, as an LZ4 block that is said to hold `stated` bytes.
fn compressed(block: &[u8], stated: u32) -> Vec<u8> {
    let mut stored = envelope(1, block);
    stored[3] = 1;
    stored.splice(17..17, stated.to_be_bytes());
    stored
}

#[test]
fn decoding_never_allocates_more_than_the_input_justifies() {
    let codec = Codec::default();

    // Arrays of 2^32 - 1 elements, alone and in each other: a megabyte each, if believed.
    for depth in [1, 3, 90] {
        let hostile = envelope(1, &[0xdd, 0xff, 0xff, 0xff, 0xff].repeat(depth));
        let peak = worst(&codec, &hostile);
        assert!(peak < FIXED, "{depth} lying arrays took {peak} bytes");
    }
    let node = [&b"\x81\xa4Node\xdd"[..], &[0xff; 4]].concat();
    let peak = worst(&codec, &envelope(1, &node.repeat(40)));
    assert!(peak < FIXED, "lying nodes took {peak} bytes");

    // 100 bytes that claim to decompress to 16 MiB.
    let peak = worst(&codec, &compressed(&[0x1f; 100], 16 << 20));
    assert!(peak < FIXED, "a bomb took {peak} bytes");

    let mut runner = TestRunner::new(Config { cases: 400, ..Config::default() });
    let markers = prop_oneof![any::<u8>(), Just(0xdd), Just(0xdf), Just(0x91), Just(0xff)];
    let inputs = (vec(markers, 0..400), 0_u8..3, any::<u32>(), any::<Index>());
    let property = |(bytes, format, stated, at): (Vec<u8>, u8, u32, Index)| {
        let stored = envelope(format, &bytes);
        let bound = FIXED + PER_BYTE * stored.len();
        let peak = worst(&codec, &stored);
        prop_assert!(peak < bound, "{peak} bytes for {}", stored.len());

        let bound = FIXED + PER_BYTE * 255 * stored.len();
        let peak = worst(&codec, &compressed(&bytes, stated % (300 * 400)));
        prop_assert!(peak < bound, "{peak} bytes for {} compressed", stored.len());

        let tree = Tree::Node((0..100).map(Tree::Leaf).collect());
        let mut mutated = codec.encode(&Key::raw("k"), &tree).expect("encoded").to_vec();
        let at = at.index(mutated.len());
        mutated[at] = stated as u8;
        let peak = worst(&codec, &mutated);
        prop_assert!(peak < FIXED + PER_BYTE * mutated.len(), "{peak} bytes when mutated");
        Ok(())
    };
    if let Err(failure) = runner.run(&inputs, property) {
        panic!("{failure}");
    }
}
