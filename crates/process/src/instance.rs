//! An instance of a runtime that asks the Runtime API for its events: Python, Node.js, `provided`.
//!
//! One watch task for each instance accepts its connections (each served by a task of its own, all ended
//! with the watch) and follows the process; calls spawn nothing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use updraft_executor::{Call, Guest, Instance, Milestone, Reply};
use updraft_types::{Fault, body};

use crate::{
    freezing::Busy,
    guest::{KillOnDrop, Process},
    runtime_api::{AnswerBody, RuntimeApi, into_body},
};

/// Most connections of one guest at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 8;
const HEADERS_MAX: usize = 64;
const READ_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// How long connections may take to read what an ended guest had sent. Its sockets are closed by then, so
/// reading needs nothing but processor time.
const LAST_WORDS_MS: u64 = 1000;

/// One running runtime.
pub(crate) struct RuntimeInstance {
    process: Arc<Process>,
    api: Arc<RuntimeApi>,
}

impl RuntimeInstance {
    /// Waits until the runtime asks for its first event. Dropping the future kills it. `connection` is one that the
    /// runtime has made already.
    pub(crate) async fn start(
        process: Process,
        listener: TcpListener,
        connection: Option<TcpStream>,
        function_arn: &str,
        guest: Arc<dyn Guest>,
    ) -> Result<Self, Fault> {
        let process = Arc::new(process);
        let _starting = Busy::new(process.clone());
        let instance = Self { process: process.clone(), api: Arc::new(RuntimeApi::new(function_arn)) };
        let mut connections = JoinSet::new();
        let mut first_of = Some(guest);
        if let Some(stream) = connection {
            reached_runtime(&mut first_of);
            connections.spawn(serve(stream, instance.api.clone()));
        }
        tokio::spawn(watch(process.clone(), instance.api.clone(), listener, connections, first_of));
        let started = instance.api.started().await;
        process.output.drain();
        started.map(|()| instance)
    }
}

impl Drop for RuntimeInstance {
    fn drop(&mut self) {
        self.process.kill();
    }
}

#[async_trait]
impl Instance for RuntimeInstance {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        if !self.process.is_alive() {
            // The watch may not have got to telling the Runtime API.
            return Err(self.process.ended().await);
        }
        let mut kill = KillOnDrop::new(self.process.clone());
        let answer = self.api.call(call).await;
        self.process.output.drain();
        match answer {
            Ok(answer) => {
                let body = match answer.body {
                    AnswerBody::Whole(bytes) => {
                        kill.disarm();
                        body::full(bytes)
                    }
                    AnswerBody::Streaming(stream) => into_body(stream, self.api.clone(), self.process.clone(), kill),
                };
                Ok(Reply::Event { framing: answer.framing, body })
            }
            Err(fault) => {
                // After these the runtime goes on; after anything else nothing is left that could.
                if matches!(fault, Fault::Handler { .. } | Fault::ResponseTooLarge) {
                    kill.disarm();
                }
                Err(fault)
            }
        }
    }

    fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    fn memory_bytes_max(&self) -> u64 {
        self.process.sandbox.memory_bytes_max()
    }

    fn processor_time(&self) -> Option<Duration> {
        Some(self.process.sandbox.processor_time())
    }

    async fn stop(&self) {
        self.process.kill();
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
    let fault = {
        let ended = process.watch();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                fault = &mut ended => break fault,
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        reached_runtime(&mut first_of);
                        connections.spawn(serve(stream, api.clone()));
                    }
                    // Out of descriptors, most likely: the guest's connection waits in the queue.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                _ = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    };
    // An answer sent right before the exit is still an answer.
    let last_words = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS), last_words).await.is_err() {
        tracing::debug!("a guest's connection outlived it and was closed");
    }
    api.fail(&fault);
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
    let service = service_fn(move |request| {
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
