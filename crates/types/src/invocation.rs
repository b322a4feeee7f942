//! One request to run a function, whatever door it came through.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use crate::{Body, Function, Qualifier, RequestId, Runtime, body};

/// The trace header of a request that a function is given as it is.
pub const TRACE_HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// One invocation on its way to an instance.
#[derive(Debug)]
pub struct Invocation {
    /// Shown to the author as the AWS request id.
    pub id: RequestId,
    /// The function as the door resolved it.
    pub function: Arc<Function>,
    /// What the function is to work on.
    pub payload: Payload,
    /// What the caller says about itself.
    pub context: Context,
    /// Whether the caller wants the end of the log back.
    pub log_tail: LogTail,
}

/// An event for runtimes that take JSON, or a request for those that speak HTTP.
#[derive(Debug)]
pub enum Payload {
    /// A JSON document, at most [`crate::limits::PAYLOAD_BYTES_MAX`].
    Event(Bytes),
    /// An HTTP request with its body still streaming.
    Http(Box<http::Request<Body>>),
}

impl Payload {
    /// An event for a runtime: itself, or the POST to `/` that stands for it where the runtime speaks HTTP.
    pub fn of_event(runtime: Runtime, event: Bytes, trace: &str) -> Self {
        if !runtime.speaks_http() {
            return Payload::Event(event);
        }
        let length = event.len();
        let mut request = http::Request::new(body::full(event));
        *request.method_mut() = http::Method::POST;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Ok(trace) = HeaderValue::from_str(trace) {
            headers.insert(TRACE_HEADER, trace);
        }
        Payload::Http(Box::new(request))
    }
}

/// Caller-supplied context that the runtime protocols carry through unread.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// `X-Amz-Client-Context`, decoded from base64.
    pub client_context: Option<String>,
    /// `X-Amzn-Trace-Id`.
    pub trace: Option<String>,
    /// What the caller named the version by, if it did; the ARN that the guest was invoked by ends with it.
    pub qualifier: Option<Qualifier>,
}

/// Whether a caller asked for the last [`crate::limits::LOG_TAIL_BYTES`] of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogTail {
    /// No.
    #[default]
    None,
    /// `LogType: Tail`.
    Tail,
}

/// What one attempt used. One is made per attempt, and only `node` makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// From handing the payload to an instance to the end of its reply.
    pub duration: Duration,
    /// Making the instance ready, if this attempt was a cold start.
    pub init: Option<Duration>,
    /// Of that, where the instance is a copy of one initialised before, what is billed: the function's own part of
    /// making it ready.
    pub restore: Option<Duration>,
    /// Memory the function is billed for, MB.
    pub memory_mb: u32,
    /// The most memory the instance has used so far, MB; 0 where it cannot be measured.
    pub memory_mb_max: u32,
}

impl Usage {
    /// Whole milliseconds billed, started ones counted, init included; a restore is not, which is billed apart.
    pub fn billed_ms(&self) -> u64 {
        let init = if self.restore.is_some() { None } else { self.init };
        whole_ms(self.duration + init.unwrap_or_default())
    }

    /// Whole milliseconds billed for a restore.
    pub fn billed_restore_ms(&self) -> Option<u64> {
        self.restore.map(whole_ms)
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_function_is_posted_to() {
        let python = Runtime::Python { minor: 12 };
        assert!(matches!(Payload::of_event(python, "1".into(), "t"), Payload::Event(event) if event == "1"));
        let Payload::Http(request) = Payload::of_event(Runtime::Wasm, "123".into(), "t") else {
            panic!("wasm speaks HTTP")
        };
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/"));
        assert_eq!(request.headers()["content-length"], "3");
        assert_eq!(request.headers()[TRACE_HEADER], "t");
    }

    #[test]
    fn a_started_millisecond_is_billed() {
        let usage = Usage { duration: Duration::from_micros(1001), ..Usage::default() };
        assert_eq!(usage.billed_ms(), 2);
        assert_eq!(Usage { duration: Duration::ZERO, ..usage }.billed_ms(), 0);
    }
}
