//! InvokeWithResponseStream: a function's answer as an event stream, while it is written.
//!
//! What the function writes comes as `PayloadChunk` events, as it is: of a stream with a prelude, the prelude too. A
//! function that does not stream makes one chunk. `InvokeComplete` ends every stream and says how the function failed, if
//! it did: with the same code and text as Invoke (`Unhandled` and the error's JSON), whether bytes came before or not.
//! Only what keeps a function from running at all is an HTTP error.
//!
//! A caller that reads slowly slows the function down; one that hangs up ends it, unlike Invoke's. Nothing is held but the
//! piece that is on its way.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use serde::Serialize;
use updraft_node::{Answer, Framing, Reply, dispatch::LogTail};
use updraft_types::{Body, BoxError, Fault, RequestId, body};

use super::{
    invoke::{self, Asked},
    query::Query,
};
use crate::{
    body::{Held, broken_off, read_reply},
    error::Error,
    event_stream::{self, PAYLOAD_BYTES_MAX},
    respond,
    scope::Scope,
};

/// What a fault is called that the function is to blame for, as in `X-Amz-Function-Error`.
const UNHANDLED: &str = "Unhandled";

/// Runs the function and answers with what it writes.
pub(super) async fn invoke(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let kinds = ["RequestResponse", "DryRun"];
    let Asked::Call(invocation, arn) = invoke::read(scope, segment, query, headers, body, &kinds)? else {
        return Ok(respond::empty(StatusCode::NO_CONTENT));
    };
    let version = invocation.function.version.to_string();
    let answer = scope.node.invoke(*invocation).await.map_err(|refusal| Error::refusal(refusal, &arn))?;
    let Answer { request, result, log_tail } = answer;
    let started = match result {
        // A value is whole before it is passed on, so that it makes one chunk.
        Ok(Reply::Event { framing: Framing::Value, body }) => {
            read_reply(body).await.map(|value| (body::full(value), None))
        }
        Ok(Reply::Event { framing: Framing::Stream | Framing::HttpIntegration, body }) => Ok((body, None)),
        Ok(Reply::Http(reply)) => {
            let status = reply.status();
            let is_failure = status.is_client_error() || status.is_server_error();
            Ok((reply.into_body(), is_failure.then(|| format!("the function answered {status}"))))
        }
        Err(fault) => Err(fault),
    };
    let (body, failure) = match started {
        Ok(started) => started,
        Err(Fault::Platform { reason }) => return Err(Error::internal(&reason)),
        Err(fault) => (body::empty(), Some(details(&fault, request))),
    };
    let events = Events {
        request,
        body,
        failure,
        bytes_left: scope.stream_bytes_max,
        log_tail,
        ready: VecDeque::new(),
        is_complete: false,
    };
    let mut response = Response::new(events.boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE));
    headers.insert(invoke::EXECUTED_VERSION, respond::header_text(&version));
    headers.insert(respond::REQUEST_ID, respond::request_id(request));
    Ok(response)
}

/// The error's JSON, for people.
fn details(fault: &Fault, request: RequestId) -> String {
    String::from_utf8_lossy(&fault.to_json(request)).into_owned()
}

/// `InvokeWithResponseStreamCompleteEvent`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Complete<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_result: Option<String>,
}

/// The answer's body.
struct Events {
    request: RequestId,
    /// The function's own.
    body: Body,
    /// What is wrong even if the body ends well.
    failure: Option<String>,
    /// Bytes the function may still write.
    bytes_left: u64,
    log_tail: Option<LogTail>,
    /// Events made and not yet taken: those of one piece of the function's.
    ready: VecDeque<Bytes>,
    is_complete: bool,
}

impl Events {
    /// Ends the stream. The function's body is let go of, which ends a call that is still running.
    fn complete(&mut self, code: Option<&str>, details: Option<&str>) {
        self.body = body::empty();
        let log_result = self.log_tail.take().map(|tail| BASE64.encode(tail.read()));
        let complete = Complete { error_code: code, error_details: details, log_result };
        let payload = serde_json::to_vec(&complete).expect("three texts are JSON");
        // A function's error is at most one reply's size, so this fits; were it not to, the details would be left out.
        let payload = if payload.len() <= PAYLOAD_BYTES_MAX { payload } else { b"{}".to_vec() };
        self.ready.push_back(event_stream::event("InvokeComplete", "application/json", &payload));
        self.is_complete = true;
    }

    /// Passes on a piece of what the function writes, if there is room for it.
    fn pass(&mut self, piece: &Bytes) {
        let length = piece.len() as u64;
        if length > self.bytes_left {
            let text = "The function's response stream is longer than allowed";
            self.complete(Some("Function.ResponseSizeTooLarge"), Some(text));
            return;
        }
        self.bytes_left -= length;
        let chunks = piece.chunks(PAYLOAD_BYTES_MAX);
        self.ready.extend(chunks.map(|chunk| event_stream::event("PayloadChunk", "application/octet-stream", chunk)));
    }

    fn failed(&mut self, error: BoxError) {
        let fault = broken_off(error);
        if let Fault::Platform { reason } = &fault {
            tracing::error!(request = %self.request, reason, "a streaming invocation failed");
        }
        let details = details(&fault, self.request);
        self.complete(Some(UNHANDLED), Some(&details));
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            if self.is_complete {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.pass(&piece);
                    }
                }
                Some(Err(error)) => self.failed(error),
                None => {
                    let failure = self.failure.take();
                    self.complete(failure.as_ref().map(|_| UNHANDLED), failure.as_deref());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;
    use serde_json::{Value, json};

    use super::*;
    use crate::event_stream::decode::{Decoded, decode};

    fn events(pieces: Vec<Result<&'static [u8], Fault>>, bytes_max: u64) -> Events {
        let frames = pieces.into_iter().map(|piece| match piece {
            Ok(bytes) => Ok(Frame::data(Bytes::from_static(bytes))),
            Err(fault) => Err(BoxError::from(fault)),
        });
        Events {
            request: RequestId::random(),
            body: StreamBody::new(stream::iter(frames)).boxed_unsync(),
            failure: None,
            bytes_left: bytes_max,
            log_tail: None,
            ready: VecDeque::new(),
            is_complete: false,
        }
    }

    async fn read(events: Events) -> (Vec<Vec<u8>>, Value) {
        let bytes = events.collect().await.unwrap().to_bytes();
        let mut messages = decode(&bytes).unwrap();
        let last = messages.pop().unwrap();
        assert_eq!(last.header(":event-type"), "InvokeComplete");
        let chunk = |message: Decoded| {
            assert_eq!(message.header(":event-type"), "PayloadChunk");
            assert_eq!(message.header(":content-type"), "application/octet-stream");
            message.payload
        };
        (messages.into_iter().map(chunk).collect(), serde_json::from_slice(&last.payload).unwrap())
    }

    #[tokio::test]
    async fn pieces_come_as_they_are_and_the_end_says_that_all_went_well() {
        let (chunks, complete) = read(events(vec![Ok(b"ab"), Ok(b""), Ok(b"\0\xff")], 4)).await;
        assert_eq!(chunks, [b"ab".to_vec(), b"\0\xff".to_vec()]);
        assert_eq!(complete, json!({}));
    }

    #[tokio::test]
    async fn a_large_piece_becomes_several_events() {
        static LARGE: [u8; PAYLOAD_BYTES_MAX + 1] = [7; PAYLOAD_BYTES_MAX + 1];
        let (chunks, _) = read(events(vec![Ok(&LARGE)], u64::MAX)).await;
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [PAYLOAD_BYTES_MAX, 1]);
    }

    #[tokio::test]
    async fn a_failure_after_some_bytes_is_told_at_the_end() {
        let body = Bytes::from_static(br#"{"errorType":"Oops","errorMessage":"late"}"#);
        let fault = Fault::Handler { error_type: "Oops".into(), body: body.clone() };
        let (chunks, complete) = read(events(vec![Ok(b"ab"), Err(fault), Ok(b"never")], 9)).await;
        assert_eq!(chunks, [b"ab"]);
        let details = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(complete, json!({ "ErrorCode": "Unhandled", "ErrorDetails": details }));
    }

    #[tokio::test]
    async fn a_stream_that_is_too_long_is_ended() {
        let (chunks, complete) = read(events(vec![Ok(b"abc"), Ok(b"de"), Ok(b"f")], 4)).await;
        assert_eq!(chunks, [b"abc"]);
        assert_eq!(complete["ErrorCode"], "Function.ResponseSizeTooLarge");
    }
}
