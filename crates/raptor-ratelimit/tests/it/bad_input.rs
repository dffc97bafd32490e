//! Acceptance 11: typed errors or exact behaviour, never another's count.

use std::time::Duration;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::{AcquireOptions, Limit, MAX_LIMIT, Subject};

use crate::rig::{MINUTE, Rig};

#[test]
fn acceptance_11_values_out_of_range_are_typed_errors() {
    let errors = [
        Limit::strict(0, MINUTE).unwrap_err(),
        Limit::strict(MAX_LIMIT + 1, MINUTE).unwrap_err(),
        Limit::strict(u64::MAX, MINUTE).unwrap_err(),
        Limit::strict(1, Duration::ZERO).unwrap_err(),
        Limit::strict(1, Duration::MAX).unwrap_err(),
        Limit::strict(1, MINUTE).unwrap().named("").unwrap_err(),
        Limit::strict(1, MINUTE).unwrap().shared_at("").unwrap_err(),
        AcquireOptions::default().cost(0).unwrap_err(),
        Subject::new("", "e").unwrap_err(),
        Subject::new("u", "").unwrap_err(),
        Subject::new("u".repeat(513), "e").unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[tokio::test]
async fn acceptance_11_hostile_names_never_meet_another_s_count() -> Result<()> {
    let rig = Rig::start().await?;
    let names: [&[u8]; 16] = [
        b"a",
        b"a:b",
        b"b",
        b"{}",
        b"{",
        b"}",
        b"{a}",
        b":",
        b"a:",
        b":a",
        b"\0",
        b"a\0",
        b"\r\n",
        b"%3A",
        b"\xFF\xFE",
        b"60s",
    ];
    let limits = [Limit::strict(1, MINUTE)?];
    for user in names {
        for endpoint in names {
            let subject = Subject::new(user, endpoint)?;
            for first in [true, false] {
                let options = AcquireOptions::default();
                let decision = rig.service.acquire(&subject, &limits, &options).await?;
                assert_eq!(decision.is_allowed(), first, "{user:?} {endpoint:?}");
            }
        }
    }
    let keys: Vec<String> = rig.backend.keys("*").await?;
    assert_eq!(keys.len(), names.len() * names.len());
    assert!(keys.iter().all(|key| key.starts_with("raptorflow:rate:{")));
    Ok(())
}

#[tokio::test]
async fn acceptance_11_hostile_policies_count_apart() -> Result<()> {
    let rig = Rig::start().await?;
    for policy in ["{}", ":", "a:b", "\0", "a\0", "\"'"] {
        let limit = Limit::strict(1, MINUTE)?.named(policy)?;
        assert!(rig.one(&limit).await?.is_allowed(), "{policy:?}");
        assert!(!rig.one(&limit).await?.is_allowed(), "{policy:?}");
    }
    Ok(())
}
