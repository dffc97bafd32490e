//! A response's body: the inner service's own, or the few bytes of a rejection.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response of [`RateLimit`](super::RateLimit).
    #[derive(Debug)]
    pub struct RateLimitBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProjection]
    #[derive(Debug)]
    enum Inner<B> {
        Passed { #[pin] body: B },
        Rejected { text: Option<Bytes> },
    }
}

impl<B> RateLimitBody<B> {
    pub(super) fn passed(body: B) -> Self {
        Self { inner: Inner::Passed { body } }
    }

    pub(super) fn rejected(text: Bytes) -> Self {
        Self { inner: Inner::Rejected { text: Some(text).filter(|text| text.has_remaining()) } }
    }
}

impl<B: Default> Default for RateLimitBody<B> {
    fn default() -> Self {
        Self::passed(B::default())
    }
}

impl<B: Body<Data = Bytes>> Body for RateLimitBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().inner.project() {
            InnerProjection::Passed { body } => body.poll_frame(context),
            InnerProjection::Rejected { text } => Poll::Ready(text.take().map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Passed { body } => body.is_end_stream(),
            Inner::Rejected { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Passed { body } => body.size_hint(),
            Inner::Rejected { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}
