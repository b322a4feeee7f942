//! The least of HTTP/1.1 that a client needs: a request's bytes, and one answer out of a buffer.
//!
//! Shared by the load generator and the control client, so every server is spoken to alike. Refuses what it does
//! not understand: an answer without a length is malformed here, as no connection could be kept alive after it.

use std::{borrow::Cow, fmt::Write, net::SocketAddr};

use anyhow::{Context, Result, bail};

/// Headers an answer may have.
const HEADERS_MAX: usize = 64;

/// One whole answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body, chunks joined.
    pub(crate) body: Cow<'a, [u8]>,
    /// Whether `X-Amz-Function-Error` says that the function failed, although the status is 200.
    pub(crate) function_failed: bool,
    /// Whether the server closes the connection after this answer.
    pub(crate) closes: bool,
    /// How many bytes of the buffer it took.
    pub(crate) bytes: usize,
}

/// The bytes of a request with a body (possibly empty) of known length.
pub(crate) fn request(method: &str, path: &str, host: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("writing to a String does not fail");
    }
    if method != "GET" || !body.is_empty() {
        write!(head, "content-length: {}\r\n", body.len()).expect("writing to a String does not fail");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The answer at the buffer's start, or `None` while it is incomplete.
pub(crate) fn parse(buffer: &[u8]) -> Result<Option<Answer<'_>>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = head.parse(buffer)? else { return Ok(None) };
    let status = head.code.context("a status")?;
    let (mut length, mut chunked, mut function_failed, mut closes) = (None, false, false, false);
    for header in head.headers.iter() {
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(std::str::from_utf8(header.value)?.trim().parse::<usize>().context("content-length")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = header.value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case("x-amz-function-error") {
            function_failed = true;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let rest = &buffer[head_bytes..];
    let (body, body_bytes) = if chunked {
        let Some((body, bytes)) = join_chunks(rest)? else { return Ok(None) };
        (Cow::Owned(body), bytes)
    } else {
        let length = match length {
            Some(length) => length,
            None if status == 204 || status == 304 => 0,
            None => bail!("an answer without a length, status {status}"),
        };
        let Some(body) = rest.get(..length) else { return Ok(None) };
        (Cow::Borrowed(body), length)
    };
    Ok(Some(Answer { status, body, function_failed, closes, bytes: head_bytes + body_bytes }))
}

/// The chunks joined, and how many bytes they and the trailers took; `None` while they are incomplete.
fn join_chunks(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(rest).map_err(|_| anyhow::anyhow!("a malformed chunk size"))?;
        let httparse::Status::Complete((line, size)) = size else { return Ok(None) };
        rest = &rest[line..];
        if size == 0 {
            return match skip_trailers(rest) {
                Some(rest) => Ok(Some((body, whole - rest.len()))),
                None => Ok(None),
            };
        }
        let size = usize::try_from(size)?;
        let Some(chunk) = rest.get(..size) else { return Ok(None) };
        let Some(after) = rest.get(size + 2..) else { return Ok(None) };
        body.extend_from_slice(chunk);
        rest = after;
    }
}

/// What follows the empty line that ends the trailers.
fn skip_trailers(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let after = &rest[end + 2..];
        if end == 0 {
            return Some(after);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_only_when_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 404";
        for end in 0..bytes.len() - 12 {
            assert!(parse(&bytes[..end]).unwrap().is_none(), "{end}");
        }
        let answer = parse(bytes).unwrap().unwrap();
        assert_eq!((answer.status, &*answer.body, answer.bytes), (200, &b"hello"[..], bytes.len() - 12));
        assert!(!answer.closes && !answer.function_failed);
    }

    #[test]
    fn chunks_are_joined_and_trailers_skipped() {
        let bytes =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\na: b\r\n\r\n";
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).unwrap().is_none(), "{end}");
        }
        let answer = parse(bytes).unwrap().unwrap();
        assert_eq!((&*answer.body, answer.bytes), (&b"hello"[..], bytes.len()));
    }

    #[test]
    fn failures_and_closing_are_seen() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let answer = parse(bytes).unwrap().unwrap();
        assert!(answer.closes && answer.function_failed);
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_states_its_length() {
        let host = "127.0.0.1:80".parse().unwrap();
        let bytes = request("POST", "/x", host, &[("a", "b")], b"{}");
        assert_eq!(bytes, b"POST /x HTTP/1.1\r\nhost: 127.0.0.1:80\r\na: b\r\ncontent-length: 2\r\n\r\n{}");
        assert!(!String::from_utf8(request("GET", "/", host, &[], b"")).unwrap().contains("content-length"));
    }
}
