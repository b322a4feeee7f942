//! Serves one instance the Lambda Runtime API, version 2018-06-01, and hands its invocations over; beside it the
//! Extensions API (`extension_requests`) and the Telemetry API (`telemetry_requests`).
//!
//! [`RuntimeApi`] joins the two sides: [`RuntimeApi::started`] and [`RuntimeApi::call`] for the platform,
//! [`RuntimeApi::handle`] for the guest's requests. `machine` decides what is allowed when. The guest is not
//! trusted: whatever it sends, its own invocation fails and nothing else.
//!
//! Invariant: everyone who waits here is answered: by the guest, or by [`RuntimeApi::fail`] once it has ended.

mod extension_requests;
mod extensions;
mod machine;
mod reply;
mod stream;
mod telemetry_requests;
mod trace;

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use updraft_executor::{Call, Framing};
use updraft_types::{Fault, Payload, Qualifier, RequestId, limits::PAYLOAD_BYTES_MAX};

pub(crate) use self::stream::{StreamingBody, into_body};
use self::{extension_requests::Waiting, extensions::Extensions, machine::Machine};
pub(crate) use self::{
    extension_requests::{About, Reason},
    extensions::EXTENSIONS_MAX,
};
use crate::{
    freezing::Busy,
    telemetry::{Api, Telemetry},
};

const PREFIX: &str = "/2018-06-01/runtime/";
const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const DEADLINE_MS: &str = "lambda-runtime-deadline-ms";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
const HTTP_INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";
const ERROR_TYPE_BYTES_MAX: usize = 256;

/// How much of a refused body is read and thrown away, so that a client that writes before it reads gets to
/// read the refusal.
const DISCARDED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A guest's answer to one invocation.
pub(crate) struct Answer {
    pub(crate) framing: Framing,
    pub(crate) body: AnswerBody,
}

/// An invocation that has been put to the guest.
pub(crate) struct Promise(oneshot::Receiver<Result<Answer, Fault>>);

impl Promise {
    /// Waits for the beginning of the answer.
    pub(crate) async fn answer(self) -> Result<Answer, Fault> {
        self.0.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// An answer's bytes.
pub(crate) enum AnswerBody {
    /// All there.
    Whole(Bytes),
    /// Still coming.
    Streaming(StreamingBody),
}

/// One instance's Runtime API.
pub(crate) struct RuntimeApi {
    function_arn: HeaderValue,
    about: About,
    telemetry: Arc<Telemetry>,
    snapshot: Snapshot,
    state: Mutex<State>,
    /// Something has changed that [`RuntimeApi::wait_until`] may wait for.
    changed: Notify,
}

/// What an instance has to do with snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Snapshot {
    None,
    /// It asks to be restored, and is stopped then.
    Original,
    /// It may say that being restored has failed.
    Copy,
}

struct State {
    machine: Machine,
    /// The guest's requests for the next event, no more than it takes invocations at once.
    next: VecDeque<oneshot::Sender<Event>>,
    /// Events that wait for the guest to ask; bounded like the invocations they are of.
    events: VecDeque<Event>,
    /// The callers of the invocations that are not answered, by nonce; bounded likewise.
    callers: Vec<(u64, oneshot::Sender<Result<Answer, Fault>>)>,
    /// Who waits for the first `next`.
    starter: Option<oneshot::Sender<Result<(), Fault>>>,
    ended: Option<Fault>,
    extensions: Extensions,
    waiting: Waiting,
    /// Keeps the guest running while extensions work on.
    busy: Option<Busy>,
    /// Connections that the runtime has made a request on.
    runtime_connections: usize,
}

impl State {
    /// Hands an event to a request for it. A guest that has hung up meanwhile gets the event when it asks again.
    fn offer(&mut self, mut event: Event) {
        while let Some(next) = self.next.pop_front() {
            match next.send(event) {
                Ok(()) => return,
                Err(back) => event = back,
            }
        }
        self.events.push_back(event);
    }

    /// Takes the caller of an invocation.
    fn caller(&mut self, nonce: u64) -> Option<oneshot::Sender<Result<Answer, Fault>>> {
        let place = self.callers.iter().position(|(of, _)| *of == nonce)?;
        Some(self.callers.swap_remove(place).1)
    }

    /// Tells who started the instance, once all in it have asked for their first event.
    fn tell_starter(&mut self) {
        if self.machine.is_started() && self.extensions.are_ready() && self.ended.is_none() {
            // An error means that whoever started this instance has gone, and with it soon the instance.
            let _ = self.starter.take().map(|starter| starter.send(Ok(())));
        }
    }

    /// Lets the guest be frozen when no extension works any more.
    fn release_busy(&mut self) {
        if self.extensions.are_idle() {
            self.busy = None;
        }
    }
}

/// An invocation as the guest is told of it.
struct Event {
    request: RequestId,
    nonce: u64,
    payload: Bytes,
    deadline_at_ms: u64,
    trace: String,
    client_context: Option<String>,
    qualifier: Option<Qualifier>,
}

impl RuntimeApi {
    /// For a function whose runtime takes so many invocations at once, with these programs as its external extensions.
    pub(crate) fn new(about: About, at_once: usize, programs: Vec<String>, telemetry: Arc<Telemetry>) -> Self {
        let function_arn = HeaderValue::from_str(&about.function_arn).expect("an ARN is made of valid identifiers");
        let state = State {
            machine: Machine::new(at_once),
            next: VecDeque::new(),
            events: VecDeque::new(),
            callers: Vec::new(),
            starter: None,
            ended: None,
            extensions: Extensions::new(programs),
            waiting: Waiting::default(),
            busy: None,
            runtime_connections: 0,
        };
        let snapshot = Snapshot::None;
        Self { function_arn, about, telemetry, snapshot, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Of an instance that will be copied, or is a copy.
    pub(crate) fn with_snapshot(self, is_original: bool, is_copy: bool) -> Self {
        let snapshot = match (is_original, is_copy) {
            (true, _) => Snapshot::Original,
            (_, true) => Snapshot::Copy,
            _ => Snapshot::None,
        };
        Self { snapshot, ..self }
    }

    /// Waits until `look` finds something.
    async fn wait_until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&self.state.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// A connection on which the runtime speaks, until the returned value is dropped.
    fn runtime_connected(self: &Arc<Self>) -> RuntimeConnection {
        self.state.lock().runtime_connections += 1;
        RuntimeConnection(self.clone())
    }

    /// Waits until what an ended runtime had sent has been read.
    pub(crate) async fn runtime_hung_up(&self) {
        self.wait_until(|state| (state.runtime_connections == 0).then_some(())).await;
    }

    /// Waits until the guest and its extensions ask for their first events, or cannot.
    pub(crate) async fn started(&self) -> Result<(), Fault> {
        let receiver = {
            let mut state = self.state.lock();
            if let Some(fault) = &state.ended {
                return Err(fault.clone());
            }
            if state.machine.is_started() && state.extensions.are_ready() {
                return Ok(());
            }
            let (sender, receiver) = oneshot::channel();
            state.starter = Some(sender);
            receiver
        };
        receiver.await.unwrap_or_else(|_| Err(lost()))
    }

    /// How many invocations the guest takes at once.
    pub(crate) fn at_once(&self) -> usize {
        self.state.lock().machine.at_once()
    }

    /// Puts an invocation to the guest, and to its extensions for which `busy` is kept while they work; from then on
    /// they are not settled. Answers with what to wait at. The invocation before must have settled.
    pub(crate) fn put(&self, call: Call, busy: Option<Busy>) -> Result<Promise, Fault> {
        let Payload::Event(payload) = call.payload else {
            return Err(Fault::Platform { reason: "an HTTP request was sent to a runtime that takes events".into() });
        };
        let mut state = self.state.lock();
        if let Some(fault) = &state.ended {
            return Err(fault.clone());
        }
        let Some(nonce) = state.machine.begin(call.request) else {
            return Err(Fault::Platform { reason: "an invocation was sent to a runtime that is busy".into() });
        };
        let given = call.context.trace.as_deref();
        let trace = trace::header(given, self.about.tracing, &call.request, call.deadline_at.as_ms());
        let event = Event {
            request: call.request,
            nonce,
            payload,
            deadline_at_ms: call.deadline_at.as_ms(),
            trace,
            client_context: call.context.client_context,
            qualifier: call.context.qualifier,
        };
        state.busy = busy;
        state.invoke_extensions(&event, &self.about);
        let (sender, receiver) = oneshot::channel();
        state.callers.push((nonce, sender));
        state.offer(event);
        Ok(Promise(receiver))
    }

    /// A streamed answer has been read to its end.
    fn finish_stream(&self, nonce: u64) {
        self.state.lock().machine.finish(nonce);
    }

    /// Answers everyone who waits, now and from now on: the guest has ended.
    pub(crate) fn fail(&self, fault: &Fault) {
        let mut state = self.state.lock();
        state.ended.get_or_insert_with(|| fault.clone());
        state.next.clear();
        state.events.clear();
        state.busy = None;
        // Errors mean that nobody waits any more.
        let _ = state.starter.take().map(|starter| starter.send(Err(fault.clone())));
        for (_, caller) in state.callers.drain(..) {
            let _ = caller.send(Err(fault.clone()));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Why it has failed, if it has.
    pub(crate) fn failed(&self) -> Option<Fault> {
        self.state.lock().ended.clone()
    }

    /// One request of the guest's.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(path) = request.uri().path().strip_prefix(PREFIX) else {
            return self.beside(request).await;
        };
        match (request.method(), path) {
            (&Method::GET, "invocation/next") => self.next().await,
            (&Method::POST, "init/error") => self.init_error(request).await,
            (&Method::GET, "restore/next") if self.snapshot == Snapshot::Original => self.restore_next(),
            (&Method::POST, "restore/error") if self.snapshot == Snapshot::Copy => self.init_error(request).await,
            (&Method::POST, _) => {
                let answer = path.strip_prefix("invocation/").and_then(|rest| rest.split_once('/'));
                match answer.map(|(id, kind)| (id.to_owned(), kind)) {
                    Some((id, "response")) => self.response(&id, request).await,
                    Some((id, "error")) => self.error(&id, request).await,
                    _ => reply::not_found(),
                }
            }
            _ => reply::not_found(),
        }
    }

    /// A request that is not the Runtime API's.
    async fn beside(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            path if path.starts_with(extension_requests::PREFIX) => self.extension(request).await,
            telemetry_requests::PATH if request.method() == Method::PUT => {
                self.subscribe(Api::Telemetry, request).await
            }
            telemetry_requests::LOGS_PATH if request.method() == Method::PUT => {
                self.subscribe(Api::Logs, request).await
            }
            _ => reply::not_found(),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        let receiver = {
            let mut state = self.state.lock();
            if let Some(event) = state.events.pop_front() {
                return self.hand_over(event);
            }
            if let Err(refusal) = state.machine.next() {
                return reply::refused(refusal);
            }
            state.extensions.close();
            state.tell_starter();
            let (sender, receiver) = oneshot::channel();
            state.next.retain(|next| !next.is_closed());
            if state.next.len() >= state.machine.at_once() {
                state.next.pop_front();
            }
            state.next.push_back(sender);
            receiver
        };
        match receiver.await {
            Ok(event) => self.hand_over(event),
            // Another request for the next event took this one's place, or the instance has ended.
            Err(_) => reply::refused(machine::Refusal::InvalidStateTransition { from: "Ready", to: "Ready" }),
        }
    }

    /// The function is loaded: whoever has started it may stop it. Copies do not hear this answer; they find what they are
    /// told at their standard input.
    fn restore_next(&self) -> Response<Full<Bytes>> {
        let mut state = self.state.lock();
        if let Err(refusal) = state.machine.next() {
            return reply::refused(refusal);
        }
        state.extensions.close();
        state.tell_starter();
        Response::new(Full::default())
    }

    /// The ARN that the caller used, with its qualifier if it gave one.
    fn invoked_arn(&self, qualifier: Option<&Qualifier>) -> HeaderValue {
        let Some(qualifier) = qualifier else { return self.function_arn.clone() };
        let arn = self.function_arn.to_str().unwrap_or_default();
        HeaderValue::try_from(format!("{arn}:{qualifier}")).expect("an ARN is made of valid identifiers")
    }

    fn hand_over(&self, event: Event) -> Response<Full<Bytes>> {
        let request = event.request.to_string();
        let mut response = Response::new(Full::new(event.payload));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("lambda-runtime-invoked-function-arn", self.invoked_arn(event.qualifier.as_ref()));
        headers.insert(DEADLINE_MS, HeaderValue::from(event.deadline_at_ms));
        headers.insert(INVOCATION_ID, HeaderValue::from(event.nonce));
        let texts = [
            (REQUEST_ID, Some(request)),
            ("lambda-runtime-trace-id", Some(event.trace)),
            ("lambda-runtime-client-context", event.client_context),
        ];
        for (name, text) in texts {
            // What a header cannot hold (control characters from a caller) is left out.
            if let Some(Ok(value)) = text.map(|text| HeaderValue::from_maybe_shared(Bytes::from(text))) {
                headers.insert(name, value);
            }
        }
        response
    }

    async fn response(&self, id: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let headers = request.headers();
        let framing = framing_of(headers);
        let is_streaming = headers.get(RESPONSE_MODE).is_some_and(|mode| mode.as_bytes() == b"streaming");
        let allowed = self.state.lock().machine.answer(id, nonce_of(headers));
        let nonce = match allowed {
            Ok(nonce) => nonce,
            Err(refusal) => {
                discard(request.into_body()).await;
                return reply::refused(refusal);
            }
        };
        let mut answering = Answering::new(self, nonce);
        if is_streaming {
            let framing = if framing == Framing::Value { Framing::Stream } else { framing };
            let (end, ended) = oneshot::channel();
            let body = AnswerBody::Streaming(StreamingBody::new(request.into_body(), nonce, end));
            answering.hand_over();
            answering.settle(Ok(Answer { framing, body }));
            return match ended.await {
                Ok(()) => reply::accepted(),
                // The caller has gone, and the instance with it.
                Err(_) => reply::gone(),
            };
        }
        match collect(request.into_body()).await {
            Ok(bytes) => {
                answering.finish();
                answering.settle(Ok(Answer { framing, body: AnswerBody::Whole(bytes) }));
                // The caller's answer first: the guest, waiting for its next event, has the time.
                tokio::task::yield_now().await;
                reply::accepted()
            }
            Err(Collect::TooLarge) => {
                answering.finish();
                answering.settle(Err(Fault::ResponseTooLarge));
                reply::too_large()
            }
            // Dropping `answering` lets the guest try again.
            Err(Collect::Broken) => reply::truncated(),
        }
    }

    async fn error(&self, id: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let error_type = error_type_of(request.headers());
        let allowed = self.state.lock().machine.answer(id, nonce_of(request.headers()));
        let nonce = match allowed {
            Ok(nonce) => nonce,
            Err(refusal) => {
                discard(request.into_body()).await;
                return reply::refused(refusal);
            }
        };
        let mut answering = Answering::new(self, nonce);
        match collect(request.into_body()).await {
            Ok(body) => {
                answering.finish();
                answering.settle(Err(Fault::Handler { error_type, body }));
                reply::accepted()
            }
            Err(Collect::TooLarge) => {
                answering.finish();
                answering.settle(Err(Fault::ResponseTooLarge));
                reply::too_large()
            }
            Err(Collect::Broken) => reply::truncated(),
        }
    }

    async fn init_error(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let error_type = error_type_of(request.headers());
        let allowed = self.state.lock().machine.init_error();
        if let Err(refusal) = allowed {
            discard(request.into_body()).await;
            return reply::refused(refusal);
        }
        let body = match collect(request.into_body()).await {
            Ok(body) => body,
            Err(Collect::TooLarge) => return reply::too_large(),
            Err(Collect::Broken) => return reply::truncated(),
        };
        self.fail(&Fault::Init { error_type, body });
        reply::accepted()
    }
}

/// See [`RuntimeApi::runtime_connected`].
pub(crate) struct RuntimeConnection(Arc<RuntimeApi>);

impl RuntimeConnection {
    /// Marks a connection at the runtime's first request on it.
    pub(crate) fn mark(mark: &OnceLock<Self>, api: &Arc<RuntimeApi>, path: &str) {
        if path.starts_with(PREFIX) {
            mark.get_or_init(|| api.runtime_connected());
        }
    }
}

impl Drop for RuntimeConnection {
    fn drop(&mut self) {
        self.0.state.lock().runtime_connections -= 1;
        self.0.changed.notify_waiters();
    }
}

/// An answer on its way in. Dropped before it is finished, it lets the guest answer again.
struct Answering<'api> {
    api: &'api RuntimeApi,
    nonce: u64,
    is_finished: bool,
}

impl<'api> Answering<'api> {
    fn new(api: &'api RuntimeApi, nonce: u64) -> Self {
        Self { api, nonce, is_finished: false }
    }

    /// From here on whoever reads the stream says when it is finished.
    fn hand_over(&mut self) {
        self.is_finished = true;
    }

    fn finish(&mut self) {
        self.is_finished = true;
        self.api.state.lock().machine.finish(self.nonce);
    }

    fn settle(&self, answer: Result<Answer, Fault>) {
        let caller = self.api.state.lock().caller(self.nonce);
        // An error means that the caller has gone, and the instance with it.
        let _ = caller.map(|caller| caller.send(answer));
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.api.state.lock().machine.retract(self.nonce);
        }
    }
}

fn lost() -> Fault {
    Fault::Platform { reason: "the Runtime API ended without saying why".into() }
}

fn nonce_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(INVOCATION_ID).map(|value| value.to_str().unwrap_or_default())
}

fn framing_of(headers: &HeaderMap) -> Framing {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(HTTP_INTEGRATION.as_bytes()) { Framing::HttpIntegration } else { Framing::Value }
}

fn error_type_of(headers: &HeaderMap) -> String {
    let given = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok()).map(str::trim);
    let usable = given.filter(|text| !text.is_empty() && text.len() <= ERROR_TYPE_BYTES_MAX);
    usable.unwrap_or("Unhandled").to_owned()
}

/// Why a body could not be had.
enum Collect {
    TooLarge,
    Broken,
}

/// The whole body, at most [`PAYLOAD_BYTES_MAX`].
async fn collect(body: Incoming) -> Result<Bytes, Collect> {
    collect_within(body, PAYLOAD_BYTES_MAX).await
}

/// The whole body, at most so many bytes.
async fn collect_within(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Collect> {
    let declared = body.size_hint().lower();
    if declared > bytes_max as u64 {
        discard(body).await;
        return Err(Collect::TooLarge);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Collect::Broken)?.into_data() else { continue };
        if data.len() > bytes_max {
            discard(body).await;
            return Err(Collect::TooLarge);
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(usize::try_from(declared).unwrap_or(0).max(first.len() + data.len()));
            rest.extend_from_slice(&first);
        }
        if rest.len() + data.len() > bytes_max {
            drop(rest);
            discard(body).await;
            return Err(Collect::TooLarge);
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

async fn discard(mut body: Incoming) {
    let mut total = 0;
    while let Some(Ok(frame)) = body.frame().await {
        total += frame.data_ref().map_or(0, Bytes::len);
        if total > DISCARDED_BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use updraft_types::{function::TracingMode, logging::LogFormat};

    use super::*;
    use crate::testing;

    #[test]
    fn extensions_have_something_to_do_as_soon_as_an_invocation_has_begun() {
        let about = About {
            function_arn: "arn".into(),
            function_name: "hello".into(),
            function_version: "$LATEST".into(),
            handler: "x".into(),
            account: "000000000000".into(),
            logging: Default::default(),
            tracing: TracingMode::PassThrough,
            instance: "i".into(),
            memory_bytes_max: 0,
        };
        let api = RuntimeApi::new(about, 1, vec!["agent".into()], Arc::new(Telemetry::new(LogFormat::Text)));
        {
            let mut state = api.state.lock();
            let agent = state.extensions.register("agent", &["INVOKE".into()]).unwrap();
            state.extensions.next(agent).unwrap();
            state.machine.next().unwrap();
        }
        assert!(api.is_settled());
        // Nobody has waited for the answer yet.
        let promise = api.put(testing::call(Payload::Event("1".into())), None).ok().unwrap();
        assert!(!api.is_settled());
        drop(promise);
        assert!(!api.is_settled(), "and they have it whether or not somebody does");
    }

    #[test]
    fn headers_of_any_kind_are_read_as_far_as_they_make_sense() {
        let mut headers = HeaderMap::new();
        assert_eq!((framing_of(&headers), error_type_of(&headers)), (Framing::Value, "Unhandled".to_owned()));
        headers.insert(ERROR_TYPE, HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("Application/VND.awslambda.http-integration-response; x=y"),
        );
        headers.insert(INVOCATION_ID, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!((framing_of(&headers), error_type_of(&headers)), (Framing::HttpIntegration, "Unhandled".to_owned()));
        assert_eq!(nonce_of(&headers), Some(""), "a nonce that is not text matches none of ours");
    }
}
