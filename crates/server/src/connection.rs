//! One connection: which HTTP it speaks, its limits, and how it ends.
//!
//! HTTP/1.1 and HTTP/2: over TLS as ALPN settles it, without by prior knowledge, where the first bytes decide. A client
//! that does not get so far within the header timeout is closed. Told to stop, a connection finishes the requests it has and takes no more.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    Config, Transport,
    detach::detach,
    doors::Doors,
    patience::{Patience, Served},
    stall::StallGuard,
};
use http::{HeaderValue, Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Most bytes of one request's headers. Their number is bounded by hyper: 100.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Requests one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 128;
/// Longest that a client of HTTP/2 whose time is up is given to take its leave.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Pause between two looks at a connection that has sent one or two bytes.
const PEEK_PAUSE: Duration = Duration::from_millis(2);

/// Who is at the other end, as headers tell it on.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// For `requestContext.http.sourceIp`.
    pub(crate) address: SocketAddr,
    /// For `x-forwarded-for`.
    pub(crate) forwarded_for: HeaderValue,
    /// For `x-forwarded-proto`: `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Whether it is a running function, which finds fewer doors.
    pub(crate) is_guest: bool,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, scheme: &'static str) -> Self {
        let text = address.ip().to_string();
        let forwarded_for = HeaderValue::try_from(text).expect("an IP address is a header value");
        Self { address, forwarded_for, scheme, is_guest: false }
    }

    /// A running function, in its sandbox.
    pub(crate) fn guest(address: SocketAddr) -> Self {
        Self { is_guest: true, ..Self::new(address, "http") }
    }
}

/// Serves one connection to its end. Errors of a connection are its client's and end it quietly.
pub(crate) fn serve(
    stream: TcpStream,
    peer: Peer,
    doors: Arc<Doors>,
    config: &Config,
    mut stopping: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + 'static {
    let (header_read_timeout, write_stall_max) = (config.header_read_timeout, config.write_stall_max);
    let tls = match &config.transport {
        Transport::Tls(tls) if !peer.is_guest => Some(tls.acceptor()),
        Transport::Tls(_) | Transport::Plain | Transport::Proxy => None,
    };
    async move {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let opened = tokio::select! {
            opened = tokio::time::timeout(header_read_timeout, open(stream, tls)) => opened,
            () = stopped(&mut stopping) => return,
        };
        let Ok(Ok((stream, protocol))) = opened else { return };
        let peer = Arc::new(peer);
        let patience = Patience::new(header_read_timeout);
        let of_service = patience.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            detach(&mut request);
            let (doors, peer, _serving) = (doors.clone(), peer.clone(), of_service.serving());
            async move {
                let response = doors.serve(request, &peer).await;
                Ok::<Response<Served>, Infallible>(response.map(|body| Served { body, _serving }))
            }
        });
        let io = TokioIo::new(StallGuard::new(stream, write_stall_max));
        let ended = match protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.header_read_timeout(None).max_header_size(HEADER_BYTES_MAX);
                let mut connection = pin!(builder.serve_connection(io, service));
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => ended,
                    () = patience.ended() => Ok(()),
                    () = stopped(&mut stopping) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS_MAX)
                    .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("64 Ki fits"))
                    .keep_alive_interval(header_read_timeout);
                let mut connection = pin!(builder.serve_connection(io, service));
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => ended,
                    () = patience.ended() => {
                        connection.as_mut().graceful_shutdown();
                        tokio::time::timeout(GOODBYE_MAX, connection).await.unwrap_or(Ok(()))
                    }
                    () = stopped(&mut stopping) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// Waits until the server is told to stop, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A connection, with TLS or without.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is spoken on a connection, once that is clear.
async fn open(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<(Stream, Protocol)> {
    let Some(tls) = tls else {
        let protocol = protocol_of(&stream).await?;
        return Ok((Stream::Plain(stream), protocol));
    };
    let stream = tls.accept(stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http1 };
    Ok((Stream::Tls(Box::new(stream)), protocol))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Looks at the first bytes without taking them.
async fn protocol_of(stream: &TcpStream) -> io::Result<Protocol> {
    let mut start = [0; 3];
    let mut seen_before = 0;
    loop {
        let seen = stream.peek(&mut start).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(protocol) = decide(&start[..seen]) {
            return Ok(protocol);
        }
        // A peek at bytes already seen returns at once; a closed peer never sends the rest.
        if seen == seen_before {
            tokio::time::sleep_until(Instant::now() + PEEK_PAUSE).await;
        }
        seen_before = seen;
    }
}

/// HTTP/2's preface begins with a method no HTTP/1 request has: `PRI` (RFC 9113, 3.4).
fn decide(start: &[u8]) -> Option<Protocol> {
    if start == b"PRI" {
        Some(Protocol::Http2)
    } else if b"PRI".starts_with(start) {
        None
    } else {
        Some(Protocol::Http1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide() {
        for (start, protocol) in [
            ("GET", Some(Protocol::Http1)),
            ("G", Some(Protocol::Http1)),
            ("PO", Some(Protocol::Http1)),
            ("PRO", Some(Protocol::Http1)),
            ("P", None),
            ("PR", None),
            ("PRI", Some(Protocol::Http2)),
        ] {
            assert_eq!(decide(start.as_bytes()), protocol, "{start}");
        }
    }
}
