//! Talks to a platform the way boto3 does: Lambda's public API over HTTP, and IAM's, signed with SigV4.
//!
//! Owns transport, signing and the meaning of failures; [`lambda`] names the operations. Blocking, so that a
//! command reads from top to bottom. Every answer held in memory is bounded.

pub mod accounts;
pub mod dead_letters;
pub mod egress;
pub mod endpoint;
pub mod images;
pub mod lambda;
pub mod logs;
pub mod roles;
pub mod scaling;

use std::{
    io::{self, Read},
    time::{Duration, SystemTime},
};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use http::{HeaderMap, Method, Request, Response};
use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};

use crate::problem::{Exit, Problem};
use endpoint::Endpoint;

/// Largest answer read into memory: a payload with room to spare, bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Characters that stay as they are in a path segment.
const SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a call brought no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("nothing listens on {url}")]
    Unreachable {
        /// The endpoint.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or what came over it was not HTTP.
    #[error("the connection to {url} broke during {operation}")]
    Broken {
        /// The endpoint.
        url: String,
        /// The operation under way.
        operation: &'static str,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// The platform answered with an error.
    #[error("{operation} was refused: {message}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// The HTTP status.
        status: u16,
        /// The error's name, such as `ResourceNotFoundException`; empty where the answer gave none.
        code: String,
        /// The error's text.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("{operation} was answered with something else than Lambda's API would")]
    Malformed {
        /// The operation.
        operation: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The request could not be built or signed.
    #[error("the request for {operation} could not be made: {why}")]
    Request {
        /// The operation.
        operation: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether the platform said that what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Refused { status: 404, .. })
    }

    /// Whether what was to be made is there already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Refused { status: 409, .. })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let what = error.to_string();
        match error {
            Error::Unreachable { source, .. } => Problem::new(Exit::Unreachable, what)
                .because(source)
                .try_next("start a platform with `updraft dev`, or set AWS_ENDPOINT_URL to where one listens"),
            Error::Broken { source, .. } => Problem::new(Exit::Unreachable, what)
                .because(source)
                .try_next("look at the platform's own log; what was acknowledged before is safe"),
            Error::Refused { operation, status, code, message } => {
                let name = if code.is_empty() { format!("HTTP {status}") } else { code };
                let problem =
                    Problem::new(Exit::Refused, message).because(format!("{name} (HTTP {status}) from {operation}"));
                match status {
                    404 => problem.try_next("`updraft ls` shows the functions that exist"),
                    409 => problem.try_next("wait until the change before this one is done, and try again"),
                    429 => problem.try_next("try again when fewer calls are running"),
                    _ => problem,
                }
            }
            Error::Malformed { why, .. } => Problem::new(Exit::Unreachable, what)
                .because(why)
                .try_next("check that AWS_ENDPOINT_URL points at Updraft"),
            Error::Request { .. } => Problem::usage(what),
        }
    }
}

/// A request before it is signed.
pub struct Call<'a> {
    /// The operation, for error messages.
    pub operation: &'static str,
    /// The service that it is signed for.
    pub service: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path and query, already encoded.
    pub target: String,
    /// Headers beside the ones signing adds.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Call<'a> {
    /// A call without headers or body.
    pub fn new(operation: &'static str, method: Method, target: impl Into<String>) -> Self {
        Self { operation, service: "lambda", method, target: target.into(), headers: Vec::new(), body: &[] }
    }

    /// An operation of a service that takes a form and answers XML.
    pub fn query(operation: &'static str, service: &'static str, form: &'a [u8]) -> Self {
        let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
        Self { service, headers, body: form, ..Self::new(operation, Method::POST, "/") }
    }

    /// With a JSON body.
    pub fn json(mut self, body: &'a [u8]) -> Self {
        self.headers.push(("content-type", "application/json".to_owned()));
        self.body = body;
        self
    }
}

/// A platform, as its clients see it. Clones share connections.
#[derive(Clone)]
pub struct Client {
    endpoint: Endpoint,
    agent: ureq::Agent,
}

impl Client {
    /// A client; connects when it is first used.
    pub fn new(endpoint: Endpoint) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")))
            .tls_config(match endpoint.roots.as_slice() {
                [] => TlsConfig::default(),
                roots => TlsConfig::builder().root_certs(RootCerts::new_with_certs(roots)).build(),
            })
            .build()
            .new_agent();
        Self { endpoint, agent }
    }

    /// The endpoint's address.
    pub fn url(&self) -> &str {
        &self.endpoint.url
    }

    /// Makes a call and reads the whole answer, calling `sent` with how much of the body has been sent.
    /// A status of 400 or more is [`Error::Refused`].
    fn call(&self, call: Call<'_>, sent: &dyn Fn(u64)) -> Result<Answer, Error> {
        let operation = call.operation;
        let (head, mut body) = self.send(call, sent)?.into_parts();
        let body =
            body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(|error| self.broken(operation, error))?;
        let answer = Answer { operation, status: head.status.as_u16(), headers: head.headers, body };
        if answer.status >= 400 { Err(answer.refusal()) } else { Ok(answer) }
    }

    /// Signs and sends, and returns when the answer's headers are there.
    fn send(&self, call: Call<'_>, sent: &dyn Fn(u64)) -> Result<Response<ureq::Body>, Error> {
        let operation = call.operation;
        let mut body = Counted { rest: call.body, sent: 0, report: sent };
        let length = call.body.len();
        let signed = self.sign(&call)?;
        let result = if length == 0 {
            self.agent.run(signed)
        } else {
            self.agent.run(signed.map(|()| ureq::SendBody::from_reader(&mut body)))
        };
        result.map_err(|error| match error {
            ureq::Error::Io(source) if never_connected(&source) => {
                Error::Unreachable { url: self.endpoint.url.clone(), source }
            }
            ureq::Error::HostNotFound => Error::Unreachable {
                url: self.endpoint.url.clone(),
                source: io::Error::new(io::ErrorKind::NotFound, "the host's name is unknown"),
            },
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Error::Unreachable {
                url: self.endpoint.url.clone(),
                source: io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 seconds"),
            },
            other => self.broken(operation, other),
        })
    }

    fn broken(&self, operation: &'static str, error: ureq::Error) -> Error {
        Error::Broken { url: self.endpoint.url.clone(), operation, source: Box::new(error) }
    }

    fn sign(&self, call: &Call<'_>) -> Result<Request<()>, Error> {
        let failed = |why: String| Error::Request { operation: call.operation, why };
        let url = format!("{}{}", self.endpoint.url, call.target);
        let mut builder = Request::builder().method(&call.method).uri(&url);
        for (name, value) in &call.headers {
            builder = builder.header(*name, value);
        }
        if !call.body.is_empty() || matches!(call.method, Method::POST | Method::PUT) {
            builder = builder.header("content-length", call.body.len());
        }
        let mut request = builder.body(()).map_err(|error| failed(error.to_string()))?;

        let identity = self.endpoint.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.endpoint.region)
            .name(call.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(error.to_string()))?
            .into();
        let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let signable = SignableRequest::new(call.method.as_str(), &url, headers, SignableBody::Bytes(call.body))
            .map_err(|error| failed(error.to_string()))?;
        let (instructions, _) = sign(signable, &parameters).map_err(|error| failed(error.to_string()))?.into_parts();
        for (name, value) in instructions.headers() {
            let name = http::HeaderName::try_from(name).map_err(|error| failed(error.to_string()))?;
            let value = http::HeaderValue::try_from(value).map_err(|error| failed(error.to_string()))?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// Whether an I/O error came from making the connection rather than from using it.
fn never_connected(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound};
    matches!(error.kind(), AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable | NotFound)
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    operation: &'static str,
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Malformed { operation: self.operation, why: error.to_string() })
    }

    fn refusal(&self) -> Error {
        refusal(self.operation, self.status, &self.headers, &self.body)
    }
}

/// Reads an error envelope: the code from `x-amzn-ErrorType`, the text from `Message` or `message`; both from XML where the
/// service answers that.
fn refusal(operation: &'static str, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    if let (Some(code), Some(message)) = (element(&text, "Code"), element(&text, "Message")) {
        return Error::Refused { operation, status, code: code.to_owned(), message: message.to_owned() };
    }
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default().to_owned();
    let said = ["Message", "message", "errorMessage"].iter().find_map(|key| document[key].as_str());
    let message = match said {
        Some(said) => said.to_owned(),
        None if body.is_empty() => format!("HTTP status {status} and nothing else"),
        None => text.chars().take(500).collect(),
    };
    Error::Refused { operation, status, code, message }
}

/// What the first element of that name holds, if it is nothing but text without escapes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    (!text.contains('<')).then_some(text)
}

/// A body that reports how much of it has been sent.
struct Counted<'a> {
    rest: &'a [u8],
    sent: u64,
    report: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        self.sent += count as u64;
        (self.report)(self.sent);
        Ok(count)
    }
}

/// Encodes one path segment.
pub fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_envelopes_in_both_spellings() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", "ResourceNotFoundException:http://x/".parse().unwrap());
        let error = refusal("Get", 404, &headers, br#"{"Type":"User","Message":"Function not found: arn"}"#);
        assert!(error.is_not_found());
        assert!(error.to_string().contains("Function not found: arn"));
        assert!(matches!(&error, Error::Refused { code, .. } if code == "ResourceNotFoundException"));
        let lower = refusal("Get", 400, &HeaderMap::new(), br#"{"message":"bad"}"#);
        assert!(matches!(lower, Error::Refused { message, .. } if message == "bad"));
        let xml = b"<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>no role</Message></Error></ErrorResponse>";
        let xml = refusal("GetRole", 404, &HeaderMap::new(), xml);
        assert!(matches!(xml, Error::Refused { code, message, .. } if code == "NoSuchEntity" && message == "no role"));
        let html = refusal("Get", 502, &HeaderMap::new(), b"<html>");
        assert!(matches!(html, Error::Refused { message, .. } if message == "<html>"));
    }

    #[test]
    fn exit_codes_tell_unreachable_from_refused() {
        let endpoint = Endpoint::resolve(Some("http://127.0.0.1:1"), None, &Default::default()).unwrap();
        let error = Client::new(endpoint).call(Call::new("List", Method::GET, "/"), &|_| ()).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert_eq!(Problem::from(error).exit(), Exit::Unreachable);
        assert_eq!(Problem::from(refusal("Get", 404, &HeaderMap::new(), b"")).exit(), Exit::Refused);
    }

    #[test]
    fn segments_are_encoded_once() {
        assert_eq!(segment("arn:aws:lambda/x y$LATEST"), "arn%3Aaws%3Alambda%2Fx%20y%24LATEST");
    }

    #[test]
    fn requests_are_signed_for_lambda() {
        let variables = [("AWS_SESSION_TOKEN", "token"), ("AWS_REGION", "eu-west-1")];
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let client = Client::new(Endpoint::resolve(None, None, &variables).unwrap());
        let signed = client.sign(&Call::new("List", Method::POST, "/x").json(b"{}")).unwrap();
        let authorization = signed.headers()["authorization"].to_str().unwrap();
        assert!(authorization.contains("/eu-west-1/lambda/aws4_request"), "{authorization}");
        assert!(authorization.contains("x-amz-security-token"), "{authorization}");
        assert_eq!(signed.headers()["content-length"], "2");
    }
}
