//! Messages of `application/vnd.amazon.eventstream`, in which AWS streams events (InvokeWithResponseStream, StartLiveTail).
//!
//! A message is a prelude (whole length, length of the headers, CRC-32 of both), headers, a payload, and the CRC-32 of
//! all before it; numbers are big-endian (source: the Smithy specification "Amazon Event Stream"). This platform sends
//! such streams and receives none: there is an encoder only, and what reads it in tests is written from the
//! specification alone.
//!
//! Invariant: no message is larger than clients take ([`PAYLOAD_BYTES_MAX`]).

use bytes::{BufMut, Bytes, BytesMut};

/// The content type of a stream of such messages.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Most bytes of one event's payload; the specification's limit for a message's payload, which botocore enforces, is
/// 24 MB (16 MB in older clients). A longer one is for the caller to divide.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// The one type of header value that is used: a string.
const STRING: u8 = 7;
const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// An event of a stream: `event_type` is the member of the service model's event stream shape (`PayloadChunk`),
/// `content_type` that of the payload (`application/json`, `application/octet-stream`).
///
/// Services of a JSON-RPC protocol (`awsJson1.1`) begin a stream with an event of type `initial-response` whose payload
/// is the operation's output without the stream, `{}` where there is none.
pub fn event(event_type: &str, content_type: &str, payload: &[u8]) -> Bytes {
    encode(&[(":event-type", event_type), (":content-type", content_type), (":message-type", "event")], payload)
}

/// An error that the service model lists among a stream's members: it ends the stream. `payload` is its JSON.
pub fn exception(exception_type: &str, payload: &[u8]) -> Bytes {
    let content_type = (":content-type", "application/json");
    encode(&[(":exception-type", exception_type), content_type, (":message-type", "exception")], payload)
}

fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "an event is divided before it is encoded");
    let headers_bytes: usize = headers.iter().map(|(name, value)| 1 + name.len() + 1 + 2 + value.len()).sum();
    let whole = PRELUDE_BYTES + headers_bytes + payload.len() + CRC_BYTES;
    let mut message = BytesMut::with_capacity(whole);
    message.put_u32(u32::try_from(whole).expect("a payload and three short headers are below 4 GB"));
    message.put_u32(u32::try_from(headers_bytes).expect("three short headers are below 4 GB"));
    message.put_u32(crc32fast::hash(&message));
    for (name, value) in headers {
        message.put_u8(u8::try_from(name.len()).expect("names of headers are ours, and short"));
        message.put_slice(name.as_bytes());
        message.put_u8(STRING);
        message.put_u16(u16::try_from(value.len()).expect("values of headers are ours, and short"));
        message.put_slice(value.as_bytes());
    }
    message.put_slice(payload);
    message.put_u32(crc32fast::hash(&message));
    message.freeze()
}

/// What reads such streams, for tests alone.
#[cfg(test)]
#[path = "../tests/event_stream/decode.rs"]
pub(crate) mod decode;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode::decode, *};

    /// The first of the specification's examples has no headers and no payload.
    #[test]
    fn an_empty_message_is_as_specified() {
        let expected = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        assert_eq!(encode(&[], b""), &expected[..]);
    }

    #[test]
    fn events_and_exceptions_name_themselves() {
        let mut stream = event("PayloadChunk", "application/octet-stream", b"\0\xff").to_vec();
        stream.extend(exception("SessionTimeoutException", b"{}"));
        let messages = decode(&stream).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].header(":event-type"), "PayloadChunk");
        assert_eq!(messages[0].header(":message-type"), "event");
        assert_eq!(messages[0].header(":content-type"), "application/octet-stream");
        assert_eq!(messages[0].payload, b"\0\xff");
        assert_eq!(messages[1].header(":exception-type"), "SessionTimeoutException");
        assert_eq!(messages[1].header(":message-type"), "exception");
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn what_is_encoded_is_decoded(
            kinds in prop::collection::vec(("[A-Za-z-]{0,40}", prop::collection::vec(any::<u8>(), 0..300)), 0..5)
        ) {
            let stream: Vec<u8> =
                kinds.iter().flat_map(|(kind, payload)| event(kind, "application/json", payload)).collect();
            let messages = decode(&stream).unwrap();
            let read: Vec<_> =
                messages.into_iter().map(|one| (one.header(":event-type").to_owned(), one.payload)).collect();
            prop_assert_eq!(read, kinds);
        }

        #[test]
        fn a_changed_bit_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut stream = event("e", "t", &payload).to_vec();
            let at = at.index(stream.len());
            stream[at] ^= 1u8 << bit;
            prop_assert_eq!(decode(&stream), None);
        }
    }
}
