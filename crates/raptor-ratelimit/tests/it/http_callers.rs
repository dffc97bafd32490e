//! The layer: whose mistake an answer says it is, which policies hold, and what the fields say of them.

use std::convert::Infallible;

use anyhow::Result;
use raptor_core::ErrorKind;
use raptor_ratelimit::http::{Caller, Failure, RateLimitBody, RateLimitLayer};
use raptor_ratelimit::{AcquireOptions, Limit, Policies, RateLimitService};
use tower::{Layer, ServiceExt};

use crate::http::parse;
use crate::rig::{MINUTE, Rig, subject};

const PLAIN: &str = "text/plain";

type Inner = axum::body::Body;
type Response = axum::http::Response<RateLimitBody<Inner>>;

/// One request to the layer alone, by whom `caller` says.
async fn by(
    service: &RateLimitService,
    content_type: &'static str,
    caller: impl Fn() -> raptor_core::Result<Caller> + Send + Sync + 'static,
) -> Result<Response> {
    let layer = RateLimitLayer::new(service.clone(), move |_| caller().map(Some));
    let inner = tower::service_fn(async |_: axum::http::Request<Inner>| {
        Ok::<_, Infallible>(axum::http::Response::new(Inner::empty()))
    });
    let request = axum::http::Request::builder().header("content-type", content_type);
    Ok(layer.layer(inner).oneshot(request.body(Inner::empty())?).await?)
}

#[tokio::test]
async fn limits_that_cannot_stand_together_are_a_500_and_not_the_callers_400() -> Result<()> {
    let rig = Rig::start().await?;
    let twice = || {
        let limit = Limit::strict(3, MINUTE)?;
        Ok(Caller::new("u", "e")?.limits([limit.clone(), limit]))
    };
    let answer = by(&rig.service, PLAIN, twice).await?;
    assert_eq!(answer.status(), 500);
    let failure = answer.extensions().get::<Failure>().unwrap();
    assert_eq!(failure.error().kind(), ErrorKind::InvalidInput);
    assert!(failure.error().to_string().contains("two limits"), "{}", failure.error());
    let answer = by(&rig.service, "application/grpc", twice).await?;
    assert_eq!(answer.headers()["grpc-status"], "13", "INTERNAL");
    let answer = by(&rig.service, PLAIN, || Caller::new("", "e")).await?;
    assert_eq!(answer.status(), 400, "who cannot be named");
    assert!(answer.extensions().get::<Failure>().is_some());
    Ok(())
}

#[tokio::test]
async fn an_unknown_tier_counts_as_the_default_one() -> Result<()> {
    let rig = Rig::start().await?;
    let mut text = "[tiers.free]\n\"e\" = [{ limit = 2, window = \"60s\" }]".to_owned();
    rig.service.set_policies(Policies::from_toml(&text)?);
    let unknown = || Ok(Caller::new("u", "e")?.tier("nosuch"));
    let answer = by(&rig.service, PLAIN, unknown).await?;
    assert!(!answer.headers().contains_key("ratelimit"), "no default tier, as without a tier");
    text.insert_str(0, "default_tier = \"free\"\n");
    rig.service.set_policies(Policies::from_toml(&text)?);
    for status in [200, 200, 429] {
        let answer = by(&rig.service, PLAIN, unknown).await?;
        assert_eq!(answer.status(), status);
        assert!(answer.headers().contains_key("ratelimit"));
    }
    Ok(())
}

#[tokio::test]
async fn two_names_never_become_one_string() -> Result<()> {
    let rig = Rig::start().await?;
    let names = ["a\r", "a%0D", "a%0d", "a%250D", "a%"];
    let limits: Vec<Limit> = names
        .iter()
        .map(|name| Limit::strict(3, MINUTE)?.named(*name))
        .collect::<raptor_core::Result<_>>()?;
    let caller = move || Ok(Caller::new("u", "e")?.limits(limits.clone()));
    let answer = by(&rig.service, PLAIN, caller).await?;
    let policy = parse(answer.headers()["ratelimit-policy"].to_str()?);
    let written: Vec<&str> = policy.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(written, ["a%0D", "a%250D", "a%250d", "a%25250D", "a%25"]);
    Ok(())
}

#[tokio::test]
async fn of_a_bucket_the_quota_is_its_burst_in_the_time_that_it_takes_to_fill() -> Result<()> {
    let rig = Rig::start().await?;
    for (limit, burst, quota, window) in
        [(5, Some(50), 50, 600), (100, Some(20), 20, 12), (7, Some(2), 2, 18), (7, None, 7, 60)]
    {
        let mut bucket = Limit::bucket(limit, MINUTE)?.named(format!("{limit} {burst:?}"))?;
        if let Some(burst) = burst {
            bucket = bucket.burst(burst)?;
        }
        let limits = [bucket];
        let caller = {
            let limits = limits.clone();
            move || Ok(Caller::new("u", "e")?.limits(limits.clone()))
        };
        let answer = by(&rig.service, PLAIN, caller.clone()).await?;
        let policy = parse(answer.headers()["ratelimit-policy"].to_str()?);
        assert_eq!((policy[0].1["q"], policy[0].1["w"]), (quota, window));
        let state = parse(answer.headers()["ratelimit"].to_str()?);
        assert_eq!(state[0].1["r"], quota - 1);
        // An override counts another rate; the burst stays.
        let now = AcquireOptions::default();
        rig.service.set_override(&subject(), &limits[0], 30, MINUTE, &now).await?;
        let answer = by(&rig.service, PLAIN, caller).await?;
        let policy = parse(answer.headers()["ratelimit-policy"].to_str()?);
        let overridden = burst.map_or((30, 60), |burst| (burst, i64::try_from(2 * burst).unwrap()));
        assert_eq!(policy[0].1["q"], i64::try_from(overridden.0)?);
        assert_eq!(policy[0].1["w"], overridden.1);
    }
    Ok(())
}
