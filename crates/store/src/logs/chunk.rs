//! The rows of `logs.db`: whose lines, of which stream and from when to when; see [`super::lines`] for the lines.

use std::sync::Arc;

use rusqlite::Connection;
use updraft_types::{FunctionId, Timestamp};

use super::{Entry, lines::Piece};

/// What a row takes beside its lines and its stream's name, bytes: columns, index entry, share of the pages.
const ROW_BYTES: u64 = 64;

/// A row to be.
#[derive(Debug)]
pub(super) struct Chunk {
    function: FunctionId,
    stream: Arc<str>,
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
    let Entry { function, stream, lines } = entry;
    let row = move |piece| Chunk { function: function.clone(), stream: stream.clone(), piece };
    lines.into_pieces().into_iter().map(row)
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
    let Piece { first_at, last_at, bytes, .. } = &chunk.piece;
    let values = (function, &*chunk.stream, column(*first_at), column(*last_at), size_bytes, bytes);
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// A time as SQLite's signed integers hold it; what lies past their end is at their end.
pub(super) fn column(at: Timestamp) -> i64 {
    i64::try_from(at.as_ms()).unwrap_or(i64::MAX)
}
