//! The body of an answer from outside: passed on as it comes, for as long as it does not stall.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

use super::failure;

/// A body that fails when nothing of it comes for a while.
pub(super) struct Timed {
    inner: Incoming,
    silence_max: Duration,
    /// Since the last frame; only made when there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(super) fn new(inner: Incoming, silence_max: Duration) -> Self {
        Self { inner, silence_max, timer: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| failure::of_exchange(&error))));
        }
        let silence_max = self.silence_max;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
        timer.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
