//! Headers on their way through: what concerns one connection only is taken off, and the function is told where
//! the request came from.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts, uri::PathAndQuery,
};
use http_body::Body as _;
use updraft_types::Body;

use crate::{connection::Peer, respond};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that concern one connection (RFC 9110, 7.6.1), beside those that `Connection` names.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Makes a request's head the function's: target in origin form, a Host, no hop-by-hop headers, forwarded-for set
/// by us whatever the client claims.
pub(super) fn to_function(head: &mut Parts, path: Option<PathAndQuery>, peer: &Peer) {
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(header::HOST, host);
    }
    if let Some(path) = path {
        head.uri = Uri::from(path);
    } else if head.uri.authority().is_some() {
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
    }
    strip(&mut head.headers);
    head.headers.remove(header::EXPECT);
    head.headers.insert(FORWARDED_FOR, peer.forwarded_for.clone());
    head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static(peer.scheme));
}

/// Makes a function's response to a request of `method` ours. An interim status has no business here and is a broken function.
pub(super) fn from_function(mut response: Response<Body>, method: &Method) -> Response<Body> {
    if response.status().is_informational() {
        let text = bytes::Bytes::from_static(b"Internal Server Error");
        return respond::whole(StatusCode::BAD_GATEWAY, HeaderValue::from_static("application/json"), text);
    }
    *response.version_mut() = http::Version::default();
    strip(response.headers_mut());
    if !has_no_body(method, response.status()) {
        fit_length(&mut response);
    }
    response
}

/// Whether a response has no body whatever its headers say (RFC 9110, 6.4.1). Its length is then of one it could have.
pub(super) fn has_no_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Takes off a length that is not the body's. What is sent under a wrong one would be taken for another response, or waited
/// for in vain.
pub(super) fn fit_length(response: &mut Response<Body>) {
    let Some(length) = response.body().size_hint().exact() else { return };
    let mut said = response.headers().get_all(header::CONTENT_LENGTH).iter();
    if said.any(|said| said.to_str().ok().and_then(digits) != Some(length)) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
}

/// Digits alone (RFC 9110, 8.6), where Rust would take a sign as well.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Takes off what concerns one connection.
pub(super) fn strip(headers: &mut HeaderMap) {
    // Most heads have none of them, which one look at each name tells sooner than a search for each.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named = headers.get_all(header::CONNECTION).iter().any(names_others);
    if named {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        if headers.contains_key(name) {
            headers.remove(name);
        }
    }
}

fn names_others(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    !(value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use updraft_types::body;

    use super::*;

    fn peer() -> Peer {
        Peer::new("127.0.0.1:9".parse().unwrap(), "http")
    }

    #[test]
    fn a_request_is_made_the_functions_own() {
        let request = Request::get("http://a.localhost:1/x%20y?q=1")
            .header("connection", "keep-alive, X-Private")
            .header("x-private", "1")
            .header("te", "trailers")
            .header("upgrade", "websocket")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-for", "7.7.7.7")
            .header("accept", "*/*")
            .body(())
            .unwrap();
        let (mut head, ()) = request.into_parts();
        to_function(&mut head, None, &peer());
        assert_eq!(head.uri, "/x%20y?q=1");
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "x-forwarded-for", "x-forwarded-proto"]);
        assert_eq!(head.headers["host"], "a.localhost:1");
        assert_eq!(head.headers.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["127.0.0.1"]);
    }

    #[test]
    fn a_response_is_made_ours() {
        let response = |status: u16| {
            Response::builder()
                .status(status)
                .header("transfer-encoding", "chunked")
                .header("connection", "close")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .body(body::empty())
                .unwrap()
        };
        let ours = from_function(response(404), &Method::GET);
        assert_eq!((ours.status().as_u16(), ours.headers().len()), (404, 2));
        assert_eq!(from_function(response(101), &Method::GET).status(), 502);
    }

    #[test]
    fn a_length_is_the_bodys_or_none() {
        for (method, status, said, bytes, kept) in [
            (Method::GET, 200, "4", "body", true),
            (Method::GET, 200, "1", "body", false),
            (Method::GET, 200, "5000", "", false),
            (Method::GET, 200, "+4", "body", false),
            (Method::HEAD, 200, "5000", "", true),
            (Method::GET, 304, "5000", "", true),
        ] {
            let response = Response::builder().status(status).header("content-length", said);
            let response = response.body(body::full(Bytes::from(bytes))).unwrap();
            let ours = from_function(response, &method);
            assert_eq!(ours.headers().contains_key("content-length"), kept, "{method} {status} {said} {bytes:?}");
        }
    }
}
