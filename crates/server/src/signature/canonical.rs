//! The canonical request: one text for all spellings of the same request, which both sides hash.

use std::borrow::Cow;

use http::{HeaderMap, Method, Request, Uri, header, request};

use super::{Error, key};

/// Query parameter that carries a presigned request's signature, and is not part of what is signed.
pub(super) const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// What of a request its signature can cover, beside the body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target. An authority in it (HTTP/2, absolute targets) wins over the `Host` header, as it does in routing.
    pub uri: &'a Uri,
    /// Its headers, in the order they came.
    pub headers: &'a HeaderMap,
}

impl<'a, B> From<&'a Request<B>> for Head<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }
}

impl<'a> From<&'a request::Parts> for Head<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self { method: &parts.method, uri: &parts.uri, headers: &parts.headers }
    }
}

impl<'a> Head<'a> {
    /// The host the request names.
    fn host(&self) -> Option<&'a [u8]> {
        match self.uri.authority() {
            Some(authority) => Some(authority.as_str().as_bytes()),
            None => {
                let mut hosts = self.headers.get_all(header::HOST).iter();
                hosts.next().filter(|_| hosts.next().is_none()).map(|host| host.as_bytes())
            }
        }
    }

    /// A header's one value as text; given twice, or as something else than text, it cannot be read.
    pub(super) fn one(&self, name: &str) -> Result<Option<&'a str>, Error> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        match value.to_str() {
            Ok(text) if values.next().is_none() => Ok(Some(text)),
            _ => Err(Error::Incomplete(format!("The header '{name}' must be given once, as text."))),
        }
    }
}

/// Which rules paths follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathRule {
    /// S3: the path is a key, encoded once.
    Once,
    /// All others: dot segments and double slashes are resolved, and the path is encoded again as it arrived.
    Twice,
}

/// The canonical request. `signed_headers` is the sorted list as presented; `payload` the body's hash or what stands
/// for it. None where a signed header is not there.
pub(super) fn request(
    head: Head<'_>,
    rule: PathRule,
    is_presigned: bool,
    signed_headers: &str,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(head.method.as_str().as_bytes());
    text.push(b'\n');
    let is_s3 = rule == PathRule::Once;
    text.extend_from_slice(canonical_path(head.uri.path(), is_s3).as_bytes());
    text.push(b'\n');
    let without = is_presigned.then_some(SIGNATURE_PARAMETER);
    text.extend_from_slice(canonical_query(head.uri.query().unwrap_or_default(), without).as_bytes());
    text.push(b'\n');
    for name in signed_headers.split(';') {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        if name == "host" {
            push_trimmed(&mut text, head.host()?);
        } else {
            let mut values = head.headers.get_all(name).iter();
            push_trimmed(&mut text, values.next()?.as_bytes());
            for value in values {
                text.push(b',');
                push_trimmed(&mut text, value.as_bytes());
            }
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed_headers.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload);
    Some(text)
}

/// The text that is signed: when, for what, and the canonical request's hash.
pub(super) fn string_to_sign(timestamp: &str, scope: &str, canonical: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(160);
    for line in ["AWS4-HMAC-SHA256", timestamp, scope] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(&key::hex(&key::sha256(canonical)));
    text
}

/// A header's value without the spaces around it, and with one where there were several.
fn push_trimmed(text: &mut Vec<u8>, value: &[u8]) {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t');
    let value = value.trim_ascii();
    let mut was_space = false;
    for byte in value {
        if is_space(*byte) {
            was_space = true;
            continue;
        }
        if std::mem::take(&mut was_space) {
            text.push(b' ');
        }
        text.push(*byte);
    }
}

/// The path as it is signed. For S3 it is decoded and encoded once; for all others dot segments and double slashes are
/// resolved (RFC 3986, 5.2.4) and the path is encoded as it is, so that `%` becomes `%25`.
pub fn canonical_path(path: &str, is_s3: bool) -> String {
    let keep = |byte: u8| is_unreserved(byte) || byte == b'/';
    let mut text = String::with_capacity(path.len() + 16);
    if is_s3 {
        push_encoded(&mut text, percent_encoding::percent_decode_str(path), keep);
    } else {
        push_encoded(&mut text, normalized(path).bytes(), keep);
    }
    if text.is_empty() {
        text.push('/');
    }
    text
}

/// A path without empty segments, `.` and `..`; a slash at its end stays.
fn normalized(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') && !path.contains("//") && !path.contains("/.") {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let is_folder = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end)) || path == "." || path == "..";
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    Cow::Owned(format!("/{}{end}", kept.join("/")))
}

/// The query as it is signed: every name and value decoded (`+` is a space), encoded again, and sorted. Parameters of
/// the name `without` are left out.
pub fn canonical_query(query: &str, without: Option<&str>) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| Some(*name) != without)
        .map(|(name, value)| (encoded_again(name), encoded_again(value)))
        .collect();
    parameters.sort_unstable();
    let mut text = String::with_capacity(query.len() + 16);
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&name);
        text.push('=');
        text.push_str(&value);
    }
    text
}

fn encoded_again(text: &str) -> String {
    if text.bytes().all(is_unreserved) {
        return text.to_owned();
    }
    let spaced = text.replace('+', " ");
    let mut again = String::with_capacity(spaced.len());
    push_encoded(&mut again, percent_encoding::percent_decode_str(&spaced), is_unreserved);
    again
}

fn push_encoded(text: &mut String, bytes: impl Iterator<Item = u8>, keep: impl Fn(u8) -> bool) {
    for byte in bytes {
        if keep(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
}

/// RFC 3986's unreserved characters, which are never encoded.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_two_rules() {
        for (path, others, s3) in [
            ("", "/", "/"),
            ("/", "/", "/"),
            ("/a/b/", "/a/b/", "/a/b/"),
            ("//a//b//", "/a/b/", "//a//b//"),
            ("/a/./b/../c", "/a/c", "/a/./b/../c"),
            ("/a/..", "/", "/a/.."),
            ("/../..", "/", "/../.."),
            ("/a/.", "/a/", "/a/."),
            ("/.hidden", "/.hidden", "/.hidden"),
            ("/arn%3Aaws", "/arn%253Aaws", "/arn%3Aaws"),
            ("/arn:aws", "/arn%3Aaws", "/arn%3Aaws"),
            ("/a%2fb", "/a%252fb", "/a/b"),
            ("/$LATEST+(x)", "/%24LATEST%2B%28x%29", "/%24LATEST%2B%28x%29"),
            ("/ሴ", "/%E1%88%B4", "/%E1%88%B4"),
            ("/example space/", "/example%20space/", "/example%20space/"),
        ] {
            assert_eq!(canonical_path(path, false), others, "{path}");
            assert_eq!(canonical_path(path, true), s3, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded_encoded_and_sorted() {
        for (query, expected) in [
            ("", ""),
            ("&&", ""),
            ("b&a", "a=&b="),
            ("a=2&a=1&A=3", "A=3&a=1&a=2"),
            ("a=b=c", "a=b%3Dc"),
            ("a=%2f+%41", "a=%2F%20A"),
            ("a=%zz", "a=%25zz"),
            ("Param-3=3&Param=2", "Param=2&Param-3=3"),
            ("X-Amz-Signature=1&b=2", "b=2"),
            ("x-amz-signature=1", "x-amz-signature=1"),
            ("X%2DAmz-Signature=1", "X-Amz-Signature=1"),
        ] {
            assert_eq!(canonical_query(query, Some(SIGNATURE_PARAMETER)), expected, "{query}");
        }
        assert_eq!(canonical_query("X-Amz-Signature=1", None), "X-Amz-Signature=1");
    }

    #[test]
    fn spaces_in_values_are_one() {
        let trimmed = |value: &str| {
            let mut text = Vec::new();
            push_trimmed(&mut text, value.as_bytes());
            String::from_utf8(text).unwrap()
        };
        assert_eq!(trimmed("  \"a   b   c\" "), "\"a b c\"");
        assert_eq!(trimmed("\t"), "");
        assert_eq!(trimmed("a\t b"), "a b");
    }

    #[test]
    fn a_host_is_named_once() {
        let request = Request::get("/").header("host", "a").header("host", "b").body(()).unwrap();
        assert_eq!(Head::from(&request).host(), None);
        let request = Request::get("http://authority:1/").header("host", "a").body(()).unwrap();
        assert_eq!(Head::from(&request).host(), Some(&b"authority:1"[..]));
    }
}
