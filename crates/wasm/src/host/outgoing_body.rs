//! `wasi:http/types.outgoing-body`: what a guest writes, on its way to whoever reads it.
//!
//! Ours in place of wasmtime-wasi-http's for two reasons. A body that its guest neither finished nor aborted counts as
//! aborted wherever it is dropped, so that a guest's end never makes half a reply look whole. And the few chunks that wait
//! do so in one place under one lock, where channels cost a call more than all it writes.
//!
//! Invariant: at most [`CHUNKS_MAX`] chunks of [`CHUNK_BYTES_MAX`] wait for the reader; then the writer does. All the bodies of
//! one guest together hold at most [`WAITING_BYTES_MAX`]; a guest that goes past that traps.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceType},
    format_err,
};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::{
    Error, FieldMap,
    p2::{
        bindings::http::types::ErrorCode,
        body::{HyperOutgoingBody, StreamContext},
        types::{HostOutgoingRequest, HostOutgoingResponse},
    },
};

use super::Host;

/// The interface, as wasmtime-wasi-http links it.
const INTERFACE: &str = "wasi:http/types@0.2.12";
/// Most bytes a guest writes to a body at once.
const CHUNK_BYTES_MAX: usize = 32 << 10;
/// Most chunks that wait for a body's reader. A guest that writes a few lines one by one ends without having waited once.
const CHUNKS_MAX: usize = 4;
/// Most bytes that wait in all bodies of a guest: it can begin many and give none to a reader.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Bytes that wait in the bodies of one guest. Clones count the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Counts `bytes` more, unless they are too many.
    fn add(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= WAITING_BYTES_MAX;
        if !fits {
            self.remove(bytes);
        }
        fits
    }

    fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Puts our outgoing bodies in the place of those linked before.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut types = linker.instance(INTERFACE)?;
    types.resource("outgoing-body", ResourceType::host::<Outgoing>(), |mut store, handle| {
        store.data_mut().table.delete(Resource::<Outgoing>::new_own(handle))?;
        Ok(())
    })?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: StoreContextMut<'_, Host>, (response,): (Resource<HostOutgoingResponse>,)| {
            let Host { table, waiting, .. } = store.data_mut();
            let HostOutgoingResponse { headers, body, .. } = table.get_mut(&response)?;
            let Some(made) = begin(StreamContext::Response, headers, body, waiting) else { return Ok((Err(()),)) };
            Ok((Ok(table.push(made)?),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: StoreContextMut<'_, Host>, (request,): (Resource<HostOutgoingRequest>,)| {
            let Host { table, waiting, .. } = store.data_mut();
            let HostOutgoingRequest { headers, body, .. } = table.get_mut(&request)?;
            let Some(made) = begin(StreamContext::Request, headers, body, waiting) else { return Ok((Err(()),)) };
            Ok((Ok(table.push(made)?),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-body.write",
        |mut store: StoreContextMut<'_, Host>, (body,): (Resource<Outgoing>,)| {
            let table = &mut store.data_mut().table;
            let Some(stream) = table.get_mut(&body)?.stream() else { return Ok((Err(()),)) };
            Ok((Ok(table.push_child(stream, &body)?),))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, Host>, (body, trailers): (Resource<Outgoing>, Option<Resource<FieldMap>>)| {
            let table = &mut store.data_mut().table;
            // Its stream is its child: while the guest has that, this fails.
            let body = table.delete(body)?;
            let trailers = trailers.map(|trailers| table.delete(trailers)).transpose()?;
            Ok((body.finish(trailers.map(HeaderMap::from)),))
        },
    )?;
    Ok(())
}

/// Makes the body of a message that has none yet and whose length, if it states one, is a number.
fn begin(
    context: StreamContext,
    headers: &HeaderMap,
    body: &mut Option<HyperOutgoingBody>,
    waiting: &Waiting,
) -> Option<Outgoing> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => {
            // Digits alone (RFC 9110, 8.6), where Rust would take a sign as well.
            let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            Some(digits?.parse().ok()?)
        }
        (Some(_), Some(_)) => return None,
    };
    if body.is_some() {
        return None;
    }
    let pipe = Arc::new(Mutex::new(Pipe { length, waiting: waiting.clone(), ..Pipe::default() }));
    *body = Some(Reader(pipe.clone()).boxed_unsync());
    Some(Outgoing { pipe, context, has_stream: false })
}

/// Between a guest that writes and whoever reads.
#[derive(Default)]
struct Pipe {
    chunks: VecDeque<Bytes>,
    /// Counts them, among those of the guest's other bodies.
    waiting: Waiting,
    end: Option<End>,
    /// What the message says of its length, and what was written.
    length: Option<u64>,
    written: u64,
    is_reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How a body ends once its chunks are read.
enum End {
    Whole,
    Trailers(HeaderMap),
    Aborted,
}

impl Pipe {
    fn take(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.pop_front()?;
        self.waiting.remove(chunk.len());
        Some(chunk)
    }

    fn end(&mut self, end: End) {
        self.end = Some(end);
        wake(&mut self.reader);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// The guest's handle of a body.
struct Outgoing {
    pipe: Arc<Mutex<Pipe>>,
    context: StreamContext,
    has_stream: bool,
}

impl Outgoing {
    fn stream(&mut self) -> Option<DynOutputStream> {
        if std::mem::replace(&mut self.has_stream, true) {
            return None;
        }
        Some(Box::new(Writer { pipe: self.pipe.clone(), context: self.context }))
    }

    fn finish(self, trailers: Option<HeaderMap>) -> Result<(), ErrorCode> {
        let mut pipe = self.pipe.lock();
        let written = pipe.written;
        if pipe.length.is_some_and(|length| length != written) {
            pipe.end(End::Aborted);
            return Err(self.context.as_body_size_error(written));
        }
        pipe.end(trailers.map_or(End::Whole, End::Trailers));
        Ok(())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut pipe = self.pipe.lock();
        if pipe.end.is_none() {
            pipe.end(End::Aborted);
        }
    }
}

/// The body as its reader has it.
struct Reader(Arc<Mutex<Pipe>>);

impl Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut pipe = self.0.lock();
        if let Some(chunk) = pipe.take() {
            wake(&mut pipe.writer);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &pipe.end {
            Some(End::Whole) => Poll::Ready(None),
            Some(End::Aborted) => Poll::Ready(Some(Err(Error::HttpProtocolError))),
            Some(End::Trailers(_)) => {
                let Some(End::Trailers(trailers)) = pipe.end.replace(End::Whole) else { unreachable!("just seen") };
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            None => {
                pipe.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut pipe = self.0.lock();
        pipe.is_reader_gone = true;
        while pipe.take().is_some() {}
        wake(&mut pipe.writer);
    }
}

/// The stream that a guest writes to.
struct Writer {
    pipe: Arc<Mutex<Pipe>>,
    context: StreamContext,
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        poll_fn(|context| {
            let mut pipe = self.pipe.lock();
            if pipe.is_reader_gone || pipe.chunks.len() < CHUNKS_MAX {
                return Poll::Ready(());
            }
            pipe.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut pipe = self.pipe.lock();
        if pipe.is_reader_gone {
            return Err(StreamError::Closed);
        }
        // A guest asks how much there is room for before it writes.
        if bytes.len() > CHUNK_BYTES_MAX || pipe.chunks.len() >= CHUNKS_MAX || !pipe.waiting.add(bytes.len()) {
            return Err(StreamError::Trap(format_err!("write exceeded budget")));
        }
        pipe.written += bytes.len() as u64;
        if !bytes.is_empty() {
            pipe.chunks.push_back(bytes);
            wake(&mut pipe.reader);
        }
        if pipe.length.is_some_and(|length| length < pipe.written) {
            let code = self.context.as_body_size_error(pipe.written);
            return Err(StreamError::LastOperationFailed(format_err!(code)));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.pipe.lock().is_reader_gone { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let pipe = self.pipe.lock();
        match pipe.chunks.len() < CHUNKS_MAX {
            _ if pipe.is_reader_gone => Err(StreamError::Closed),
            true => Ok(CHUNK_BYTES_MAX),
            false => Ok(0),
        }
    }
}
