//! Function URLs: a request from anyone, straight to a function.
//!
//! Functions that speak HTTP get the request as it is, streamed both ways; the rest get a payload format 2.0 event.
//! A URL of AuthType AWS_IAM takes signed requests of those who may `lambda:InvokeFunctionUrl` and `lambda:InvokeFunction`;
//! one of NONE takes anyone's, if the function's policy allows everybody both. A function has to have a URL to be reached here,
//! by host name and by `/fn/NAME/` alike.
//!
//! Answers that are not the function's own: 403 for a request that is not let in, 404 for no URL, 413 for a body
//! over the limit, 429 when throttled, 502 `Internal Server Error` when the function failed, 504 when it timed out, 503 while stopping.
//! (Lambda answers 502 to a timeout, too; the gateways in front of it say 504, which tells more.)

mod cors;
mod event;
mod headers;
mod prelude;
mod reply;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts, uri::PathAndQuery};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use updraft_node::{Framing, Refusal, Reply};
use updraft_types::{
    Alias, Body, Fault, Function, Invocation, Payload, Qualifier, RequestId, Timestamp, body,
    function::{FunctionUrl, InvokeMode, UrlAuth},
    invocation::{Context, LogTail},
    limits::PAYLOAD_BYTES_MAX,
};

use crate::{
    api_error::{ApiError, Protocol},
    authenticate::{Authenticated, Claim, Links},
    body::{Error as BodyError, read_reply, read_to_end},
    call::{self, Whole},
    connection::Peer,
    doors::{Doors, host_of},
    lambda::authorize,
    respond,
    scope::Scope,
    service::Service,
    trace,
};

/// A version, the alias whose URL it was found by, and, for requests by path, the target it is to see.
pub(crate) struct Target {
    pub(crate) function: Arc<Function>,
    pub(crate) alias: Option<Arc<Alias>>,
    pub(crate) path: Option<PathAndQuery>,
}

/// Answers a request to a function URL.
pub(crate) async fn serve(doors: &Doors, target: Target, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
    let id = RequestId::random();
    let (function, alias) = (target.function.clone(), target.alias.clone());
    let url = match &alias {
        Some(alias) => &alias.url,
        None => &function.url,
    };
    let Some(url) = url else { return not_found() };
    let origin = match &url.cors {
        Some(_) => request.headers().get(header::ORIGIN).cloned(),
        None => None,
    };
    let request = request.map(|incoming| match incoming.is_end_stream() {
        true => body::empty(),
        false => BodyExt::map_err(incoming, Into::into).boxed_unsync(),
    });
    let admitted = match (admit(url, &request), url.auth) {
        (Some(answer), _) => Err(answer),
        (None, UrlAuth::None) => {
            let (head, body) = request.into_parts();
            match is_open(doors, &function, target.alias.as_deref(), &head, peer) {
                true => Ok(Request::from_parts(head, body)),
                false => Err(forbidden()),
            }
        }
        (None, UrlAuth::AwsIam) => Box::pin(signed(doors, &function, target.alias.as_deref(), request, peer)).await,
    };
    let mut response = match admitted {
        Err(answer) => answer,
        Ok(request) if function.configuration.runtime.speaks_http() => {
            pass_through(doors, target, request, peer, id).await
        }
        Ok(request) => Box::pin(as_event(doors, url, target, request, peer, id)).await,
    };
    if let (Some(cors), Some(origin)) = (&url.cors, origin) {
        cors::mark(cors, &origin, response.headers_mut());
    }
    response.headers_mut().insert(respond::REQUEST_ID, respond::request_id(id));
    response
}

fn named(alias: &Alias) -> Qualifier {
    Qualifier::Alias(alias.name.clone())
}

/// What is answered before the function has a say.
fn admit<B>(url: &FunctionUrl, request: &Request<B>) -> Option<Response<Body>> {
    if let Some(cors) = &url.cors
        && let Some(answer) = cors::preflight(cors, request.method(), request.headers())
    {
        return Some(answer);
    }
    None
}

/// Whether a function of AuthType NONE lets a request through.
fn is_open(doors: &Doors, function: &Function, alias: Option<&Alias>, head: &Parts, peer: &Peer) -> bool {
    let anonymous = || Scope::new(doors, Authenticated::anonymous(function.id.account.clone()), head, peer);
    authorize::may_call_open_url(doors, function, alias.map(|alias| alias.name.as_str()), anonymous)
}

/// Lets a signed request through to a function of AuthType AWS_IAM, if its caller may call the function's URL. Its body is
/// read whole, since the signature covers it.
async fn signed(
    doors: &Doors,
    function: &Function,
    alias: Option<&Alias>,
    request: Request<Body>,
    peer: &Peer,
) -> Result<Request<Body>, Response<Body>> {
    let (mut head, body) = request.into_parts();
    let told = |(error, protocol): (ApiError, Protocol)| error.into_response(protocol);
    let (claim, service) = Claim::read(doors, &head, Links::Nothing).map_err(told)?;
    if service != Service::Lambda {
        return Err(refused(StatusCode::FORBIDDEN, "Forbidden. A function URL's requests are signed for lambda"));
    }
    let held = doors.budget.read(body, PAYLOAD_BYTES_MAX).await.map_err(|error| unread(&error))?;
    let access_key = claim.access_key().to_owned();
    let who = claim.verify(doors, &head, &service, &held.bytes).await.map_err(told)?;
    let scope = Scope::new(doors, who, &head, peer);
    let qualifier = alias.map(|alias| alias.name.as_str());
    authorize::call_url(&scope, &function.id, qualifier).map_err(|_| forbidden())?;
    head.extensions.insert(event::Signer { caller: scope.caller, access_key });
    Ok(Request::from_parts(head, body::full(held.bytes.clone())))
}

/// The road of functions that speak HTTP.
async fn pass_through(
    doors: &Doors,
    target: Target,
    request: Request<Body>,
    peer: &Peer,
    id: RequestId,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let method = head.method.clone();
    headers::to_function(&mut head, target.path, peer);
    let trace = head.headers.get(trace::HEADER).and_then(|trace| trace.to_str().ok()).map(str::to_owned);
    let invocation = Invocation {
        id,
        function: target.function,
        payload: Payload::Http(Box::new(Request::from_parts(head, body))),
        context: Context { client_context: None, trace, qualifier: target.alias.as_deref().map(named) },
        log_tail: LogTail::None,
    };
    match doors.node.invoke(invocation).await {
        Ok(answer) => match answer.result {
            Ok(Reply::Http(response)) => headers::from_function(response, &method),
            Ok(Reply::Event { body, .. }) => respond::octets(body),
            Err(fault) => failed(id, &fault),
        },
        Err(refusal) => turned_away(refusal),
    }
}

/// The road of functions that take events.
async fn as_event(
    doors: &Doors,
    url: &FunctionUrl,
    target: Target,
    request: Request<Body>,
    peer: &Peer,
    id: RequestId,
) -> Response<Body> {
    let host = host_of(&request).map(str::to_owned);
    let (mut head, body) = request.into_parts();
    headers::to_function(&mut head, target.path, peer);
    let held = match doors.budget.read(body, PAYLOAD_BYTES_MAX).await {
        Ok(held) => held,
        Err(error) => return unread(&error),
    };
    let facts = event::Facts {
        url_id: &url.url_id,
        domain: format!("{}{}", url.url_id, doors.host_suffix),
        host: host.as_deref(),
        peer: peer.address,
        local: doors.address,
        request: id,
        at: Timestamp::now(),
        trace: trace::of(&head.headers, Timestamp::now()),
    };
    let document = event::build(&head, &held.bytes, &facts);
    drop(held);
    if document.len() > PAYLOAD_BYTES_MAX {
        return unread(&BodyError::TooLarge);
    }
    let invocation = Invocation {
        id,
        function: target.function,
        payload: Payload::Event(document.into()),
        context: Context {
            client_context: None,
            trace: Some(facts.trace),
            qualifier: target.alias.as_deref().map(named),
        },
        log_tail: LogTail::None,
    };
    let answered = match url.invoke_mode() {
        InvokeMode::Buffered => buffered(doors, invocation, &head.method).await,
        InvokeMode::ResponseStream => streamed(doors, invocation, &head.method).await,
    };
    match answered {
        Ok(Ok(response)) => response,
        Ok(Err(fault)) => failed(id, &fault),
        Err(refusal) => turned_away(refusal),
    }
}

async fn buffered(
    doors: &Doors,
    invocation: Invocation,
    method: &Method,
) -> Result<Result<Response<Body>, Fault>, Refusal> {
    let finished = call::to_end(&doors.node, invocation).await?;
    Ok(finished.result.and_then(|whole| match whole {
        Whole::Event { framing: Framing::Value | Framing::Stream, bytes } => reply::from_value(bytes, method),
        Whole::Event { framing: Framing::HttpIntegration, bytes } => {
            prelude::split(bytes).map(|(head, rest)| reply::with_head(head, body::full(rest), method))
        }
        Whole::Http(response) => Ok(headers::from_function(response.map(body::full), method)),
    }))
}

async fn streamed(
    doors: &Doors,
    invocation: Invocation,
    method: &Method,
) -> Result<Result<Response<Body>, Fault>, Refusal> {
    let answer = doors.node.invoke(invocation).await?;
    Ok(match answer.result {
        Err(fault) => Err(fault),
        Ok(Reply::Event { framing: Framing::Value, body }) => {
            read_reply(body).await.and_then(|value| reply::from_value(value, method))
        }
        Ok(Reply::Event { framing: Framing::Stream, body }) => Ok(respond::octets(body)),
        Ok(Reply::Event { framing: Framing::HttpIntegration, body }) => {
            let (head, rest) = match prelude::read(body).await {
                Ok(read) => read,
                Err(fault) => return Ok(Err(fault)),
            };
            // A function whose body nobody may see is read to its end all the same: cut off, it would be ended.
            let rest = match headers::has_no_body(method, head.status) {
                true => read_to_end(rest).await.map(|()| body::empty()),
                false => Ok(rest),
            };
            rest.map(|rest| reply::with_head(head, rest, method))
        }
        Ok(Reply::Http(response)) => Ok(headers::from_function(response, method)),
    })
}

/// The answer where no function URL is.
pub(crate) fn not_found() -> Response<Body> {
    let mut response = refused(StatusCode::NOT_FOUND, "There is no function URL here");
    let headers = response.headers_mut();
    headers.insert(respond::ERROR_TYPE, HeaderValue::from_static("ResourceNotFoundException"));
    headers.insert(respond::REQUEST_ID, respond::request_id(RequestId::random()));
    response
}

/// The answer to whoever may not call a URL, in AWS's words.
fn forbidden() -> Response<Body> {
    let mut response = refused(
        StatusCode::FORBIDDEN,
        "Forbidden. For troubleshooting Function URL authorization issues, see: \
         https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html",
    );
    response.headers_mut().insert(respond::ERROR_TYPE, HeaderValue::from_static("AccessDeniedException"));
    response
}

fn refused(status: StatusCode, message: &str) -> Response<Body> {
    respond::json(status, &json!({ "Message": message }))
}

fn unread(error: &BodyError) -> Response<Body> {
    let status = match error {
        BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
        BodyError::CutOff => StatusCode::BAD_REQUEST,
    };
    let mut response = refused(status, &error.to_string());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The function failed: the caller learns that, and no more. Lambda answers 502 with these 21 bytes.
fn failed(id: RequestId, fault: &Fault) -> Response<Body> {
    let status = match fault {
        Fault::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    if let Fault::Platform { reason } = fault {
        tracing::error!(request = %id, reason, "an invocation failed");
    }
    let text = Bytes::from_static(b"Internal Server Error");
    respond::whole(status, HeaderValue::from_static("application/json"), text)
}

fn turned_away(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::NotFound => not_found(),
        Refusal::Failed(_) => refused(StatusCode::BAD_GATEWAY, "Internal Server Error"),
        other => crate::error::Error::refusal(other, "").into_response(),
    }
}
