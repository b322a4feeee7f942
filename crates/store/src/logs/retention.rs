//! Removes old log lines.
//!
//! Works on whole chunks, oldest first, in verbs small enough that appends pass between them. The size kept with each
//! group and stream is the sum over its chunks, changed in the same savepoint as they are.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use updraft_types::Timestamp;

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
    /// What a group's own retention, in days, is counted back from.
    pub now: Timestamp,
    /// Chunks whose latest line is before this go, from groups without a retention of their own.
    pub older_than: Timestamp,
    /// The oldest chunks of a group go until it has at most this many bytes.
    pub bytes_max_per_function: u64,
}

impl Retention {
    /// Keeps no chunk at all.
    pub(super) const NOTHING: Self =
        Self { now: Timestamp::from_ms(0), older_than: Timestamp::from_ms(0), bytes_max_per_function: 0 };
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

/// Before what chunks go that belong to a group: `?2` is `now`, `?3` is `older_than`.
const CUTOFF: &str = "coalesce(?2 - retention_days * 86400000, ?3)";

/// Groups that have chunks to remove, as `logs.db` numbers them; one more than a sweep can finish with, at most.
pub(super) fn overdue(connection: &Connection, retention: Retention) -> rusqlite::Result<Vec<i64>> {
    let sql = format!(
        "SELECT id FROM log_group WHERE account = '' OR size_bytes > ?1 OR {CUTOFF} >
             (SELECT last_at FROM chunk WHERE chunk.log_group = log_group.id ORDER BY last_at LIMIT 1)
         LIMIT ?4"
    );
    let (now, older_than) = (chunk::column(retention.now), chunk::column(retention.older_than));
    let values = (bytes_max(retention), now, older_than, SWEEP_VERBS_MAX + 1);
    connection.prepare_cached(&sql)?.query_map(values, |row| row.get(0))?.collect()
}

/// Removes a group's oldest chunks, as far as `retention` does not keep them and one verb goes; with the last chunk,
/// a group that nobody made by hand, and of any group the streams that nobody made.
pub(super) fn trim(connection: &Connection, group: i64, retention: Retention) -> rusqlite::Result<Sweep> {
    let sql = format!("SELECT size_bytes, account = '', {CUTOFF} FROM log_group WHERE id = ?1");
    let values = (group, chunk::column(retention.now), chunk::column(retention.older_than));
    let mut select = connection.prepare_cached(&sql)?;
    let row =
        select.query_row(values, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?, row.get::<_, i64>(2)?)));
    let Some((before_bytes, is_deleted, older_than)) = row.optional()? else {
        return Ok(Sweep::Finished);
    };
    let bytes_max = bytes_max(retention);
    let mut left_bytes = before_bytes;
    let mut sweep = Sweep::Unfinished;

    let sql = "SELECT id, last_at, size_bytes, stream FROM chunk WHERE log_group = ?1 ORDER BY last_at, id LIMIT ?2";
    let mut oldest = connection.prepare_cached(sql)?;
    let chunks: Vec<(i64, i64, i64, String)> = oldest
        .query_map((group, VERB_CHUNKS_MAX), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    if chunks.len() < VERB_CHUNKS_MAX as usize {
        sweep = Sweep::Finished;
    }
    let mut delete = connection.prepare_cached("DELETE FROM chunk WHERE id = ?1")?;
    let mut streams: BTreeMap<String, i64> = BTreeMap::new();
    for (id, last_at, size_bytes, stream) in chunks {
        if !is_deleted && last_at >= older_than && left_bytes <= bytes_max {
            sweep = Sweep::Finished;
            break;
        }
        if before_bytes - left_bytes >= VERB_BYTES_MAX {
            sweep = Sweep::Unfinished;
            break;
        }
        delete.execute([id])?;
        left_bytes -= size_bytes;
        *streams.entry(stream).or_default() += size_bytes;
    }

    connection.prepare_cached("UPDATE log_group SET size_bytes = ?2 WHERE id = ?1")?.execute((group, left_bytes))?;
    streams.into_iter().try_for_each(|(stream, removed_bytes)| shrink(connection, group, &stream, removed_bytes))?;
    let sql = "SELECT 1 FROM log_group WHERE id = ?1 AND is_kept = 0
                   AND NOT EXISTS (SELECT 1 FROM chunk WHERE log_group = ?1)";
    if connection.prepare_cached(sql)?.exists([group])? {
        // The streams first: each refers to its group.
        connection.prepare_cached("DELETE FROM log_stream WHERE log_group = ?1")?.execute([group])?;
        connection.prepare_cached("DELETE FROM log_group WHERE id = ?1")?.execute([group])?;
    }
    Ok(sweep)
}

/// Tells a stream that chunks of it are gone; with the last of them it goes too, unless somebody made it.
fn shrink(connection: &Connection, group: i64, stream: &str, removed_bytes: i64) -> rusqlite::Result<()> {
    let sql = "SELECT first_at FROM chunk WHERE log_group = ?1 AND stream = ?2 ORDER BY last_at LIMIT 1";
    let first_at = connection.prepare_cached(sql)?.query_row((group, stream), |row| row.get::<_, i64>(0)).optional()?;
    if let Some(first_at) = first_at {
        let sql =
            "UPDATE log_stream SET size_bytes = size_bytes - ?3, first_at = ?4 WHERE log_group = ?1 AND name = ?2";
        connection.prepare_cached(sql)?.execute((group, stream, removed_bytes, first_at))?;
        return Ok(());
    }
    let sql = "DELETE FROM log_stream WHERE log_group = ?1 AND name = ?2 AND is_kept = 0";
    if connection.prepare_cached(sql)?.execute((group, stream))? == 0 {
        let sql = "UPDATE log_stream SET size_bytes = 0, first_at = 0, last_at = 0, ingested_at = 0
                   WHERE log_group = ?1 AND name = ?2";
        connection.prepare_cached(sql)?.execute((group, stream))?;
    }
    Ok(())
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

    use updraft_types::FunctionId;

    use crate::{Config, Store, logs::Entry};

    use super::*;

    fn entry(name: &str, at: u64, length: usize) -> Entry {
        let function = FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() };
        Entry {
            group: (&function).into(),
            stream: "s".into(),
            ingested_at: Timestamp::from_ms(at),
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
        let retention = Retention {
            now: Timestamp::from_ms(0),
            older_than: Timestamp::from_ms(30),
            bytes_max_per_function: 200_000,
        };
        assert_eq!(store.logs().retain(retention).await.unwrap(), Sweep::Finished);
        assert!(pages().await.unwrap() < before / 2);

        let sizes = "SELECT log_group.name, log_stream.size_bytes, sum(chunk.size_bytes), count(*) FROM log_group
                     JOIN log_stream ON log_stream.log_group = log_group.id AND log_stream.size_bytes = log_group.size_bytes
                     LEFT JOIN chunk ON chunk.log_group = log_group.id GROUP BY log_group.id ORDER BY log_group.name";
        let sizes = store.logs().look_up(move |connection| {
            let mut statement = connection.prepare(sizes)?;
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect::<Result<Vec<(String, i64, i64, i64)>, _>>()
        });
        let sizes = sizes.await.unwrap();
        assert!(sizes.iter().all(|(_, kept, sum, _)| kept == sum), "{sizes:?}");
        let counts: Vec<_> = sizes.iter().map(|(name, _, _, count)| (name.as_str(), *count)).collect();
        assert_eq!(counts, [("/aws/lambda/a", 3), ("/aws/lambda/b", 10)]);

        store.logs().delete(entry("a", 0, 0).group).await.unwrap();
        let left =
            store.logs().look_up(|c| c.query_row("SELECT count(*) FROM log_group", (), |row| row.get::<_, i64>(0)));
        assert_eq!(left.await.unwrap(), 1);
        store.close().await;
    }
}
