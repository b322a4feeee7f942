//! Remembers when functions are called, as far as the keep-alive policy has learned it: bytes that only the policy reads.
//!
//! Losing the last of it costs some cold starts and nothing else, so it is put here now and then, many at once. Rows of
//! versions that are no more are for the caller to remove.

use std::sync::Arc;

use updraft_types::{FunctionId, Timestamp, Version, VersionId};

use crate::{database::Database, functions::Error};

/// What is known of one version's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habit {
    /// Whose.
    pub version: VersionId,
    /// When its last call ended; `None` while one ran.
    pub idle_from: Option<Timestamp>,
    /// What the policy has learned.
    pub record: Vec<u8>,
}

/// The habits of every version.
#[derive(Clone)]
pub struct Habits {
    database: Arc<Database>,
}

impl Habits {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// At most so many, those with the latest calls first.
    pub async fn all(&self, limit: u32) -> Result<Vec<Habit>, Error> {
        let found = self.database.read(move |connection| {
            let sql = "SELECT account, name, version, idle_from, record FROM habit
                       ORDER BY idle_from IS NULL DESC, idle_from DESC LIMIT ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query((limit,))?;
            let mut habits = Vec::new();
            while let Some(row) = rows.next()? {
                let (account, name): (String, String) = (row.get(0)?, row.get(1)?);
                let (Ok(account), Ok(name)) = (account.parse(), name.parse()) else { continue };
                let version = match u64::try_from(row.get::<_, i64>(2)?) {
                    Ok(0) | Err(_) => Version::Latest,
                    Ok(number) => Version::Number(number),
                };
                let idle_from: Option<i64> = row.get(3)?;
                habits.push(Habit {
                    version: VersionId { function: FunctionId { account, name }, version },
                    idle_from: idle_from.map(|ms| Timestamp::from_ms(u64::try_from(ms).unwrap_or(0))),
                    record: row.get(4)?,
                });
            }
            Ok(habits)
        });
        Ok(found.await?)
    }

    /// Removes those of `gone`, then puts `habits` in the place of what there was of the same versions: all of it or
    /// nothing.
    pub async fn put(&self, gone: Vec<VersionId>, habits: Vec<Habit>) -> Result<(), Error> {
        let put = self.database.write(move |connection| {
            let mut remove =
                connection.prepare_cached("DELETE FROM habit WHERE account = ?1 AND name = ?2 AND version = ?3")?;
            for id in &gone {
                remove.execute((id.function.account.as_str(), id.function.name.as_str(), number_of(id.version)))?;
            }
            let sql = "INSERT INTO habit (account, name, version, idle_from, record) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO UPDATE SET idle_from = excluded.idle_from, record = excluded.record";
            let mut insert = connection.prepare_cached(sql)?;
            for Habit { version: id, idle_from, record } in &habits {
                let idle_from = idle_from.map(|at| i64::try_from(at.as_ms()).unwrap_or(i64::MAX));
                let (account, name) = (id.function.account.as_str(), id.function.name.as_str());
                insert.execute((account, name, number_of(id.version), idle_from, record))?;
            }
            Ok(())
        });
        Ok(put.await?)
    }
}

/// 0 for `$LATEST`.
fn number_of(version: Version) -> i64 {
    match version {
        Version::Latest => 0,
        Version::Number(number) => i64::try_from(number).unwrap_or(i64::MAX),
    }
}
