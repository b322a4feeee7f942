//! Remembers functions: one JSON document each, replaced by compare-and-swap on its revision.
//!
//! Does not look inside a document, save for the id and the revision. Each change is on disk when its verb returns.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use updraft_types::{Function, FunctionId, RevisionId};

use crate::{
    database::Database,
    events::{self, Dropped},
    failure::{Failure, passes_outward},
    versions,
};

/// The functions of every account.
#[derive(Clone)]
pub struct Functions {
    database: Arc<Database>,
}

/// Why functions could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("functions could not be read: {0}")]
    Internal(String),
}

/// Why a function was not created. It is not there in part either.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The account has a function of that name.
    #[error("the function exists already")]
    Exists,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the function could not be stored: {0}")]
    Internal(String),
}

/// Why a function was not replaced. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is no such function.
    #[error("there is no such function")]
    NotFound,
    /// The function has another revision than the one expected.
    #[error("the function has another revision")]
    Stale,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the function could not be stored: {0}")]
    Internal(String),
}

/// Why a function was not deleted. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// There is no such function.
    #[error("there is no such function")]
    NotFound,
    /// There is no room on the disk (deleting, too, first writes to the write-ahead log).
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the function could not be deleted: {0}")]
    Internal(String),
}

passes_outward!(Error, CreateError, ReplaceError, DeleteError);

impl Functions {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Every function, in order of account and name.
    pub async fn all(&self) -> Result<Vec<Function>, Error> {
        let decoded = self.database.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT account, name, document FROM function ORDER BY account, name")?;
            let mut rows = statement.query(())?;
            let mut functions = Vec::new();
            while let Some(row) = rows.next()? {
                match serde_json::from_str(row.get_ref(2)?.as_str()?) {
                    Ok(function) => functions.push(function),
                    Err(error) => {
                        let (account, name): (String, String) = (row.get(0)?, row.get(1)?);
                        return Ok(Err(Error::Internal(format!("the document of {account}/{name}: {error}"))));
                    }
                }
            }
            Ok(Ok(functions))
        });
        decoded.await?
    }

    /// Adds a function.
    pub async fn create(&self, function: Function) -> Result<(), CreateError> {
        let document = encode(&function)?;
        let added = self.database.write(move |connection| insert(connection, &function, &document));
        match added.await? {
            0 => Err(CreateError::Exists),
            _ => Ok(()),
        }
    }

    /// Adds a function together with its first version, which is `version` with the next free number; answers that.
    pub async fn create_published(&self, function: Function, version: Function) -> Result<Function, CreateError> {
        let document = encode(&function)?;
        let published = self.database.write(move |connection| match insert(connection, &function, &document)? {
            0 => Ok(None),
            _ => versions::publish(connection, version).map(Some),
        });
        published.await?.ok_or(CreateError::Exists)
    }

    /// Puts `function` in the place of the one with its id, if that has the revision `expected`.
    ///
    /// A change that keeps the revision (tags have no part in it) is told from no other that does: whoever makes
    /// such changes takes care that they come one after the other.
    pub async fn replace(&self, function: Function, expected: RevisionId) -> Result<(), ReplaceError> {
        let document = encode(&function)?;
        let outcome =
            self.database.write(move |connection| update(connection, &function, &document, &expected)).await?;
        outcome.into_result(())
    }

    /// The same, and publishes `version` under the next free number; answers that.
    pub async fn replace_published(
        &self,
        function: Function,
        expected: RevisionId,
        version: Function,
    ) -> Result<Function, ReplaceError> {
        let document = encode(&function)?;
        let outcome = self.database.write(move |connection| {
            let outcome = update(connection, &function, &document, &expected)?;
            let published = match outcome {
                Outcome::Replaced => Some(versions::publish(connection, version)?),
                Outcome::Stale | Outcome::NotFound => None,
            };
            Ok((outcome, published))
        });
        match outcome.await? {
            (_, Some(published)) => Ok(published),
            (Outcome::Stale, None) => Err(ReplaceError::Stale),
            (_, None) => Err(ReplaceError::NotFound),
        }
    }

    /// Removes a function with its versions, aliases and events; answers what was pending of the last. Its code and its
    /// logs are removed by their own verbs.
    pub async fn delete(&self, id: FunctionId) -> Result<Dropped, DeleteError> {
        let removed = self.database.write(move |connection| {
            let key = (id.account.as_str(), id.name.as_str());
            for sql in [
                "DELETE FROM version WHERE account = ?1 AND name = ?2",
                "DELETE FROM alias WHERE account = ?1 AND name = ?2",
            ] {
                connection.prepare_cached(sql)?.execute(key)?;
            }
            let dropped = events::forget(connection, key.0, key.1)?;
            let sql = "DELETE FROM function WHERE account = ?1 AND name = ?2";
            Ok((connection.prepare_cached(sql)?.execute(key)? > 0).then_some(dropped))
        });
        removed.await?.ok_or(DeleteError::NotFound)
    }
}

/// What came of a compare-and-swap.
pub(crate) enum Outcome {
    Replaced,
    Stale,
    NotFound,
}

impl Outcome {
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, ReplaceError> {
        match self {
            Outcome::Replaced => Ok(value),
            Outcome::Stale => Err(ReplaceError::Stale),
            Outcome::NotFound => Err(ReplaceError::NotFound),
        }
    }
}

/// Adds a function's row; 0 if there is one.
fn insert(connection: &Connection, function: &Function, document: &str) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO function (account, name, revision, document) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    let Function { id, revision, .. } = function;
    let values = (id.account.as_str(), id.name.as_str(), revision.as_str(), document);
    connection.prepare_cached(sql)?.execute(values)
}

fn update(
    connection: &Connection,
    function: &Function,
    document: &str,
    expected: &RevisionId,
) -> rusqlite::Result<Outcome> {
    let Function { id, revision, .. } = function;
    let key = (id.account.as_str(), id.name.as_str());
    let sql = "UPDATE function SET revision = ?3, document = ?4
               WHERE account = ?1 AND name = ?2 AND revision = ?5";
    let values = (key.0, key.1, revision.as_str(), document, expected.as_str());
    if connection.prepare_cached(sql)?.execute(values)? > 0 {
        return Ok(Outcome::Replaced);
    }
    let mut exists = connection.prepare_cached("SELECT 1 FROM function WHERE account = ?1 AND name = ?2")?;
    let found = exists.query_row(key, |_| Ok(())).optional()?;
    Ok(if found.is_some() { Outcome::Stale } else { Outcome::NotFound })
}

pub(crate) fn encode<T: serde::Serialize>(document: &T) -> Result<String, Failure> {
    serde_json::to_string(document).map_err(|error| Failure::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::{Config, Store};

    use super::*;

    const DOCUMENT: &str = r#"{"id":{"account":"000000000000","name":"NAME"},"revision":"1","modified_at":0,
        "configuration":{"runtime":"wasm","handler":"a.wasm","role":"r","description":"","timeout_s":3,"memory_mb":128,
        "ephemeral_storage_mb":512,"environment":{},"architecture":"x86_64","tracing":"PassThrough","log_group":null},
        "code":{"sha256":"x","size_bytes":1},"state":"Active","last_update":"Successful","tags":{},"url":null}"#;

    fn function(name: &str) -> Function {
        serde_json::from_str(&DOCUMENT.replace("NAME", name)).unwrap()
    }

    async fn open(directory: &std::path::Path) -> Store {
        Store::open(Config { directory: directory.to_owned() }).await.unwrap()
    }

    #[tokio::test]
    async fn a_database_with_no_room_is_full_and_keeps_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        let limit = |pages: u32| {
            store.inner.platform.write(move |connection| {
                connection.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, u32>(0))
            })
        };
        // Room for a dozen pages more than the empty tables take.
        let taken = store
            .inner
            .platform
            .read(|connection| connection.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0)));
        limit(taken.await.unwrap() + 12).await.unwrap();
        let create = |number: u32| store.functions().create(function(&format!("f{number}")));
        // One by one, so that each is a commit of its own: one that finds no room takes its whole commit along.
        let mut stored = 0;
        while let Ok(()) = create(stored).await {
            stored += 1;
            assert!(stored < 200, "the limit limits nothing");
        }
        assert!(stored > 0, "there was no room for one");
        let outcomes = futures_util::future::join_all((200..400).map(create)).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(CreateError::Full))), "{outcomes:?}");
        let stored = stored as usize;
        assert_eq!(store.functions().all().await.unwrap().len(), stored);
        limit(1_000).await.unwrap();
        store.functions().create(function("later")).await.unwrap();
        store.close().await;
        assert_eq!(open(directory.path()).await.functions().all().await.unwrap().len(), stored + 1);
    }

    #[tokio::test]
    async fn a_document_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        store.functions().create(function("broken")).await.unwrap();
        let spoil = |connection: &rusqlite::Connection| connection.execute("UPDATE function SET document = '{}'", ());
        store.inner.platform.write(spoil).await.unwrap();
        let error = store.functions().all().await.unwrap_err();
        assert!(error.to_string().contains("000000000000/broken"), "{error}");
    }
}
