//! What untrusted bytes can do to the verifier: a request is made of them and driven through every part. Shared with
//! the fuzz target `signature`.

use http::{HeaderName, HeaderValue, Request};
use updraft_server::signature::{Dialect, Head, Keys, Presented, canonical_path, canonical_query, sha256};
use updraft_types::Timestamp;

/// The first line is method and target, the next ones are headers, and after an empty line comes the body.
pub(crate) fn drive(bytes: &[u8], now_s: u64) {
    let (head, body) = match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let space = first.iter().position(|byte| *byte == b' ').unwrap_or(first.len());
    let (method, target) = first.split_at(space);
    let text = String::from_utf8_lossy(target.get(1..).unwrap_or_default());
    let again = canonical_path(&text, true);
    assert_eq!(canonical_path(&again, true), again, "what is canonical stays so");
    let again = canonical_query(&text, None);
    assert_eq!(canonical_query(&again, None), again, "what is canonical stays so");
    let Ok(mut request) = Request::builder().method(method).uri(&*text).body(()) else { return };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) else { continue };
        request.headers_mut().append(name, value);
    }
    let head = Head::from(&request);
    let presented = match Presented::read(head) {
        Ok(Some(presented)) => presented,
        Ok(None) => return,
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.public(Dialect::Json).status >= 400);
            return;
        }
    };
    let (keys, secret) = (Keys::default(), "nobody signs with this");
    let verified = presented.verify(head, secret, &sha256(body), Timestamp::from_ms(now_s * 1_000), &keys);
    assert!(verified.is_err(), "nobody has signed this: {presented:?}");
    if let Some(mut decoder) = presented.decoder(secret, &keys) {
        let (mut handed_out, mut is_well_formed) = (0, true);
        for piece in body.chunks(7) {
            is_well_formed = is_well_formed && decoder.push(piece, |content| handed_out += content.len()).is_ok();
        }
        assert!(handed_out <= body.len());
        if is_well_formed {
            let _ = decoder.finish();
        }
    }
}
