//! The Telemetry API, version 2022-07-01, and the Logs API, version 2020-08-15: what happens in an instance, for its
//! extensions that subscribe.
//!
//! One [`Telemetry`] for each instance. Events and lines are published to it as they come; each subscriber has a bounded
//! buffer and a task that sends from it (`deliver`). Publishing takes a look at a flag while nobody subscribes, and
//! never waits.
//!
//! Invariant: at most as many subscribers as extensions, whose tasks end with the instance.

mod buffer;
mod deliver;
mod subscription;

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::AbortHandle};
use updraft_executor::Guest;
use updraft_types::{RequestId, Timestamp, Version, limits::LOG_LINE_BYTES_MAX, logging::LogFormat};

use self::buffer::Buffer;
pub(crate) use self::subscription::{Api, HOSTS, Subscription};
use crate::guest::Process;

/// Most events that are kept for subscribers to come: those of the start.
const EARLY_MAX: usize = 16;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Function,
    Extension,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Source::Function => "function",
            Source::Extension => "extension",
        }
    }
}

/// What happens in one instance.
pub(crate) struct Telemetry {
    format: LogFormat,
    is_on: AtomicBool,
    state: Mutex<State>,
    process: OnceLock<Weak<Process>>,
}

#[derive(Default)]
struct State {
    /// By the subscribing extension's place.
    channels: Vec<(usize, Arc<Channel>, AbortHandle)>,
    early: Vec<Happening>,
    /// The beginnings of lines, of the function and of extensions.
    partial: [Vec<u8>; 2],
    /// How long the start took, until the first report has said so.
    init: Option<Duration>,
}

/// One subscriber.
struct Channel {
    subscription: Subscription,
    buffer: Mutex<Buffer>,
    changed: Notify,
}

impl Channel {
    /// Tells of an event, if the subscriber's API has it.
    fn push(&self, happening: &Happening) {
        if let Some(record) = self.subscription.dialect.record(&happening.kind, &happening.record) {
            self.buffer.lock().push(event(happening.at, &happening.kind, record), Instant::now());
            self.changed.notify_one();
        }
    }
}

/// Something that subscribers hear of, each in its API's words.
struct Happening {
    at: Timestamp,
    kind: String,
    record: Value,
}

impl Happening {
    fn now(kind: &str, record: Value) -> Self {
        Self { at: Timestamp::now(), kind: kind.to_owned(), record }
    }
}

/// An event as it is sent.
fn event(at: Timestamp, kind: &str, record: Value) -> String {
    json!({ "time": at.to_string(), "type": kind, "record": record }).to_string()
}

impl Telemetry {
    pub(crate) fn new(format: LogFormat) -> Self {
        Self { format, is_on: AtomicBool::new(false), state: Mutex::default(), process: OnceLock::new() }
    }

    /// Where subscribers are to be found.
    pub(crate) fn attach(&self, process: &Arc<Process>) {
        self.process.get_or_init(|| Arc::downgrade(process));
    }

    /// Whether anybody listens.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether an extension subscribes to the other API already: it is one or the other.
    pub(crate) fn subscribes_elsewhere(&self, place: usize, api: Api) -> bool {
        let state = self.state.lock();
        state.channels.iter().any(|(other, channel, _)| *other == place && channel.subscription.dialect.api() != api)
    }

    /// Subscribes an extension, in place of what it subscribed before.
    pub(crate) fn subscribe(&self, place: usize, name: &str, subscription: Subscription) {
        let Some(process) = self.process.get() else { return };
        let kind = match subscription.dialect.api() {
            Api::Telemetry => "platform.telemetrySubscription",
            Api::Logs => "platform.logsSubscription",
        };
        let record = json!({ "name": name, "state": "Subscribed", "types": subscription.types() });
        let told = Happening::now(kind, record);
        let buffer = Mutex::new(Buffer::new(subscription.buffering));
        let channel = Arc::new(Channel { subscription, buffer, changed: Notify::new() });
        let mut state = self.state.lock();
        if channel.subscription.platform {
            state.early.iter().for_each(|early| channel.push(early));
        }
        state.channels.retain(|(other, _, task)| {
            if *other == place {
                task.abort();
            }
            *other != place
        });
        let task = tokio::spawn(deliver::run(channel.clone(), process.clone()));
        state.channels.push((place, channel, task.abort_handle()));
        state.publish(&told, |subscription| subscription.platform);
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Something has happened to the instance. What happens before anybody subscribes is kept for whoever does.
    pub(crate) fn starting(&self, kind: &str, record: Value) {
        let happening = Happening::now(kind, record);
        let mut state = self.state.lock();
        state.publish(&happening, |subscription| subscription.platform);
        if state.early.len() < EARLY_MAX {
            state.early.push(happening);
        }
    }

    /// Something has happened, for those who listen.
    fn platform(&self, kind: &str, record: impl FnOnce() -> Value) {
        if self.is_on() {
            self.state.lock().publish(&Happening::now(kind, record()), |subscription| subscription.platform);
        }
    }

    /// The start is over. Lines and events of it are not kept any longer.
    pub(crate) fn started(&self, init: Duration) {
        let mut state = self.state.lock();
        state.init = Some(init);
        state.early = Vec::new();
    }

    /// Output of the function or of an extension, cut anyhow.
    fn output(&self, source: Source, mut output: &[u8]) {
        if !self.is_on() {
            return;
        }
        let mut state = self.state.lock();
        while !output.is_empty() {
            let newline = output.iter().position(|byte| *byte == b'\n');
            let room = LOG_LINE_BYTES_MAX.saturating_sub(state.partial[source as usize].len());
            let end = newline.unwrap_or(output.len());
            let taken = end.min(room);
            state.partial[source as usize].extend_from_slice(&output[..taken]);
            let is_whole = taken == end && newline.is_some();
            output = &output[taken + usize::from(is_whole)..];
            if is_whole || taken == room {
                self.end_line(&mut state, source);
            }
        }
    }

    fn end_line(&self, state: &mut State, source: Source) {
        let line = std::mem::take(&mut state.partial[source as usize]);
        if line.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let object = if self.format == LogFormat::Json { serde_json::from_str(&text).ok() } else { None };
        let record = object.filter(Value::is_object).unwrap_or_else(|| Value::String(text.into_owned()));
        state.publish(&Happening::now(source.name(), record), |subscription| match source {
            Source::Function => subscription.function,
            Source::Extension => subscription.extension,
        });
    }

    /// What is left is sent at once from now on: the instance ends.
    pub(crate) fn hurry(&self) {
        for (_, channel, _) in &self.state.lock().channels {
            channel.buffer.lock().hurry();
            channel.changed.notify_one();
        }
    }

    /// Nothing is sent any more.
    pub(crate) fn stop(&self) {
        self.state.lock().channels.drain(..).for_each(|(_, _, task)| task.abort());
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// An invocation begins. `None` while nobody listens.
    pub(crate) fn invocation(
        self: &Arc<Self>,
        request: RequestId,
        version: Version,
        memory_mb: u32,
    ) -> Option<Invocation> {
        if !self.is_on() {
            return None;
        }
        self.platform("platform.start", || json!({ "requestId": request.to_string(), "version": version.to_string() }));
        Some(Invocation { telemetry: self.clone(), request, memory_mb, began: Instant::now() })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn publish(&self, happening: &Happening, wants: impl Fn(&Subscription) -> bool) {
        for (_, channel, _) in self.channels.iter().filter(|(_, channel, _)| wants(&channel.subscription)) {
            channel.push(happening);
        }
    }
}

/// How a runtime ended an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Success,
    /// The function's error.
    Error,
    /// The runtime did not survive it.
    Failure,
    Timeout,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Error => "error",
            Status::Failure => "failure",
            Status::Timeout => "timeout",
        }
    }
}

/// One invocation that subscribers hear of.
pub(crate) struct Invocation {
    telemetry: Arc<Telemetry>,
    request: RequestId,
    memory_mb: u32,
    began: Instant,
}

impl Invocation {
    /// The runtime is done; all output of the time before has been published.
    pub(crate) fn runtime_done(&self, status: Status) {
        let mut state = self.telemetry.state.lock();
        self.telemetry.end_line(&mut state, Source::Function);
        drop(state);
        self.telemetry.platform("platform.runtimeDone", || {
            json!({
                "requestId": self.request.to_string(),
                "status": status.name(),
                "metrics": { "durationMs": milliseconds(self.began.elapsed()) },
            })
        });
    }

    /// Extensions are done too.
    pub(crate) fn report(&self, status: Status, memory_bytes_max: u64) {
        let init = self.telemetry.state.lock().init.take();
        let duration = self.began.elapsed();
        let billed = duration + init.unwrap_or_default();
        self.telemetry.platform("platform.end", || json!({ "requestId": self.request.to_string() }));
        self.telemetry.platform("platform.report", || {
            let mut metrics = json!({
                "durationMs": milliseconds(duration),
                "billedDurationMs": billed.as_nanos().div_ceil(1_000_000) as u64,
                "memorySizeMB": self.memory_mb,
                "maxMemoryUsedMB": memory_bytes_max.div_ceil(1 << 20),
            });
            if let Some(init) = init {
                metrics["initDurationMs"] = milliseconds(init).into();
            }
            json!({ "requestId": self.request.to_string(), "metrics": metrics, "status": status.name() })
        });
    }
}

/// Milliseconds with three decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_nanos() as f64 / 1000.0).round() / 1000.0
}

/// A guest whose output subscribers hear too.
pub(crate) struct Tapped {
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) source: Source,
}

impl Guest for Tapped {
    fn log(&self, output: &[u8]) {
        self.guest.log(output);
        self.telemetry.output(self.source, output);
    }
}
