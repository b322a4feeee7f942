//! A request's head in memory of its own.
//!
//! The header values and the target that hyper makes of an HTTP/1.1 request are pieces of the buffer that it reads
//! the connection into. As long as one of them lives, the next read takes another buffer of 8 KiB; and hyper reads on
//! while a request is served, to see its client hang up. So a request is given a copy of its own, which is a few
//! hundred bytes, and the connection keeps its one buffer.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Uri, Version, uri::PathAndQuery};

/// Copies what a head has of its connection's buffer. What could not be made again of its own bytes stays as it is.
pub(crate) fn detach<B>(request: &mut Request<B>) {
    // Those of HTTP/2 are decompressed and have no part in a buffer.
    if request.version() >= Version::HTTP_2 {
        return;
    }
    let mut copy = BytesMut::with_capacity(request.headers().values().map(HeaderValue::len).sum());
    for value in request.headers_mut().values_mut() {
        copy.extend_from_slice(value.as_bytes());
        let Ok(mut own) = HeaderValue::from_maybe_shared(copy.split().freeze()) else { continue };
        own.set_sensitive(value.is_sensitive());
        *value = own;
    }
    if let Some(own) = own_target(request.uri()) {
        *request.uri_mut() = own;
    }
}

/// A copy of a target in origin form; `None` for other forms, which only proxies are sent, and for `/`, a constant.
fn own_target(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query().filter(|target| uri.authority().is_none() && target.as_str().len() > 1)?;
    let copy = Bytes::copy_from_slice(target.as_str().as_bytes());
    PathAndQuery::from_maybe_shared(copy).ok().map(Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_lets_go_of_its_buffer_and_stays_the_same() {
        let buffer = Bytes::from(b"GET /a%20b?c=d HTTP/1.1 one \xfftwo ".to_vec());
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(4..14)).unwrap();
        for (name, range) in [("x-a", 24..27), ("x-b", 28..32), ("x-a", 28..32), ("x-c", 0..0)] {
            let value = HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
            request.headers_mut().append(name, value);
        }
        request.headers_mut().get_mut("x-b").unwrap().set_sensitive(true);
        let told = |request: &Request<()>| {
            let headers = request.headers().iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            (request.uri().to_string(), headers.collect::<Vec<_>>())
        };
        let before = told(&request);
        assert!(!buffer.is_unique());
        detach(&mut request);
        assert!(buffer.is_unique(), "something of the buffer is still held");
        assert_eq!(told(&request), before);
        assert!(request.headers()["x-b"].is_sensitive());
    }

    #[test]
    fn other_forms_of_targets_stay_as_they_are() {
        for target in ["*", "/", "http://a.localhost:1/x?y", "a.localhost:1"] {
            let mut request = Request::get(target).body(()).unwrap();
            detach(&mut request);
            assert_eq!(request.uri(), &target.parse::<Uri>().unwrap());
        }
    }
}
