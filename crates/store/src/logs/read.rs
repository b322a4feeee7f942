//! Finds the newest lines of a group.
//!
//! Chunks are read latest first. Chunks of different streams overlap in time, so lines are gathered until no chunk left
//! can hold one newer than the oldest that was dropped. Order is by time, then by when the chunk was appended, then by
//! place in the chunk.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::Connection;
use updraft_types::{LogGroupId, Timestamp};

use super::{Line, chunk, lines};

/// Most bytes of text one read answers.
pub const READ_BYTES_MAX: usize = 64 << 20;

/// A line's place in the order of all lines of a group.
type Place = (Timestamp, i64, usize);

/// The newest `limit` lines written at `since` or later, oldest first.
pub(super) fn newest(
    connection: &Connection,
    group: &LogGroupId,
    since: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<Line>> {
    let sql = "SELECT chunk.id, stream, last_at, lines FROM chunk JOIN log_group ON log_group.id = chunk.log_group
               WHERE account = ?1 AND name = ?2 AND last_at >= ?3 ORDER BY last_at DESC, chunk.id DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((group.account.as_str(), group.name.as_str(), chunk::column(since)))?;
    let mut window = Window::new(limit, READ_BYTES_MAX);
    while let Some(row) = rows.next()? {
        let (id, stream): (i64, String) = (row.get(0)?, row.get(1)?);
        if window.is_past(row.get(2)?) {
            break;
        }
        for (index, line) in lines::decode(row.get_ref(3)?.as_blob()?).enumerate() {
            match line {
                Ok((at, text)) if at >= since => window.add((at, id, index), &stream, text),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%group, chunk = id, %error, "the rest of a chunk of log lines is left out");
                }
            }
        }
    }
    Ok(window.lines.into_values().collect())
}

/// The newest lines met so far.
struct Window {
    limit: usize,
    room_bytes: usize,
    size_bytes: usize,
    lines: BTreeMap<Place, Line>,
    /// The newest line that was dropped for want of room. Nothing older than it is wanted.
    floor: Option<Place>,
}

impl Window {
    fn new(limit: usize, room_bytes: usize) -> Self {
        Self { limit, room_bytes, size_bytes: 0, lines: BTreeMap::new(), floor: None }
    }

    /// Whether nothing written at `last_at` (as a column) or earlier is wanted any more.
    fn is_past(&self, last_at: i64) -> bool {
        self.limit == 0 || self.floor.is_some_and(|(at, ..)| last_at < chunk::column(at))
    }

    fn add(&mut self, place: Place, stream: &str, text: &[u8]) {
        if self.floor.is_some_and(|floor| place < floor) {
            return;
        }
        self.size_bytes += text.len();
        let line = Line { at: place.0, stream: stream.to_owned(), text: Bytes::copy_from_slice(text) };
        self.lines.insert(place, line);
        while self.lines.len() > self.limit || self.size_bytes > self.room_bytes {
            let Some((place, dropped)) = self.lines.pop_first() else { break };
            self.size_bytes -= dropped.text.len();
            self.floor = Some(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(window: Window) -> Vec<Bytes> {
        window.lines.into_values().map(|line| line.text).collect()
    }

    #[test]
    fn the_newest_are_kept_whatever_the_order_they_are_met_in() {
        let mut window = Window::new(2, 100);
        for at in [3, 1, 4, 2] {
            window.add((Timestamp::from_ms(at), 1, 0), "s", at.to_string().as_bytes());
        }
        assert_eq!(texts(window), ["3", "4"]);
    }

    #[test]
    fn an_older_line_never_fills_the_gap_a_large_one_left() {
        let mut window = Window::new(10, 10);
        window.add((Timestamp::from_ms(9), 1, 0), "s", b"12345");
        window.add((Timestamp::from_ms(8), 1, 0), "s", b"too large");
        window.add((Timestamp::from_ms(7), 1, 0), "s", b"1");
        assert!(window.is_past(7) && !window.is_past(8));
        assert_eq!(texts(window), ["12345"]);
    }
}
