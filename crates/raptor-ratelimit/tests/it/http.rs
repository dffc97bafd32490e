//! The layer, by real requests to the example on loopback; and acceptance 10: its header fields parse.

use std::collections::HashMap;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use raptor_ratelimit::http::{Caller, RateLimitBody, RateLimitLayer};
use raptor_ratelimit::{AcquireOptions, Limit, RateLimitService};
use sfv::{BareItem, Item, List, ListEntry, Parser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceExt};

use crate::limited_api;
use crate::rig::{MINUTE, Rig, subject};

struct Answer {
    status: u16,
    fields: HashMap<String, String>,
    body: String,
}

/// One request over a connection of its own, written and read by hand.
async fn send(at: std::net::SocketAddr, request: &str, fields: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(at).await?;
    let text = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
    let fields = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    Ok(Answer { status: status.parse()?, fields: fields.collect(), body: body.to_owned() })
}

async fn start(service: RateLimitService) -> Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let app = limited_api::app(service)?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(at)
}

/// A field as RFC 9651 reads it: names with their integer parameters.
pub(crate) fn parse(field: &str) -> Vec<(String, HashMap<String, i64>)> {
    let list =
        Parser::new(field).parse::<List>().unwrap_or_else(|error| panic!("{field}: {error}"));
    let item = |entry: &ListEntry| {
        let ListEntry::Item(Item { bare_item: BareItem::String(name), params }) = entry else {
            panic!("{field}: {entry:?}");
        };
        let number = |(key, value): (&sfv::Key, &BareItem)| match value {
            BareItem::Integer(number) => (key.to_string(), i64::from(*number)),
            other => panic!("{field}: {other:?}"),
        };
        (name.to_string(), params.iter().map(number).collect())
    };
    list.iter().map(item).collect()
}

#[tokio::test]
async fn acceptance_10_the_fields_of_a_served_and_of_a_denied_request_parse() -> Result<()> {
    let rig = Rig::start().await?;
    let at = start(rig.service.clone()).await?;
    for left in [2, 1, 0] {
        let answer = send(at, "POST /chat", "x-api-key: free-ann\r\n").await?;
        assert_eq!((answer.status, &answer.body[..]), (200, "hello"));
        let policy = parse(&answer.fields["ratelimit-policy"]);
        assert_eq!((&policy[0].0[..], policy[0].1["q"], policy[0].1["w"]), ("per-minute", 3, 60));
        assert_eq!((&policy[1].0[..], policy[1].1["q"], policy[1].1["w"]), ("hourly", 10, 360));
        let state = parse(&answer.fields["ratelimit"]);
        assert_eq!((&state[0].0[..], state[0].1["r"]), ("per-minute", left));
        assert!((1..=61).contains(&state[0].1["t"]), "{state:?}");
        assert!(!answer.fields.contains_key("retry-after"));
    }
    let answer = send(at, "POST /chat", "x-api-key: free-ann\r\n").await?;
    assert_eq!(answer.status, 429);
    let retry_after: i64 = answer.fields["retry-after"].parse()?;
    assert!((1..=61).contains(&retry_after), "{retry_after}");
    let state = parse(&answer.fields["ratelimit"]);
    assert_eq!((state[0].1["r"], state[0].1["t"]), (0, retry_after));
    assert_eq!(answer.fields["content-type"], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&answer.body)?;
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["violated-policies"], serde_json::json!(["per-minute"]));
    assert!(problem["type"].as_str().is_some_and(|kind| kind.ends_with("#quota-exceeded")));
    Ok(())
}

#[tokio::test]
async fn tiers_keys_and_unlimited_paths_are_apart() -> Result<()> {
    let rig = Rig::start().await?;
    let at = start(rig.service.clone()).await?;
    for n in 0..5 {
        let free = send(at, "POST /chat", "x-api-key: free-bob\r\n").await?;
        assert_eq!(free.status, if n < 3 { 200 } else { 429 }, "{n}");
        let paid = send(at, "POST /chat", "x-api-key: paid-bob\r\n").await?;
        assert_eq!((paid.status, paid.fields.contains_key("ratelimit")), (200, true));
        let health = send(at, "GET /health", "").await?;
        assert_eq!((health.status, health.fields.contains_key("ratelimit")), (200, false));
        let none = send(at, "GET /elsewhere", "").await?;
        assert_eq!((none.status, none.fields.contains_key("ratelimit")), (404, false));
    }
    let huge = format!("x-api-key: {}\r\n", "k".repeat(600));
    let answer = send(at, "POST /chat", &huge).await?;
    assert_eq!(answer.status, 400);
    assert!(!answer.body.contains("kkk"), "{}", answer.body);
    Ok(())
}

type Inner = axum::body::Body;

/// One request to the layer alone, under `limits`.
async fn through(
    service: &RateLimitService,
    limits: Vec<Limit>,
    content_type: &str,
) -> Result<axum::http::Response<RateLimitBody<Inner>>> {
    let layer = RateLimitLayer::new(service.clone(), move |_| {
        Ok(Some(Caller::new("u", "e")?.limits(limits.clone()).cost(2)?))
    });
    let inner = tower::service_fn(async |_: axum::http::Request<Inner>| {
        Ok::<_, std::convert::Infallible>(axum::http::Response::new(Inner::from("served")))
    });
    let mut service = layer.layer(inner);
    let request = axum::http::Request::builder().header("content-type", content_type);
    Ok(service.ready().await?.call(request.body(Inner::empty())?).await?)
}

#[tokio::test]
async fn grpc_is_told_in_its_own_way() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = vec![Limit::strict(3, MINUTE)?];
    let served = through(&rig.service, limits.clone(), "application/grpc+proto").await?;
    assert_eq!(served.into_body().collect().await?.to_bytes(), "served");
    let denied = through(&rig.service, limits, "application/grpc+proto").await?;
    assert_eq!(denied.status(), 200);
    assert_eq!(denied.headers()["grpc-status"], "8");
    assert!(denied.headers().contains_key("retry-after"));
    assert!(denied.into_body().collect().await?.to_bytes().is_empty());
    Ok(())
}

#[tokio::test]
async fn acceptance_10_hostile_names_and_huge_numbers_still_parse() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = vec![
        Limit::strict(raptor_ratelimit::MAX_LIMIT, MINUTE)?.named("a\"b\\c;d=1, \r\n\0é")?,
        Limit::fixed(5, std::time::Duration::from_millis(1_500))?,
    ];
    let answer = through(&rig.service, limits, "text/plain").await?;
    let policy = parse(answer.headers()["ratelimit-policy"].to_str()?);
    assert_eq!(policy[0].0, "a\"b\\c;d=1, %0D%0A%00%C3%A9");
    assert_eq!(policy[0].1["q"], 999_999_999_999_999);
    assert_eq!(policy[1].1["w"], 2, "rounded up");
    parse(answer.headers()["ratelimit"].to_str()?);
    Ok(())
}

#[tokio::test]
async fn what_is_larger_than_the_quota_is_not_told_to_come_back_and_no_answer_is_503() -> Result<()>
{
    let rig = Rig::start().await?;
    let answer = through(&rig.service, vec![Limit::strict(1, MINUTE)?], "text/plain").await?;
    assert_eq!(answer.status(), 429);
    assert!(!answer.headers().contains_key("retry-after"));
    let options = AcquireOptions::default();
    let limits = vec![Limit::strict(9, MINUTE)?];
    assert!(rig.service.acquire(&subject(), &limits, &options).await?.is_allowed());
    let mut set = raptor_testkit::redis::cmd("SET");
    rig.query::<()>(set.arg(crate::rig::key("60s")).arg("theirs")).await?;
    let answer = through(&rig.service, limits, "text/plain").await?;
    assert_eq!(answer.status(), 503);
    let body = answer.into_body().collect().await?.to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains("policy"), "errors stay inside");
    Ok(())
}
