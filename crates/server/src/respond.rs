//! Building answers: the few shapes that all doors share.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use updraft_types::{Body, RequestId, body};

/// `x-amzn-RequestId`, on every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// `x-amzn-ErrorType`, on every error.
pub(crate) const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// A deploy's warning to its author.
pub(crate) const WARNING: HeaderName = HeaderName::from_static("x-updraft-warning");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer. `value` is one of our own response types, all of which can be written as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("response types have string keys and no failing parts");
    whole(status, JSON, text)
}

/// An answer that is already whole.
pub(crate) fn whole(status: StatusCode, content_type: HeaderValue, bytes: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A stream of bytes that nothing else is said about.
pub(crate) fn octets(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}

/// An invocation's or request's id as a header value.
pub(crate) fn request_id(id: RequestId) -> HeaderValue {
    HeaderValue::try_from(id.to_string()).expect("a UUID is a header value")
}

/// Text as a header value; what a header cannot carry is replaced.
pub(crate) fn header_text(text: &str) -> HeaderValue {
    let visible: String =
        text.chars().map(|char| if char == ' ' || char.is_ascii_graphic() { char } else { '?' }).collect();
    HeaderValue::try_from(visible).expect("printable ASCII is a header value")
}
