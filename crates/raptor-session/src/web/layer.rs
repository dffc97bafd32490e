//! The layer: gives each request a handle of its session, and its response the cookie that changed.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::cookie::CookiePolicy;
use super::handle::SessionHandle;
use crate::service::SessionService;

/// Puts a [`SessionHandle`] into each request. Makes no call by itself.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    service: SessionService,
    policy: CookiePolicy,
}

impl SessionLayer {
    /// Sessions of this service, with the default cookie.
    #[must_use]
    pub fn new(service: SessionService) -> Self {
        Self { service, policy: CookiePolicy::default() }
    }

    /// With another cookie.
    #[must_use]
    pub fn cookie(mut self, policy: CookiePolicy) -> Self {
        self.policy = policy;
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionMiddleware<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionMiddleware { inner, layer: self.clone() }
    }
}

/// A service behind a [`SessionLayer`].
#[derive(Clone, Debug)]
pub struct SessionMiddleware<S> {
    inner: S,
    layer: SessionLayer,
}

/// The response to come.
pub type SessionFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for SessionMiddleware<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = SessionFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let SessionLayer { service, policy } = &self.layer;
        let token = policy.read(request.headers());
        let handle = SessionHandle::new(service.clone(), policy.clone(), token);
        request.extensions_mut().insert(handle.clone());
        let response = self.inner.call(request);
        let head = Head(handle);
        Box::pin(async move {
            let mut response = response.await?;
            head.0.settle().await;
            if let Some(cookie) = head.0.end_head() {
                let headers = response.headers_mut();
                headers.append(SET_COOKIE, cookie);
                keep_from_shared_caches(headers);
            }
            Ok(response)
        })
    }
}

/// A response's head to come. Also where it never does (an error, a panic, a request that was given up) no
/// cookie is set after it.
struct Head(SessionHandle);

impl Drop for Head {
    fn drop(&mut self) {
        self.0.end_head();
    }
}

/// The cache that is close to the server; what is told to it goes before `Cache-Control` (RFC 9213).
const CDN_CACHE_CONTROL: &str = "cdn-cache-control";

/// A shared cache that keeps the answer would hand the session to others, whatever the handler thought of it.
fn keep_from_shared_caches(headers: &mut HeaderMap) {
    headers.remove(CDN_CACHE_CONTROL);
    // `private="a-field"` keeps back that field and no more.
    let keeps = |word: &str| ["no-store", "private"].iter().any(|it| word.eq_ignore_ascii_case(it));
    let mut said = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    if !said.any(|line| line.split(',').map(str::trim).any(keeps)) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
