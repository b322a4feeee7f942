//! A request as a payload format 2.0 event.
//!
//! Source: Lambda's documentation of function URLs and AWS's recorded echo responses. Header names are lower-case
//! and repeated ones joined with commas; cookies are a list of their own; a body counts as text where its content
//! type says so (and it is UTF-8), and is base64 otherwise.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderValue, Version, header, request::Parts};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use updraft_types::{Caller, RequestId, Timestamp};

use crate::{route::without_port, trace};

/// Who signed a request to a URL of AuthType AWS_IAM; an extension of the request's head.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    /// The caller.
    pub(super) caller: Caller,
    /// The access key that the request was signed with.
    pub(super) access_key: String,
}

/// What an event says beside the request itself.
pub(super) struct Facts<'a> {
    /// The URL's id.
    pub(super) url_id: &'a str,
    /// The URL's host name.
    pub(super) domain: String,
    /// The host the client named, with its port.
    pub(super) host: Option<&'a str>,
    /// The client.
    pub(super) peer: SocketAddr,
    /// Where we listen.
    pub(super) local: SocketAddr,
    /// The invocation.
    pub(super) request: RequestId,
    /// When the request came.
    pub(super) at: Timestamp,
    /// The trace header, given or made.
    pub(super) trace: String,
}

/// The event, as JSON.
pub(super) fn build(head: &Parts, body: &[u8], facts: &Facts<'_>) -> Vec<u8> {
    let domain = facts.host.map(without_port).filter(|host| host.len() > 11 && host.contains(".lambda-url."));
    let (body, is_base64) = match text_of(&head.headers, body) {
        _ if body.is_empty() => (None, false),
        Some(text) => (Some(text.to_owned()), false),
        None => (Some(BASE64.encode(body)), true),
    };
    let query = head.uri.query().unwrap_or_default();
    let signer = head.extensions.get::<Signer>();
    let event = Event {
        version: "2.0",
        route_key: "$default",
        raw_path: head.uri.path(),
        raw_query_string: query,
        cookies: Cookies(&head.headers),
        headers: Headers { headers: &head.headers, port: facts.local.port(), trace: &facts.trace },
        query_string_parameters: Query(query),
        request_context: RequestContext {
            account_id: signer.map_or("anonymous", |signer| signer.caller.account.as_str()),
            authorizer: signer.map(|signer| Authorizer { iam: Iam::of(signer) }),
            api_id: facts.url_id,
            domain_name: domain.unwrap_or(&facts.domain),
            domain_prefix: facts.url_id,
            http: Http {
                method: head.method.as_str(),
                path: head.uri.path(),
                protocol: protocol(head.version),
                source_ip: facts.peer.ip().to_string(),
                user_agent: head.headers.get(header::USER_AGENT).map(lossy),
            },
            request_id: facts.request.to_string(),
            route_key: "$default",
            stage: "$default",
            time: time_text(facts.at),
            time_epoch: facts.at.as_ms(),
        },
        body,
        is_base64_encoded: is_base64,
    };
    serde_json::to_vec(&event).expect("an event has string keys and no failing parts")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'a str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Cookies::is_empty")]
    cookies: Cookies<'a>,
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "Query::is_empty")]
    query_string_parameters: Query<'a>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<Authorizer<'a>>,
    api_id: &'a str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: String,
    route_key: &'a str,
    stage: &'a str,
    time: String,
    time_epoch: u64,
}

#[derive(Serialize)]
struct Authorizer<'a> {
    iam: Iam<'a>,
}

/// Source: Lambda's documentation of function URLs, «Request payload format».
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Iam<'a> {
    access_key: &'a str,
    account_id: &'a str,
    caller_id: String,
    cognito_identity: Option<&'a str>,
    principal_org_id: Option<&'a str>,
    user_arn: String,
    user_id: String,
}

impl<'a> Iam<'a> {
    fn of(Signer { caller, access_key }: &'a Signer) -> Self {
        Self {
            access_key,
            account_id: caller.account.as_str(),
            caller_id: caller.user_id(),
            cognito_identity: None,
            principal_org_id: None,
            user_arn: caller.arn(),
            user_id: caller.user_id(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    source_ip: String,
    user_agent: Option<String>,
}

struct Cookies<'a>(&'a HeaderMap);

impl Cookies<'_> {
    fn is_empty(&self) -> bool {
        !self.0.contains_key(header::COOKIE)
    }
}

impl Serialize for Cookies<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for value in self.0.get_all(header::COOKIE) {
            for cookie in lossy(value).split(';').map(str::trim).filter(|cookie| !cookie.is_empty()) {
                list.serialize_element(cookie)?;
            }
        }
        list.end()
    }
}

struct Headers<'a> {
    headers: &'a HeaderMap,
    port: u16,
    trace: &'a str,
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.headers.keys() {
            if name == header::COOKIE || name == trace::HEADER || name == "x-forwarded-port" {
                continue;
            }
            let mut values = self.headers.get_all(name).iter();
            let mut joined = values.next().map(lossy).unwrap_or_default();
            for value in values {
                joined.push(',');
                joined.push_str(&lossy(value));
            }
            map.serialize_entry(name.as_str(), &joined)?;
        }
        map.serialize_entry(trace::HEADER.as_str(), self.trace)?;
        map.serialize_entry("x-forwarded-port", &self.port.to_string())?;
        map.end()
    }
}

struct Query<'a>(&'a str);

impl Query<'_> {
    fn is_empty(&self) -> bool {
        form_urlencoded::parse(self.0.as_bytes()).next().is_none()
    }
}

impl Serialize for Query<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut joined = std::collections::BTreeMap::<_, String>::new();
        for (name, value) in form_urlencoded::parse(self.0.as_bytes()) {
            match joined.entry(name) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(value.into_owned());
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let all = entry.get_mut();
                    all.push(',');
                    all.push_str(&value);
                }
            }
        }
        serializer.collect_map(joined)
    }
}

fn text_of<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<&'a str> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(essence.as_str(), "application/json" | "application/xml" | "application/javascript");
    if is_text { std::str::from_utf8(body).ok() } else { None }
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// `23/Nov/2026:10:20:30 +0000`
fn time_text(at: Timestamp) -> String {
    let ms = i64::try_from(at.as_ms()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const AT: Timestamp = Timestamp::from_ms(1_795_429_230_045);

    fn facts() -> Facts<'static> {
        Facts {
            url_id: "abc",
            domain: "abc.lambda-url.us-east-1.localhost".into(),
            host: Some("127.0.0.1:4566"),
            peer: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:4566".parse().unwrap(),
            request: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            at: AT,
            trace: "Root=1-x".into(),
        }
    }

    fn event(request: http::request::Builder, body: &[u8]) -> Value {
        let (head, ()) = request.body(()).unwrap().into_parts();
        serde_json::from_slice(&build(&head, body, &facts())).unwrap()
    }

    #[test]
    fn a_whole_event() {
        let request = Request::post("/pa2%Fth/1?q=query&multi=foo&multi=%2Fbar&e")
            .header("Host", "127.0.0.1:4566")
            .header("User-Agent", "test/echo")
            .header("Accept", "a")
            .header("Accept", "b")
            .header("Content-Type", "application/json; charset=utf-8")
            .header("Cookie", "c1=1; c2=2")
            .header("Cookie", "c3=3");
        assert_eq!(
            event(request, br#"{"foo":"bar"}"#),
            json!({
                "version": "2.0",
                "routeKey": "$default",
                "rawPath": "/pa2%Fth/1",
                "rawQueryString": "q=query&multi=foo&multi=%2Fbar&e",
                "cookies": ["c1=1", "c2=2", "c3=3"],
                "headers": {
                    "host": "127.0.0.1:4566",
                    "user-agent": "test/echo",
                    "accept": "a,b",
                    "content-type": "application/json; charset=utf-8",
                    "x-amzn-trace-id": "Root=1-x",
                    "x-forwarded-port": "4566",
                },
                "queryStringParameters": { "q": "query", "multi": "foo,/bar", "e": "" },
                "requestContext": {
                    "accountId": "anonymous",
                    "apiId": "abc",
                    "domainName": "abc.lambda-url.us-east-1.localhost",
                    "domainPrefix": "abc",
                    "http": {
                        "method": "POST",
                        "path": "/pa2%Fth/1",
                        "protocol": "HTTP/1.1",
                        "sourceIp": "127.0.0.1",
                        "userAgent": "test/echo",
                    },
                    "requestId": "00000000-0000-0000-0000-000000000001",
                    "routeKey": "$default",
                    "stage": "$default",
                    "time": "23/Nov/2026:10:20:30 +0000",
                    "timeEpoch": 1_795_429_230_045_u64,
                },
                "body": "{\"foo\":\"bar\"}",
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let event = event(Request::get("/"), b"");
        for absent in ["body", "cookies", "queryStringParameters"] {
            assert!(event.get(absent).is_none(), "{absent}");
        }
        assert_eq!(event["isBase64Encoded"], false);
    }

    #[test]
    fn bodies_are_text_only_where_they_say_so() {
        for (content_type, body, encoded) in [
            (Some("text/plain"), &b"hi"[..], false),
            (Some("application/ld+json"), b"{}", false),
            (Some("text/plain"), b"\xff\xfe", true),
            (Some("application/x-www-form-urlencoded"), b"a=b", true),
            (Some("multipart/form-data; boundary=x"), b"--x", true),
            (None, b"hi", true),
        ] {
            let mut request = Request::post("/");
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let event = event(request, body);
            assert_eq!(event["isBase64Encoded"], encoded, "{content_type:?}");
            if encoded {
                assert_eq!(BASE64.decode(event["body"].as_str().unwrap()).unwrap(), body);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn any_request_makes_an_event(
            path in "/[a-zA-Z0-9/%._~-]{0,30}", query in "[a-zA-Z0-9=&%+;]{0,30}",
            value in proptest::collection::vec(0x20_u8..0x7f, 0..30), high in proptest::collection::vec(0x80_u8..=0xff, 0..9),
            body in proptest::collection::vec(any::<u8>(), 0..50), text in any::<bool>(),
        ) {
            let request = Request::post(format!("{path}?{query}"))
                .header("x-a", HeaderValue::from_bytes(&value).unwrap())
                .header("x-b", HeaderValue::from_bytes(&high).unwrap())
                .header("cookie", HeaderValue::from_bytes(&value).unwrap())
                .header("content-type", if text { "text/html" } else { "image/png" });
            let event = event(request, &body);
            prop_assert_eq!(event["rawPath"].as_str(), Some(path.as_str()));
        }
    }
}
