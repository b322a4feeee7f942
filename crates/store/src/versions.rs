//! Remembers published versions: one JSON document each. They are published by the verbs of
//! [`Functions`](crate::Functions), in one transaction with the change of the function they are published from.
//!
//! Invariant: a number is given to one version of a function's name, ever; the function may have been deleted since.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use updraft_types::{Function, RevisionId, Version, VersionId};

use crate::{
    database::Database,
    functions::{DeleteError, Error, Outcome, ReplaceError, encode},
};

/// The published versions of every function.
#[derive(Clone)]
pub struct Versions {
    database: Arc<Database>,
}

impl Versions {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Every version, in order of account, name and number.
    pub async fn all(&self) -> Result<Vec<Function>, Error> {
        let decoded = self.database.read(|connection| {
            let sql = "SELECT account, name, number, document FROM version ORDER BY account, name, number";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(())?;
            let mut versions = Vec::new();
            while let Some(row) = rows.next()? {
                match serde_json::from_str(row.get_ref(3)?.as_str()?) {
                    Ok(version) => versions.push(version),
                    Err(error) => {
                        let (account, name, number): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                        let text = format!("the document of {account}/{name}:{number}: {error}");
                        return Ok(Err(Error::Internal(text)));
                    }
                }
            }
            Ok(Ok(versions))
        });
        decoded.await?
    }

    /// Puts `version` in the place of the one with its number, if that has the revision `expected`.
    pub async fn replace(&self, version: Function, expected: RevisionId) -> Result<(), ReplaceError> {
        let document = encode(&version)?;
        let outcome = self.database.write(move |connection| {
            let key = (version.id.account.as_str(), version.id.name.as_str(), number_of(version.version));
            let sql = "UPDATE version SET revision = ?4, document = ?5
                       WHERE account = ?1 AND name = ?2 AND number = ?3 AND revision = ?6";
            let values = (key.0, key.1, key.2, version.revision.as_str(), &document, expected.as_str());
            if connection.prepare_cached(sql)?.execute(values)? > 0 {
                return Ok(Outcome::Replaced);
            }
            let sql = "SELECT 1 FROM version WHERE account = ?1 AND name = ?2 AND number = ?3";
            let found = connection.prepare_cached(sql)?.query_row(key, |_| Ok(())).optional()?;
            Ok(if found.is_some() { Outcome::Stale } else { Outcome::NotFound })
        });
        outcome.await?.into_result(())
    }

    /// Removes a version. Its number stays taken.
    pub async fn delete(&self, id: VersionId) -> Result<(), DeleteError> {
        let removed = self.database.write(move |connection| {
            let sql = "DELETE FROM version WHERE account = ?1 AND name = ?2 AND number = ?3";
            let key = (id.function.account.as_str(), id.function.name.as_str(), number_of(id.version));
            connection.prepare_cached(sql)?.execute(key)
        });
        match removed.await? {
            0 => Err(DeleteError::NotFound),
            _ => Ok(()),
        }
    }
}

/// Takes the next free number for `version` and adds its row; answers the version as it is stored.
pub(crate) fn publish(connection: &Connection, mut version: Function) -> rusqlite::Result<Function> {
    let (account, name) = (version.id.account.as_str(), version.id.name.as_str());
    let sql = "INSERT INTO version_number (account, name, last) VALUES (?1, ?2, 1)
               ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last";
    let number: i64 = connection.prepare_cached(sql)?.query_row((account, name), |row| row.get(0))?;
    version.version = Version::Number(number.unsigned_abs());
    let document =
        serde_json::to_string(&version).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = "INSERT INTO version (account, name, number, revision, document) VALUES (?1, ?2, ?3, ?4, ?5)";
    let key = (version.id.account.as_str(), version.id.name.as_str());
    connection.prepare_cached(sql)?.execute((key.0, key.1, number, version.revision.as_str(), document))?;
    Ok(version)
}

/// A version's number as SQLite keeps it; `$LATEST` has none here.
fn number_of(version: Version) -> i64 {
    match version {
        Version::Latest => 0,
        Version::Number(number) => i64::try_from(number).unwrap_or(i64::MAX),
    }
}
