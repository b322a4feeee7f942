//! An instance of a runtime that asks the Runtime API for its events: Python, Node.js, `provided`.
//!
//! One watch task for each instance accepts its connections (each served by a task of its own, all ended
//! with the watch) and follows the process; calls spawn nothing, unless extensions hear of them.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use updraft_executor::{Call, Guest, Instance, Milestone, Reply, Start};
use updraft_sandbox::{Ended, Notices, Who};
use updraft_types::{ExitStatus, ExtensionFailure, Fault, Function, body};

use crate::{
    freezing::Busy,
    guest::{KillOnDrop, Process},
    runtime_api::{AnswerBody, Reason, RuntimeApi, RuntimeConnection, into_body},
    telemetry::{Invocation, Status, Telemetry},
};

/// Most connections of one guest at once, beside one for each invocation that it takes at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 24;
const HEADERS_MAX: usize = 64;
const READ_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// How long connections may take to read what an ended guest had sent. Its sockets are closed by then, so
/// reading needs nothing but processor time.
const LAST_WORDS_MS: u64 = 1000;

/// One running runtime.
pub(crate) struct RuntimeInstance {
    process: Arc<Process>,
    api: Arc<RuntimeApi>,
    telemetry: Arc<Telemetry>,
    function: Arc<Function>,
    /// Whether calls run beside others, which one that is abandoned must not take with it.
    takes_several: bool,
    /// Reports the last call that extensions heard of; the next one begins after it.
    reporting: Mutex<Option<JoinHandle<()>>>,
}

impl RuntimeInstance {
    /// Waits until the runtime and its extensions ask for their first events. Dropping the future kills it.
    /// `connection` is one that the runtime has made already. Where extensions are, `entrypoint` says what it means
    /// that the runtime cannot be started.
    pub(crate) async fn start(
        process: Process,
        listener: TcpListener,
        connection: Option<TcpStream>,
        api: RuntimeApi,
        start: &Start,
        entrypoint: impl FnOnce(updraft_sandbox::Error) -> Fault,
    ) -> Result<Self, Fault> {
        let (process, api, guest) = (Arc::new(process), Arc::new(api), start.guest.clone());
        let telemetry = api.telemetry().clone();
        telemetry.attach(&process);
        telemetry.starting("platform.initStart", api.describe_start());
        process.api.get_or_init(|| api.clone());
        let began = Instant::now();
        let _starting = Busy::new(process.clone());
        let function = start.function.clone();
        let takes_several = api.at_once() > 1;
        let instance = Self {
            process: process.clone(),
            api: api.clone(),
            telemetry: telemetry.clone(),
            function,
            takes_several,
            reporting: Mutex::default(),
        };
        let mut connections = JoinSet::new();
        let mut first_of = Some(guest.clone());
        if let Some(stream) = connection {
            reached_runtime(&mut first_of);
            connections.spawn(serve(stream, instance.api.clone()));
        }
        tokio::spawn(watch(process.clone(), instance.api.clone(), listener, connections, first_of));
        let started = async {
            if process.has_companions() {
                api.registered().await?;
                process.sandbox.begin().await.map_err(entrypoint)?;
            }
            api.started().await
        };
        let started = started.await;
        process.drain();
        api.tell_started(started.is_ok(), began.elapsed());
        match started {
            Ok(()) => guest.log(api.describe_extensions().as_bytes()),
            Err(_) => process.end(Reason::Failure),
        }
        started.map(|()| instance)
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Has extensions end with the call that they work on, should they take longer than it may.
    /// Reports what `ended` says once both are done.
    fn limit_extensions(&self, deadline: Instant, ended: Option<oneshot::Receiver<(Invocation, Status)>>) {
        let (api, process) = (self.api.clone(), self.process.clone());
        let limiting = tokio::spawn(async move {
            if tokio::time::timeout_at(deadline.into(), api.settled()).await.is_err() {
                process.end(Reason::Timeout);
            }
            if let Some(ended) = ended
                && let Ok((invocation, status)) = ended.await
            {
                invocation.report(status, process.sandbox.memory_bytes_max());
            }
        });
        *self.reporting.lock() = Some(limiting);
    }
}

impl Drop for RuntimeInstance {
    fn drop(&mut self) {
        // One that is ending already is killed when its time is up.
        if self.process.condemn() {
            self.process.kill();
        }
    }
}

#[async_trait]
impl Instance for RuntimeInstance {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        if !self.process.is_alive() {
            // The watch may not have got to telling the Runtime API.
            return match self.api.failed() {
                Some(fault) => Err(fault),
                None => Err(self.process.ended().await),
            };
        }
        let mut kill = KillOnDrop::new(self.process.clone(), call.deadline);
        if self.takes_several {
            kill.spare_others();
        }
        self.api.settled().await;
        let reporting = self.reporting.lock().take();
        if let Some(reporting) = reporting {
            // An error would be a panic of the task's, which has been told.
            let _ = reporting.await;
        }
        let memory_mb = self.function.configuration.memory_mb;
        let telemetry = self.telemetry.invocation(call.request, self.function.version, memory_mb);
        let (mut busy, mut reporter, mut ended) = (None, None, None);
        let hear_invokes = self.api.extensions_hear_invokes();
        if hear_invokes {
            busy = Some(Busy::new(self.process.clone()));
            (reporter, ended) = telemetry.is_some().then(oneshot::channel).unzip();
        }
        if let Some(telemetry) = telemetry {
            kill.tell(telemetry, reporter);
        }
        let deadline = call.deadline;
        let put = self.api.put(call, busy);
        if hear_invokes {
            // Only now is there anything of theirs that could last.
            self.limit_extensions(deadline, ended);
        }
        let answer = match put {
            Ok(promise) => promise.answer().await,
            Err(fault) => Err(fault),
        };
        self.process.drain();
        match answer {
            Ok(answer) => {
                let body = match answer.body {
                    AnswerBody::Whole(bytes) => {
                        kill.disarm(Status::Success);
                        body::full(bytes)
                    }
                    AnswerBody::Streaming(stream) => into_body(stream, self.api.clone(), self.process.clone(), kill),
                };
                Ok(Reply::Event { framing: answer.framing, body })
            }
            Err(fault) => {
                // After these the runtime goes on; after anything else nothing is left that could.
                if matches!(fault, Fault::Handler { .. } | Fault::ResponseTooLarge) {
                    kill.disarm(Status::Error);
                }
                Err(fault)
            }
        }
    }

    fn is_alive(&self) -> bool {
        self.process.is_alive() && !self.process.is_spent() && self.api.failed().is_none()
    }

    fn is_settled(&self) -> bool {
        self.api.is_settled()
    }

    async fn settled(&self) {
        self.api.settled().await;
    }

    fn memory_bytes_max(&self) -> u64 {
        self.process.sandbox.memory_bytes_max()
    }

    fn processor_time(&self) -> Option<Duration> {
        Some(self.process.sandbox.processor_time())
    }

    async fn stop(&self) {
        self.process.end(Reason::Spindown);
        // The watch says so too, but may still be reading last words.
        self.api.fail(&self.process.ended().await);
    }
}

/// Serves the guest and follows it to its end, then answers whoever still waits for it.
async fn watch(
    process: Arc<Process>,
    api: Arc<RuntimeApi>,
    listener: TcpListener,
    mut connections: JoinSet<()>,
    mut first_of: Option<Arc<dyn Guest>>,
) {
    let mut notices = process.take_notices();
    let connections_max = CONNECTIONS_MAX + api.at_once();
    let fault = {
        let ended = process.watch();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                fault = &mut ended => break fault,
                accepted = listener.accept(), if connections.len() < connections_max => match accepted {
                    Ok((stream, _)) => {
                        reached_runtime(&mut first_of);
                        connections.spawn(serve(stream, api.clone()));
                    }
                    // Out of descriptors, most likely: the guest's connection waits in the queue.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                _ = connections.join_next(), if !connections.is_empty() => {}
                ended = next_of(&mut notices) => match ended {
                    Some(ended) => one_ended(&process, &api, ended).await,
                    None => notices = None,
                },
            }
        }
    };
    // An answer sent right before the exit is still an answer.
    let last_words = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS), last_words).await.is_err() {
        tracing::debug!("a guest's connection outlived it and was closed");
    }
    api.telemetry().stop();
    api.fail(&fault);
}

/// The next notice, or nothing ever.
async fn next_of(notices: &mut Option<Notices>) -> Option<Ended> {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

/// The runtime or an extension has ended, which ends the rest unless that is ending anyway.
async fn one_ended(process: &Arc<Process>, api: &RuntimeApi, ended: Ended) {
    use updraft_sandbox::Status::{Code, Signal};
    process.note(ended);
    if !process.is_alive() {
        return;
    }
    let status = match ended.status {
        Code(code) => ExitStatus::Code(code),
        Signal(signal) => ExitStatus::Signal(signal),
    };
    let fault = match (ended.who, ended.status) {
        // Whether for want of memory shows when all has ended.
        (_, Signal(9)) => return process.kill(),
        (Who::Command, _) => {
            // An answer sent right before the exit is still an answer.
            let last_words = api.runtime_hung_up();
            let _ = tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS), last_words).await;
            Fault::Exit(status)
        }
        (Who::Companion(_), _) => {
            let reason = match ended.status {
                Code(code) => format!("exit code {code}"),
                Signal(_) => status.to_string().replace("Runtime exited with error: ", ""),
            };
            Fault::Extension { failure: ExtensionFailure::Crash, reason }
        }
    };
    process.drain();
    process.judge(fault.clone());
    api.fail(&fault);
    process.end(Reason::Failure);
}

/// Tells, once, that the runtime has come as far as to ask for work.
fn reached_runtime(first_of: &mut Option<Arc<dyn Guest>>) {
    if let Some(guest) = first_of.take() {
        guest.reached(Milestone::Runtime);
    }
}

async fn serve(stream: TcpStream, api: Arc<RuntimeApi>) {
    // Without it replies would wait for acknowledgements; a socket that refuses still works.
    let _ = stream.set_nodelay(true);
    let mark = OnceLock::new();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        RuntimeConnection::mark(&mark, &api, request.uri().path());
        let api = api.clone();
        async move { Ok::<_, std::convert::Infallible>(api.handle(request).await) }
    });
    let served = http1::Builder::new()
        .pipeline_flush(true)
        .auto_date_header(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a guest's connection to the Runtime API ended early");
    }
}
