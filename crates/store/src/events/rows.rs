//! Rows of events and their deliveries.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use updraft_types::{Event, FunctionId, Timestamp};

use super::Lease;

/// Adds an event, due when it was accepted or leased until then; `None` if its function is not there.
pub(super) fn insert(
    connection: &Connection,
    event: &Event,
    leased_until: Option<Timestamp>,
) -> rusqlite::Result<Option<Lease>> {
    let (account, name) = (event.function.account.as_str(), event.function.name.as_str());
    let is_there = "SELECT 1 FROM function WHERE account = ?1 AND name = ?2";
    if connection.prepare_cached(is_there)?.query_row((account, name), |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let qualifier = event.qualifier.as_ref().map(ToString::to_string);
    let sql = "INSERT INTO event (request, qualifier, client_context, trace, accepted_at, payload)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(sql)?.execute(params![
        event.request.to_string(),
        qualifier,
        event.client_context,
        event.trace,
        ms(event.accepted_at),
        &event.payload[..],
    ])?;
    let id = connection.last_insert_rowid();
    let sql =
        "INSERT INTO delivery (event, account, name, due_at, lease, is_leased, attempts, refusals, bytes, accepted_at, qualifier)
               VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, 0, ?6, ?7, ?8)";
    let number = i64::from(leased_until.is_some());
    let due = leased_until.unwrap_or(event.accepted_at);
    let bytes = i64::try_from(event.size_bytes()).unwrap_or(i64::MAX);
    let values = params![id, account, name, ms(due), number, bytes, ms(event.accepted_at), qualifier];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(Some(Lease { event: id, number }))
}

/// Removes an event with its delivery.
pub(super) fn remove(connection: &Connection, event: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM delivery WHERE event = ?1")?.execute([event])?;
    connection.prepare_cached("DELETE FROM event WHERE id = ?1")?.execute([event])?;
    Ok(())
}

/// An event of a function's.
pub(super) fn read(connection: &Connection, id: i64, function: &FunctionId) -> rusqlite::Result<Event> {
    let sql = "SELECT request, qualifier, client_context, trace, accepted_at, payload FROM event WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id], |row| {
        Ok(Event {
            request: parsed(row, 0)?,
            function: function.clone(),
            qualifier: match row.get_ref(1)? {
                rusqlite::types::ValueRef::Null => None,
                _ => Some(parsed(row, 1)?),
            },
            client_context: row.get(2)?,
            trace: row.get(3)?,
            accepted_at: timestamp(row, 4)?,
            payload: Bytes::copy_from_slice(row.get_ref(5)?.as_blob()?),
        })
    })
}

/// The function whose account and name are two columns from `at` on.
pub(super) fn function(row: &Row<'_>, at: usize) -> rusqlite::Result<FunctionId> {
    Ok(FunctionId { account: parsed(row, at)?, name: parsed(row, at + 1)? })
}

pub(super) fn timestamp(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    Ok(instant(row.get(at)?))
}

pub(super) fn parsed<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(at)?;
    text.parse().map_err(|error: T::Err| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// Milliseconds as SQLite keeps them.
pub(super) fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.as_ms()).unwrap_or(i64::MAX)
}

pub(super) fn instant(ms: i64) -> Timestamp {
    Timestamp::from_ms(u64::try_from(ms).unwrap_or(0))
}
