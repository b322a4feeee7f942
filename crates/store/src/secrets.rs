//! Remembers Secrets Manager's secrets: versions of bytes, each with staging labels, for each account.
//!
//! Values are sealed before they reach the database, and bound to their account, secret and version. A label is on one
//! version of a secret at a time; when AWSCURRENT moves, the version it leaves gets AWSPREVIOUS. Each verb happens in
//! one transaction. A secret whose recovery window is over is not there any more; its bytes go with the next change of
//! any secret.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, types::Type};
use serde::{Deserialize, Serialize};
use updraft_types::{AccountId, Timestamp};

use crate::{Seal, database::Database, failure::passes_outward};

/// Most secrets of an account.
pub const SECRETS_MAX: u32 = 5_000;
/// Most versions of a secret that are kept: the oldest without a label go first.
pub const VERSIONS_MAX: usize = 100;
/// Most labels on all versions of a secret together (source: Secrets Manager's user guide, «Quotas»). Fewer than
/// versions, so that there is always one without a label to go.
pub const LABELS_MAX: usize = 20;
/// The label of the version that is answered unless asked otherwise.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was current before.
pub const PREVIOUS: &str = "AWSPREVIOUS";

/// The secrets of every account.
#[derive(Clone)]
pub struct Secrets {
    database: Arc<Database>,
    seal: Seal,
}

/// What is said about a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The six characters that end its ARN.
    pub suffix: String,
    /// What it is for.
    pub description: Option<String>,
    /// When it was made,
    pub created_at: Timestamp,
    /// and last changed.
    pub changed_at: Timestamp,
    /// When it was deleted and when it will be gone, if it was.
    pub deleted: Option<[Timestamp; 2]>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What is said about a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// When it was made.
    pub created_at: Timestamp,
    /// Its labels.
    pub stages: Vec<String>,
    /// Whether its value is bytes rather than a text.
    pub is_binary: bool,
}

/// A secret with its versions, their values aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The secret.
    pub secret: Secret,
    /// Its versions by their ids.
    pub versions: BTreeMap<String, Version>,
}

/// A version to be.
#[derive(Clone)]
pub struct Put {
    /// Its id: the client's token.
    pub id: String,
    /// Its value.
    pub value: Vec<u8>,
    /// Whether that is bytes rather than a text.
    pub is_binary: bool,
    /// Its labels.
    pub stages: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// Why secrets could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("secrets: {0}")]
    Internal(String),
}

/// Why a secret was not changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of that name.
    #[error("there is no such secret")]
    NotFound,
    /// It is marked for deletion.
    #[error("the secret is marked for deletion")]
    Deleted,
    /// There is one of that name, or a version of that id with another value.
    #[error("it exists already")]
    Exists,
    /// The account has as many as it may.
    #[error("the account has too many secrets")]
    TooMany,
    /// Its versions would have more labels than they may.
    #[error("the secret has too many labels")]
    TooManyLabels,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("secrets: {0}")]
    Internal(String),
}

passes_outward!(Error, ChangeError);

/// Whose secret.
#[derive(Debug, Clone)]
struct Key {
    account: AccountId,
    name: String,
}

impl Key {
    /// What a version's value is sealed for. No part but the last has a colon.
    fn identity(&self, id: &str) -> String {
        format!("{}:{}:{id}", self.account, self.name)
    }
}

impl Secrets {
    pub(crate) fn new(database: Arc<Database>, seal: Seal) -> Self {
        Self { database, seal }
    }

    /// A secret that is there at `now`.
    pub async fn find(&self, account: AccountId, name: String, now: Timestamp) -> Result<Option<Record>, Error> {
        let key = Key { account, name };
        Ok(self.database.read(move |connection| record(connection, &key, now)).await?)
    }

    /// The value of a version.
    pub async fn value(&self, account: AccountId, name: String, id: String) -> Result<Option<Vec<u8>>, Error> {
        let key = Key { account, name };
        let (asked, version) = (key.clone(), id.clone());
        let sealed = self.database.read(move |connection| sealed(connection, &asked, &version)).await?;
        let open = |sealed: Vec<u8>| self.seal.open(&key.identity(&id), &sealed);
        sealed.map(open).transpose().map_err(|error| Error::Internal(error.to_string()))
    }

    /// Every secret of an account that is there at `now`, in the order of their names.
    pub async fn list(&self, account: AccountId, now: Timestamp) -> Result<Vec<(String, Secret)>, Error> {
        let listed = self.database.read(move |connection| {
            let sql = "SELECT document, name FROM secret WHERE account = ?1 ORDER BY name";
            let each = |row: &Row<'_>| Ok((row.get(1)?, document(row)?));
            connection.prepare_cached(sql)?.query_map([account.as_str()], each)?.collect::<Result<Vec<_>, _>>()
        });
        Ok(listed.await?.into_iter().filter(|(_, secret)| is_there(secret, now)).collect())
    }

    /// Makes a secret, with a version if there is one to put. Making it twice alike is making it once: then the first
    /// is answered.
    pub async fn create(
        &self,
        account: AccountId,
        name: String,
        secret: Secret,
        put: Option<Put>,
    ) -> Result<Record, ChangeError> {
        let now = secret.created_at;
        let seal = self.seal.clone();
        let key = Key { account, name };
        let created = self.database.write(move |connection| {
            sweep(connection, now)?;
            if let Some(before) = record(connection, &key, now)? {
                if before.secret.deleted.is_some() {
                    return Ok(Err(ChangeError::Deleted));
                }
                let is_same = match &put {
                    Some(put) => is_same_value(connection, &seal, &key, put)?,
                    None => false,
                };
                return Ok(if is_same { Ok(before) } else { Err(ChangeError::Exists) });
            }
            let sql = "SELECT count(*) FROM secret WHERE account = ?1";
            let count: u32 = connection.prepare_cached(sql)?.query_row([key.account.as_str()], |row| row.get(0))?;
            if count >= SECRETS_MAX {
                return Ok(Err(ChangeError::TooMany));
            }
            let mut new = Record { secret, versions: BTreeMap::new() };
            if let Some(put) = put
                && let Err(error) = add(connection, &seal, &key, &mut new, put)?
            {
                return Ok(Err(error));
            }
            save(connection, &key, &new)?;
            Ok(Ok(new))
        });
        created.await?
    }

    /// Adds a version. Adding it twice alike is adding it once.
    pub async fn put(&self, account: AccountId, name: String, put: Put) -> Result<Record, ChangeError> {
        let seal = self.seal.clone();
        let now = put.at;
        self.change(account, name, now, move |connection, key, record| {
            if record.secret.deleted.is_some() {
                return Ok(Err(ChangeError::Deleted));
            }
            if record.versions.contains_key(&put.id) {
                let is_same = is_same_value(connection, &seal, key, &put)?;
                return Ok(if is_same { Ok(()) } else { Err(ChangeError::Exists) });
            }
            record.secret.changed_at = now;
            add(connection, &seal, key, record, put)
        })
        .await
    }

    /// Changes what is said about a secret.
    pub async fn update(
        &self,
        account: AccountId,
        name: String,
        now: Timestamp,
        update: impl FnOnce(&mut Secret) -> Result<(), ChangeError> + Send + 'static,
    ) -> Result<Record, ChangeError> {
        self.change(account, name, now, move |_, _, record| Ok(update(&mut record.secret))).await
    }

    /// Removes a secret at once, whether or not it is marked for deletion.
    pub async fn remove(&self, account: AccountId, name: String, now: Timestamp) -> Result<Record, ChangeError> {
        let key = Key { account, name };
        let removed = self.database.write(move |connection| {
            let found = record(connection, &key, now)?;
            for (table, column) in [("secret_version", "secret"), ("secret", "name")] {
                let sql = format!("DELETE FROM {table} WHERE account = ?1 AND {column} = ?2");
                connection.prepare_cached(&sql)?.execute((key.account.as_str(), &key.name))?;
            }
            Ok(found)
        });
        removed.await?.ok_or(ChangeError::NotFound)
    }

    async fn change(
        &self,
        account: AccountId,
        name: String,
        now: Timestamp,
        change: impl FnOnce(&Connection, &Key, &mut Record) -> rusqlite::Result<Result<(), ChangeError>> + Send + 'static,
    ) -> Result<Record, ChangeError> {
        let key = Key { account, name };
        let changed = self.database.write(move |connection| {
            sweep(connection, now)?;
            let Some(mut record) = record(connection, &key, now)? else { return Ok(Err(ChangeError::NotFound)) };
            let before = record.clone();
            if let Err(error) = change(connection, &key, &mut record)? {
                return Ok(Err(error));
            }
            if record != before {
                save(connection, &key, &record)?;
            }
            Ok(Ok(record))
        });
        changed.await?
    }
}

fn is_there(secret: &Secret, now: Timestamp) -> bool {
    secret.deleted.is_none_or(|[_, gone_at]| now < gone_at)
}

/// The JSON in a row's first column.
fn document<T: serde::de::DeserializeOwned>(row: &Row<'_>) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(0)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn record(connection: &Connection, key: &Key, now: Timestamp) -> rusqlite::Result<Option<Record>> {
    let values = (key.account.as_str(), &key.name);
    let mut select = connection.prepare_cached("SELECT document FROM secret WHERE account = ?1 AND name = ?2")?;
    let secret: Option<Secret> = select.query_row(values, document).optional()?;
    let Some(secret) = secret.filter(|secret| is_there(secret, now)) else { return Ok(None) };
    let sql = "SELECT document, id FROM secret_version WHERE account = ?1 AND secret = ?2";
    let mut select = connection.prepare_cached(sql)?;
    let versions = select.query_map(values, |row| Ok((row.get(1)?, document(row)?)))?.collect::<Result<_, _>>()?;
    Ok(Some(Record { secret, versions }))
}

fn sealed(connection: &Connection, key: &Key, id: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM secret_version WHERE account = ?1 AND secret = ?2 AND id = ?3";
    let values = (key.account.as_str(), &key.name, id);
    connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()
}

/// Whether there is a version of that id with that value.
fn is_same_value(connection: &Connection, seal: &Seal, key: &Key, put: &Put) -> rusqlite::Result<bool> {
    let sealed = sealed(connection, key, &put.id)?;
    Ok(sealed.is_some_and(|sealed| seal.open(&key.identity(&put.id), &sealed).is_ok_and(|value| value == put.value)))
}

/// Adds a version to a secret that has none of its id.
fn add(
    connection: &Connection,
    seal: &Seal,
    key: &Key,
    record: &mut Record,
    put: Put,
) -> rusqlite::Result<Result<(), ChangeError>> {
    let Put { id, value, is_binary, stages, at } = put;
    let labels_before = record.labels_count();
    record.versions.insert(id.clone(), Version { created_at: at, stages: Vec::new(), is_binary });
    for stage in stages {
        record.move_stage(&stage, &id);
    }
    // One that has more, from before there was a bound, may still move them.
    if record.labels_count() > LABELS_MAX.max(labels_before) {
        return Ok(Err(ChangeError::TooManyLabels));
    }
    let sql = "INSERT INTO secret_version (account, secret, id, document, value) VALUES (?1, ?2, ?3, '', ?4)";
    let sealed = seal.seal(&key.identity(&id), &value);
    connection.prepare_cached(sql)?.execute((key.account.as_str(), &key.name, &id, sealed))?;
    while record.versions.len() > VERSIONS_MAX {
        let unlabelled = record.versions.iter().filter(|(_, version)| version.stages.is_empty());
        let Some(oldest) = unlabelled.min_by_key(|(_, version)| version.created_at).map(|(id, _)| id.clone()) else {
            break;
        };
        record.versions.remove(&oldest);
    }
    Ok(Ok(()))
}

impl Record {
    /// Puts a label on a version, and takes it off the one that had it.
    fn move_stage(&mut self, stage: &str, to: &str) {
        let mut left = None;
        for (id, version) in &mut self.versions {
            let before = version.stages.len();
            version.stages.retain(|own| own != stage);
            if version.stages.len() < before {
                left = Some(id.clone());
            }
        }
        if let Some(version) = self.versions.get_mut(to) {
            version.stages.push(stage.to_owned());
        }
        if let Some(left) = left.filter(|left| stage == CURRENT && left != to) {
            self.move_stage(PREVIOUS, &left);
        }
    }

    /// How many labels its versions have together.
    fn labels_count(&self) -> usize {
        self.versions.values().map(|version| version.stages.len()).sum()
    }

    /// The version that has a label.
    pub fn staged(&self, stage: &str) -> Option<&String> {
        self.versions.iter().find(|(_, version)| version.stages.iter().any(|own| own == stage)).map(|(id, _)| id)
    }
}

fn save(connection: &Connection, key: &Key, record: &Record) -> rusqlite::Result<()> {
    let (account, name) = (key.account.as_str(), &key.name);
    let sql = "INSERT INTO secret (account, name, document) VALUES (?1, ?2, ?3)
               ON CONFLICT DO UPDATE SET document = excluded.document";
    connection.prepare_cached(sql)?.execute((account, name, encode(&record.secret)))?;
    let mut select = connection.prepare_cached("SELECT id FROM secret_version WHERE account = ?1 AND secret = ?2")?;
    let ids: Vec<String> = select.query_map((account, name), |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in ids {
        match record.versions.get(&id) {
            Some(version) => {
                let sql = "UPDATE secret_version SET document = ?4 WHERE account = ?1 AND secret = ?2 AND id = ?3";
                connection.prepare_cached(sql)?.execute((account, name, id, encode(version)))?;
            }
            None => {
                let sql = "DELETE FROM secret_version WHERE account = ?1 AND secret = ?2 AND id = ?3";
                connection.prepare_cached(sql)?.execute((account, name, id))?;
            }
        }
    }
    Ok(())
}

/// Removes what was deleted and whose time is over.
fn sweep(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let over = "SELECT account, name FROM secret WHERE document ->> '$.deleted[1]' <= ?1";
    let now = i64::try_from(now.as_ms()).unwrap_or(i64::MAX);
    let sql = format!("DELETE FROM secret_version WHERE (account, secret) IN ({over})");
    connection.prepare_cached(&sql)?.execute([now])?;
    let sql = format!("DELETE FROM secret WHERE (account, name) IN ({over})");
    connection.prepare_cached(&sql)?.execute([now])?;
    Ok(())
}

fn encode(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("documents have string keys and no failing parts")
}
