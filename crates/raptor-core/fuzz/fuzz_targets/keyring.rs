//! Any text as a keyring.

#![no_main]

use libfuzzer_sys::fuzz_target;
use raptor_core::{ErrorKind, KeyId, Keyring};

fuzz_target!(|text: &str| {
    match Keyring::parse(text) {
        Ok(keyring) => assert!(keyring.ids().any(|id| id == keyring.newest())),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Config),
    }
    if let Ok(id) = KeyId::new(text) {
        assert_eq!(id.as_str(), text);
    }
});
