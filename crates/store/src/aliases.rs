//! Remembers aliases: one JSON document each, replaced by compare-and-swap on its revision. They go with their function.
//!
//! Does not look inside a document, save for the names and the revision; whether the version an alias points at is there
//! is for its caller to see to.

use std::sync::Arc;

use rusqlite::OptionalExtension;
use updraft_types::{Alias, AliasName, FunctionId, RevisionId};

use crate::{
    database::Database,
    failure::passes_outward,
    functions::{DeleteError, Error, Outcome, ReplaceError, encode},
};

/// The aliases of every function.
#[derive(Clone)]
pub struct Aliases {
    database: Arc<Database>,
}

/// Why an alias was not created. It is not there in part either.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The function has an alias of that name.
    #[error("the alias exists already")]
    Exists,
    /// There is no such function.
    #[error("there is no such function")]
    NoFunction,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the alias could not be stored: {0}")]
    Internal(String),
}

passes_outward!(CreateError);

impl Aliases {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Every alias, in order of account, function and name.
    pub async fn all(&self) -> Result<Vec<Alias>, Error> {
        let decoded = self.database.read(|connection| {
            let sql = "SELECT account, name, alias, document FROM alias ORDER BY account, name, alias";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(())?;
            let mut aliases = Vec::new();
            while let Some(row) = rows.next()? {
                match serde_json::from_str(row.get_ref(3)?.as_str()?) {
                    Ok(alias) => aliases.push(alias),
                    Err(error) => {
                        let (account, name, alias): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                        let text = format!("the document of {account}/{name}:{alias}: {error}");
                        return Ok(Err(Error::Internal(text)));
                    }
                }
            }
            Ok(Ok(aliases))
        });
        decoded.await?
    }

    /// Adds an alias of a function that is there.
    pub async fn create(&self, alias: Alias) -> Result<(), CreateError> {
        let document = encode(&alias)?;
        let added = self.database.write(move |connection| {
            let key = (alias.function.account.as_str(), alias.function.name.as_str());
            let mut exists = connection.prepare_cached("SELECT 1 FROM function WHERE account = ?1 AND name = ?2")?;
            if exists.query_row(key, |_| Ok(())).optional()?.is_none() {
                return Ok(Err(CreateError::NoFunction));
            }
            let sql = "INSERT INTO alias (account, name, alias, revision, document) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO NOTHING";
            let values = (key.0, key.1, alias.name.as_str(), alias.revision.as_str(), &document);
            let rows = connection.prepare_cached(sql)?.execute(values)?;
            Ok(if rows == 0 { Err(CreateError::Exists) } else { Ok(()) })
        });
        added.await?
    }

    /// Puts `alias` in the place of the one with its name, if that has the revision `expected`.
    pub async fn replace(&self, alias: Alias, expected: RevisionId) -> Result<(), ReplaceError> {
        let document = encode(&alias)?;
        let outcome = self.database.write(move |connection| {
            let key = (alias.function.account.as_str(), alias.function.name.as_str(), alias.name.as_str());
            let sql = "UPDATE alias SET revision = ?4, document = ?5
                       WHERE account = ?1 AND name = ?2 AND alias = ?3 AND revision = ?6";
            let values = (key.0, key.1, key.2, alias.revision.as_str(), &document, expected.as_str());
            if connection.prepare_cached(sql)?.execute(values)? > 0 {
                return Ok(Outcome::Replaced);
            }
            let sql = "SELECT 1 FROM alias WHERE account = ?1 AND name = ?2 AND alias = ?3";
            let found = connection.prepare_cached(sql)?.query_row(key, |_| Ok(())).optional()?;
            Ok(if found.is_some() { Outcome::Stale } else { Outcome::NotFound })
        });
        outcome.await?.into_result(())
    }

    /// Removes an alias.
    pub async fn delete(&self, function: FunctionId, name: AliasName) -> Result<(), DeleteError> {
        let removed = self.database.write(move |connection| {
            let sql = "DELETE FROM alias WHERE account = ?1 AND name = ?2 AND alias = ?3";
            let key = (function.account.as_str(), function.name.as_str(), name.as_str());
            connection.prepare_cached(sql)?.execute(key)
        });
        match removed.await? {
            0 => Err(DeleteError::NotFound),
            _ => Ok(()),
        }
    }
}
