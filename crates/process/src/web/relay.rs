//! A response's body on its way from the server to the caller, at the caller's pace.
//!
//! Invariant: a body read to its end gives its connection back; one dropped earlier closes it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use updraft_types::{Body, BoxError, Fault};

use super::Connections;
use crate::freezing::Busy;

/// Passes `incoming` on.
pub(super) fn into_body(
    incoming: Incoming,
    sender: SendRequest<Body>,
    connections: Arc<Connections>,
    busy: Busy,
) -> Body {
    let mut relay = Relay { incoming, sender: Some(sender), connections, _busy: busy };
    // A body that is empty from the start need not be read by anyone.
    relay.finish_at_end();
    relay.boxed_unsync()
}

struct Relay {
    incoming: Incoming,
    sender: Option<SendRequest<Body>>,
    connections: Arc<Connections>,
    /// The server runs as long as somebody may read from it.
    _busy: Busy,
}

impl Relay {
    fn finish_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.connections.process.output.drain();
            self.connections.give_back(sender);
        }
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                self.finish_at_end();
                Some(Ok(frame))
            }
            Some(Err(_)) => {
                self.sender = None;
                self.connections.process.output.drain();
                let reason = "the server cut its response off before its end".to_owned();
                Some(Err(Fault::Crash { reason }.into()))
            }
            None => {
                self.finish();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
