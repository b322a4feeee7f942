//! Remembers layer versions: one JSON document each, written once, and the policy of each.
//!
//! Does not look inside a document, save for what its verbs are asked about. Each change is on disk when its verb
//! returns. Invariant: the number of a version is never given twice, also after the version is deleted.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use updraft_types::{
    AccountId, LayerId, LayerName, LayerVersionId, RevisionId,
    function::Code,
    layer::{LayerStatement, LayerVersion},
};

use crate::{
    database::Database,
    failure::{Failure, passes_outward},
};

/// The layers of every account.
#[derive(Clone)]
pub struct Layers {
    database: Arc<Database>,
}

/// A version's policy: its statements in the order they were added, and the revision that the last change made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Without any, the version is its account's alone.
    pub statements: Vec<LayerStatement>,
    /// `None` until a first statement is added.
    pub revision: Option<RevisionId>,
}

/// Why layers could not be read or published, or one not deleted. Nothing half-made is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the layers' store failed: {0}")]
    Internal(String),
}

/// Why a policy was not changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// There is no such layer version.
    #[error("there is no such layer version")]
    NotFound,
    /// The policy has no statement of that name.
    #[error("there is no such statement")]
    NoStatement,
    /// The policy has a statement of that name.
    #[error("the statement exists already")]
    Exists,
    /// The policy has another revision than the one expected.
    #[error("the policy has another revision")]
    Stale,
    /// The policy would become longer than allowed.
    #[error("the policy would be too long")]
    TooLong,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the policy could not be stored: {0}")]
    Internal(String),
}

passes_outward!(Error, PolicyError);

/// A version and its policy, as they are stored.
type Row = (String, Option<String>);

/// A row's version as SQLite counts.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

impl Layers {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Adds a version to `draft`'s layer, which is made if it is the first, and gives it its number. The number in
    /// `draft` counts for nothing.
    pub async fn publish(&self, draft: LayerVersion) -> Result<LayerVersion, Error> {
        let published = self.database.write(move |connection| {
            let layer = &draft.id.layer;
            let sql = "INSERT INTO layer (account, name, last_version) VALUES (?1, ?2, 1)
                       ON CONFLICT DO UPDATE SET last_version = last_version + 1 RETURNING last_version";
            let key = (layer.account.as_str(), layer.name.as_str());
            let version: i64 = connection.prepare_cached(sql)?.query_row(key, |row| row.get(0))?;
            let mut published = draft;
            published.id.version = version.unsigned_abs();
            let document = match serde_json::to_string(&published) {
                Ok(document) => document,
                Err(error) => return Err(rusqlite::Error::ToSqlConversionFailure(error.into())),
            };
            let layer = &published.id.layer;
            let sql = "INSERT INTO layer_version (account, name, version, document) VALUES (?1, ?2, ?3, ?4)";
            let values = params![layer.account.as_str(), layer.name.as_str(), version, document];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(published)
        });
        Ok(published.await?)
    }

    /// A version and its policy.
    pub async fn get(&self, id: LayerVersionId) -> Result<Option<(LayerVersion, Policy)>, Error> {
        let found = self.database.read(move |connection| {
            let Some((document, revision)) = row(connection, &id)? else { return Ok(None) };
            Ok(Some((document, revision, statements(connection, &id)?)))
        });
        let Some((document, revision, statements)) = found.await? else { return Ok(None) };
        let statements = statements.iter().map(|text| decode(text)).collect::<Result<_, _>>()?;
        Ok(Some((decode(&document)?, Policy { statements, revision: revision_of(revision)? })))
    }

    /// At most `count` versions of a layer that `matches` takes, the newest first, below `before` where that is given.
    pub async fn versions(
        &self,
        layer: LayerId,
        before: Option<u64>,
        count: usize,
        matches: impl Fn(&LayerVersion) -> bool + Send + 'static,
    ) -> Result<Vec<LayerVersion>, Error> {
        let found = self.database.read(move |connection| {
            let sql = "SELECT document FROM layer_version WHERE account = ?1 AND name = ?2 AND version < ?3
                       ORDER BY version DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let before = before.map_or(i64::MAX, number);
            let mut rows = statement.query((layer.account.as_str(), layer.name.as_str(), before))?;
            let mut found = Vec::new();
            while found.len() < count
                && let Some(row) = rows.next()?
            {
                match decode::<LayerVersion>(row.get_ref(0)?.as_str()?) {
                    Ok(version) if matches(&version) => found.push(version),
                    Ok(_) => {}
                    Err(failure) => return Ok(Err(failure)),
                }
            }
            Ok(Ok(found))
        });
        Ok(found.await??)
    }

    /// At most `count` layers of an account with a version that `matches` takes, by name, past `after` where that is
    /// given; of each the newest such version.
    pub async fn layers(
        &self,
        account: AccountId,
        after: Option<LayerName>,
        count: usize,
        matches: impl Fn(&LayerVersion) -> bool + Send + 'static,
    ) -> Result<Vec<LayerVersion>, Error> {
        let found = self.database.read(move |connection| {
            let sql = "SELECT document FROM layer_version WHERE account = ?1 AND name > ?2
                       ORDER BY name, version DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let after = after.as_ref().map_or("", LayerName::as_str);
            let mut rows = statement.query((account.as_str(), after))?;
            let mut found: Vec<LayerVersion> = Vec::new();
            while found.len() < count
                && let Some(row) = rows.next()?
            {
                match decode::<LayerVersion>(row.get_ref(0)?.as_str()?) {
                    Ok(version) if found.last().is_some_and(|last| last.id.layer == version.id.layer) => {}
                    Ok(version) if matches(&version) => found.push(version),
                    Ok(_) => {}
                    Err(failure) => return Ok(Err(failure)),
                }
            }
            Ok(Ok(found))
        });
        Ok(found.await??)
    }

    /// The packages that an account's versions name; of any account's where none is given.
    pub async fn packages(&self, account: Option<AccountId>) -> Result<Vec<Code>, Error> {
        let documents = self.database.read(move |connection| {
            let sql = "SELECT document FROM layer_version WHERE account = coalesce(?1, account)";
            let mut statement = connection.prepare_cached(sql)?;
            let account = account.as_ref().map(AccountId::as_str);
            statement.query_map([account], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        });
        let documents = documents.await?;
        let codes = documents.iter().map(|text| decode::<LayerVersion>(text).map(|version| version.code));
        Ok(codes.collect::<Result<_, _>>()?)
    }

    /// The sum of the sizes of an account's versions, bytes of their zips.
    pub async fn bytes(&self, account: AccountId) -> Result<u64, Error> {
        let sum = self.database.read(move |connection| {
            let sql = "SELECT coalesce(sum(document ->> '$.code.size_bytes'), 0) FROM layer_version WHERE account = ?1";
            connection.prepare_cached(sql)?.query_row([account.as_str()], |row| row.get::<_, i64>(0))
        });
        Ok(sum.await?.unsigned_abs())
    }

    /// Removes a version and its policy; answers what it was, or `None` where it is not there. Its package is removed
    /// by its own verb.
    pub async fn delete(&self, id: LayerVersionId) -> Result<Option<LayerVersion>, Error> {
        let removed = self.database.write(move |connection| {
            let (account, name) = (id.layer.account.as_str(), id.layer.name.as_str());
            let key = params![account, name, number(id.version)];
            let sql = "DELETE FROM layer_statement WHERE account = ?1 AND name = ?2 AND version = ?3";
            connection.prepare_cached(sql)?.execute(key)?;
            let sql = "DELETE FROM layer_version WHERE account = ?1 AND name = ?2 AND version = ?3 RETURNING document";
            connection.prepare_cached(sql)?.query_row(key, |row| row.get::<_, String>(0)).optional()
        });
        Ok(removed.await?.map(|document| decode(&document)).transpose()?)
    }

    /// Adds a statement to a version's policy, whose documents together may take `bytes_max`. `expected`, if given, must
    /// be the policy's revision. Answers the new one.
    pub async fn add_statement(
        &self,
        id: LayerVersionId,
        statement: LayerStatement,
        expected: Option<String>,
        bytes_max: usize,
    ) -> Result<RevisionId, PolicyError> {
        let document = encode(&statement)?;
        let added = self.database.write(move |connection| {
            let Some((_, revision)) = row(connection, &id)? else { return Ok(Err(PolicyError::NotFound)) };
            if expected.is_some() && expected != revision {
                return Ok(Err(PolicyError::Stale));
            }
            let present = statements(connection, &id)?;
            if present.iter().map(String::len).sum::<usize>() + document.len() > bytes_max {
                return Ok(Err(PolicyError::TooLong));
            }
            let sql = "INSERT INTO layer_statement (account, name, version, sid, document) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO NOTHING";
            let (account, name) = (id.layer.account.as_str(), id.layer.name.as_str());
            let values = params![account, name, number(id.version), statement.sid, document];
            if connection.prepare_cached(sql)?.execute(values)? == 0 {
                return Ok(Err(PolicyError::Exists));
            }
            Ok(Ok(revise(connection, &id)?))
        });
        added.await?
    }

    /// Removes a statement. `expected`, if given, must be the policy's revision.
    pub async fn remove_statement(
        &self,
        id: LayerVersionId,
        sid: String,
        expected: Option<String>,
    ) -> Result<(), PolicyError> {
        let removed = self.database.write(move |connection| {
            let Some((_, revision)) = row(connection, &id)? else { return Ok(Err(PolicyError::NotFound)) };
            let (account, name) = (id.layer.account.as_str(), id.layer.name.as_str());
            let key = params![account, name, number(id.version), sid];
            let sql = "SELECT 1 FROM layer_statement WHERE account = ?1 AND name = ?2 AND version = ?3 AND sid = ?4";
            if connection.prepare_cached(sql)?.query_row(key, |_| Ok(())).optional()?.is_none() {
                return Ok(Err(PolicyError::NoStatement));
            }
            if expected.is_some() && expected != revision {
                return Ok(Err(PolicyError::Stale));
            }
            let sql = "DELETE FROM layer_statement WHERE account = ?1 AND name = ?2 AND version = ?3 AND sid = ?4";
            connection.prepare_cached(sql)?.execute(key)?;
            revise(connection, &id)?;
            Ok(Ok(()))
        });
        removed.await?
    }
}

/// A version's document and its policy's revision.
fn row(connection: &Connection, id: &LayerVersionId) -> rusqlite::Result<Option<Row>> {
    let sql = "SELECT document, policy_revision FROM layer_version WHERE account = ?1 AND name = ?2 AND version = ?3";
    let key = params![id.layer.account.as_str(), id.layer.name.as_str(), number(id.version)];
    connection.prepare_cached(sql)?.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// The documents of a policy's statements, in the order they were added.
fn statements(connection: &Connection, id: &LayerVersionId) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT document FROM layer_statement WHERE account = ?1 AND name = ?2 AND version = ?3 ORDER BY id";
    let key = params![id.layer.account.as_str(), id.layer.name.as_str(), number(id.version)];
    connection.prepare_cached(sql)?.query_map(key, |row| row.get(0))?.collect()
}

/// Gives a version's policy its next revision.
fn revise(connection: &Connection, id: &LayerVersionId) -> rusqlite::Result<RevisionId> {
    let revision = RevisionId::random();
    let sql = "UPDATE layer_version SET policy_revision = ?4 WHERE account = ?1 AND name = ?2 AND version = ?3";
    let (account, name) = (id.layer.account.as_str(), id.layer.name.as_str());
    let values = params![account, name, number(id.version), revision.as_str()];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(revision)
}

fn revision_of(text: Option<String>) -> Result<Option<RevisionId>, Failure> {
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error| Failure::Internal(format!("a policy's revision: {error}")))
}

fn encode<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Internal(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Internal(format!("a layer's document: {error}")))
}
