//! Removes old log lines.
//!
//! Works on whole chunks, oldest first, in verbs small enough that appends pass between them. The size kept with each
//! function is the sum over its chunks, changed in the same savepoint as they are.

use rusqlite::{Connection, OptionalExtension};
use updraft_types::{FunctionId, Timestamp};

use super::chunk;

/// Most chunks one verb removes.
const VERB_CHUNKS_MAX: u32 = 512;
/// A verb ends after the chunk with which it has removed this much, bytes.
const VERB_BYTES_MAX: i64 = 16 << 20;
/// Most verbs in one sweep.
pub(super) const SWEEP_VERBS_MAX: u32 = 64;
/// Most pages (4096 bytes each) a sweep gives back to the file system.
const SWEEP_PAGES_MAX: u32 = 4_096;

/// What to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Chunks whose latest line is before this go.
    pub older_than: Timestamp,
    /// The oldest chunks of a function go until it has at most this many bytes.
    pub bytes_max_per_function: u64,
}

impl Retention {
    /// Keeps no chunk at all.
    pub(super) const NOTHING: Self = Self { older_than: Timestamp::from_ms(0), bytes_max_per_function: 0 };
}

/// How far a sweep came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Sweep {
    /// Everything that was due is removed.
    Finished,
    /// There is more to remove.
    Unfinished,
}

/// Functions that have chunks to remove, as `logs.db` numbers them; one more than a sweep can finish with, at most.
pub(super) fn overdue(connection: &Connection, retention: Retention) -> rusqlite::Result<Vec<i64>> {
    let sql = "SELECT id FROM function WHERE size_bytes > ?1 OR ?2 >
                   (SELECT last_at FROM chunk WHERE chunk.function = function.id ORDER BY last_at LIMIT 1)
               LIMIT ?3";
    let values = (bytes_max(retention), chunk::column(retention.older_than), SWEEP_VERBS_MAX + 1);
    connection.prepare_cached(sql)?.query_map(values, |row| row.get(0))?.collect()
}

/// A function's number in `logs.db`, if it has lines.
pub(super) fn find(connection: &Connection, function: &FunctionId) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT id FROM function WHERE account = ?1 AND name = ?2";
    let key = (function.account.as_str(), function.name.as_str());
    connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
}

/// Removes a function's oldest chunks, as far as `retention` does not keep them and one verb goes.
pub(super) fn trim(connection: &Connection, function: i64, retention: Retention) -> rusqlite::Result<Sweep> {
    let mut select = connection.prepare_cached("SELECT size_bytes FROM function WHERE id = ?1")?;
    let Some(before_bytes) = select.query_row([function], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(Sweep::Finished);
    };
    let (older_than, bytes_max) = (chunk::column(retention.older_than), bytes_max(retention));
    let mut left_bytes = before_bytes;
    let mut sweep = Sweep::Unfinished;

    let sql = "SELECT id, last_at, size_bytes FROM chunk WHERE function = ?1 ORDER BY last_at, id LIMIT ?2";
    let mut oldest = connection.prepare_cached(sql)?;
    let chunks: Vec<(i64, i64, i64)> = oldest
        .query_map((function, VERB_CHUNKS_MAX), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    if chunks.len() < VERB_CHUNKS_MAX as usize {
        sweep = Sweep::Finished;
    }
    let mut delete = connection.prepare_cached("DELETE FROM chunk WHERE id = ?1")?;
    for (id, last_at, size_bytes) in chunks {
        if last_at >= older_than && left_bytes <= bytes_max {
            sweep = Sweep::Finished;
            break;
        }
        if before_bytes - left_bytes >= VERB_BYTES_MAX {
            sweep = Sweep::Unfinished;
            break;
        }
        delete.execute([id])?;
        left_bytes -= size_bytes;
    }

    connection.prepare_cached("UPDATE function SET size_bytes = ?2 WHERE id = ?1")?.execute((function, left_bytes))?;
    let sql = "DELETE FROM function WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM chunk WHERE function = ?1)";
    connection.prepare_cached(sql)?.execute([function])?;
    Ok(sweep)
}

/// Gives free pages back to the file system once they are a quarter of the file; fewer will soon be used again.
pub(super) fn give_back_pages(connection: &Connection) -> rusqlite::Result<()> {
    let count = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if count("freelist_count")? * 4 <= count("page_count")? {
        return Ok(());
    }
    // Each step of the pragma gives one page back.
    let mut statement = connection.prepare_cached(&format!("PRAGMA incremental_vacuum({SWEEP_PAGES_MAX})"))?;
    let mut steps = statement.query(())?;
    while steps.next()?.is_some() {}
    Ok(())
}

fn bytes_max(retention: Retention) -> i64 {
    i64::try_from(retention.bytes_max_per_function).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {

    use crate::{Config, Store, logs::Entry};

    use super::*;

    fn entry(name: &str, at: u64, length: usize) -> Entry {
        let function = FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() };
        Entry {
            function,
            stream: "s".into(),
            lines: [(Timestamp::from_ms(at), vec![b'x'; length])].into_iter().collect(),
        }
    }

    #[tokio::test]
    async fn sizes_stay_the_sum_of_chunks_and_free_pages_are_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Config { directory: directory.path().to_owned() }).await.unwrap();
        for at in 0..40 {
            store.logs().append(vec![entry("a", at, 50_000), entry("b", at, 10)]).await.unwrap();
        }
        let pages = || store.logs().look_up(|c| c.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0)));
        let before = pages().await.unwrap();
        let retention = Retention { older_than: Timestamp::from_ms(30), bytes_max_per_function: 200_000 };
        assert_eq!(store.logs().retain(retention).await.unwrap(), Sweep::Finished);
        assert!(pages().await.unwrap() < before / 2);

        let sizes = "SELECT name, function.size_bytes, sum(chunk.size_bytes), count(*) FROM function
                     LEFT JOIN chunk ON chunk.function = function.id GROUP BY function.id ORDER BY name";
        let sizes = store.logs().look_up(move |connection| {
            let mut statement = connection.prepare(sizes)?;
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect::<Result<Vec<(String, i64, i64, i64)>, _>>()
        });
        let sizes = sizes.await.unwrap();
        assert!(sizes.iter().all(|(_, kept, sum, _)| kept == sum), "{sizes:?}");
        let counts: Vec<_> = sizes.iter().map(|(name, _, _, count)| (name.as_str(), *count)).collect();
        assert_eq!(counts, [("a", 3), ("b", 10)]);

        store.logs().delete(&entry("a", 0, 0).function).await.unwrap();
        let left =
            store.logs().look_up(|c| c.query_row("SELECT count(*) FROM function", (), |row| row.get::<_, i64>(0)));
        assert_eq!(left.await.unwrap(), 1);
        store.close().await;
    }
}
