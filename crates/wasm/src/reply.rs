//! A reply's body: what the guest has written, and the guest itself, still writing.
//!
//! Polling the body runs the guest, on whatever task reads the reply; there is nobody else to. The body ends
//! when the guest has ended too, so whoever has seen its end knows the instance is free. Dropping it drops the
//! guest. Nothing is buffered beyond the few chunks that `wasi:http`'s own stream holds.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use updraft_types::{Body, BoxError, Fault, body};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::instance::Running;

/// The body of a reply whose head is out; `guest` is `None` if it ended already.
///
/// What a guest that has ended wrote is all there: it is taken out at once, and a plain body needs no further
/// polling and has a known length.
pub(crate) fn body(outgoing: HyperOutgoingBody, guest: Option<Running>) -> Body {
    let mut reply = Written { outgoing: Some(outgoing), guest, ahead: VecDeque::new(), failure: None };
    if reply.guest.is_none() {
        let first = reply.at_once();
        let second = first.as_ref().and_then(|_| reply.at_once());
        return match (first, second) {
            (None, _) => body::empty(),
            // What most replies are.
            (Some(Ok(only)), None) if only.is_data() => body::full(only.into_data().unwrap_or_default()),
            (first, second) => reply.rest([first, second]),
        };
    }
    reply.boxed_unsync()
}

/// The bytes of `frames`, none of which is a trailer or a failure.
fn joined(frames: VecDeque<Result<Frame<Bytes>, Fault>>) -> Body {
    let mut pieces = frames.into_iter().flatten().filter_map(|frame| frame.into_data().ok());
    let mut whole = BytesMut::from(pieces.next().unwrap_or_default());
    pieces.for_each(|piece| whole.extend_from_slice(&piece));
    body::full(whole.freeze())
}

/// Runs `guest` to its end for a reply that has no body, such as one to HEAD. A body it writes all the same, or
/// promises and does not write, is of no interest.
pub(crate) async fn discard(outgoing: HyperOutgoingBody, guest: Option<Running>) -> Result<(), Fault> {
    let Some(mut guest) = guest else { return Ok(()) };
    let mut outgoing = Some(outgoing);
    poll_fn(|context| {
        if let Poll::Ready(result) = guest.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        while let Some(body) = &mut outgoing {
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => outgoing = None,
                Poll::Pending => break,
            }
        }
        Poll::Pending
    })
    .await
}

struct Written {
    /// Until it has ended or broken.
    outgoing: Option<HyperOutgoingBody>,
    /// Until it has ended.
    guest: Option<Running>,
    /// Taken out already.
    ahead: VecDeque<Result<Frame<Bytes>, Fault>>,
    /// Told once everything that was written before it is out.
    failure: Option<Fault>,
}

impl Written {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if let Some(guest) = &mut self.guest
            && let Poll::Ready(result) = guest.as_mut().poll(context)
        {
            self.guest = None;
            self.failure = result.err();
        }
        if let Some(outgoing) = &mut self.outgoing {
            match Pin::new(outgoing).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(None) => self.outgoing = None,
                Poll::Ready(Some(Err(_))) => self.break_off("short of its content-length, or never finished"),
                // Nobody is left to write the rest.
                Poll::Pending if self.guest.is_none() => self.break_off("never finished"),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self.guest {
            Some(_) => Poll::Pending,
            None => Poll::Ready(self.failure.take().map(Err)),
        }
    }

    /// The next frame of a guest that has ended. There is nothing to wait for, so the body's end or its failure comes
    /// without a pause.
    fn at_once(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        match self.next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        }
    }

    /// The body of a guest that has ended, of which `begun` has been taken out.
    fn rest(mut self, begun: [Option<Result<Frame<Bytes>, Fault>>; 2]) -> Body {
        let mut frames: VecDeque<_> = begun.into_iter().flatten().collect();
        while let Some(frame) = self.at_once() {
            frames.push_back(frame);
        }
        if frames.iter().all(|frame| frame.as_ref().is_ok_and(Frame::is_data)) {
            return joined(frames);
        }
        self.ahead = frames;
        self.boxed_unsync()
    }

    fn break_off(&mut self, how: &str) {
        self.outgoing = None;
        self.failure.get_or_insert_with(|| Fault::Crash { reason: format!("the response body was {how}") });
    }
}

impl HttpBody for Written {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.next(context).map_err(BoxError::from)
    }
}
