//! The Extensions API, version 2020-01-01, on the same socket as the Runtime API.
//!
//! `extensions` decides; this reads requests and words the answers (source: AWS's runtime interface emulator and the
//! reference of the API). Nothing here is trusted: what does not make sense is refused, and harms nobody else.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use updraft_types::{
    ExtensionFailure, Fault, Timestamp,
    function::TracingMode,
    logging::{LogFormat, Logging, SystemLevel},
};

use super::{
    Collect, RuntimeApi, State, collect_within, discard,
    extensions::{Event, Next, Refusal},
    machine, reply,
};

pub(super) const PREFIX: &str = "/2020-01-01/extension/";
const NAME: &str = "lambda-extension-name";
const IDENTIFIER: &str = "lambda-extension-identifier";
const ACCEPT_FEATURE: &str = "lambda-extension-accept-feature";
const EVENT_IDENTIFIER: &str = "lambda-extension-event-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";

/// Most bytes of a registration.
const REGISTRATION_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of an error that an extension reports.
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// Why an instance ends, as extensions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is not needed any more.
    Spindown,
    /// A call took too long.
    Timeout,
    /// Something in it failed.
    Failure,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Spindown => "spindown",
            Reason::Timeout => "timeout",
            Reason::Failure => "failure",
        }
    }
}

/// What runtimes and extensions are told of the function.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) function_arn: String,
    pub(crate) function_name: String,
    pub(crate) function_version: String,
    pub(crate) handler: String,
    pub(crate) account: String,
    pub(crate) logging: Logging,
    pub(crate) tracing: TracingMode,
    pub(crate) instance: String,
    pub(crate) memory_bytes_max: u64,
}

/// What extensions wait for, and the texts of the events there are for them.
#[derive(Default)]
pub(super) struct Waiting {
    /// By an extension's place; never more than extensions.
    next: Vec<Option<oneshot::Sender<Event>>>,
    invoke: Bytes,
    shutdown: Bytes,
}

impl State {
    /// Hands what there is for extensions to those that ask.
    fn tell_extensions(&mut self) {
        for (place, next) in self.waiting.next.iter_mut().enumerate() {
            let Some(sender) = next.take_if(|sender| !sender.is_closed()) else { continue };
            let Some(event) = self.extensions.take(place) else {
                *next = Some(sender);
                continue;
            };
            if let Err(event) = sender.send(event) {
                self.extensions.put_back(place, event);
            }
        }
    }

    /// Tells extensions of an invocation.
    pub(super) fn invoke_extensions(&mut self, event: &super::Event, about: &About) {
        if !self.extensions.hear_invokes() || self.machine.at_once() > 1 {
            return;
        }
        let text = serde_json::json!({
            "eventType": "INVOKE",
            "deadlineMs": event.deadline_at_ms,
            "requestId": event.request.to_string(),
            "invokedFunctionArn": about.function_arn,
            "tracing": { "type": "X-Amzn-Trace-Id", "value": event.trace },
        });
        self.waiting.invoke = text.to_string().into();
        self.extensions.invoke();
        self.tell_extensions();
    }
}

impl RuntimeApi {
    /// Whether there are extensions, registered or not.
    pub(crate) fn has_extensions(&self) -> bool {
        self.state.lock().extensions.is_any()
    }

    /// Whether any extension works on invocations.
    pub(crate) fn extensions_hear_invokes(&self) -> bool {
        let state = self.state.lock();
        // They follow one invocation at a time: where several run at once they are told of none, as on Lambda.
        state.extensions.hear_invokes() && state.machine.at_once() == 1
    }

    /// The places among the programs of those that are to hear of the instance's end, and whether there are external
    /// ones at all.
    pub(crate) fn listeners_to_shutdown(&self) -> Vec<usize> {
        let state = self.state.lock();
        state.extensions.members().iter().filter(|member| member.hears_shutdown).filter_map(|m| m.program).collect()
    }

    /// What the log says of the extensions once all are ready, one line each, in the function's format.
    pub(crate) fn describe_extensions(&self) -> String {
        let state = self.state.lock();
        let logging = self.about.logging;
        let line = |member: &super::extensions::Extension| {
            let events = [(member.hears_invoke, "INVOKE"), (member.hears_shutdown, "SHUTDOWN")];
            let events: Vec<&str> = events.iter().filter(|(hears, _)| *hears).map(|(_, event)| *event).collect();
            if logging.format == LogFormat::Text {
                return format!("EXTENSION\tName: {}\tState: Ready\tEvents: [{}]\n", member.name, events.join(", "));
            }
            if !logging.writes(SystemLevel::Info) {
                return String::new();
            }
            let record = serde_json::json!({ "name": member.name, "state": "Ready", "events": events });
            let time = Timestamp::now().to_string();
            format!("{}\n", serde_json::json!({ "time": time, "type": "platform.extension", "record": record }))
        };
        state.extensions.members().iter().map(line).collect()
    }

    /// Waits until every external extension has registered.
    pub(crate) async fn registered(&self) -> Result<(), Fault> {
        self.wait_until(|state| match &state.ended {
            Some(fault) => Some(Err(fault.clone())),
            None => state.extensions.have_registered().then_some(Ok(())),
        })
        .await
    }

    /// Waits until no extension works on an invocation any more, or the instance has ended.
    pub(crate) async fn settled(&self) {
        self.wait_until(|state| (state.ended.is_some() || state.extensions.are_idle()).then_some(())).await;
    }

    /// Whether that is so now.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state.lock();
        state.ended.is_some() || state.extensions.are_idle()
    }

    /// Tells extensions that the instance ends at `deadline`.
    pub(crate) fn shut_down_extensions(&self, reason: Reason, deadline: Timestamp) {
        let text = serde_json::json!({
            "eventType": "SHUTDOWN",
            "shutdownReason": reason.name(),
            "deadlineMs": deadline.as_ms(),
        });
        let mut state = self.state.lock();
        state.waiting.shutdown = text.to_string().into();
        state.extensions.shut_down();
        state.tell_extensions();
        drop(state);
        self.changed.notify_waiters();
    }

    /// One request of an extension's.
    pub(super) async fn extension(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, "register") => self.register(request).await,
            (&Method::GET, "event/next") => self.next_event(request.headers()).await,
            (&Method::POST, "init/error") => self.extension_error(request, ExtensionFailure::Init).await,
            (&Method::POST, "exit/error") => self.extension_error(request, ExtensionFailure::Exit).await,
            _ => reply::not_found(),
        }
    }

    async fn register(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let name = text_of(request.headers(), NAME);
        let wants_account = text_of(request.headers(), ACCEPT_FEATURE)
            .is_some_and(|features| features.split(',').any(|feature| feature.trim() == "accountId"));
        let body = match collect_within(request.into_body(), REGISTRATION_BYTES_MAX).await {
            Ok(body) => body,
            Err(Collect::TooLarge) => return reply::too_large_for(REGISTRATION_BYTES_MAX),
            Err(Collect::Broken) => return reply::truncated(),
        };
        let Some(name) = name else { return refused(Refusal::InvalidName) };
        let Some(events) = events_of(&body) else {
            let message = "The body is not {\"events\": [\"INVOKE\", \"SHUTDOWN\"]} or a part of it";
            return reply::error(StatusCode::BAD_REQUEST, "InvalidRequestFormat", message);
        };
        let registered = {
            let mut state = self.state.lock();
            let registered = match state.ended {
                Some(_) => Err(Refusal::Closed),
                None => state.extensions.register(&name, &events),
            };
            registered.map(|place| state.extensions.members()[place].id.clone())
        };
        let id = match registered {
            Ok(id) => id,
            Err(refusal) => return refused(refusal),
        };
        self.changed.notify_waiters();
        let about = &self.about;
        let mut answer = serde_json::json!({
            "functionName": about.function_name,
            "functionVersion": about.function_version,
            "handler": about.handler,
        });
        if wants_account {
            answer["accountId"] = about.account.clone().into();
        }
        let mut response = reply::json(StatusCode::OK, answer.to_string().into());
        insert(&mut response, IDENTIFIER, id);
        response
    }

    async fn next_event(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let (place, receiver) = {
            let mut state = self.state.lock();
            let place = match identified(&state, headers) {
                Ok(place) => place,
                Err(response) => return *response,
            };
            let next = match state.extensions.next(place) {
                Ok(next) => next,
                Err(refusal) => return refused(refusal),
            };
            state.release_busy();
            state.tell_starter();
            self.changed.notify_waiters();
            match next {
                Next::Event(event) => return hand_over(&state, event),
                Next::Wait => {
                    let (sender, receiver) = oneshot::channel();
                    let places = state.extensions.members().len();
                    state.waiting.next.resize_with(places, || None);
                    state.waiting.next[place] = Some(sender);
                    (place, receiver)
                }
            }
        };
        let mut asking = Asking { api: self, place, receiver };
        match (&mut asking.receiver).await {
            Ok(event) => hand_over(&self.state.lock(), event),
            // Another request took this one's place.
            Err(_) => refused(Refusal::State { from: "Ready", to: "Ready" }),
        }
    }

    async fn extension_error(&self, request: Request<Incoming>, failure: ExtensionFailure) -> Response<Full<Bytes>> {
        let Some(error_type) = text_of(request.headers(), ERROR_TYPE) else {
            discard(request.into_body()).await;
            return reply::error(
                StatusCode::FORBIDDEN,
                "Extension.MissingHeader",
                "Lambda-Extension-Function-Error-Type is missing",
            );
        };
        let allowed = {
            let mut state = self.state.lock();
            identified(&state, request.headers()).and_then(|place| {
                let allowed = match failure {
                    ExtensionFailure::Init => state.extensions.init_error(place),
                    _ => state.extensions.exit_error(place),
                };
                allowed.map(|()| state.extensions.members()[place].name.clone()).map_err(|r| Box::new(refused(r)))
            })
        };
        let name = match allowed {
            Ok(name) => name,
            Err(response) => {
                discard(request.into_body()).await;
                return *response;
            }
        };
        match collect_within(request.into_body(), ERROR_BYTES_MAX).await {
            Ok(_) => {}
            Err(Collect::TooLarge) => return reply::too_large_for(ERROR_BYTES_MAX),
            Err(Collect::Broken) => return reply::truncated(),
        }
        let error_type: String = error_type.chars().take(256).collect();
        self.fail(&Fault::Extension { failure, reason: format!("extension {name}: {error_type}") });
        reply::accepted()
    }
}

/// A request for an event. Dropped with the event it got unread, it puts it back.
struct Asking<'api> {
    api: &'api RuntimeApi,
    place: usize,
    receiver: oneshot::Receiver<Event>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(event) = self.receiver.try_recv() {
            self.api.state.lock().extensions.put_back(self.place, event);
        }
    }
}

fn hand_over(state: &State, event: Event) -> Response<Full<Bytes>> {
    let text = match event {
        Event::Invoke => &state.waiting.invoke,
        Event::Shutdown => &state.waiting.shutdown,
    };
    let mut response = reply::json(StatusCode::OK, text.clone());
    insert(&mut response, EVENT_IDENTIFIER, updraft_types::RequestId::random().to_string());
    response
}

/// The extension that a request says it is from.
pub(super) fn identified(state: &State, headers: &HeaderMap) -> Result<usize, Box<Response<Full<Bytes>>>> {
    match text_of(headers, IDENTIFIER) {
        Some(id) => state.extensions.find(&id).map_err(|refusal| Box::new(refused(refusal))),
        None => Err(Box::new(reply::error(
            StatusCode::FORBIDDEN,
            "Extension.MissingHeader",
            "Missing Lambda-Extension-Identifier header",
        ))),
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(|text| text.trim().to_owned())
}

/// The events of a registration; `None` when it makes no sense.
fn events_of(body: &[u8]) -> Option<Vec<String>> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    match value.as_object()?.get("events") {
        None | Some(serde_json::Value::Null) => Some(Vec::new()),
        Some(events) => events.as_array()?.iter().map(|event| event.as_str().map(str::to_owned)).collect(),
    }
}

fn insert(response: &mut Response<Full<Bytes>>, name: &'static str, text: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        response.headers_mut().insert(name, value);
    }
}

fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    let (error_type, message) = match refusal {
        Refusal::InvalidName => ("Extension.InvalidExtensionName", "The extension's name is empty or too long"),
        Refusal::InvalidEvent => ("Extension.InvalidEventType", "An event is not one that this extension can have"),
        Refusal::AlreadyRegistered => ("Extension.AlreadyRegistered", "Extension with this name already registered"),
        Refusal::Closed => ("Extension.RegistrationClosed", "Extension registration closed already"),
        Refusal::TooMany => ("Extension.TooManyExtensions", "Extension limit (10) reached"),
        Refusal::Unknown => ("Extension.UnknownExtensionIdentifier", "Unknown extension identifier"),
        Refusal::State { from, to } => {
            let refusal = machine::Refusal::InvalidStateTransition { from, to };
            return reply::refused_as("Extension.InvalidExtensionState", refusal);
        }
    };
    reply::error(StatusCode::FORBIDDEN, error_type, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_texts_is_a_registration() {
        assert_eq!(events_of(br#"{"events":["INVOKE","X"]}"#), Some(vec!["INVOKE".into(), "X".into()]));
        assert_eq!(events_of(b"{}"), Some(Vec::new()));
        for bad in ["", "[]", "{", "1", r#"{"events":"INVOKE"}"#, r#"{"events":[1]}"#, "\u{0}"] {
            assert_eq!(events_of(bad.as_bytes()), None, "{bad}");
        }
    }
}
