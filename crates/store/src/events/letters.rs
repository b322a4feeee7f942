//! Rows of dead letters: what was given up and could not be passed on, for its owner to look at.

use rusqlite::{Connection, params};
use updraft_types::{FunctionId, RequestId, Timestamp};

use super::rows;

/// What is left of an event that was given up, or of a record that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The function whose event it was.
    pub function: FunctionId,
    /// The event.
    pub request: RequestId,
    /// When it was buried.
    pub at: Timestamp,
    /// Why, for its owner.
    pub reason: String,
    /// The record that a destination would have been given: a JSON document.
    pub record: String,
}

/// How many letters of one function are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At most so many.
    pub letters_max: u32,
    /// And so many bytes of records; the newest is kept whatever its size.
    pub bytes_max: u64,
}

/// Adds a letter; the oldest of its function make room.
pub(super) fn add(connection: &Connection, letter: &DeadLetter, retention: Retention) -> rusqlite::Result<()> {
    let (account, name) = (letter.function.account.as_str(), letter.function.name.as_str());
    let sql = "INSERT INTO dead_letter (account, name, request, at, reason, bytes, record)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let bytes = i64::try_from(letter.record.len()).unwrap_or(i64::MAX);
    let request = letter.request.to_string();
    let values = params![account, name, request, rows::ms(letter.at), letter.reason, bytes, letter.record];
    connection.prepare_cached(sql)?.execute(values)?;
    let sql = "DELETE FROM dead_letter WHERE id IN (
                   SELECT id FROM (
                       SELECT id, row_number() OVER newest AS place, sum(bytes) OVER newest AS bytes
                       FROM dead_letter WHERE account = ?1 AND name = ?2
                       WINDOW newest AS (ORDER BY id DESC ROWS UNBOUNDED PRECEDING)
                   ) WHERE place > 1 AND (place > ?3 OR bytes > ?4)
               )";
    let bytes_max = i64::try_from(retention.bytes_max).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.execute(params![account, name, retention.letters_max, bytes_max])?;
    Ok(())
}

/// A function's letters, newest first.
pub(super) fn read(
    connection: &Connection,
    function: &FunctionId,
    count_max: u32,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let sql = "SELECT request, at, reason, record FROM dead_letter WHERE account = ?1 AND name = ?2
               ORDER BY id DESC LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let letter = |row: &rusqlite::Row<'_>| {
        Ok(DeadLetter {
            function: function.clone(),
            request: rows::parsed(row, 0)?,
            at: rows::timestamp(row, 1)?,
            reason: row.get(2)?,
            record: row.get(3)?,
        })
    };
    let key = params![function.account.as_str(), function.name.as_str(), count_max];
    statement.query_map(key, letter)?.collect()
}

/// Removes what is older.
pub(super) fn expire(connection: &Connection, before: Timestamp) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM dead_letter WHERE at < ?1";
    Ok(connection.prepare_cached(sql)?.execute([rows::ms(before)])? as u64)
}
