//! Policies from a file, and the pair of check and record.

use std::time::Duration;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::{AcquireOptions, Algorithm, NoPolicy, Outage, Policies};

use crate::rig::Rig;

const GOOD: &str = r#"
default_tier = "free"

[tiers.free]
"POST /chat" = [
  { limit = 3, window = "1h" },
  { algorithm = "bucket", limit = 100, burst = 20, window = "1d", name = "daily" },
]
"*" = [{ limit = 1000, window = "90m", outage = "open" }]

[tiers.pro]
"POST /chat" = [{ algorithm = "log", limit = 100, window = "500ms", outage = { local = 4 } }]
"#;

#[test]
fn a_file_becomes_limits_by_tier_and_endpoint() -> Result<()> {
    let policies = Policies::from_toml(GOOD)?;
    assert_eq!(policies.tiers().collect::<Vec<_>>(), ["free", "pro"]);
    let chat = policies.limits(None, "POST /chat");
    assert_eq!((chat.len(), chat[0].limit(), chat[0].policy()), (2, 3, &b"3600s"[..]));
    assert_eq!((chat[1].algorithm(), chat[1].capacity()), (Algorithm::Bucket, 20));
    let other = &policies.limits(Some("free"), "GET /elsewhere")[0];
    assert_eq!((other.window(), other.outage()), (Duration::from_secs(5_400), Outage::Open));
    let pro = &policies.limits(Some("pro"), "POST /chat")[0];
    assert_eq!((pro.algorithm(), pro.outage()), (Algorithm::Log, Outage::local(4)));
    assert!(policies.limits(Some("pro"), "GET /elsewhere").is_empty());
    assert!(policies.limits(Some("none"), "POST /chat").is_empty());
    Ok(())
}

#[test]
fn a_bad_file_says_what_is_wrong_and_where() {
    let limit = |limit: &str| format!("[tiers.free]\n\"POST /chat\" = [{limit}]");
    let once_an_hour = |more: &str| format!("{{ limit = 1, window = \"1h\"{more} }}");
    let everywhere = |shared_at: &str| {
        let limits = [String::new(), format!(", shared_at = \"{shared_at}\"")];
        let limits = limits.map(|more| once_an_hour(&more)).join(", ");
        let chat = once_an_hour("");
        format!("[tiers.free]\n\"*\" = [{limits}]\n\"POST /chat\" = [{chat}]")
    };
    // Nobody asks for `*` there.
    assert!(Policies::from_toml(&everywhere("POST /chat")).is_ok());
    for (text, says) in [
        ("default_tier = \"gold\"\n[tiers]".to_owned(), "gold"),
        (limit("{ limit = 0, window = \"1h\" }"), "POST /chat"),
        (limit("{ limit = 1, window = \"1 h\" }"), "window `1 h`"),
        (limit("{ limit = 1, window = \"99999999999999999999d\" }"), "window"),
        (limit("{ limit = 1, window = \"0s\" }"), "window `0s`"),
        (limit("{ limit = 1, window = \"1h\", burst = 3 }"), "burst"),
        (limit("{ limit = 1, window = \"1h\", outage = { local = 0 } }"), "nonzero"),
        (limit("{ limit = 1, window = \"1h\", color = 3 }"), "color"),
        (limit("{ limit = 1, window = \"1h\" }, { limit = 2, window = \"60m\" }"), "3600s"),
        (limit(&["", ", shared_at = \"POST /chat\""].map(once_an_hour).join(", ")), "3600s"),
        (everywhere("POST /other"), "3600s"),
        (limit(""), "0 limits"),
        (limit("{ limit = -1, window = \"1h\" }"), "line 2"),
        ("tiers = 5".to_owned(), "line 1"),
        ("\0".to_owned(), "line 1"),
    ] {
        let error = Policies::from_toml(&text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(says), "{text}\n{error}");
    }
}

#[tokio::test]
async fn a_reloaded_file_applies_at_once_and_a_bad_one_keeps_the_old() -> Result<()> {
    let rig = Rig::start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("limits.toml");
    let options = AcquireOptions::default();
    let service = rig.service.clone();
    let acquire = || service.acquire_configured("ann", "POST /chat", None, &options);
    let error = acquire().await.unwrap_err();
    assert!(NoPolicy::is(&error) && error.kind() == ErrorKind::Config, "{error}");

    std::fs::write(&file, GOOD)?;
    rig.service.reload_policies(&file)?;
    assert_eq!(acquire().await?.results[0].remaining, 2);
    for bad in ["tiers = 5", &GOOD.replace("limit = 3", "limit = 0")] {
        std::fs::write(&file, bad)?;
        assert_eq!(rig.service.reload_policies(&file).unwrap_err().kind(), ErrorKind::Config);
        assert!(rig.service.reload_policies(folder.path().join("none")).is_err());
        assert_eq!(rig.service.policies().limits(None, "POST /chat")[0].limit(), 3);
    }
    assert_eq!(acquire().await?.results[0].remaining, 1);
    std::fs::write(&file, GOOD.replace("limit = 3", "limit = 10"))?;
    rig.service.reload_policies(&file)?;
    assert_eq!(acquire().await?.results[0].remaining, 7, "what was counted stays");
    Ok(())
}

#[tokio::test]
async fn check_looks_record_charges_and_without_a_policy_it_says_so() -> Result<()> {
    let rig = Rig::start().await?;
    rig.service.set_policies(Policies::from_toml(GOOD)?);
    let hour = Duration::from_secs(3_600);
    for left in (0..3).rev() {
        for _ in 0..3 {
            let looked = rig.service.check_limit("ann", "POST /chat", 3, hour).await?;
            assert!(looked.allowed);
            assert_eq!(looked.remaining, left + 1, "looking takes nothing");
        }
        let recorded = rig.service.record_request("ann", "POST /chat").await?;
        assert_eq!(recorded.results[0].remaining, left);
        assert_eq!(recorded.results[1].remaining, 17 + left);
    }
    let looked = rig.service.check_limit("ann", "POST /chat", 3, hour).await?;
    assert!(!looked.allowed && looked.retry_after.is_some());
    // What passed the check meanwhile is recorded too; a full limit stays full.
    let recorded = rig.service.record_request("ann", "POST /chat").await?;
    assert_eq!((recorded.results[0].remaining, recorded.results[1].remaining), (0, 16));

    rig.service.set_policies(Policies::default());
    let error = rig.service.record_request("ann", "POST /chat").await.unwrap_err();
    assert!(NoPolicy::is(&error), "{error}");
    assert!(rig.service.check_limit("", "e", 3, hour).await.is_err());
    assert!(rig.service.check_limit("ann", "e", 0, hour).await.is_err());
    Ok(())
}
