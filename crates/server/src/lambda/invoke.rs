//! Invoke, and InvokeAsync, which came before it.
//!
//! A function's own failure is a 200 with `X-Amz-Function-Error`. A function that speaks HTTP gets the payload as a
//! POST to `/`; its answer's body is the payload that comes back, and a status of 400 or more counts as its failure.
//! The call runs to its end even if the caller goes away. An `Event` is answered 202 once it is on disk.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use updraft_types::{
    Body, Event, Fault, Invocation, Payload, RequestId, Timestamp, Version,
    invocation::{Context, LogTail},
    limits::EVENT_BYTES_MAX,
};

use super::{
    name::{self, Pattern, Resolved},
    query::Query,
    validate::Violations,
};
use crate::{
    body::Held,
    call::{self, Finished, Whole},
    error::Error,
    json, respond,
    scope::Scope,
    trace,
};

pub(super) const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
/// The status of an HTTP function's answer, which Invoke has no place for. Ours.
const HTTP_STATUS: HeaderName = HeaderName::from_static("x-updraft-http-status");

/// The invocation types of Invoke.
const KINDS: [&str; 3] = ["Event", "RequestResponse", "DryRun"];

/// `X-Amz-Invocation-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    RequestResponse,
    Event,
    DryRun,
}

/// What the headers of an invocation say.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    kind: Kind,
    log_tail: LogTail,
    client_context: Option<String>,
}

impl Options {
    fn read(headers: &HeaderMap, kinds: &[&str]) -> Result<Self, Error> {
        let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let kind = text("x-amz-invocation-type").filter(|kind| !kind.is_empty());
        let log_type = text("x-amz-log-type").filter(|log_type| !log_type.is_empty());
        let mut violations = Violations::default();
        if let Some(kind) = &kind {
            violations.one_of("invocationType", kind, kinds);
        }
        if let Some(log_type) = &log_type {
            violations.one_of("logType", log_type, &["None", "Tail"]);
        }
        violations.check()?;
        for (header, member) in
            [("x-amz-tenant-id", "TenantId"), ("x-amz-durable-execution-name", "DurableExecutionName")]
        {
            if text(header).is_some_and(|text| !text.is_empty()) {
                return Err(Error::unsupported_member(member));
            }
        }
        let client_context = text("x-amz-client-context").map(|context| {
            let decoded = BASE64.decode(context.as_bytes()).ok()?;
            // Compact, so that it fits into a header on its way to the runtime.
            json::check(&decoded).ok().map(|document| json::compact(document).into_owned())
        });
        let client_context = match client_context {
            None => None,
            Some(Some(context)) => Some(context),
            Some(None) => {
                let text = "Client context must be a valid Base64-encoded JSON object.";
                return Err(Error::invalid_content(text));
            }
        };
        Ok(Self {
            kind: match kind.as_deref() {
                Some("Event") => Kind::Event,
                Some("DryRun") => Kind::DryRun,
                _ => Kind::RequestResponse,
            },
            log_tail: if log_type.as_deref() == Some("Tail") { LogTail::Tail } else { LogTail::None },
            client_context,
        })
    }
}

/// What a request asks for.
pub(super) enum Asked {
    /// Nothing but whether it could be done.
    DryRun,
    /// A call, of the function with this ARN.
    Call(Box<Invocation>, String),
    /// That an event be taken in, for the function with this ARN.
    Event(Box<Event>, String),
}

/// Runs the function and answers with what it returned, or takes its event in.
pub(super) async fn invoke(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
    body: &Held,
) -> Result<Response<Body>, Error> {
    match read(scope, segment, query, headers, body, &KINDS)? {
        Asked::DryRun => Ok(respond::empty(StatusCode::NO_CONTENT)),
        Asked::Event(event, arn) => accept(scope, *event, &arn).await,
        Asked::Call(invocation, arn) => {
            let version = invocation.function.version;
            let finished = call::to_end(&scope.node, *invocation).await;
            answer(finished.map_err(|refusal| Error::refusal(refusal, &arn))?, version)
        }
    }
}

/// Takes an event in for a function as it is now.
pub(super) async fn invoke_async(
    scope: &Scope<'_>,
    segment: &str,
    headers: &HeaderMap,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let mut resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Namespaced)?;
    resolved.qualifier = None;
    let event = event(scope, &resolved, headers, body, None)?;
    accept(scope, event, &resolved.arn(scope)).await
}

/// Answers once the event is on disk, with the request id that every try of it will have.
async fn accept(scope: &Scope<'_>, event: Event, arn: &str) -> Result<Response<Body>, Error> {
    let request = event.request;
    scope.node.accept(event).await.map_err(|refused| Error::event_refused(refused, arn))?;
    let mut response = respond::empty(StatusCode::ACCEPTED);
    response.headers_mut().insert(respond::REQUEST_ID, respond::request_id(request));
    Ok(response)
}

/// What a request asks for. `kinds` are the operation's invocation types.
pub(super) fn read(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
    body: &Held,
    kinds: &[&str],
) -> Result<Asked, Error> {
    let mut resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let options = Options::read(headers, kinds)?;
    let function = resolved.route(scope);
    let qualifier = resolved.qualifier.as_ref().and_then(|_| resolved.meaning());
    let named = resolved.clone();
    resolved.qualifier.get_or_insert_with(|| "$LATEST".to_owned());
    let arn = resolved.qualified_arn(scope);
    let function = function.ok_or_else(|| Error::function_not_found(&arn))?;
    match options.kind {
        Kind::DryRun => return Ok(Asked::DryRun),
        Kind::Event => {
            let event = event(scope, &named, headers, body, options.client_context)?;
            return Ok(Asked::Event(Box::new(event), arn));
        }
        Kind::RequestResponse => {}
    }
    let payload = payload(body)?;
    let trace = trace::of(headers, Timestamp::now());
    let invocation = Invocation {
        id: RequestId::random(),
        payload: Payload::of_event(function.configuration.runtime, payload, &trace),
        function,
        context: Context { client_context: options.client_context, trace: Some(trace), qualifier },
        log_tail: options.log_tail,
    };
    Ok(Asked::Call(Box::new(invocation), arn))
}

/// The event that a request brings for the function it names. Its trace header is whole, so that every try has the same.
fn event(
    scope: &Scope<'_>,
    resolved: &Resolved,
    headers: &HeaderMap,
    body: &Held,
    client_context: Option<String>,
) -> Result<Event, Error> {
    let function = resolved.id().ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    if body.bytes.len() > EVENT_BYTES_MAX {
        return Err(Error::event_too_large(body.bytes.len(), EVENT_BYTES_MAX));
    }
    let now = Timestamp::now();
    Ok(Event {
        request: RequestId::random(),
        function,
        qualifier: resolved.qualifier.as_ref().and_then(|_| resolved.meaning()),
        client_context,
        trace: trace::whole(headers, now),
        payload: payload(body)?,
        accepted_at: now,
    })
}

/// The payload, which has to be JSON; `{}` where there is none.
fn payload(body: &Held) -> Result<Bytes, Error> {
    let event = if body.bytes.is_empty() { Bytes::from_static(b"{}") } else { body.bytes.clone() };
    match json::check(&event) {
        Ok(_) => Ok(event),
        Err(why) => Err(Error::invalid_content(format!("Could not parse request body into json: {why}"))),
    }
}

fn answer(finished: Finished, version: Version) -> Result<Response<Body>, Error> {
    let Finished { request, result, log_tail } = finished;
    let json_type = HeaderValue::from_static("application/json");
    let mut response = match result {
        Ok(Whole::Event { bytes, .. }) => respond::whole(StatusCode::OK, json_type, bytes),
        Ok(Whole::Http(reply)) => {
            let content_type = reply.headers().get(header::CONTENT_TYPE).cloned().unwrap_or(json_type);
            let status = reply.status();
            let mut response = respond::whole(StatusCode::OK, content_type, reply.into_body());
            response.headers_mut().insert(HTTP_STATUS, HeaderValue::from(status.as_u16()));
            if status.is_client_error() || status.is_server_error() {
                response.headers_mut().insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
            }
            response
        }
        Err(Fault::Platform { reason }) => return Err(Error::internal(&reason)),
        Err(fault) => {
            let mut response = respond::whole(StatusCode::OK, json_type, fault.to_json(request));
            response.headers_mut().insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(EXECUTED_VERSION, respond::header_text(&version.to_string()));
    headers.insert(respond::REQUEST_ID, respond::request_id(request));
    if let Some(tail) = log_tail {
        headers.insert(LOG_RESULT, respond::header_text(&BASE64.encode(tail)));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(headers: &[(&'static str, &str)]) -> Result<Options, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Options::read(&map, &KINDS)
    }

    #[test]
    fn headers_say_how_to_invoke() {
        let plain = Options { kind: Kind::RequestResponse, log_tail: LogTail::None, client_context: None };
        assert_eq!(options(&[]), Ok(plain));
        let context = BASE64.encode("{ \"custom\":\n {\"a\": \"b c\"} }");
        let asked = options(&[
            ("x-amz-invocation-type", "DryRun"),
            ("x-amz-log-type", "Tail"),
            ("x-amz-client-context", &context),
        ]);
        let expected = Options {
            kind: Kind::DryRun,
            log_tail: LogTail::Tail,
            client_context: Some("{\"custom\":{\"a\":\"b c\"}}".into()),
        };
        assert_eq!(asked, Ok(expected));
        for bad in [("x-amz-invocation-type", "x"), ("x-amz-log-type", "x"), ("x-amz-client-context", "!")] {
            assert!(options(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_functions_failure_is_a_200() {
        let request = RequestId::random();
        let fault = Fault::Timeout { limit_ms: 1_000 };
        let log_tail = Some(Bytes::from_static(b"END"));
        let response = answer(Finished { request, result: Err(fault), log_tail }, Version::Number(7)).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[FUNCTION_ERROR], "Unhandled");
        assert_eq!(response.headers()[EXECUTED_VERSION], "7");
        assert_eq!(response.headers()[LOG_RESULT], "RU5E");
        assert_eq!(response.headers()[respond::REQUEST_ID], request.to_string());
        let platform = Err(Fault::Platform { reason: "x".into() });
        assert!(answer(Finished { request, result: platform, log_tail: None }, Version::Latest).is_err());
    }
}
