//! What any bytes can do to the event stream: they are read as one, and sent as what a message is made of. Shared with the
//! fuzz target `event_stream`.

#[path = "decode.rs"]
mod decode;

use updraft_server::event_stream::{event, exception};

use self::decode::decode;

/// The first byte says where a kind ends, where to cut, and which bit to turn; the rest is kind and payload.
pub(crate) fn drive(bytes: &[u8]) {
    reads(bytes);
    let Some((choice, rest)) = bytes.split_first() else { return };
    let (kind, payload) = rest.split_at(usize::from(*choice % 64).min(rest.len()));
    let kind = String::from_utf8_lossy(kind);
    writes(&kind, payload, usize::from(*choice));
}

/// Reading ends, and whatever could be read is what we would have sent, if it has our headers.
fn reads(stream: &[u8]) {
    let Some(messages) = decode(stream) else { return };
    let mut again = Vec::new();
    for message in &messages {
        let header = |name: &str| message.header(name).to_owned();
        match message.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>()[..] {
            [":event-type", ":content-type", ":message-type"] if header(":message-type") == "event" => {
                again.extend(event(&header(":event-type"), &header(":content-type"), &message.payload));
            }
            _ => return,
        }
    }
    assert_eq!(again, stream);
}

/// What is sent is read as it was, and neither a part of it nor one with another bit is read at all.
fn writes(kind: &str, payload: &[u8], choice: usize) {
    let stream = [event(kind, "application/octet-stream", payload), exception(kind, payload)].concat();
    let messages = decode(&stream).expect("what was sent is read");
    let [sent, refused] = &messages[..] else { panic!("two messages were sent: {messages:?}") };
    assert_eq!((sent.header(":event-type"), sent.header(":message-type")), (kind, "event"));
    assert_eq!((refused.header(":exception-type"), refused.header(":message-type")), (kind, "exception"));
    assert!(sent.payload == payload && refused.payload == payload);
    let first = event(kind, "application/octet-stream", payload);
    let cut = choice % first.len();
    assert_eq!(decode(&first[..cut]).map_or(0, |messages| messages.len()), 0, "a part of a message is none");
    let mut changed = first.to_vec();
    changed[cut] ^= 1 << (choice % 8);
    assert_eq!(decode(&changed), None, "a changed bit is noticed");
}
