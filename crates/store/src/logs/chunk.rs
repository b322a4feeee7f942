//! The rows of `logs.db`: how lines become bytes and back.
//!
//! A chunk's blob is one format byte, then for each line three things: how many milliseconds it is later than the line
//! before (than 0, for the first; zigzag varint, for clocks step back), its length in bytes (varint), and its bytes.
//! Varints are LEB128. Any lines come back as they were; any bytes that are not a chunk are refused without panic or
//! allocation.

use rusqlite::Connection;
use updraft_types::{FunctionId, Timestamp};

use super::Entry;

/// The first byte of every blob.
const FORMAT: u8 = 1;
/// An entry is cut into chunks of about this size, bytes, so that neither reading nor removing one takes long.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// What a row takes beside its lines and its stream's name, bytes: columns, index entry, share of the pages.
const ROW_BYTES: u64 = 64;

/// A row to be.
#[derive(Debug)]
pub(super) struct Chunk {
    function: FunctionId,
    stream: String,
    first_at: Timestamp,
    last_at: Timestamp,
    lines: Vec<u8>,
}

impl Chunk {
    /// Roughly what the row takes on disk.
    pub(super) fn size_bytes(&self) -> u64 {
        (self.lines.len() + self.stream.len()) as u64 + ROW_BYTES
    }
}

/// An entry as rows: one, unless it is very large; none if it has no lines.
pub(super) fn encode(entry: Entry) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut previous_at = Timestamp::default();
    for (at, text) in entry.lines {
        let has_room = |chunk: &Chunk| chunk.lines.len() + text.len() <= CHUNK_BYTES_MAX;
        let chunk = match chunks.last_mut() {
            Some(chunk) if has_room(chunk) => chunk,
            _ => {
                previous_at = Timestamp::default();
                chunks.push(Chunk {
                    function: entry.function.clone(),
                    stream: entry.stream.clone(),
                    first_at: at,
                    last_at: at,
                    lines: vec![FORMAT],
                });
                chunks.last_mut().expect("a chunk was just pushed")
            }
        };
        chunk.first_at = chunk.first_at.min(at);
        chunk.last_at = chunk.last_at.max(at);
        put_varint(&mut chunk.lines, zigzag(at.as_ms().wrapping_sub(previous_at.as_ms())));
        put_varint(&mut chunk.lines, text.len() as u64);
        chunk.lines.extend_from_slice(&text);
        previous_at = at;
    }
    chunks
}

/// Stores a row and counts its size towards its function's.
pub(super) fn insert(connection: &Connection, chunk: &Chunk) -> rusqlite::Result<()> {
    let sql = "INSERT INTO function (account, name, size_bytes) VALUES (?1, ?2, ?3)
               ON CONFLICT DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes RETURNING id";
    let FunctionId { account, name } = &chunk.function;
    let size_bytes = chunk.size_bytes().cast_signed();
    let function: i64 =
        connection.prepare_cached(sql)?.query_row((account.as_str(), name.as_str(), size_bytes), |row| row.get(0))?;
    let sql = "INSERT INTO chunk (function, stream, first_at, last_at, size_bytes, lines)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (first_at, last_at) = (column(chunk.first_at), column(chunk.last_at));
    let values = (function, &chunk.stream, first_at, last_at, size_bytes, &chunk.lines);
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// A time as SQLite's signed integers hold it; what lies past their end is at their end.
pub(super) fn column(at: Timestamp) -> i64 {
    i64::try_from(at.as_ms()).unwrap_or(i64::MAX)
}

/// Bytes that are not a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a chunk of log lines")]
pub(super) struct Malformed;

/// The lines in a blob, in the order they were written. Ends at the first error.
pub(super) fn decode(blob: &[u8]) -> impl Iterator<Item = Result<(Timestamp, &[u8]), Malformed>> {
    let mut rest = blob.split_first().filter(|(format, _)| **format == FORMAT).map(|(_, rest)| rest).ok_or(Malformed);
    let mut previous_ms = 0_u64;
    std::iter::from_fn(move || {
        let bytes = match rest {
            Ok([]) => return None,
            Ok(bytes) => bytes,
            Err(Malformed) => {
                rest = Ok(&[]);
                return Some(Err(Malformed));
            }
        };
        let Some((later_ms, text, after)) = take_line(bytes) else {
            rest = Ok(&[]);
            return Some(Err(Malformed));
        };
        rest = Ok(after);
        previous_ms = previous_ms.wrapping_add(later_ms);
        Some(Ok((Timestamp::from_ms(previous_ms), text)))
    })
}

fn take_line(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (later_ms, bytes) = take_varint(bytes)?;
    let (length, bytes) = take_varint(bytes)?;
    let (text, after) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    Some((unzigzag(later_ms), text, after))
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if bits.leading_zeros() < shift {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// Makes small differences of either sign small; differences wrap, so any two times have one.
fn zigzag(difference: u64) -> u64 {
    let difference = difference.cast_signed();
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn entry(lines: Vec<(Timestamp, Bytes)>) -> Entry {
        let function = FunctionId { account: "000000000000".parse().unwrap(), name: "hello".parse().unwrap() };
        Entry { function, stream: "stream".into(), lines }
    }

    fn decode_all(blob: &[u8]) -> Result<Vec<(Timestamp, Bytes)>, Malformed> {
        decode(blob).map(|line| line.map(|(at, text)| (at, Bytes::copy_from_slice(text)))).collect()
    }

    fn any_lines() -> impl Strategy<Value = Vec<(Timestamp, Bytes)>> {
        let at = prop_oneof![any::<u64>(), 1_795_000_000_000..1_795_000_100_000_u64, Just(0), Just(u64::MAX)];
        let text = proptest::collection::vec(any::<u8>(), 0..200);
        proptest::collection::vec((at.prop_map(Timestamp::from_ms), text.prop_map(Bytes::from)), 0..40)
    }

    proptest! {
        #[test]
        fn lines_come_back_as_they_were(lines in any_lines()) {
            let chunks = encode(entry(lines.clone()));
            prop_assert_eq!(chunks.len(), usize::from(!lines.is_empty()));
            for chunk in &chunks {
                prop_assert_eq!(Some(chunk.first_at), lines.iter().map(|line| line.0).min());
                prop_assert_eq!(Some(chunk.last_at), lines.iter().map(|line| line.0).max());
                prop_assert_eq!(decode_all(&chunk.lines), Ok(lines.clone()));
            }
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_but_never_panic(mut blob in proptest::collection::vec(any::<u8>(), 0..300)) {
            let lines = decode(&blob).count();
            prop_assert!(lines <= blob.len() + 1);
            if let Some(first) = blob.first_mut() {
                *first = FORMAT;
            }
            let (mut lines, mut bytes) = (0, 0);
            for line in decode(&blob).flatten() {
                lines += 1;
                bytes += line.1.len();
            }
            prop_assert!(2 * lines + bytes <= blob.len());
        }

        #[test]
        fn a_cut_or_changed_blob_never_panics(lines in any_lines(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
            for chunk in encode(entry(lines)) {
                let position = cut.index(chunk.lines.len());
                prop_assert!(decode(&chunk.lines[..position]).count() <= position + 1);
                let mut changed = chunk.lines.clone();
                changed[position] = byte;
                prop_assert!(decode(&changed).count() <= changed.len());
            }
        }
    }

    #[test]
    fn a_length_past_the_end_and_an_overlong_varint_are_refused() {
        assert_eq!(decode_all(&[FORMAT, 0, 5, b'a']), Err(Malformed));
        assert_eq!(decode_all(&[&[FORMAT][..], &[0xff; 20]].concat()), Err(Malformed));
        assert_eq!(decode_all(&[&[FORMAT, 0][..], &[0xff; 9], &[0x02]].concat()), Err(Malformed));
        assert_eq!(decode_all(&[FORMAT + 1]), Err(Malformed));
        assert_eq!(decode_all(&[]), Err(Malformed));
    }

    #[test]
    fn a_large_entry_is_cut_into_chunks() {
        let line = (Timestamp::from_ms(5), Bytes::from(vec![b'x'; CHUNK_BYTES_MAX / 4]));
        let lines = vec![line; 10];
        let chunks = encode(entry(lines.clone()));
        assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.lines.len() <= CHUNK_BYTES_MAX + 64));
        let read: Vec<_> = chunks.iter().flat_map(|chunk| decode_all(&chunk.lines).unwrap()).collect();
        assert_eq!(read, lines);
    }
}
