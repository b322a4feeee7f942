//! Remembers the parameters of SSM's Parameter Store: versions of texts by name, for each account.
//!
//! A SecureString is sealed before it reaches the database, and bound to its account, name and version. At most
//! [`VERSIONS_MAX`] versions of a parameter are kept; with a new one the oldest goes. A name without levels is the same
//! with a slash before it and without: both have one ARN, and to AWS they are not unique beside each other. Either finds
//! the parameter, which is called as it was first put.

use std::{borrow::Cow, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, types::Type};
use serde::{Deserialize, Serialize};
use updraft_types::{AccountId, Timestamp};

use crate::{Seal, database::Database, failure::passes_outward};

/// Most parameters of an account (AWS's own quota for standard ones).
pub const PARAMETERS_MAX: u32 = 10_000;
/// Most versions of a parameter that are kept.
pub const VERSIONS_MAX: u32 = 100;

/// The parameters of every account.
#[derive(Clone)]
pub struct Parameters {
    database: Arc<Database>,
    seal: Seal,
}

/// What a parameter's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Any text.
    String,
    /// Texts joined by commas.
    StringList,
    /// A secret.
    SecureString,
}

/// How large a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// 4 KB.
    Standard,
    /// 8 KB.
    Advanced,
}

/// A version of a parameter, its text aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What its text is.
    pub kind: Kind,
    /// Its tier.
    pub tier: Tier,
    /// What it is for.
    pub description: Option<String>,
    /// `text`, in general.
    pub data_type: String,
    /// When it was made,
    pub modified_at: Timestamp,
    /// and by whom: an ARN.
    pub modified_by: String,
}

/// A version of a parameter.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The parameter's name, as it was first put.
    pub name: String,
    /// The version's number, from 1.
    pub number: u64,
    /// What is said about it.
    pub version: Version,
    /// Its text. A SecureString's is sealed until [`Parameters::open`].
    pub value: Vec<u8>,
}

/// Why parameters could not be read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("parameters: {0}")]
    Internal(String),
}

/// Why a parameter was not put. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It exists, and was not to be overwritten.
    #[error("the parameter exists already")]
    Exists,
    /// It exists, and is of another kind.
    #[error("the parameter is of another kind")]
    OtherKind,
    /// It does not exist, and nothing says what kind it is of.
    #[error("the parameter needs a kind")]
    NoKind,
    /// Its text is larger than its tier takes.
    #[error("the text is too large for its tier")]
    TooLarge,
    /// The account has as many as it may.
    #[error("the account has too many parameters")]
    TooMany,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("parameters: {0}")]
    Internal(String),
}

passes_outward!(Error, PutError);

/// A version to be.
#[derive(Debug, Clone)]
pub struct Put {
    /// The parameter's name.
    pub name: String,
    /// Its text.
    pub value: String,
    /// What kind it is of; `None`: as before.
    pub kind: Option<Kind>,
    /// Its tier; `None`: the lowest that is high enough, and no lower than before.
    pub tier: Option<Tier>,
    /// What it is for; `None`: as before.
    pub description: Option<String>,
    /// `text`, in general.
    pub data_type: String,
    /// Whether it may exist.
    pub overwrites: bool,
    /// When,
    pub at: Timestamp,
    /// and by whom.
    pub by: String,
}

/// Says of a parameter whether it is wanted.
pub type Filter = Arc<dyn Fn(&str, &Version) -> bool + Send + Sync>;

impl Tier {
    /// Most bytes of a text.
    pub fn bytes_max(self) -> usize {
        match self {
            Tier::Standard => 4_096,
            Tier::Advanced => 8_192,
        }
    }
}

const COLUMNS: &str = "name, version, document, value";
/// Of each parameter the newest version.
const NEWEST: &str = "version = (SELECT max(version) FROM parameter AS other
                                 WHERE other.account = parameter.account AND other.name = parameter.name)";

impl Parameters {
    pub(crate) fn new(database: Arc<Database>, seal: Seal) -> Self {
        Self { database, seal }
    }

    /// Adds a version; answers its number and tier.
    pub async fn put(&self, account: AccountId, put: Put) -> Result<(u64, Tier), PutError> {
        let seal = self.seal.clone();
        self.database.write(move |connection| add(connection, &seal, &account, put)).await?
    }

    /// A version of a parameter, or its newest.
    pub async fn get(&self, account: AccountId, name: String, number: Option<u64>) -> Result<Option<Parameter>, Error> {
        Ok(self.database.read(move |connection| find(connection, &account, &name, number)).await?)
    }

    /// At most `limit` versions of a parameter, those after `after`.
    pub async fn history(
        &self,
        account: AccountId,
        name: String,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parameter>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM parameter WHERE account = ?1 AND name = ?2 AND version > ?3 ORDER BY version LIMIT ?4"
        );
        let found = self.database.read(move |connection| {
            let name = as_put(connection, &account, &name)?;
            let values = (account.as_str(), &name, after.cast_signed(), i64::try_from(limit).unwrap_or(i64::MAX));
            connection.prepare_cached(&sql)?.query_map(values, parameter)?.collect::<Result<Vec<_>, _>>()
        });
        Ok(found.await?)
    }

    /// At most `limit` parameters in the order of their names, each in its newest version: those whose names begin with
    /// `prefix`, come after `after`, and are wanted.
    pub async fn list(
        &self,
        account: AccountId,
        prefix: String,
        after: String,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Parameter>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM parameter WHERE account = ?1 AND name > ?2 AND name >= ?3
                 AND substr(name, 1, length(?3)) = ?3 AND {NEWEST} ORDER BY name"
        );
        let found = self.database.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query((account.as_str(), &after, &prefix))?;
            let mut found = Vec::new();
            while found.len() < limit {
                let Some(row) = rows.next()? else { break };
                let next = parameter(row)?;
                if filter(&next.name, &next.version) {
                    found.push(next);
                }
            }
            Ok(found)
        });
        Ok(found.await?)
    }

    /// Deletes a parameter with all its versions; answers whether it was there.
    pub async fn delete(&self, account: AccountId, name: String) -> Result<bool, Error> {
        let deleted = self.database.write(move |connection| {
            let name = as_put(connection, &account, &name)?;
            let sql = "DELETE FROM parameter WHERE account = ?1 AND name = ?2";
            connection.prepare_cached(sql)?.execute((account.as_str(), &name))
        });
        Ok(deleted.await? > 0)
    }

    /// The text of a parameter of `account`.
    pub fn open(&self, account: &AccountId, parameter: &Parameter) -> Result<String, Error> {
        let bytes = match parameter.version.kind {
            Kind::String | Kind::StringList => parameter.value.clone(),
            Kind::SecureString => {
                let identity = identity(account, &parameter.name, parameter.number);
                self.seal.open(&identity, &parameter.value).map_err(|error| Error::Internal(error.to_string()))?
            }
        };
        String::from_utf8(bytes).map_err(|error| Error::Internal(error.to_string()))
    }
}

/// A parameter's name as it was put, however a request spells it; if there is none, as it is spelt.
fn as_put<'a>(connection: &Connection, account: &AccountId, name: &'a str) -> rusqlite::Result<Cow<'a, str>> {
    let other = match name.strip_prefix('/') {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        None if !name.contains('/') => format!("/{name}"),
        _ => return Ok(name.into()),
    };
    // A store of earlier days may have both.
    let sql = "SELECT name FROM parameter WHERE account = ?1 AND name IN (?2, ?3) ORDER BY name <> ?2 LIMIT 1";
    let values = (account.as_str(), name, other);
    let found: Option<String> = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    Ok(found.map_or(name.into(), Cow::from))
}

/// What a secret is sealed for. Neither accounts nor names have a colon.
fn identity(account: &AccountId, name: &str, number: u64) -> String {
    format!("{account}:{name}:{number}")
}

fn parameter(row: &Row<'_>) -> rusqlite::Result<Parameter> {
    let version = serde_json::from_str(row.get_ref(2)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error)))?;
    let number = row.get::<_, i64>(1)?.cast_unsigned();
    Ok(Parameter { name: row.get(0)?, number, version, value: row.get(3)? })
}

fn find(
    connection: &Connection,
    account: &AccountId,
    name: &str,
    number: Option<u64>,
) -> rusqlite::Result<Option<Parameter>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM parameter WHERE account = ?1 AND name = ?2 AND version = coalesce(?3, version)
         ORDER BY version DESC LIMIT 1"
    );
    let number = number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let name = as_put(connection, account, name)?;
    connection.prepare_cached(&sql)?.query_row((account.as_str(), &name, number), parameter).optional()
}

fn add(
    connection: &Connection,
    seal: &Seal,
    account: &AccountId,
    put: Put,
) -> rusqlite::Result<Result<(u64, Tier), PutError>> {
    let before = find(connection, account, &put.name, None)?;
    let name = before.as_ref().map_or(put.name, |before| before.name.clone());
    let (number, kind) = match (&before, put.kind) {
        (Some(_), _) if !put.overwrites => return Ok(Err(PutError::Exists)),
        (Some(before), Some(kind)) if before.version.kind != kind => return Ok(Err(PutError::OtherKind)),
        (Some(before), _) => (before.number + 1, before.version.kind),
        (None, None) => return Ok(Err(PutError::NoKind)),
        (None, Some(kind)) => {
            let sql = "SELECT count(DISTINCT name) FROM parameter WHERE account = ?1";
            let count: u32 = connection.prepare_cached(sql)?.query_row([account.as_str()], |row| row.get(0))?;
            if count >= PARAMETERS_MAX {
                return Ok(Err(PutError::TooMany));
            }
            (1, kind)
        }
    };
    let was_advanced = before.as_ref().is_some_and(|before| before.version.tier == Tier::Advanced);
    let tier = match put.tier {
        Some(Tier::Standard) if !was_advanced => Tier::Standard,
        None if !was_advanced && put.value.len() <= Tier::Standard.bytes_max() => Tier::Standard,
        _ => Tier::Advanced,
    };
    if put.value.len() > tier.bytes_max() {
        return Ok(Err(PutError::TooLarge));
    }
    let value = match kind {
        Kind::String | Kind::StringList => put.value.into_bytes(),
        Kind::SecureString => seal.seal(&identity(account, &name, number), put.value.as_bytes()),
    };
    let description = put.description.or_else(|| before.and_then(|before| before.version.description));
    let version =
        Version { kind, tier, description, data_type: put.data_type, modified_at: put.at, modified_by: put.by };
    let document = serde_json::to_string(&version).expect("a version has string keys and no failing parts");
    let number_column = number.cast_signed();
    let sql = "INSERT INTO parameter (account, name, version, document, value) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute((account.as_str(), &name, number_column, document, value))?;
    let sql = "DELETE FROM parameter WHERE account = ?1 AND name = ?2 AND version <= ?3";
    let values = (account.as_str(), &name, number_column - i64::from(VERSIONS_MAX));
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(Ok((number, tier)))
}
