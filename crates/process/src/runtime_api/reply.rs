//! What the Runtime API says to a runtime, word for word.
//!
//! Source: AWS's runtime interface emulator (`rendering`), and the statuses the runtime clients act on.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use updraft_types::limits::PAYLOAD_BYTES_MAX;

use super::machine::Refusal;

/// 202: an answer was taken.
pub(super) fn accepted() -> Response<Full<Bytes>> {
    json(StatusCode::ACCEPTED, Bytes::from_static(b"{\"status\":\"OK\"}\n"))
}

/// 413: an answer was too large; the invocation has failed.
pub(super) fn too_large() -> Response<Full<Bytes>> {
    too_large_for(PAYLOAD_BYTES_MAX)
}

/// 413 for a body of another limit.
pub(super) fn too_large_for(bytes_max: usize) -> Response<Full<Bytes>> {
    let message = format!("Exceeded maximum allowed payload size ({bytes_max} bytes).");
    error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

/// 400: an answer broke off.
pub(super) fn truncated() -> Response<Full<Bytes>> {
    error(StatusCode::BAD_REQUEST, "TruncatedResponse", "The request body ended before its end")
}

/// 410: nobody waits for this answer any more.
pub(super) fn gone() -> Response<Full<Bytes>> {
    error(StatusCode::GONE, "InvocationGone", "The invocation is over")
}

/// 404: not one of the API's requests.
pub(super) fn not_found() -> Response<Full<Bytes>> {
    error(StatusCode::NOT_FOUND, "NotFound", "404 page not found")
}

/// A request the machine refused.
pub(super) fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::InvalidStateTransition { .. } => refused_as("InvalidStateTransition", refusal),
        Refusal::InvalidRequestId => error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
        Refusal::Gone => gone(),
    }
}

/// 403: not now, under this name.
pub(super) fn refused_as(error_type: &str, refusal: Refusal) -> Response<Full<Bytes>> {
    let Refusal::InvalidStateTransition { from, to } = refusal else { return refused(refusal) };
    error(StatusCode::FORBIDDEN, error_type, &format!("Transition from {from} to {to} is not allowed"))
}

/// An error of any kind.
pub(super) fn error(status: StatusCode, error_type: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "errorMessage": message, "errorType": error_type });
    json(status, format!("{body}\n").into())
}

/// A JSON document.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
