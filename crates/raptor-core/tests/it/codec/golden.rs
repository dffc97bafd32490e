//! Golden files: what version 1 wrote, for as long as there are versions. What they hold never
//! changes; new versions add files.

use std::path::PathBuf;

use bytes::Bytes;
use raptor_core::codec::{Compression, Format, Plaintext};
use raptor_core::{Codec, CodecOptions, Envelope, Key};

use super::{NEW, OLD, Order, codec, keyring, order};

fn key() -> Key {
    Key::raw("raptorflow:cache:{acme}:golden")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn options(format: Format, compressed: bool, encrypted: bool) -> CodecOptions {
    let options = CodecOptions::default().format(format).compress_above(if compressed {
        Some(0)
    } else {
        None
    });
    if encrypted { options.keyring(keyring(OLD)) } else { options }
}

/// Each file's name, and what wrote it.
fn files() -> Vec<(String, Option<Format>, Codec)> {
    let mut files = Vec::new();
    for format in [None, Some(Format::MessagePack), Some(Format::Json)] {
        for compressed in [false, true] {
            for encrypted in [false, true] {
                let name = format!(
                    "v1-{}-{}-{}.bin",
                    format.map_or("raw".into(), |format| format.to_string().to_lowercase()),
                    if compressed { "lz4" } else { "none" },
                    if encrypted { "encrypted" } else { "plain" },
                );
                let codec = codec(options(format.unwrap_or_default(), compressed, encrypted));
                files.push((name, format, codec));
            }
        }
    }
    files
}

fn raw() -> Vec<u8> {
    b"0123456789abcdef".repeat(8)
}

#[test]
fn data_of_every_version_stays_readable() {
    // Today's codec, whatever it writes: the old key behind a newer one.
    let today = codec(
        CodecOptions::default()
            .keyring(keyring(&format!("{NEW},{OLD}")))
            .plaintext(Plaintext::Accept),
    );
    for (name, format, _) in files() {
        let stored = std::fs::read(folder().join(&name)).expect(&name);
        let envelope = Envelope::peek(&stored).expect(&name);
        assert_eq!(envelope.format(), format, "{name}");
        let lz4 = envelope.compression() == Compression::Lz4;
        assert_eq!(lz4, name.contains("lz4"), "{name}");
        assert_eq!(envelope.key_id().is_some(), name.contains("encrypted"), "{name}");
        if format.is_some() {
            assert_eq!(today.decode::<Order>(&key(), &stored).expect(&name), order());
        } else {
            let read = today.decode_raw(&key(), &stored.into()).expect(&name);
            assert_eq!(read, raw());
        }
    }
}

#[test]
fn what_is_not_encrypted_is_written_as_it_ever_was() {
    for (name, format, codec) in files() {
        if name.contains("plain") && name.contains("none") {
            let stored = std::fs::read(folder().join(&name)).expect(&name);
            assert_eq!(write(format, &codec), stored, "{name}");
        }
    }
}

fn write(format: Option<Format>, codec: &Codec) -> Bytes {
    match format {
        Some(_) => codec.encode(&key(), &order()),
        None => codec.encode_raw(&key(), &raw()),
    }
    .expect("encoded")
}

/// With `RAPTOR_WRITE_GOLDEN=1` writes the files that are missing; never over one.
#[test]
fn golden_files_are_complete() {
    for (name, format, codec) in files() {
        let path = folder().join(&name);
        if !path.exists() && std::env::var_os("RAPTOR_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, write(format, &codec)).expect(&name);
        }
        assert!(path.exists(), "{name} is missing; RAPTOR_WRITE_GOLDEN=1 writes it");
    }
}
