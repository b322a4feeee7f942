//! An instance of the `web` runtime: any HTTP server that listens on `$PORT`.
//!
//! Requests go through as they are, many at once, over kept-alive connections made inside the sandbox. An
//! event (an Invoke's payload) becomes `POST /` with a JSON body. Invariant: an abandoned request costs its
//! connection and nothing more; the instance lives on. It is frozen only while no request is under way.

mod message;
mod relay;

pub(crate) use self::message::strip_hop_by_hop;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use updraft_executor::{Call, Instance, Reply};
use updraft_types::{Body, Fault};

use crate::{WEB_CONCURRENCY, environment::WEB_PORT, freezing::Busy, guest::Process};

/// Pauses between attempts to reach a server that is still starting.
const RETRY_MS_MIN: u64 = 1;
const RETRY_MS_MAX: u64 = 25;

/// How long after a connection breaks the process's own end may take to be noticed; it is the better
/// explanation of the two.
const EXIT_NOTICE_MS: u64 = 200;

const HEADERS_MAX: usize = 100;
const READ_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// One running server.
pub(crate) struct WebInstance {
    connections: Arc<Connections>,
}

/// Kept-alive connections to one server, at most [`WEB_CONCURRENCY`] idle ones.
pub(crate) struct Connections {
    process: Arc<Process>,
    idle: Mutex<Vec<SendRequest<Body>>>,
}

impl WebInstance {
    /// Waits until the server accepts a connection. Dropping the future kills it.
    pub(crate) async fn start(process: Process) -> Result<Self, Fault> {
        let process = Arc::new(process);
        let _starting = Busy::new(process.clone());
        let connections = Arc::new(Connections { process: process.clone(), idle: Mutex::default() });
        let instance = Self { connections };
        let watched = process.clone();
        tokio::spawn(async move { watched.watch().await });
        tokio::select! {
            stream = accepted(&process) => {
                let sender = instance.connections.handshake(stream).await;
                instance.connections.give_back(sender.map_err(broken)?);
                process.output.drain();
                Ok(instance)
            }
            fault = process.ended() => {
                process.output.drain();
                Err(fault)
            }
        }
    }
}

impl Drop for WebInstance {
    fn drop(&mut self) {
        self.connections.process.kill();
    }
}

/// The first connection that the server accepts.
async fn accepted(process: &Process) -> std::net::TcpStream {
    let mut pause_ms = RETRY_MS_MIN;
    loop {
        match process.sandbox.connect(WEB_PORT).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
        }
        pause_ms = (pause_ms * 2).min(RETRY_MS_MAX);
    }
}

impl Connections {
    async fn handshake(&self, stream: std::net::TcpStream) -> Result<SendRequest<Body>, std::io::Error> {
        stream.set_nodelay(true)?;
        let stream = TcpStream::from_std(stream)?;
        let (sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(READ_BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        // Ends with its sender, or with the server.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a web function ended early");
            }
        });
        Ok(sender)
    }

    /// Keeps a connection whose response has been read to its end.
    pub(crate) fn give_back(&self, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock();
        if !sender.is_closed() && idle.len() < WEB_CONCURRENCY as usize {
            idle.push(sender);
        }
    }

    /// Sends a request on a kept connection or a new one. A kept connection that the server closed in the
    /// meantime is no reason to fail, as long as nothing of the request was sent.
    async fn send(&self, mut request: Request<Body>) -> Result<(SendRequest<Body>, Response<Incoming>), Fault> {
        loop {
            let kept = self.idle.lock().pop();
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => match self.process.sandbox.connect(WEB_PORT).await {
                    Ok(stream) => self.handshake(stream).await.map_err(broken)?,
                    Err(error) => return Err(self.explain(&error).await),
                },
            };
            if sender.ready().await.is_err() && is_kept {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(self.explain(failed.error()).await),
                },
            }
        }
    }

    /// What a broken connection means: the end of the process, if it has ended, or just that.
    async fn explain(&self, error: &(dyn std::error::Error + Sync)) -> Fault {
        let notice = Duration::from_millis(EXIT_NOTICE_MS);
        let reason = error.to_string();
        match tokio::time::timeout(notice, self.process.ended()).await {
            Ok(fault) => fault,
            Err(_) => Fault::Crash { reason: format!("the server broke off: {reason}") },
        }
    }
}

fn broken(error: std::io::Error) -> Fault {
    Fault::Platform { reason: format!("cannot use a connection to a web function: {error}") }
}

#[async_trait]
impl Instance for WebInstance {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        let connections = &self.connections;
        let Some(request) = message::request(call) else {
            return Ok(Reply::Http(message::method_not_allowed()));
        };
        let busy = Busy::new(connections.process.clone());
        let sent = connections.send(request).await;
        connections.process.output.drain();
        let (sender, response) = sent?;
        let (mut parts, incoming) = response.into_parts();
        if parts.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::Crash { reason: "the server switched protocols without being asked to".into() });
        }
        message::strip_hop_by_hop(&mut parts.headers);
        let body = relay::into_body(incoming, sender, self.connections.clone(), busy);
        Ok(Reply::Http(Response::from_parts(parts, body)))
    }

    fn is_alive(&self) -> bool {
        self.connections.process.is_alive()
    }

    fn memory_bytes_max(&self) -> u64 {
        self.connections.process.sandbox.memory_bytes_max()
    }

    fn processor_time(&self) -> Option<Duration> {
        Some(self.connections.process.sandbox.processor_time())
    }

    async fn stop(&self) {
        self.connections.process.kill();
        self.connections.process.ended().await;
    }
}
