//! Log groups and their streams: made by hand, or by the first lines that are appended to them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row};
use updraft_types::{AccountId, LogGroupId, Timestamp};

use super::chunk;

/// Most groups of an account that are made by hand.
pub const GROUPS_MAX: u32 = 10_000;
/// Most streams of a group when another is made by hand.
pub const STREAMS_MAX: u32 = 10_000;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Change {
    /// It is made.
    Done,
    /// It was made before.
    Exists,
    /// There is no such group.
    NoGroup,
    /// The group has no such stream.
    NoStream,
    /// There are as many as may be.
    TooMany,
}

/// A log group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How long its lines are kept, days, if it says.
    pub retention_days: Option<u32>,
    /// Roughly what its lines take, bytes.
    pub size_bytes: u64,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A stream of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its name, unique within the group.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// While it has lines: about when the earliest and the latest were written, and when the latest came here.
    pub lines: Option<[Timestamp; 3]>,
    /// Roughly what its lines take, bytes.
    pub size_bytes: u64,
}

/// Which groups are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Those whose names begin so.
    Prefix(String),
    /// Those whose names contain this, in capitals or not.
    Part(String),
}

/// The order of a list of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// By the latest line rather than by name.
    pub by_last_line: bool,
    /// From the end.
    pub descending: bool,
}

/// The last stream of a list that is to be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCursor {
    /// When its latest line was written; 0 while there is none.
    pub last_at: Timestamp,
    /// Its name.
    pub name: String,
}

impl Stream {
    /// Where a list goes on that ended with this one.
    pub fn cursor(&self) -> StreamCursor {
        StreamCursor { last_at: self.lines.map_or_else(Timestamp::default, |lines| lines[1]), name: self.name.clone() }
    }
}

fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, i64>(index).map(|ms| Timestamp::from_ms(u64::try_from(ms).unwrap_or(0)))
}

fn size(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(|bytes| u64::try_from(bytes).unwrap_or(0))
}

const GROUP: &str = "name, created_at, retention_days, size_bytes, tags";

fn group(row: &Row<'_>) -> rusqlite::Result<Group> {
    Ok(Group {
        name: row.get(0)?,
        created_at: time(row, 1)?,
        retention_days: row.get(2)?,
        size_bytes: size(row, 3)?,
        // Written below and nowhere else; tags are not worth losing a group for.
        tags: serde_json::from_str(row.get_ref(4)?.as_str()?).unwrap_or_default(),
    })
}

/// A group's number in `logs.db`, and the longest span of its chunks, ms.
pub(super) fn find(connection: &Connection, group: &LogGroupId) -> rusqlite::Result<Option<(i64, i64)>> {
    let sql = "SELECT id, span_ms FROM log_group WHERE account = ?1 AND name = ?2";
    let key = (group.account.as_str(), group.name.as_str());
    connection.prepare_cached(sql)?.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

pub(super) fn get(connection: &Connection, id: &LogGroupId) -> rusqlite::Result<Option<Group>> {
    let sql = format!("SELECT {GROUP} FROM log_group WHERE account = ?1 AND name = ?2");
    connection.prepare_cached(&sql)?.query_row((id.account.as_str(), id.name.as_str()), group).optional()
}

pub(super) fn list(
    connection: &Connection,
    account: &AccountId,
    pattern: &Pattern,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Group>> {
    let (condition, text) = match pattern {
        Pattern::Prefix(text) => ("substr(name, 1, length(?3)) = ?3", text.clone()),
        Pattern::Part(text) => ("instr(lower(name), ?3) > 0", text.to_ascii_lowercase()),
    };
    let sql = format!(
        "SELECT {GROUP} FROM log_group WHERE account = ?1 AND name > ?2 AND {condition} ORDER BY name LIMIT ?4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = (account.as_str(), after.unwrap_or_default(), text, limit);
    connection.prepare_cached(&sql)?.query_map(values, group)?.collect()
}

pub(super) fn create(
    connection: &Connection,
    id: &LogGroupId,
    tags: &BTreeMap<String, String>,
    at: Timestamp,
) -> rusqlite::Result<Change> {
    if find(connection, id)?.is_some() {
        return Ok(Change::Exists);
    }
    let sql = "SELECT count(*) FROM log_group WHERE account = ?1 AND is_kept";
    let count: u32 = connection.prepare_cached(sql)?.query_row([id.account.as_str()], |row| row.get(0))?;
    if count >= GROUPS_MAX {
        return Ok(Change::TooMany);
    }
    let sql =
        "INSERT INTO log_group (account, name, size_bytes, created_at, is_kept, tags) VALUES (?1, ?2, 0, ?3, 1, ?4)";
    let values = (id.account.as_str(), id.name.as_str(), chunk::column(at), encode(tags));
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(Change::Done)
}

/// Takes a group's name from it, so that nobody finds it any more; answers its number.
pub(super) fn hide(connection: &Connection, id: &LogGroupId) -> rusqlite::Result<Option<i64>> {
    let sql = "UPDATE log_group SET account = '', name = id, is_kept = 0 WHERE account = ?1 AND name = ?2 RETURNING id";
    connection.prepare_cached(sql)?.query_row((id.account.as_str(), id.name.as_str()), |row| row.get(0)).optional()
}

/// The same for all groups of an account.
pub(super) fn hide_all(connection: &Connection, account: &AccountId) -> rusqlite::Result<Vec<i64>> {
    let sql = "UPDATE log_group SET account = '', name = id, is_kept = 0 WHERE account = ?1 RETURNING id";
    connection.prepare_cached(sql)?.query_map([account.as_str()], |row| row.get(0))?.collect()
}

pub(super) fn set_retention(connection: &Connection, id: &LogGroupId, days: Option<u32>) -> rusqlite::Result<Change> {
    let sql = "UPDATE log_group SET retention_days = ?3, is_kept = 1 WHERE account = ?1 AND name = ?2";
    let changed = connection.prepare_cached(sql)?.execute((id.account.as_str(), id.name.as_str(), days))?;
    Ok(if changed == 0 { Change::NoGroup } else { Change::Done })
}

pub(super) fn set_tags(
    connection: &Connection,
    id: &LogGroupId,
    tags: &BTreeMap<String, String>,
) -> rusqlite::Result<Change> {
    let sql = "UPDATE log_group SET tags = ?3, is_kept = 1 WHERE account = ?1 AND name = ?2";
    let changed = connection.prepare_cached(sql)?.execute((id.account.as_str(), id.name.as_str(), encode(tags)))?;
    Ok(if changed == 0 { Change::NoGroup } else { Change::Done })
}

pub(super) fn create_stream(
    connection: &Connection,
    id: &LogGroupId,
    name: &str,
    at: Timestamp,
) -> rusqlite::Result<Change> {
    let Some((group, _)) = find(connection, id)? else { return Ok(Change::NoGroup) };
    let sql = "SELECT count(*) FROM log_stream WHERE log_group = ?1";
    let count: u32 = connection.prepare_cached(sql)?.query_row([group], |row| row.get(0))?;
    if has_stream(connection, id, name)? == Change::Done {
        return Ok(Change::Exists);
    }
    if count >= STREAMS_MAX {
        return Ok(Change::TooMany);
    }
    let sql = "INSERT INTO log_stream VALUES (?1, ?2, ?3, 1, 0, 0, 0, 0)";
    connection.prepare_cached(sql)?.execute((group, name, chunk::column(at)))?;
    connection.prepare_cached("UPDATE log_group SET is_kept = 1 WHERE id = ?1")?.execute([group])?;
    Ok(Change::Done)
}

/// `Done` if the group has the stream.
pub(super) fn has_stream(connection: &Connection, id: &LogGroupId, name: &str) -> rusqlite::Result<Change> {
    let Some((group, _)) = find(connection, id)? else { return Ok(Change::NoGroup) };
    let mut select = connection.prepare_cached("SELECT 1 FROM log_stream WHERE log_group = ?1 AND name = ?2")?;
    let found = select.query_row((group, name), |_| Ok(())).optional()?;
    Ok(if found.is_some() { Change::Done } else { Change::NoStream })
}

pub(super) fn streams(
    connection: &Connection,
    id: &LogGroupId,
    prefix: &str,
    order: Order,
    after: Option<&StreamCursor>,
    limit: usize,
) -> rusqlite::Result<Option<Vec<Stream>>> {
    let Some((group, _)) = find(connection, id)? else { return Ok(None) };
    let key = if order.by_last_line { "last_at, name" } else { "name" };
    let values_after = if order.by_last_line { "?3, ?4" } else { "?4" };
    let (beyond, direction) = if order.descending { ("<", "DESC") } else { (">", "ASC") };
    let ordered = key.split(", ").map(|column| format!("{column} {direction}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT name, created_at, first_at, last_at, ingested_at, size_bytes FROM log_stream
         WHERE log_group = ?1 AND substr(name, 1, length(?2)) = ?2 AND (?3 < 0 OR ({key}) {beyond} ({values_after}))
         ORDER BY {ordered} LIMIT ?5"
    );
    let last_at = after.map_or(-1, |after| chunk::column(after.last_at));
    let name = after.map_or("", |after| &after.name);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let stream = |row: &Row<'_>| {
        let lines = [time(row, 2)?, time(row, 3)?, time(row, 4)?];
        let size_bytes = size(row, 5)?;
        let lines = Some(lines).filter(|_| size_bytes > 0);
        Ok(Stream { name: row.get(0)?, created_at: time(row, 1)?, lines, size_bytes })
    };
    let mut select = connection.prepare_cached(&sql)?;
    let found: rusqlite::Result<Vec<Stream>> =
        select.query_map((group, prefix, last_at, name, limit), stream)?.collect();
    found.map(Some)
}

fn encode(tags: &BTreeMap<String, String>) -> String {
    serde_json::to_string(tags).expect("texts by texts can be written as JSON")
}
