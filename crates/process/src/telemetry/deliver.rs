//! Sends one subscriber its batches, into the sandbox, over connections that the sandbox's init makes.
//!
//! Nobody waits for a subscriber: one that is slow, gone or hostile costs its own events alone. While the instance is
//! frozen nothing is sent and no patience is lost.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use updraft_types::Timestamp;

use super::{Channel, buffer::Batch, event};
use crate::guest::Process;

/// How long one attempt may take, and how many there are for a batch.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 4;
const RETRY_MIN: Duration = Duration::from_millis(50);

const HEADERS_MAX: usize = 32;
/// What the client library has at the least.
const READ_BUFFER_BYTES_MAX: usize = 8192;

/// Sends batches until the instance has gone.
pub(super) async fn run(channel: Arc<Channel>, process: Weak<Process>) {
    loop {
        let changed = channel.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let now = Instant::now();
        let due_at = channel.buffer.lock().due_at(now);
        match due_at {
            Some(at) if at <= now => {}
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = changed => {}
                }
                continue;
            }
            None => {
                changed.await;
                continue;
            }
        }
        let Some(batch) = channel.buffer.lock().take(now) else { continue };
        let body = body_of(&batch);
        let Some(process) = process.upgrade() else { return };
        if !deliver(&channel, &process, body).await {
            channel.buffer.lock().lose(batch.as_dropped());
        }
    }
}

/// The events as a JSON array.
fn body_of(batch: &Batch) -> Bytes {
    let mut parts = Vec::with_capacity(batch.items.len() + 1);
    if batch.dropped.records > 0 {
        let record = serde_json::json!({
            "reason": "the subscriber did not take them in time",
            "droppedRecords": batch.dropped.records,
            "droppedBytes": batch.dropped.bytes,
        });
        parts.push(event(Timestamp::now(), "platform.logsDropped", record));
    }
    parts.extend(batch.items.iter().cloned());
    format!("[{}]", parts.join(",")).into()
}

async fn deliver(channel: &Channel, process: &Process, body: Bytes) -> bool {
    let mut attempt = 0;
    while attempt < ATTEMPTS && process.is_running() {
        let freezes = process.freezing.thawed().await;
        let sent = tokio::time::timeout(ATTEMPT_TIMEOUT, send(channel, process, body.clone())).await;
        if matches!(sent, Ok(Ok(true))) {
            return true;
        }
        if process.freezing.freezes() == freezes {
            tokio::time::sleep(RETRY_MIN * 2_u32.pow(attempt)).await;
            attempt += 1;
        }
    }
    false
}

/// One attempt; whether the subscriber has taken the batch.
async fn send(channel: &Channel, process: &Process, body: Bytes) -> std::io::Result<bool> {
    let wanted = &channel.subscription;
    let stream = TcpStream::from_std(process.sandbox.connect(wanted.port).await?)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    let request = Request::builder()
        .method(&wanted.method)
        .uri(&wanted.path)
        .header(header::HOST, format!("sandbox.localdomain:{}", wanted.port))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(std::io::Error::other)?;
    // Ends with its sender, or with the subscriber.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a subscriber ended early");
        }
    });
    let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
    Ok(response.status().is_success())
}
