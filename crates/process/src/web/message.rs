//! Requests and responses on their way through: what belongs to one connection stays behind.
//!
//! Source: RFC 9110, section 7.6.1 (hop-by-hop fields). Upgrades are not passed on: a server that is not asked
//! to switch protocols answers in HTTP/1.1.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use updraft_executor::Call;
use updraft_types::{Body, Payload, body};

use crate::environment::WEB_PORT;

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The request a server gets for a call. `None` for one that asks for a tunnel, which no server here serves.
///
/// Two headers tell the server what the Runtime API tells other runtimes: `Lambda-Runtime-Aws-Request-Id` and
/// `Lambda-Runtime-Deadline-Ms`.
pub(super) fn request(call: Call) -> Option<Request<Body>> {
    let mut request = match call.payload {
        Payload::Event(event) => {
            let mut request = Request::new(body::full(event));
            *request.method_mut() = Method::POST;
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request
        }
        Payload::Http(request) => *request,
    };
    if request.method() == Method::CONNECT {
        return None;
    }
    let uri = std::mem::take(request.uri_mut());
    *request.version_mut() = Version::HTTP_11;
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().remove(header::EXPECT);
    if !request.headers().contains_key(header::HOST) {
        let host = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let host = host.unwrap_or_else(|| {
            HeaderValue::from_maybe_shared(bytes::Bytes::from(format!("localhost:{WEB_PORT}")))
                .expect("a name and a number make a header")
        });
        request.headers_mut().insert(header::HOST, host);
    }
    let id = HeaderValue::from_str(&call.request.to_string()).expect("an id is made of digits and hyphens");
    request.headers_mut().insert("lambda-runtime-aws-request-id", id);
    request.headers_mut().insert("lambda-runtime-deadline-ms", HeaderValue::from(call.deadline_at.as_ms()));
    if let Some(path) = uri.into_parts().path_and_query {
        *request.uri_mut() = Uri::from(path);
    }
    Some(request)
}

/// The answer to a request for a tunnel.
pub(super) fn method_not_allowed() -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// Removes the fields that concern one connection only, and those that `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
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
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn an_event_becomes_a_post() {
        let request = request(testing::call(Payload::Event("{}".into()))).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/"));
        assert_eq!(request.headers()[header::HOST], "localhost:8080");
        assert!(request.headers().contains_key("lambda-runtime-aws-request-id"));
    }

    #[test]
    fn what_belongs_to_a_connection_is_removed() {
        let original = Request::builder()
            .uri("http://example.com/a/b?c=%20d")
            .header("connection", "Upgrade, X-Private")
            .header("upgrade", "websocket")
            .header("x-private", "1")
            .header("x-public", "2")
            .body(body::empty())
            .unwrap();
        let request = request(testing::call(Payload::Http(Box::new(original)))).unwrap();
        assert_eq!(request.uri(), "/a/b?c=%20d");
        assert_eq!(request.headers()[header::HOST], "example.com");
        let headers = request.headers();
        for gone in ["connection", "upgrade", "x-private"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["x-public"], "2");
    }

    #[test]
    fn a_tunnel_is_refused() {
        let tunnel = Request::builder().method("CONNECT").uri("example.com:443").body(body::empty()).unwrap();
        assert!(request(testing::call(Payload::Http(Box::new(tunnel)))).is_none());
    }
}
