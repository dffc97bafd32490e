//! The layer under a real tonic server, asked by a real tonic client on loopback.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use axum::http::uri::PathAndQuery;
use raptor_ratelimit::http::{Caller, RateLimitLayer};
use raptor_ratelimit::{Limit, RateLimitService};
use raptor_testkit::redis;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::Service;

use crate::rig::{MINUTE, Rig, key};

/// A message is its bytes, so that nothing has to be generated.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(to, item.as_bytes());
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let len = bytes::Buf::remaining(from);
        let bytes = bytes::Buf::copy_to_bytes(from, len);
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Says what it is told.
#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<axum::http::Request<Body>> for Echo {
    type Response = axum::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        let say = tower::service_fn(async |request: Request<String>| {
            Ok::<_, Status>(Response::new(request.into_inner()))
        });
        Box::pin(async move { Ok(tonic::server::Grpc::new(Plain).unary(say, request).await) })
    }
}

/// A server whose callers are users of three units a minute, and a client of it.
async fn start(service: RateLimitService) -> Result<Channel> {
    let layer = RateLimitLayer::new(service, |request| {
        let Some(user) = request.headers.get("x-user") else { return Ok(None) };
        let cost = request.headers.get("x-cost").map_or(Ok("1"), |cost| cost.to_str());
        let cost = cost.ok().and_then(|cost| cost.parse().ok()).unwrap_or(1);
        let caller = Caller::new(user, "e")?.cost(cost)?;
        Ok(Some(caller.limits(vec![Limit::strict(3, MINUTE)?])))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::builder().layer(layer).add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Ok(Endpoint::from_shared(url)?.connect().await?)
}

async fn say(
    channel: &Channel,
    fields: &[(&'static str, &str)],
) -> Result<Response<String>, Status> {
    let mut request = Request::new("hello".to_owned());
    for &(name, value) in fields {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    client.unary(request, PathAndQuery::from_static("/test.Echo/Say"), Plain).await
}

#[tokio::test]
async fn a_denied_call_is_resource_exhausted_to_a_tonic_client() -> Result<()> {
    let rig = Rig::start().await?;
    let channel = start(rig.service.clone()).await?;
    for left in ["2", "1", "0"] {
        let served = say(&channel, &[("x-user", "u")]).await?;
        let state = served.metadata().get("ratelimit").unwrap().to_str()?;
        assert!(state.starts_with(&format!("\"60s\";r={left};t=")), "{state}");
        assert_eq!(served.into_inner(), "hello");
    }
    let denied = say(&channel, &[("x-user", "u")]).await.unwrap_err();
    assert_eq!(denied.code(), Code::ResourceExhausted, "{denied:?}");
    assert!(denied.message().contains("quota has been exceeded"), "{denied:?}");
    let retry_after: u64 = denied.metadata().get("retry-after").unwrap().to_str()?.parse()?;
    assert!((1..=61).contains(&retry_after), "{retry_after}");
    assert!(denied.metadata().get("ratelimit").is_some());
    // The connection serves others, and those who are not limited.
    assert_eq!(say(&channel, &[("x-user", "v")]).await?.into_inner(), "hello");
    let unlimited = say(&channel, &[]).await?;
    assert!(unlimited.metadata().get("ratelimit").is_none());
    Ok(())
}

#[tokio::test]
async fn what_can_never_be_decided_or_never_go_on_has_its_own_status() -> Result<()> {
    let rig = Rig::start().await?;
    let channel = start(rig.service.clone()).await?;
    let never = say(&channel, &[("x-user", "u"), ("x-cost", "4")]).await.unwrap_err();
    assert_eq!(never.code(), Code::ResourceExhausted, "{never:?}");
    assert!(never.metadata().get("retry-after").is_none());
    let nobody = say(&channel, &[("x-user", "u"), ("x-cost", "0")]).await.unwrap_err();
    assert_eq!(nobody.code(), Code::InvalidArgument, "{nobody:?}");
    rig.query::<()>(redis::cmd("SET").arg(key("60s")).arg("theirs")).await?;
    let undecided = say(&channel, &[("x-user", "u")]).await.unwrap_err();
    assert_eq!(undecided.code(), Code::Unavailable, "{undecided:?}");
    assert!(!undecided.message().contains("key"), "errors stay inside: {undecided:?}");
    Ok(())
}
