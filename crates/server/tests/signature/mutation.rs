//! Tampering: no changed byte of what is signed goes unnoticed, and nothing that is sent makes the verifier stumble.

#[path = "from_bytes.rs"]
mod from_bytes;

use http::{HeaderValue, Method, Uri};
use proptest::{collection::vec, prelude::*, sample::Index};
use updraft_server::signature::{canonical_path, canonical_query};

use crate::{SECRET, Sent, botocore, signer};

/// The ways one byte is changed: another letter, the other case, gone, twice, something else.
fn changed(bytes: &[u8], at: usize, way: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match way {
        0 => bytes[at] ^= 1,
        1 => bytes[at] ^= 0x20,
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, bytes[at]),
        _ => bytes[at] = b'%',
    }
    bytes
}

/// Whether two targets are one request in two spellings.
fn is_same_target(left: &Uri, right: &Uri, is_s3: bool) -> bool {
    let path = |uri: &Uri| canonical_path(uri.path(), is_s3);
    let query = |uri: &Uri| canonical_query(uri.query().unwrap_or_default(), None);
    path(left) == path(right) && query(left) == query(right)
}

fn words(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value).replace(',', ", ");
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// All single changes to a request that its signature covers.
fn tampered(sent: &Sent, signed_headers: &[&str], is_s3: bool) -> Vec<(String, Sent)> {
    let mut all = Vec::new();
    let target = sent.head.uri.to_string();
    for (at, way) in (0..target.len()).flat_map(|at| (0..5).map(move |way| (at, way))) {
        let Ok(uri) = Uri::try_from(changed(target.as_bytes(), at, way)) else { continue };
        if !is_same_target(&uri, &sent.head.uri, is_s3) {
            let mut other = sent.clone();
            other.head.uri = uri;
            all.push((format!("target {at} {way}"), other));
        }
    }
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        if method != sent.head.method {
            let mut other = sent.clone();
            other.head.method = method;
            all.push(("method".into(), other));
        }
    }
    for (index, (name, value)) in sent.head.headers.iter().enumerate() {
        if !signed_headers.contains(&name.as_str()) && name != "authorization" {
            continue;
        }
        let bytes = value.as_bytes();
        for (at, way) in (0..bytes.len()).flat_map(|at| (0..5).map(move |way| (at, way))) {
            let after = changed(bytes, at, way);
            let Ok(after) = HeaderValue::from_bytes(&after) else { continue };
            if words(after.as_bytes()) != words(bytes) {
                let mut other = sent.clone();
                *other.head.headers.iter_mut().nth(index).unwrap().1 = after;
                all.push((format!("{name} {at} {way}"), other));
            }
        }
        let mut without = sent.clone();
        without.head.headers.remove(name);
        all.push((format!("no {name}"), without));
        let mut twice = sent.clone();
        twice.head.headers.append(name.clone(), value.clone());
        all.push((format!("two {name}"), twice));
    }
    all
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let (recording, requests) = botocore::requests();
    let mut count = 0;
    for (name, sent, at) in requests {
        if !["invoke for a while", "list functions", "put", "presigned get", "presigned list"].contains(&name.as_str())
        {
            continue;
        }
        let presented = sent.verify(&recording.secret, at).unwrap();
        let is_s3 = presented.scope.service == "s3";
        let authorization = sent.head.headers.get("authorization").map(|it| it.to_str().unwrap().to_owned());
        let list = match &authorization {
            Some(text) => text.split_once("SignedHeaders=").unwrap().1.split_once(',').unwrap().0,
            None => "host",
        };
        let signed_headers: Vec<&str> = list.split(';').collect();
        for (what, other) in tampered(&sent, &signed_headers, is_s3) {
            // Another access key is looked up, and its secret signs nothing of this.
            let secret = match other.read() {
                Ok(Some(read)) if read.access_key_id != presented.access_key_id => "another's",
                _ => recording.secret.as_str(),
            };
            assert!(other.verify(secret, at).is_err(), "{name}: {what}: {other:?}");
            count += 1;
        }
        if presented.needs_body_hash() {
            for at_byte in 0..sent.body.len() {
                let mut other = sent.clone();
                other.body[at_byte] ^= 1;
                assert!(other.verify(&recording.secret, at).is_err(), "{name}: body {at_byte}");
            }
            let mut longer = sent.clone();
            longer.body.push(0);
            assert!(longer.verify(&recording.secret, at).is_err(), "{name}: longer body");
        }
    }
    assert!(count > 5_000, "{count}");
}

/// The parts that [`from_bytes`] puts together again.
fn written(sent: &Sent) -> Vec<u8> {
    let mut bytes = format!("{} {}", sent.head.method, sent.head.uri).into_bytes();
    for (name, value) in &sent.head.headers {
        bytes.push(b'\n');
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(b"\n\n");
    bytes.extend_from_slice(&sent.body);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_it_stumble(
        plan in signer::plan(),
        changes in vec((any::<Index>(), any::<u8>(), 0_u8..3), 0..6),
        noise in vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = written(&signer::signed(&plan));
        for (index, byte, way) in changes {
            let at = index.index(bytes.len());
            match way {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.splice(at..at, noise.iter().copied())),
            }
        }
        from_bytes::drive(&bytes, plan.at_s);
        from_bytes::drive(&noise, plan.at_s);
    }

    #[test]
    fn a_signature_is_for_one_request(plan in signer::plan(), other in signer::plan()) {
        let (one, other) = (signer::signed(&plan), signer::signed(&other));
        let mut forged = other.clone();
        // The second request under the first one's signature.
        for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"] {
            forged.head.headers.remove(name);
            if let Some(value) = one.head.headers.get(name) {
                forged.head.headers.insert(name, value.clone());
            }
        }
        let is_another = one.head.method != other.head.method || one.body != other.body;
        if is_another && !plan.is_presigned {
            prop_assert!(forged.verify(SECRET, plan.at_s).is_err());
        }
    }
}

/// Bodies in chunks without signatures are the part of the decoder that strangers' bytes get deepest into.
#[test]
fn chunks_of_noise_are_taken_apart() {
    let head = "PUT /bucket/key\nhost:localhost\nx-amz-content-sha256:STREAMING-UNSIGNED-PAYLOAD-TRAILER\n\
                x-amz-date:20130524T000000Z\nx-amz-decoded-content-length:5\nauthorization:AWS4-HMAC-SHA256 \
                Credential=AKIDEXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;\
                x-amz-date;x-amz-decoded-content-length,\
                Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n\n";
    let body = b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    for at in 0..body.len() {
        for byte in [b'0', b'9', b'f', b'\r', b'\n', b';', b':', 0, 255] {
            let mut bytes = head.as_bytes().to_vec();
            bytes.extend_from_slice(&body[..at]);
            bytes.push(byte);
            bytes.extend_from_slice(&body[at..]);
            from_bytes::drive(&bytes, 1_369_353_600);
        }
    }
}
