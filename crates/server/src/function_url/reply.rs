//! A function's return value as an HTTP response (payload format 2.0).
//!
//! An object with `statusCode` is an envelope. Anything else is answered as it is: 200, `application/json`, JSON
//! made compact, a bare string without its quotes (AWS's recorded responses). An envelope that no response can be
//! made of is the function's failure.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use updraft_types::{Body, Fault, body};

use super::headers::{fit_length, has_no_body, strip};
use crate::{json, respond};

/// Status and headers of a reply, from an envelope or a stream's prelude.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    status_code: Option<Scalar>,
    headers: Option<BTreeMap<String, Option<Scalar>>>,
    cookies: Option<Vec<String>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    is_base64_encoded: Option<bool>,
}

/// A value that header values and status codes are found as.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Scalar::Bool(value) => value.to_string().into(),
            Scalar::Integer(value) => value.to_string().into(),
            Scalar::Float(value) => value.to_string().into(),
            Scalar::Text(value) => Cow::Borrowed(value),
        }
    }
}

/// The response for a whole return value, to a request of `method`.
pub(super) fn from_value(value: Bytes, method: &Method) -> Result<Response<Body>, Fault> {
    let text = json::check(&value).map_err(|why| invalid(&why))?;
    if !is_envelope(text) {
        let bytes = match serde_json::from_str::<String>(text) {
            Ok(string) => string.into_bytes().into(),
            Err(_) => match json::compact(text) {
                Cow::Borrowed(_) => value.clone(),
                Cow::Owned(compact) => compact.into_bytes().into(),
            },
        };
        return Ok(respond::whole(StatusCode::OK, HeaderValue::from_static("application/json"), bytes));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    let bytes = body_of(&envelope)?;
    let mut head = head_of(&envelope)?;
    // The length is the body's, whatever the function says.
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(with_head(head, body::full(bytes), method))
}

/// The status and headers in a stream's prelude; an empty one is `{}`.
pub(super) fn head_of_prelude(prelude: &[u8]) -> Result<Head, Fault> {
    let text = json::check(prelude).map_err(|why| invalid(&why))?;
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    head_of(&envelope)
}

/// A response of these parts to a request of `method`.
pub(super) fn with_head(head: Head, body: Body, method: &Method) -> Response<Body> {
    let has_no_body = has_no_body(method, head.status);
    // What a body to HEAD would be tells its length; the connection leaves it out.
    let body = if has_no_body && *method != Method::HEAD { body::empty() } else { body };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if !has_no_body {
        fit_length(&mut response);
    }
    response
}

/// Whether a valid document is an object with `statusCode`, found without building the object.
fn is_envelope(text: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe<'a> {
        #[serde(borrow)]
        status_code: &'a RawValue,
    }
    text.trim_start().starts_with('{')
        && serde_json::from_str::<Probe<'_>>(text).is_ok_and(|probe| probe.status_code.get() != "null")
}

fn head_of(envelope: &Envelope<'_>) -> Result<Head, Fault> {
    let status = match &envelope.status_code {
        None => StatusCode::OK,
        Some(code) => {
            let text = code.text();
            text.parse::<u16>()
                .ok()
                .filter(|code| (200..=599).contains(code))
                .and_then(|code| StatusCode::from_u16(code).ok())
                .ok_or_else(|| invalid(&format!("statusCode {text:.20} is no final HTTP status")))?
        }
    };
    let mut headers = HeaderMap::new();
    for (name, value) in envelope.headers.iter().flatten() {
        let Some(value) = value else { continue };
        let name: HeaderName = name.parse().map_err(|_| invalid(&format!("{name:.60?} is no header name")))?;
        let value = HeaderValue::from_str(&value.text())
            .or_else(|_| HeaderValue::from_bytes(value.text().as_bytes()))
            .map_err(|_| invalid(&format!("the value of header {name} holds control characters")))?;
        headers.append(name, value);
    }
    for cookie in envelope.cookies.iter().flatten() {
        let cookie =
            HeaderValue::from_bytes(cookie.as_bytes()).map_err(|_| invalid("a cookie holds control characters"))?;
        headers.append(header::SET_COOKIE, cookie);
    }
    strip(&mut headers);
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(Head { status, headers })
}

/// The body: a string, decoded if it says so; other JSON is sent as the text it is.
fn body_of(envelope: &Envelope<'_>) -> Result<Bytes, Fault> {
    let Some(raw) = envelope.body else { return Ok(Bytes::new()) };
    let Ok(text) = serde_json::from_str::<String>(raw.get()) else {
        return Ok(Bytes::copy_from_slice(json::compact(raw.get()).as_bytes()));
    };
    if envelope.is_base64_encoded == Some(true) {
        return Ok(BASE64.decode(&text).map_err(|_| invalid("the body is not base64"))?.into());
    }
    Ok(text.into_bytes().into())
}

fn invalid(why: &str) -> Fault {
    Fault::Crash { reason: format!("the reply is no HTTP response: {why}") }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    async fn answer(value: &str) -> Result<(u16, HeaderMap, Vec<u8>), Fault> {
        let response = from_value(Bytes::copy_from_slice(value.as_bytes()), &Method::GET)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Ok((head.status.as_u16(), head.headers, body))
    }

    /// Recorded against AWS: test_lambda_url_invocation.
    #[tokio::test]
    async fn what_is_no_envelope_is_sent_as_it_is() {
        for (value, body) in [
            (r#"{"hello": "world"}"#, r#"{"hello":"world"}"#),
            (r#"["hello", 3, true]"#, r#"["hello",3,true]"#),
            (r#""hello""#, "hello"),
            ("3", "3"),
            ("3.1", "3.1"),
            ("true", "true"),
            ("null", "null"),
            (r#"{"statusCode": null}"#, r#"{"statusCode":null}"#),
        ] {
            let (status, headers, bytes) = answer(value).await.unwrap();
            assert_eq!((status, String::from_utf8(bytes).unwrap().as_str()), (200, body), "{value}");
            assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        }
    }

    #[tokio::test]
    async fn envelopes_become_responses() {
        let (status, headers, body) = answer(r#"{"statusCode": 200, "body": "body123"}"#).await.unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"body123"[..]));
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");

        let (status, headers, body) = answer(
            r#"{"statusCode":"418","headers":{"X-N":1,"x-b":true,"Content-Type":"image/png","content-length":"9",
            "connection":"close","x-null":null},"cookies":["a=1; Path=/","b=2"],"body":"AAH/","isBase64Encoded":true}"#,
        )
        .await
        .unwrap();
        assert_eq!((status, body.as_slice()), (418, &[0, 1, 255][..]));
        assert_eq!((&headers["x-n"], &headers["x-b"]), (&HeaderValue::from(1), &HeaderValue::from_static("true")));
        assert_eq!(headers.get_all(header::SET_COOKIE).iter().count(), 2);
        assert_eq!(headers[header::CONTENT_TYPE], "image/png");
        assert_eq!(headers.len(), 5);

        let (_, _, body) = answer(r#"{"statusCode":200,"body":{"a": 1}}"#).await.unwrap();
        assert_eq!(body, br#"{"a":1}"#);
        let (status, _, body) = answer(r#"{"statusCode":204,"body":"ignored"}"#).await.unwrap();
        assert_eq!((status, body.len()), (204, 0));
    }

    #[tokio::test]
    async fn impossible_envelopes_are_the_functions_failure() {
        for value in [
            r#"{"statusCode":99}"#,
            r#"{"statusCode":101}"#,
            r#"{"statusCode":700}"#,
            r#"{"statusCode":"abc"}"#,
            r#"{"statusCode":[]}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            r#"{"statusCode":200,"headers":{"a":"b\nc: d"}}"#,
            r#"{"statusCode":200,"headers":[]}"#,
            r#"{"statusCode":200,"cookies":["a\r\n"]}"#,
            r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
            "not json",
            "",
        ] {
            assert!(answer(value).await.is_err(), "{value}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn no_reply_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in ".{0,60}") {
            let _ = from_value(Bytes::from(bytes), &Method::GET);
            let odd = serde_json::json!({ "statusCode": text, "headers": { text.as_str(): text }, "cookies": [text], "body": text });
            let _ = from_value(Bytes::from(odd.to_string()), &Method::GET);
            let odd = serde_json::json!({ "statusCode": 200, "headers": { "x": text }, "body": text });
            let _ = from_value(Bytes::from(odd.to_string()), &Method::GET);
        }
    }
}
