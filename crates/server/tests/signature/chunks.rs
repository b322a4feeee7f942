//! Bodies in chunks: the documentation's examples, cut in every way, and everything that may be wrong with them.

use proptest::prelude::*;
use updraft_server::signature::{
    Dialect, Error, Keys, Payload, Scope, SigningKey, Streaming, TRAILER_BYTES_MAX, sha256,
};

use crate::{SECRET, Sent, seconds};

const AT: &str = "20130524T000000Z";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";

fn scope() -> Scope {
    Scope { day: "20130524".into(), region: "us-east-1".into(), service: "s3".into() }
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// "Example: PUT Object" of the two pages on chunked uploads; the object is 66,560 times `a`.
fn documented(streaming: Streaming) -> Sent {
    let trailer = streaming == Streaming::SignedTrailer;
    let (list, seed) = if trailer {
        (
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;\
             x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        )
    } else {
        (
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
             x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        )
    };
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{SCOPE},SignedHeaders={list},Signature={seed}");
    let mut headers = vec![
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", AT),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", authorization.as_str()),
        ("x-amz-content-sha256", streaming.name()),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
    ];
    if trailer {
        headers.push(("x-amz-trailer", "x-amz-checksum-crc32c"));
    }
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let signatures = if trailer {
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ]
    } else {
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ]
    };
    let mut body = String::new();
    for (size, signature) in [0x10000, 0x400, 0].into_iter().zip(signatures) {
        body += &format!("{size:x};chunk-signature={signature}\r\n");
        if size > 0 {
            body += &format!("{}\r\n", "a".repeat(size));
        }
    }
    if trailer {
        body += "x-amz-checksum-crc32c:sOO8/Q==\r\n";
        body += "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n";
    }
    body += "\r\n";
    Sent::new("PUT", "/examplebucket/chunkObject.txt", &headers, body.as_bytes())
}

/// Content and trailers of a body that arrives in pieces of a size.
type Decoded = (Vec<u8>, Vec<(String, String)>);

fn decoded(sent: &Sent, piece: usize) -> Result<Decoded, Error> {
    let presented = sent.verify(SECRET, seconds(AT))?;
    let mut decoder = presented.decoder(SECRET, &Keys::default()).expect("it is in chunks");
    let mut content = Vec::new();
    for piece in sent.body.chunks(piece) {
        decoder.push(piece, |more| content.extend_from_slice(more))?;
    }
    Ok((content, decoder.finish()?))
}

#[test]
fn documented_uploads_are_verified_however_they_are_cut() {
    for streaming in [Streaming::Signed, Streaming::SignedTrailer] {
        let sent = documented(streaming);
        let presented = sent.verify(SECRET, seconds(AT)).unwrap();
        assert_eq!(presented.payload, Payload::Chunked { streaming, decoded_length: 66_560 });
        for piece in [1, 2, 3, 64, 1_000, 65_536, 1 << 20] {
            let (content, trailers) = decoded(&sent, piece).unwrap();
            assert_eq!((content.len(), content.iter().all(|byte| *byte == b'a')), (66_560, true));
            let expected = [("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())];
            assert_eq!(trailers, if streaming == Streaming::Signed { &[][..] } else { &expected[..] });
        }
    }
}

#[test]
fn no_part_of_an_upload_is_anothers() {
    for streaming in [Streaming::Signed, Streaming::SignedTrailer] {
        let sent = documented(streaming);
        let first = sent.body.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let frame: Vec<usize> = (0..first).chain(first + 0x10000..first + 0x10000 + 90).collect();
        let end = sent.body.len() - 260..sent.body.len();
        let unchanged = decoded(&sent, 4_096).unwrap();
        for at in frame.into_iter().chain(end).chain([first, first + 0xffff]) {
            for change in [1, 0x20] {
                let mut other = sent.clone();
                other.body[at] ^= change;
                // The names of trailers are in any case; all else is as it was signed.
                let is_name = other.body.eq_ignore_ascii_case(&sent.body) && at > sent.body.len() - 130;
                match decoded(&other, 4_096) {
                    Err(_) => {}
                    Ok(read) => assert!(is_name && read == unchanged, "{streaming:?} {at} {change}"),
                }
            }
        }
        for length in (0..sent.body.len()).rev().step_by(97).chain([sent.body.len() - 1, sent.body.len() - 2]) {
            let mut short = sent.clone();
            short.body.truncate(length);
            assert!(decoded(&short, 4_096).is_err(), "{streaming:?} cut at {length}");
        }
        let mut long = sent.clone();
        long.body.push(b'a');
        assert_eq!(decoded(&long, 4_096).unwrap_err(), Error::MalformedChunks("The body goes on after its end."));
    }
}

/// A request with a body of our own making, signed with the verifier's own key: what is tested is the framing.
fn made(
    streaming: Streaming,
    decoded_length: usize,
    frame: impl Fn(&dyn Fn(&str, &[&[u8]]) -> String) -> Vec<u8>,
) -> Sent {
    let key = SigningKey::derive(SECRET, &scope());
    let list = "host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length";
    let length = decoded_length.to_string();
    let name = streaming.name();
    let canonical = format!(
        "PUT\n/b/k\n\nhost:h\nx-amz-content-sha256:{name}\nx-amz-date:{AT}\nx-amz-decoded-content-length:{length}\n\n{list}\n{name}"
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{AT}\n{SCOPE}\n{}", hex(sha256(canonical.as_bytes())));
    let seed = hex(key.sign(to_sign.as_bytes()));
    let previous = std::cell::RefCell::new(seed.clone());
    let sign = |algorithm: &str, parts: &[&[u8]]| {
        let mut text = format!("{algorithm}\n{AT}\n{SCOPE}\n{}", previous.borrow());
        for part in parts {
            text += &format!("\n{}", hex(sha256(part)));
        }
        let signature = hex(key.sign(text.as_bytes()));
        previous.replace(signature.clone());
        signature
    };
    let body = frame(&sign);
    let authorization = format!("AWS4-HMAC-SHA256 Credential=AKID/{SCOPE},SignedHeaders={list},Signature={seed}");
    let headers = [
        ("host", "h"),
        ("x-amz-content-sha256", name),
        ("x-amz-date", AT),
        ("x-amz-decoded-content-length", &length),
        ("authorization", &authorization),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sent::new("PUT", "/b/k", &headers, &body)
}

fn framed(streaming: Streaming, chunks: &[Vec<u8>], trailers: &[(&str, &str)]) -> Sent {
    let length = chunks.iter().map(Vec::len).sum();
    made(streaming, length, |sign| {
        let mut body = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()).map(Vec::as_slice).chain([&[][..]]) {
            let line = match streaming {
                Streaming::UnsignedTrailer => format!("{:X}\r\n", chunk.len()),
                _ => {
                    format!("{:x};chunk-signature={}\r\n", chunk.len(), sign("AWS4-HMAC-SHA256-PAYLOAD", &[b"", chunk]))
                }
            };
            body.extend_from_slice(line.as_bytes());
            if !chunk.is_empty() {
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
        }
        if streaming != Streaming::Signed {
            let mut signed = String::new();
            for (name, value) in trailers {
                body.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
                signed += &format!("{name}:{value}\n");
            }
            if streaming == Streaming::SignedTrailer {
                let signature = sign("AWS4-HMAC-SHA256-TRAILER", &[signed.as_bytes()]);
                body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
            }
        }
        body.extend_from_slice(b"\r\n");
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_chunks_come_back_whole(
        streaming in prop::sample::select(vec![Streaming::Signed, Streaming::SignedTrailer, Streaming::UnsignedTrailer]),
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        piece in 1_usize..200,
    ) {
        let sent = framed(streaming, &chunks, &[("x-amz-checksum-crc32", "AAAAAA==")]);
        let (content, _) = decoded(&sent, piece).unwrap();
        prop_assert_eq!(content, chunks.concat());
    }

    #[test]
    fn any_noise_is_refused_quietly(
        streaming in prop::sample::select(vec![Streaming::Signed, Streaming::SignedTrailer, Streaming::UnsignedTrailer]),
        noise in "[0-9a-f;:\r\n]{0,64}",
    ) {
        let sent = made(streaming, 4, |_| noise.clone().into_bytes());
        let _ = decoded(&sent, 5);
    }
}

#[test]
fn lines_and_trailers_are_bounded() {
    let refused = |streaming: Streaming, decoded_length: usize, body: &str| {
        let sent = made(streaming, decoded_length, |_| body.as_bytes().to_vec());
        decoded(&sent, 1_000).unwrap_err()
    };
    let unsigned = Streaming::UnsignedTrailer;
    for (body, why) in [
        ("5\r\nabcde\r\n0\r\n\r\n", "more bytes"),
        ("4\r\nabcde\r\n0\r\n\r\n", "longer than it says"),
        ("3\r\nabc\r\n0\r\n\r\n", "terminated"),
        ("4\r\nabcd\r\n", "terminated"),
        ("4\nabcd\r\n0\r\n\r\n", "CR LF"),
        ("-4\r\nabcd\r\n0\r\n\r\n", "size"),
        ("+4\r\nabcd\r\n0\r\n\r\n", "size"),
        ("ffffffffffffffff\r\n", "more bytes"),
        ("00000000000000004\r\nabcd\r\n", "size"),
        ("4\r\nabcd\r\n0\r\nx\r\n\r\n", "malformed"),
        ("4\r\nabcd\r\n0\r\nx:1\r\nX:2\r\n\r\n", "malformed"),
    ] {
        assert!(refused(unsigned, 4, body).to_string().contains(why), "{body}: {:?}", refused(unsigned, 4, body));
    }
    assert!(refused(unsigned, 4, &"4".repeat(5_000)).to_string().contains("too long"));
    let long = format!("0\r\na:{}\r\n\r\n", "x".repeat(TRAILER_BYTES_MAX));
    assert!(refused(unsigned, 0, &long).to_string().contains("too long"));
    let many: String = (0..20).map(|index| format!("t{index}:1\r\n")).collect();
    assert!(refused(unsigned, 0, &format!("0\r\n{many}\r\n")).to_string().contains("too many"));
    let error = refused(Streaming::Signed, 4, "4\r\nabcd\r\n");
    assert_eq!(error.public(Dialect::S3).code, "InvalidChunkFormatError");
    let unsigned_end = framed(Streaming::SignedTrailer, &[], &[]);
    let mut without = unsigned_end.clone();
    let at = without.body.windows(23).position(|it| it == b"x-amz-trailer-signature").unwrap();
    without.body.splice(at.., *b"\r\n");
    assert!(decoded(&unsigned_end, 9).is_ok());
    assert!(decoded(&without, 9).unwrap_err().to_string().contains("not signed"));
}
