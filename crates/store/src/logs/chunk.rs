//! The rows of `logs.db`: whose lines, of which stream and from when to when; see [`super::lines`] for the lines.

use std::sync::Arc;

use rusqlite::Connection;
use updraft_types::{LogGroupId, Timestamp};

use super::{Entry, lines::Piece};

/// What a row takes beside its lines and its stream's name, bytes: columns, index entry, share of the pages.
const ROW_BYTES: u64 = 64;

/// A row to be.
#[derive(Debug)]
pub(super) struct Chunk {
    group: LogGroupId,
    stream: Arc<str>,
    ingested_at: Timestamp,
    piece: Piece,
}

impl Chunk {
    /// Roughly what the row takes on disk.
    pub(super) fn size_bytes(&self) -> u64 {
        (self.piece.bytes.len() + self.stream.len()) as u64 + ROW_BYTES
    }
}

/// An entry as rows: one, unless it is very large; none if it has no lines.
pub(super) fn rows(entry: Entry) -> impl Iterator<Item = Chunk> {
    let Entry { group, stream, ingested_at, lines } = entry;
    let row = move |piece| Chunk { group: group.clone(), stream: stream.clone(), ingested_at, piece };
    lines.into_pieces().into_iter().map(row)
}

/// Stores a row and counts its size towards its group's and its stream's, which it makes if they are not there.
pub(super) fn insert(connection: &Connection, chunk: &Chunk) -> rusqlite::Result<()> {
    let Chunk { group: LogGroupId { account, name }, stream, ingested_at, piece } = chunk;
    let Piece { first_at, last_at, bytes, .. } = piece;
    let (first_at, last_at, ingested_at) = (column(*first_at), column(*last_at), column(*ingested_at));
    let size_bytes = chunk.size_bytes().cast_signed();
    let sql = "INSERT INTO log_group (account, name, size_bytes, created_at, span_ms) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes,
                   span_ms = max(span_ms, excluded.span_ms)
               RETURNING id";
    let values = (account.as_str(), name.as_str(), size_bytes, ingested_at, last_at - first_at);
    let group: i64 = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    let sql = "INSERT INTO log_stream VALUES (?1, ?2, ?3, 0, ?4, ?5, ?3, ?6)
               ON CONFLICT DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes,
                   first_at = iif(first_at = 0, excluded.first_at, min(first_at, excluded.first_at)),
                   last_at = max(last_at, excluded.last_at), ingested_at = excluded.ingested_at";
    let values = (group, &**stream, ingested_at, first_at, last_at, size_bytes);
    connection.prepare_cached(sql)?.execute(values)?;
    let sql = "INSERT INTO chunk (log_group, stream, first_at, last_at, size_bytes, lines, ingested_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = (group, &**stream, first_at, last_at, size_bytes, bytes, ingested_at);
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// A time as SQLite's signed integers hold it; what lies past their end is at their end.
pub(super) fn column(at: Timestamp) -> i64 {
    i64::try_from(at.as_ms()).unwrap_or(i64::MAX)
}
