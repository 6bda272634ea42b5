//! The body of an answer that holds something to its end: what is dropped with it has lasted as long as the request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

struct Answering<T> {
    body: Body,
    _held: T,
}

/// The same body, which drops `held` when it has ended or nobody wants it any more.
pub(crate) fn until_its_end<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    Body::new(Answering { body, _held: held })
}

impl<T: Unpin> hyper::body::Body for Answering<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
