//! A reader of `application/vnd.amazon.eventstream`, written from the specification alone, so that it shares nothing with
//! the encoder that it checks. Only headers that are strings are read: others are not sent.

/// The type of a header's value that is a string.
const STRING: u8 = 7;
const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// A message as a client reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
}

impl Decoded {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// CRC-32 bit by bit, so that it shares nothing with the encoder.
fn crc(bytes: &[u8]) -> usize {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc as usize
}

/// Reads a whole stream; `None` if anything about it is wrong.
pub(crate) fn decode(mut stream: &[u8]) -> Option<Vec<Decoded>> {
    let mut messages = Vec::new();
    while !stream.is_empty() {
        let whole = number(stream.get(..4)?);
        let headers_bytes = number(stream.get(4..8)?);
        let (message, rest) = stream.split_at_checked(whole)?;
        if number(message.get(8..12)?) != crc(&message[..8]) {
            return None;
        }
        let (before, last) = message.split_at_checked(whole - CRC_BYTES)?;
        if number(last) != crc(before) {
            return None;
        }
        let (mut headers, payload) = before.get(PRELUDE_BYTES..)?.split_at_checked(headers_bytes)?;
        let mut decoded = Decoded { headers: Vec::new(), payload: payload.to_vec() };
        while let Some((length, after)) = headers.split_first() {
            let (name, after) = after.split_at_checked(usize::from(*length))?;
            let after = after.strip_prefix(&[STRING])?;
            let length = number(after.get(..2)?);
            let (value, after) = after[2..].split_at_checked(length)?;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            decoded.headers.push((text(name)?, text(value)?));
            headers = after;
        }
        messages.push(decoded);
        stream = rest;
    }
    Some(messages)
}
