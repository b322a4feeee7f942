//! Requests of guests to the outside: `wasi:http/outgoing-handler`, behind the function's egress rules.
//!
//! Owns the way of one request: where it goes, a connection of its own from `executor::egress` (which has the rules and
//! judges each address), TLS where it is https, HTTP/1.1, the answer. Bodies stream both ways. Refuses CONNECT, and
//! anything but http and https. Every failure becomes the error code that WASI has for it (`failure`).
//!
//! Invariants: nothing is connected to but through the dialer; a connection ends with the call that made it, so nothing
//! runs between calls; connections are bounded by instance and by host, head and buffers of an answer by size, and each
//! wait by a time.

mod body;
mod failure;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, Request, Response, Uri, uri::Authority, uri::Scheme};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName},
    },
};
use updraft_executor::{
    Guest,
    egress::{self, Config, Dialer, Error as DialError, HOST_LOOKUPS_MAX, Outside, Share, Shares},
};
use updraft_types::{
    Function,
    egress::{Denial, Host},
};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, io::TokioIo};

/// Most connections of one instance at once, and of all of them, of which a function has its share; further requests wait.
const CONNECTIONS_MAX: usize = 32;
const HOST_CONNECTIONS_MAX: usize = 512;
/// Longest until a request can be sent, with the wait for its turn, and unless the guest asks for less.
const CONNECT_MAX: Duration = Duration::from_secs(60);
/// Longest until an answer begins, and longest without any of its body, unless the guest asks for less. No function runs
/// longer.
const SILENCE_MAX: Duration = Duration::from_secs(900);
/// Most bytes of an answer's head, and most of its body read ahead.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What all instances share.
pub(crate) struct Gate {
    egress: Config,
    tls: TlsConnector,
    connections: Shares,
    lookups: Shares,
}

impl Gate {
    /// Trusts Mozilla's certificate authorities, and `authorities` besides.
    ///
    /// # Errors
    /// One of `authorities` is no certificate.
    pub(crate) fn new(egress: Config, authorities: &[Vec<u8>]) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        for authority in authorities {
            roots.add(CertificateDer::from_slice(authority))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let [connections, lookups] = [HOST_CONNECTIONS_MAX, HOST_LOOKUPS_MAX].map(Shares::new);
        Ok(Self { egress, tls: Arc::new(config).into(), connections, lookups })
    }

    /// The way out of a guest of this function.
    pub(crate) fn client(&self, function: &Function, guest: Arc<dyn Guest>) -> Client {
        let outside: Arc<dyn Outside> = self.egress.outside.clone();
        let policy = self.egress.policy(function.configuration.egress.as_ref());
        Client {
            dialer: Dialer::new(policy, outside, self.lookups.of(&function.id)),
            tls: self.tls.clone(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            host_connections: self.connections.of(&function.id),
            guest,
        }
    }
}

/// One instance's way out.
pub(crate) struct Client {
    dialer: Dialer,
    tls: TlsConnector,
    connections: Arc<Semaphore>,
    host_connections: Share,
    guest: Arc<dyn Guest>,
}

type Permits = (OwnedSemaphorePermit, egress::Place);

/// An answer from outside, and what keeps its connection going.
pub(crate) type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// Ends when the call does: its sender is dropped then.
pub(crate) type OfCall = watch::Receiver<()>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that takes one request.
struct Connected {
    sender: http1::SendRequest<WasiBody>,
    worker: AbortOnDropJoinHandle<()>,
}

impl Client {
    /// Sends `request` and waits until its answer begins.
    pub(crate) async fn send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
        mut call: OfCall,
    ) -> Result<Answer, Error> {
        let of_call = call.clone();
        tokio::select! {
            answer = self.exchange(request, options, of_call) => answer,
            _ = call.changed() => Err(Error::ConnectionTerminated),
        }
    }

    async fn exchange(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        call: OfCall,
    ) -> Result<Answer, Error> {
        let place = Place::of(&request)?;
        let at_most = |asked: Option<Duration>, most: Duration| asked.map_or(most, |asked| asked.min(most));
        let connect_by = Instant::now() + at_most(options.connect_timeout, CONNECT_MAX);
        let permits = timeout_at(connect_by.into(), self.permits()).await;
        let permits = permits.map_err(|_| Error::ConnectionLimitReached)??;
        let connecting = timeout_at(connect_by.into(), self.connect(&place, permits, call));
        let Connected { mut sender, worker } = connecting.await.map_err(|_| Error::ConnectionTimeout)??;

        // To a server, as opposed to a proxy, goes the path alone (RFC 9112, 3.2.1).
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
        let first_byte = at_most(options.first_byte_timeout, SILENCE_MAX);
        let answered = timeout(first_byte, sender.send_request(request)).await;
        let answer =
            answered.map_err(|_| Error::ConnectionReadTimeout)?.map_err(|error| failure::of_exchange(&error))?;
        let between = at_most(options.between_bytes_timeout, SILENCE_MAX);
        let answer = answer.map(|incoming| body::Timed::new(incoming, between).boxed_unsync());
        let worker = Box::new(async move {
            // Without its sender a connection ends with the answer under way.
            drop(sender);
            worker.await;
            Ok(())
        });
        Ok((answer, worker))
    }

    /// A place among the instance's connections, whose semaphore is never closed, and one among the host's.
    async fn permits(&self) -> Result<Permits, Error> {
        let own = self.connections.clone().acquire_owned().await.map_err(|_| Error::ConnectionLimitReached)?;
        Ok((own, self.host_connections.take().await))
    }

    async fn connect(&self, place: &Place, permits: Permits, mut call: OfCall) -> Result<Connected, Error> {
        let stream = self.dialer.dial(&place.host, place.port).await.map_err(|error| self.told(&error))?;
        // Without it small writes would wait for acknowledgements; a socket that refuses still works.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &place.server {
            None => Box::new(stream),
            Some(name) => {
                Box::new(self.tls.connect(name.clone(), stream).await.map_err(|error| failure::of_stream(&error))?)
            }
        };
        let handshake = http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|error| failure::of_exchange(&error))?;
        let worker = spawn(async move {
            tokio::select! {
                // Whatever breaks it is told to whom waits for the answer or reads its body.
                _ = connection => {}
                _ = call.changed() => {}
            }
            drop(permits);
        });
        Ok(Connected { sender, worker })
    }

    /// The error code of a connection that was not made; its author finds the reason in the function's log.
    fn told(&self, error: &DialError) -> Error {
        let verb = if matches!(error, DialError::Denied(Denial { .. })) { "refused" } else { "failed" };
        self.guest.log(format!("egress {verb}: {error}\n").as_bytes());
        failure::of_dial(error)
    }
}

/// Where a request goes.
struct Place {
    host: Host,
    port: u16,
    /// Whom the other end has to prove to be; `None` for plain http.
    server: Option<ServerName<'static>>,
}

impl Place {
    fn of<B>(request: &Request<B>) -> Result<Self, Error> {
        // A tunnel is no request, and would carry anything.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let is_https = match request.uri().scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
        let (host, port) = host_and_port(authority).ok_or(Error::HttpRequestUriInvalid)?;
        let server = match (&host, is_https) {
            (_, false) => None,
            (Host::Address(address), true) => Some(ServerName::from(*address)),
            (Host::Name(name), true) => {
                Some(ServerName::try_from(name.as_str().to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?)
            }
        };
        Ok(Self { host, port: port.unwrap_or(if is_https { 443 } else { 80 }), server })
    }
}

/// `HOST` or `HOST:PORT`, and nothing else: what looks like a user's name in front may only be there to mislead.
fn host_and_port(authority: &Authority) -> Option<(Host, Option<u16>)> {
    let (text, host) = (authority.as_str(), authority.host());
    let port = match text.strip_prefix(host)? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?),
    };
    Some((host.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(method: &str, uri: &str) -> Result<Place, Error> {
        Place::of(&Request::builder().method(method).uri(uri).body(()).unwrap())
    }

    #[test]
    fn places_have_their_schemes_ports() {
        for (uri, host, port, is_https) in [
            ("http://a.example/x", "a.example", 80, false),
            ("https://A.example", "a.example", 443, true),
            ("https://a.example:8443/?q", "a.example", 8443, true),
            ("http://9.9.9.9:8080/", "9.9.9.9", 8080, false),
            ("https://[2620:fe::fe]/", "[2620:fe::fe]", 443, true),
        ] {
            let place = place("GET", uri).unwrap();
            let got = (place.host.to_string(), place.port, place.server.is_some());
            assert_eq!(got, (host.to_owned(), port, is_https), "{uri}");
        }
    }

    #[test]
    fn what_only_looks_like_a_place_is_none() {
        for uri in [
            "http://a.example@b.example/",
            "http://a.example:/",
            "http://a.example:0/",
            "http://a.example:65536/",
            "http://0x7f.1/",
            "http://2130706433/",
            "ftp://a.example/",
        ] {
            assert!(place("GET", uri).is_err(), "{uri}");
        }
        assert!(matches!(place("CONNECT", "http://a.example/"), Err(Error::HttpRequestMethodInvalid)));
    }
}
