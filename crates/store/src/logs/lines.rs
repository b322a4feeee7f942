//! Log lines in the bytes that rows hold, so that gathering, storing and reading them copies each once.
//!
//! A piece is one format byte, then for each line three things: how many milliseconds it is later than the line
//! before (than 0, for the first; zigzag varint, for clocks step back), its length in bytes (varint), and its bytes.
//! Varints are LEB128. Any lines come back as they were; any bytes that are not a piece are refused without panic or
//! allocation.

use updraft_types::Timestamp;

/// The first byte of every piece.
const FORMAT: u8 = 1;
/// Lines are cut into pieces of about this size, bytes, so that neither reading nor removing one takes long.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// Lines of one stream in the order they were written, each without its newline; any bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    pieces: Vec<Piece>,
    /// Room to make for the first piece, bytes.
    expected_bytes: usize,
}

/// What becomes one row; never without a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) bytes: Vec<u8>,
    previous_at: Timestamp,
}

impl Lines {
    /// None yet, with room for so many bytes of them made when the first comes.
    pub fn expecting(bytes: usize) -> Self {
        Self { pieces: Vec::new(), expected_bytes: bytes.min(PIECE_BYTES_MAX) }
    }

    /// Adds a line at the end.
    pub fn push(&mut self, at: Timestamp, text: &[u8]) {
        let has_room = |piece: &&mut Piece| piece.bytes.len() + text.len() <= PIECE_BYTES_MAX;
        match self.pieces.last_mut().filter(has_room) {
            Some(piece) => piece.push(at, text),
            None => {
                let mut bytes = Vec::with_capacity(self.expected_bytes);
                bytes.push(FORMAT);
                let mut piece = Piece { first_at: at, last_at: at, bytes, previous_at: Timestamp::default() };
                piece.push(at, text);
                self.pieces.push(piece);
            }
        }
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What they take in all, bytes.
    pub fn size_bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// The lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, &[u8])> {
        self.pieces.iter().flat_map(|piece| decode(&piece.bytes)).flatten()
    }

    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }
}

impl<T: AsRef<[u8]>> FromIterator<(Timestamp, T)> for Lines {
    fn from_iter<I: IntoIterator<Item = (Timestamp, T)>>(iter: I) -> Self {
        let mut lines = Self::default();
        iter.into_iter().for_each(|(at, text)| lines.push(at, text.as_ref()));
        lines
    }
}

impl Piece {
    fn push(&mut self, at: Timestamp, text: &[u8]) {
        self.first_at = self.first_at.min(at);
        self.last_at = self.last_at.max(at);
        put_varint(&mut self.bytes, zigzag(at.as_ms().wrapping_sub(self.previous_at.as_ms())));
        put_varint(&mut self.bytes, text.len() as u64);
        self.bytes.extend_from_slice(text);
        self.previous_at = at;
    }
}

/// Bytes that are not a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not log lines")]
pub(super) struct Malformed;

/// The lines in a piece, in the order they were written. Ends at the first error.
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
    use proptest::prelude::*;

    use super::*;

    type Line = (Timestamp, Vec<u8>);

    fn decode_all(piece: &[u8]) -> Result<Vec<Line>, Malformed> {
        decode(piece).map(|line| line.map(|(at, text)| (at, text.to_vec()))).collect()
    }

    fn any_lines() -> impl Strategy<Value = Vec<Line>> {
        let at = prop_oneof![any::<u64>(), 1_795_000_000_000..1_795_000_100_000_u64, Just(0), Just(u64::MAX)];
        let text = proptest::collection::vec(any::<u8>(), 0..200);
        proptest::collection::vec((at.prop_map(Timestamp::from_ms), text), 0..40)
    }

    proptest! {
        #[test]
        fn lines_come_back_as_they_were(lines in any_lines(), expected_bytes in 0..4_096_usize) {
            let mut gathered = Lines::expecting(expected_bytes);
            lines.iter().for_each(|(at, text)| gathered.push(*at, text));
            prop_assert_eq!(gathered.is_empty(), lines.is_empty());
            prop_assert!(gathered.iter().eq(lines.iter().map(|(at, text)| (*at, &text[..]))));
            let pieces = gathered.into_pieces();
            prop_assert_eq!(pieces.len(), usize::from(!lines.is_empty()));
            for piece in &pieces {
                prop_assert_eq!(Some(piece.first_at), lines.iter().map(|line| line.0).min());
                prop_assert_eq!(Some(piece.last_at), lines.iter().map(|line| line.0).max());
                prop_assert_eq!(decode_all(&piece.bytes), Ok(lines.clone()));
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
        fn a_cut_or_changed_piece_never_panics(lines in any_lines(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
            for piece in lines.into_iter().collect::<Lines>().into_pieces() {
                let position = cut.index(piece.bytes.len());
                prop_assert!(decode(&piece.bytes[..position]).count() <= position + 1);
                let mut changed = piece.bytes.clone();
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
    fn many_lines_are_cut_into_pieces() {
        let line = (Timestamp::from_ms(5), vec![b'x'; PIECE_BYTES_MAX / 4]);
        let lines = vec![line; 10];
        let gathered: Lines = lines.iter().cloned().collect();
        assert!(gathered.iter().eq(lines.iter().map(|(at, text)| (*at, &text[..]))));
        let pieces = gathered.into_pieces();
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.bytes.len() <= PIECE_BYTES_MAX + 64));
    }
}
