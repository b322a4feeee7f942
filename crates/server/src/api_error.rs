//! Errors that are worded alike for every AWS service, each on the wire as its service's protocol has it.
//!
//! Lambda's own errors, with their envelopes, are in `error`; the other doors make an [`ApiError`] of a code and a text
//! of their service's model. Texts for the operator go to the log and no further.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use updraft_node::identity::Denied;
use updraft_types::{Body, RequestId};

use crate::{body, respond};

/// How a service puts errors on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Lambda: `{"message":…}` and the code in `x-amzn-ErrorType`.
    RestJson,
    /// CloudWatch Logs, SSM, Secrets Manager: `{"__type":CODE,"message":…}` (AWS JSON 1.1).
    Json,
    /// IAM and STS: XML, in the service's namespace (AWS Query).
    Query {
        /// Such as `https://iam.amazonaws.com/doc/2010-05-08/`.
        namespace: &'static str,
    },
}

/// An error as a client will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// An error of a service's model; its code as SDKs look for it.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// What most errors of JSON and query services are: a 400.
    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// An operation or service that is not part of this platform yet.
    pub(crate) fn not_implemented(what: &str) -> Self {
        let text = format!("{what} is not part of Updraft yet");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplementedException", text)
    }

    /// A body that was not read whole.
    pub(crate) fn body(error: &body::Error, bytes_max: usize) -> Self {
        match error {
            body::Error::TooLarge => {
                let text = format!("Request must be smaller than {bytes_max} bytes");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", text)
            }
            body::Error::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "Too much is being uploaded at once: try again in a moment",
            ),
            body::Error::Slow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "The request's body did not arrive in time")
            }
            body::Error::CutOff => {
                Self::bad_request("SerializationException", "The request's body broke off before its end")
            }
        }
    }

    /// What the caller may not do, as the protocol's services word it.
    pub(crate) fn denied(denied: &Denied, protocol: Protocol) -> Self {
        match protocol {
            Protocol::Json => Self::bad_request("AccessDeniedException", denied.to_string()),
            Protocol::RestJson => Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", denied.to_string()),
            Protocol::Query { .. } => Self::new(StatusCode::FORBIDDEN, "AccessDenied", denied.to_string()),
        }
    }

    /// Credentials of GetSessionToken, where they are not taken.
    pub(crate) fn invalid_token() -> Self {
        let text = "The security token included in the request is invalid";
        Self::new(StatusCode::FORBIDDEN, "InvalidClientTokenId", text)
    }

    /// The platform's own failure: `text` goes to the log.
    pub(crate) fn internal(text: &str) -> Self {
        tracing::error!(error = text, "a request failed");
        let public = "An error occurred and the request cannot be processed. The platform's log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", public)
    }

    /// Whether the platform is to blame, or does not know how.
    pub(crate) fn is_server_error(&self) -> bool {
        self.status.is_server_error()
    }

    /// The answer, as the protocol words it.
    pub(crate) fn into_response(self, protocol: Protocol) -> Response<Body> {
        let Self { status, code, message } = self;
        let id = respond::request_id(RequestId::random());
        let mut response = match protocol {
            Protocol::RestJson => respond::json(status, &json!({ "message": message })),
            Protocol::Json => {
                let mut response = respond::json(status, &json!({ "__type": code, "message": message }));
                let content_type = HeaderValue::from_static("application/x-amz-json-1.1");
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
                response
            }
            Protocol::Query { namespace } => {
                let fault = if status.is_server_error() { "Receiver" } else { "Sender" };
                let text = format!(
                    "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{fault}</Type><Code>{code}</Code><Message>{}\
                     </Message></Error><RequestId>{}</RequestId></ErrorResponse>",
                    xml_text(&message),
                    id.to_str().unwrap_or_default(),
                );
                respond::whole(status, HeaderValue::from_static("text/xml"), text)
            }
        };
        let headers = response.headers_mut();
        headers.insert(respond::REQUEST_ID, id);
        headers.insert(respond::ERROR_TYPE, HeaderValue::from_static(code));
        if status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Text as XML has it. Characters that XML 1.0 cannot hold at all are replaced.
pub(crate) fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(char),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn told(protocol: Protocol) -> String {
        let error = ApiError::bad_request("ValidationException", "a < b");
        let response = error.into_response(protocol);
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[respond::ERROR_TYPE], "ValidationException");
        let id = response.headers()[respond::REQUEST_ID].to_str().unwrap().to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap().replace(&id, "ID")
    }

    #[tokio::test]
    async fn every_protocol_has_its_wording() {
        assert_eq!(told(Protocol::RestJson).await, r#"{"message":"a < b"}"#);
        assert_eq!(told(Protocol::Json).await, r#"{"__type":"ValidationException","message":"a < b"}"#);
        assert_eq!(
            told(Protocol::Query { namespace: "urn:x" }).await,
            "<ErrorResponse xmlns=\"urn:x\"><Error><Type>Sender</Type><Code>ValidationException</Code>\
             <Message>a &lt; b</Message></Error><RequestId>ID</RequestId></ErrorResponse>"
        );
    }
}
