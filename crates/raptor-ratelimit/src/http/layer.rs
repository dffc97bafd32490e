//! The layer: each request is asked who makes it, takes its cost, and is passed on or rejected.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response};
use raptor_core::Result;
use tower_layer::Layer;
use tower_service::Service;

use super::body::RateLimitBody;
use super::caller::Caller;
use super::rejection::{self, Speaks, Step};
use super::{fields, rejection::denied};
use crate::decision::Decision;
use crate::limit::Limit;
use crate::service::RateLimitService;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Limits the requests to the services under it. Cheap to clone.
///
/// `extract` says who makes a request: from a header, from what an outer layer found out (in the
/// extensions), from the peer's address. `Ok(None)` leaves it unlimited, an
/// [`InvalidInput`](raptor_core::ErrorKind::InvalidInput) error answers 400. Limits that cannot be
/// checked, such as the same one twice, are your mistake and not the caller's: 500, gRPC's INTERNAL. A
/// response to what was neither served nor denied has a [`Failure`](super::Failure) for your logs.
///
/// Responses carry `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) as
/// structured fields. A policy's name is escaped as in a URL: `%` and what is not printable ASCII become
/// `%xx`. Of a bucket with a burst the quota is the burst, and the window the time in which all of it
/// comes back: 5 in 60 s with a burst of 50 is `q=50;w=600`, the same rate, so that what remains is never
/// more than the quota. What is denied gets 429 with `Retry-After`, in whole seconds rounded up, and a
/// problem document that names the policies; gRPC gets RESOURCE_EXHAUSTED. When nothing can be decided
/// and a limit [fails](crate::Outage::Fail) on an outage: 503, gRPC's UNAVAILABLE.
///
/// Not guaranteed: that a request's cost comes back when it fails later; refund it yourself where that
/// matters, outside of this layer.
///
/// Cost: that of [`acquire`](RateLimitService::acquire), one round trip a request at most.
///
/// ```
/// use raptor_ratelimit::http::{Caller, RateLimitLayer};
///
/// # fn layer(service: raptor_ratelimit::RateLimitService) {
/// let layer = RateLimitLayer::new(service, |request| {
///     let Some(user) = request.headers.get("x-api-key") else { return Ok(None) };
///     let endpoint = format!("{} {}", request.method, request.uri.path());
///     Ok(Some(Caller::new(user, endpoint)?))
/// });
/// // axum: Router::new().route(…).layer(layer)
/// # let _ = layer;
/// # }
/// ```
pub struct RateLimitLayer<F> {
    service: RateLimitService,
    extract: Arc<F>,
}

impl<F: Fn(&Parts) -> Result<Option<Caller>>> RateLimitLayer<F> {
    /// Limits by `service` whom `extract` names.
    pub fn new(service: RateLimitService, extract: F) -> Self {
        Self { service, extract: Arc::new(extract) }
    }
}

impl<F> Clone for RateLimitLayer<F> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), extract: Arc::clone(&self.extract) }
    }
}

impl<F> fmt::Debug for RateLimitLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").finish_non_exhaustive()
    }
}

impl<S, F> Layer<S> for RateLimitLayer<F> {
    type Service = RateLimit<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, layer: self.clone() }
    }
}

/// A service whose requests are limited, made by [`RateLimitLayer`].
pub struct RateLimit<S, F> {
    inner: S,
    layer: RateLimitLayer<F>,
}

impl<S: Clone, F> Clone for RateLimit<S, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, F> fmt::Debug for RateLimit<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, F, A, B> Service<Request<A>> for RateLimit<S, F>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    F: Fn(&Parts) -> Result<Option<Caller>> + Send + Sync + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<RateLimitBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // The one that is ready goes along, its clone stays.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let speaks = speaks(&parts.headers);
            let checked = match (layer.extract)(&parts) {
                Ok(Some(caller)) => {
                    check(&layer.service, caller).await.map_err(|error| (error, Step::Check))
                }
                Ok(None) => Ok(None),
                Err(error) => Err((error, Step::Extract)),
            };
            let request = Request::from_parts(parts, body);
            let (limits, decision) = match checked {
                Err((error, step)) => return Ok(rejection::failed(error, step, speaks)),
                Ok(None) => return Ok(inner.call(request).await?.map(RateLimitBody::passed)),
                Ok(Some(checked)) => checked,
            };
            let mut response = if decision.is_allowed() {
                inner.call(request).await?.map(RateLimitBody::passed)
            } else {
                denied(&decision, &limits, speaks)
            };
            let headers = response.headers_mut();
            let both = [
                (POLICY, fields::policy(&limits, &decision)),
                (STATE, fields::state(&limits, &decision)),
            ];
            for (name, value) in both {
                if let Some(value) = value {
                    headers.insert(name, value);
                }
            }
            Ok(response)
        })
    }
}

/// What was decided under which limits; `None` where none are configured.
async fn check(
    service: &RateLimitService,
    caller: Caller,
) -> Result<Option<(Vec<Limit>, Decision)>> {
    let limits = caller.limits.unwrap_or_else(|| {
        let policies = service.policies();
        // A tier that the configuration does not know is the default one, where that is named.
        let known = |name: &&str| policies.tiers().any(|tier| tier == *name);
        policies.limits(caller.tier.as_deref().filter(known), &caller.endpoint).to_vec()
    });
    if limits.is_empty() {
        return Ok(None);
    }
    let decision = service.acquire(&caller.subject, &limits, &caller.options).await?;
    Ok(Some((limits, decision)))
}

fn speaks(headers: &HeaderMap) -> Speaks {
    let grpc = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if headers.get(CONTENT_TYPE).is_some_and(grpc) { Speaks::Grpc } else { Speaks::Http }
}
