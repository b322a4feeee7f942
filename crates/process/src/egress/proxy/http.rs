//! The HTTP side of the proxy: CONNECT makes a tunnel, an absolute `http:` address is fetched in the guest's place.
//!
//! hyper reads what the guest sends, within the bounds set here. Nothing of a guest's is trusted with a second
//! meaning: each request is dialled anew, one request a connection to the outside.

use std::{convert::Infallible, io, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::Scheme};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::http1 as client,
    server::conn::http1 as server,
    service::service_fn,
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{net::TcpStream, task::JoinSet};
use updraft_executor::egress::Error;
use updraft_types::{Body, body, egress};

use crate::{
    egress::{
        ASK_MAX, Desk, IDLE_MAX,
        relay::{Metered, relay},
        reset,
    },
    web::strip_hop_by_hop,
};

const HEADERS_MAX: usize = 100;
/// Heads of requests and answers, each, and what of their bodies waits to be passed on.
const READ_BUFFER_BYTES_MAX: usize = 16 * 1024;

/// One guest's connection: what it has become, and what runs for it.
#[derive(Default)]
struct Exchange {
    tunnel: Mutex<Option<(OnUpgrade, TcpStream)>>,
    /// Connections to the outside, one at a time; they end with the guest's.
    outside: Mutex<JoinSet<()>>,
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, desk: &Arc<Desk>) {
    let exchange = Arc::new(Exchange::default());
    let service = service_fn(|request| {
        let (exchange, desk) = (exchange.clone(), desk.clone());
        async move { Ok::<_, Infallible>(answer(request, &exchange, &desk).await) }
    });
    let served = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASK_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a guest's connection to its proxy ended early");
    }
    let tunnel = exchange.tunnel.lock().take();
    if let Some((upgrade, outside)) = tunnel
        && let Ok(guest) = upgrade.await
    {
        let mut guest = TokioIo::new(guest);
        if let Err(error) = relay(&mut guest, outside, &desk.totals, IDLE_MAX).await {
            tracing::debug!(%error, "a tunnel to the outside broke off");
            if let Ok(parts) = guest.into_inner().downcast::<TokioIo<TcpStream>>() {
                reset(parts.io.inner());
            }
        }
    }
}

async fn answer(mut request: Request<Incoming>, exchange: &Exchange, desk: &Desk) -> Response<Body> {
    let Some((host, port)) = destination(request.method(), request.uri()) else {
        let text = "this is a proxy: ask it to CONNECT to HOST:PORT, or for an http:// address\n";
        return plain(StatusCode::BAD_REQUEST, text);
    };
    let is_tunnel = request.method() == Method::CONNECT;
    let upgrade = is_tunnel.then(|| on(&mut request));
    let outside = match desk.dial(&host, port).await {
        Ok(outside) => outside,
        Err(error) => return plain(status_of(&error), format!("{error}\n")),
    };
    match upgrade {
        Some(upgrade) => {
            *exchange.tunnel.lock() = Some((upgrade, outside));
            Response::new(body::empty())
        }
        None => match fetch(request, outside, exchange, desk).await {
            Ok(response) => response,
            Err(error) => plain(StatusCode::BAD_GATEWAY, format!("{host}:{port} broke off: {error}\n")),
        },
    }
}

/// Where a request to a proxy is to go. A port is said, or that of `http:`.
fn destination(method: &Method, uri: &Uri) -> Option<(egress::Host, u16)> {
    let authority = uri.authority()?.as_str();
    if method == Method::CONNECT {
        return egress::parse_authority(authority).ok();
    }
    if uri.scheme() != Some(&Scheme::HTTP) {
        return None;
    }
    let has_port = !authority.ends_with(']') && authority.contains(':');
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    egress::parse_authority(&with_port).ok()
}

/// Passes a request on as the origin server expects it, and its answer back.
async fn fetch(
    mut request: Request<Incoming>,
    outside: TcpStream,
    exchange: &Exchange,
    desk: &Desk,
) -> Result<Response<Body>, hyper::Error> {
    let outside = Metered::new(outside, &desk.totals);
    let beats = outside.beats();
    let (mut sender, connection) = client::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(outside))
        .await?;
    {
        let mut outside = exchange.outside.lock();
        while outside.try_join_next().is_some() {}
        outside.spawn(async move {
            tokio::select! {
                // Whoever waits for the answer hears of an error, too.
                _ = connection => {}
                () = beats.stopped(IDLE_MAX) => {}
            }
        });
    }
    to_origin_form(&mut request);
    let mut response = sender.send_request(request).await?;
    strip_hop_by_hop(response.headers_mut());
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

fn to_origin_form<B>(request: &mut Request<B>) {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(authority)) = authority {
        request.headers_mut().insert(header::HOST, authority);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_11;
    strip_hop_by_hop(request.headers_mut());
}

fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::Denied(_) => StatusCode::FORBIDDEN,
        Error::Unreachable { source, .. } | Error::Unresolved { source, .. }
            if source.kind() == io::ErrorKind::TimedOut =>
        {
            StatusCode::GATEWAY_TIMEOUT
        }
        Error::Unreachable { .. } | Error::Unresolved { .. } => StatusCode::BAD_GATEWAY,
    }
}

fn plain(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(method: &str, uri: &str) -> Option<(String, u16)> {
        let (method, uri) = (method.parse().ok()?, uri.parse().ok()?);
        destination(&method, &uri).map(|(host, port)| (host.to_string(), port))
    }

    #[test]
    fn destinations_are_read_strictly() {
        let to = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(asked("CONNECT", "A.example:443"), to("a.example", 443));
        assert_eq!(asked("CONNECT", "[::1]:443"), to("[::1]", 443));
        assert_eq!(asked("GET", "http://a.example/b?c"), to("a.example", 80));
        assert_eq!(asked("GET", "http://a.example:8080/"), to("a.example", 8080));
        assert_eq!(asked("GET", "http://[2606:4700::1]/"), to("[2606:4700::1]", 80));
        for (method, uri) in [
            ("CONNECT", "a.example"),
            ("CONNECT", "user@a.example:443"),
            ("CONNECT", "2130706433:80"),
            ("CONNECT", "0x7f.1:80"),
            ("GET", "/path"),
            ("GET", "*"),
            ("GET", "https://a.example/"),
            ("GET", "http://user:password@a.example/"),
            ("GET", "http://127.1/"),
            ("GET", "ftp://a.example/"),
        ] {
            assert_eq!(asked(method, uri), None, "{method} {uri}");
        }
    }

    #[test]
    fn a_fetched_request_is_the_origins() {
        let mut request = Request::builder()
            .uri("http://a.example:8080/b?c=%20")
            .header("host", "other.example")
            .header("proxy-authorization", "Basic x")
            .header("proxy-connection", "keep-alive")
            .header("connection", "x-private")
            .header("x-private", "1")
            .header("x-public", "2")
            .body(())
            .unwrap();
        to_origin_form(&mut request);
        assert_eq!(request.uri(), "/b?c=%20");
        assert_eq!(request.headers()["host"], "a.example:8080");
        assert_eq!(request.headers().len(), 2);
    }

    proptest! {
        /// No request line makes it panic, and what it takes is a host of one spelling.
        #[test]
        fn any_target_is_taken_or_refused(target in "(http://)?[ -~]{0,60}", tunnel in any::<bool>()) {
            let method = if tunnel { Method::CONNECT } else { Method::GET };
            if let Ok(uri) = target.parse::<Uri>()
                && let Some((host, port)) = destination(&method, &uri)
            {
                prop_assert!(port != 0);
                prop_assert_eq!(host.to_string().parse::<egress::Host>().unwrap(), host);
            }
        }
    }
}
