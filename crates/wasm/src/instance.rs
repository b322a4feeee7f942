//! One instance: a guest (a store and what was instantiated in it), kept from call to call or made anew for each.
//!
//! The guest lives in one of two places: here while it is idle, inside the call's future while it runs. A call that
//! ends well puts it back, or ends it where calls are to find a fresh one; one that traps or is dropped takes it down
//! with it. So there is no state in which a half-run guest could be entered again.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use updraft_executor::{Call, Guest, Instance, Reply, Start};
use updraft_types::{Body, ExitStatus, Fault, Payload, Region, body, function::Reuse};
use wasmtime::{PoolConcurrencyLimitError, Store, component::Resource};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::{
    Error as HttpError, WasiHttpView,
    p2::{
        bindings::{
            Proxy, ProxyPre,
            http::types::{ErrorCode, Scheme},
        },
        body::HyperOutgoingBody,
        types::{HostIncomingRequest, HostResponseOutparam},
    },
};

use crate::{
    engine::Platform,
    host::{Host, environment, memory::Limits},
    outgoing::{Client, Gate},
    reply,
};

/// Most bytes of a trap's backtrace put into the log.
const BACKTRACE_BYTES_MAX: usize = 8 << 10;

/// What is left of a call once its head is out.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// What a guest passed to `response-outparam.set`.
type Head = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// A guest ready to be called, and all that belongs to it.
struct Made {
    store: Store<Host>,
    proxy: Proxy,
}

/// What it takes to make a guest.
struct Mould {
    platform: Arc<Platform>,
    component: ProxyPre<Host>,
    variables: Arc<[(String, String)]>,
    guest: Arc<dyn Guest>,
    client: Arc<Client>,
    memory_mb: u32,
    memory_peak: Arc<AtomicU64>,
}

impl Mould {
    /// Instantiates the component, running its start functions.
    async fn make(&self) -> Result<Made, Fault> {
        let memory = Limits::new(self.memory_mb, self.memory_peak.clone());
        let mut store =
            Host::store(&self.platform, self.variables.clone(), self.guest.clone(), self.client.clone(), memory);
        let _ticking = self.platform.ticker.enter();
        match self.component.instantiate_async(&mut store).await {
            Ok(proxy) => Ok(Made { store, proxy }),
            Err(error) => Err(fault(&error, store.data())),
        }
    }
}

/// The guest of an instance that is not being called.
enum Idle {
    /// It is there: none was called yet, or it is kept from call to call.
    Made(Box<Made>),
    /// The next call makes its own.
    ToBeMade,
}

/// An instance of a component.
pub(crate) struct WasmInstance {
    mould: Mould,
    reuse: Reuse,
    /// Nothing during a call and after the end.
    idle: Mutex<Option<Idle>>,
    head: Arc<Mutex<Option<Head>>>,
    alive: AtomicBool,
}

impl WasmInstance {
    /// An instance with its first guest in it.
    pub(crate) async fn start(
        platform: &Arc<Platform>,
        component: ProxyPre<Host>,
        start: &Start,
        region: &Region,
        gate: &Gate,
    ) -> Result<Arc<Self>, Fault> {
        let mould = Mould {
            platform: platform.clone(),
            component,
            variables: environment::variables(&start.function, &start.log_stream, region),
            guest: start.guest.clone(),
            client: Arc::new(gate.client(&start.function, start.guest.clone())),
            memory_mb: start.function.configuration.memory_mb,
            memory_peak: Arc::default(),
        };
        let made = mould.make().await?;
        Ok(Arc::new(Self {
            mould,
            reuse: start.function.scaling.instances,
            idle: Mutex::new(Some(Idle::Made(Box::new(made)))),
            head: Arc::default(),
            alive: AtomicBool::new(true),
        }))
    }

    /// Hands `request` to the guest and runs it to its end.
    fn run(self: &Arc<Self>, request: Request<Body>) -> Result<Running, Fault> {
        let idle = self.idle.lock().take().ok_or_else(|| Fault::Platform {
            reason: "a wasm instance was called while busy or after its end".into(),
        })?;
        *self.head.lock() = None;
        let ending = Ending { instance: self.clone(), well: false };
        match idle {
            Idle::Made(mut made) => {
                let call = self.hand_over(&mut made.store, request)?;
                Ok(Box::pin(ending.put_through(made, call)))
            }
            // Apart, since what making a guest keeps is many times as large.
            Idle::ToBeMade => Ok(Box::pin(async move {
                let mut made = Box::new(ending.instance.mould.make().await?);
                let call = ending.instance.hand_over(&mut made.store, request)?;
                ending.put_through(made, call).await
            })),
        }
    }

    fn hand_over(&self, store: &mut Store<Host>, request: Request<Body>) -> Result<Handed, Fault> {
        self.try_hand_over(store, request).map_err(|error| Fault::Platform {
            reason: format!("a request could not be handed to a component: {error:#}"),
        })
    }

    fn try_hand_over(&self, store: &mut Store<Host>, mut request: Request<Body>) -> wasmtime::Result<Handed> {
        let host = store.data_mut();
        host.memory.begin_call();
        let scheme = match request.uri().scheme_str() {
            Some("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        let named = request.uri().authority().is_some()
            || request.headers().get(header::HOST).is_some_and(|host| host.to_str().is_ok());
        if !named {
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        }
        let request = request.map(|body| body.map_err(|error| HttpError::InternalError(Some(error.to_string()))));
        let request = host.http().new_incoming_request(scheme, request)?;
        let head = self.head.clone();
        let reply_to = host.http().new_response_outparam_from_callback(move |reply| *head.lock() = Some(reply))?;
        Ok(Handed { request, reply_to })
    }
}

/// What a guest's handler is called with.
struct Handed {
    request: Resource<HostIncomingRequest>,
    reply_to: Resource<HostResponseOutparam>,
}

/// A call under way. Dropping it, in whatever way the call ended, leaves the instance dead.
struct Ending {
    instance: Arc<WasmInstance>,
    well: bool,
}

impl Ending {
    /// Runs the guest to its end.
    async fn put_through(self, mut made: Box<Made>, Handed { request, reply_to }: Handed) -> Result<(), Fault> {
        let ticking = self.instance.mould.platform.ticker.enter();
        made.store.set_epoch_deadline(1);
        let handler = made.proxy.wasi_http_incoming_handler();
        if let Err(error) = handler.call_handle(&mut made.store, request, reply_to).await {
            return Err(fault(&error, made.store.data()));
        }
        drop(ticking);
        made.store.data_mut().end_call();
        match self.instance.reuse {
            Reuse::Fresh => {
                drop(made);
                self.well(Idle::ToBeMade);
            }
            Reuse::Reused if made.store.data_mut().leaks() => {}
            Reuse::Reused => self.well(Idle::Made(made)),
        }
        Ok(())
    }

    /// Puts the guest back for the next call, unless the instance was stopped meanwhile.
    fn well(mut self, guest: Idle) {
        let mut idle = self.instance.idle.lock();
        if self.instance.is_alive() {
            *idle = Some(guest);
            self.well = true;
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.well {
            self.instance.alive.store(false, Ordering::Release);
        }
    }
}

#[async_trait]
impl Instance for WasmInstance {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        let request = match call.payload {
            Payload::Http(request) => *request,
            Payload::Event(_) => event_request(call),
        };
        let bodiless = request.method() == Method::HEAD;
        let mut guest = Some(self.run(request)?);
        let head = poll_fn(|context| {
            let running = guest.as_mut().expect("polled only until it is ready");
            let ended = match running.as_mut().poll(context) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(fault)) => {
                    // A reply set before the trap is not sent: the call failed, and nothing has left yet.
                    guest = None;
                    return Poll::Ready(Err(fault));
                }
                Poll::Pending => false,
            };
            if ended {
                guest = None;
            }
            match self.head.lock().take() {
                Some(Ok(head)) => Poll::Ready(Ok(head)),
                // The guest may still be at work after it said so, and its instance is only whole at its end.
                Some(Err(code)) if ended => Poll::Ready(Err(refusal(&code))),
                Some(Err(code)) => {
                    *self.head.lock() = Some(Err(code));
                    Poll::Pending
                }
                None if ended => {
                    Poll::Ready(Err(Fault::Crash { reason: "the handler returned without setting a response".into() }))
                }
                None => Poll::Pending,
            }
        })
        .await?;
        let (parts, outgoing) = head.into_parts();
        // Nobody will read this body, and only reading it would run the guest to its end.
        let bodiless = bodiless || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = match bodiless {
            true => reply::discard(outgoing, guest).await.map(|()| body::empty())?,
            false => reply::body(outgoing, guest),
        };
        Ok(Reply::Http(Response::from_parts(parts, body)))
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    fn memory_bytes_max(&self) -> u64 {
        self.mould.memory_peak.load(Ordering::Relaxed)
    }

    async fn stop(&self) {
        let idle = {
            let mut idle = self.idle.lock();
            self.alive.store(false, Ordering::Release);
            idle.take()
        };
        drop(idle);
    }
}

/// An event as the component sees it: a POST to `/`. What the Runtime API tells a runtime in headers comes in
/// the same ones (source: the AWS Lambda Runtime API's `/invocation/next`).
fn event_request(call: Call) -> Request<Body> {
    let Payload::Event(event) = call.payload else { unreachable!("called for events only") };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, event.len().into());
    let told = [
        ("lambda-runtime-aws-request-id", Some(call.request.to_string())),
        ("lambda-runtime-deadline-ms", Some(call.deadline_at.as_ms().to_string())),
        ("lambda-runtime-trace-id", call.context.trace),
        ("lambda-runtime-client-context", call.context.client_context),
    ];
    for (name, value) in told {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let mut request = Request::new(body::full(event));
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    request
}

/// What a guest's error code means for its caller: the handler ran and reported failure.
fn refusal(code: &ErrorCode) -> Fault {
    let text = match code {
        ErrorCode::InternalError(Some(text)) => text.clone(),
        other => format!("the handler answered with the error code {other:?}"),
    };
    let error_type = "Wasm.ErrorCode".to_owned();
    let body = serde_json::json!({ "errorType": error_type, "errorMessage": text }).to_string().into();
    Fault::Handler { error_type, body }
}

/// Why a guest broke off. Its backtrace goes to the log.
fn fault(error: &wasmtime::Error, host: &Host) -> Fault {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Fault::Exit(ExitStatus::Code(*code));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Platform { reason: format!("no room for another wasm instance: {error:#}") };
    }
    if host.memory.refused {
        return Fault::OutOfMemory;
    }
    log_backtrace(error, host.guest.as_ref());
    Fault::Crash { reason: error.root_cause().to_string() }
}

fn log_backtrace(error: &wasmtime::Error, guest: &dyn Guest) {
    let mut text = format!("{error:?}");
    if text.len() > BACKTRACE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(BACKTRACE_BYTES_MAX));
    }
    text.push('\n');
    guest.log(text.as_bytes());
}
