//! A streamed answer: the guest's request body, read by the caller at the caller's pace.
//!
//! The guest's connection pushes back on the guest while the caller does not read. Trailers may turn the end
//! into a failure (source: aws-lambda-ric 4.0.2, `Lambda-Runtime-Function-Error-Type` and `-Error-Body`, the
//! latter in base64). Invariant: a body dropped before its end abandons the call, and so kills the process.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use updraft_types::{BoxError, Fault};

use super::{ERROR_BODY, RuntimeApi, error_type_of};
use crate::{
    guest::{KillOnDrop, Process},
    telemetry::Status,
};

/// The guest's side of a stream.
pub(crate) struct StreamingBody {
    incoming: Incoming,
    nonce: u64,
    end: oneshot::Sender<()>,
}

impl StreamingBody {
    pub(super) fn new(incoming: Incoming, nonce: u64, end: oneshot::Sender<()>) -> Self {
        Self { incoming, nonce, end }
    }
}

/// The caller's side: bytes, then the end or a [`Fault`]. All output has been passed on by then.
pub(crate) fn into_body(
    stream: StreamingBody,
    api: Arc<RuntimeApi>,
    process: Arc<Process>,
    kill: KillOnDrop,
) -> updraft_types::Body {
    let StreamingBody { incoming, nonce, end } = stream;
    Reading { incoming, nonce, end: Some(end), fault: None, api, process, kill }.boxed_unsync()
}

struct Reading {
    incoming: Incoming,
    nonce: u64,
    end: Option<oneshot::Sender<()>>,
    /// A failure that came in the trailers.
    fault: Option<Fault>,
    api: Arc<RuntimeApi>,
    process: Arc<Process>,
    kill: KillOnDrop,
}

impl Body for Reading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while self.end.is_some() {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(frame) => self.fault = frame.trailers_ref().and_then(fault_in),
                },
                Some(Err(_)) => {
                    self.end = None;
                    self.process.drain();
                    let reason = "the response stream was cut off before its end".to_owned();
                    return Poll::Ready(Some(Err(Fault::Crash { reason }.into())));
                }
                None => {
                    self.process.drain();
                    let status = if self.fault.is_some() { Status::Error } else { Status::Success };
                    self.kill.disarm(status);
                    self.api.finish_stream(self.nonce);
                    if let Some(end) = self.end.take() {
                        // An error means that the guest has hung up already.
                        let _ = end.send(());
                    }
                }
            }
        }
        Poll::Ready(self.fault.take().map(|fault| Err(fault.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && self.fault.is_none()
    }
}

fn fault_in(trailers: &HeaderMap) -> Option<Fault> {
    let body = trailers.get(ERROR_BODY).map(|text| BASE64_STANDARD.decode(text.as_bytes()).unwrap_or_default());
    if body.is_none() && !trailers.contains_key(super::ERROR_TYPE) {
        return None;
    }
    Some(Fault::Handler { error_type: error_type_of(trailers), body: body.unwrap_or_default().into() })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn trailers_make_a_failure_even_when_they_are_nonsense() {
        let mut trailers = HeaderMap::new();
        assert_eq!(fault_in(&trailers), None);
        trailers.insert(ERROR_BODY, HeaderValue::from_static("!!!"));
        assert_eq!(fault_in(&trailers), Some(Fault::Handler { error_type: "Unhandled".into(), body: Bytes::new() }));
        trailers.insert(super::super::ERROR_TYPE, HeaderValue::from_static("Custom"));
        trailers.insert(ERROR_BODY, HeaderValue::from_static("e30="));
        assert_eq!(fault_in(&trailers), Some(Fault::Handler { error_type: "Custom".into(), body: "{}".into() }));
    }
}
