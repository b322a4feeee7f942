//! Rows that hold a record as a JSON document under an account and a name: users, groups, roles, managed policies.

use rusqlite::{Connection, OptionalExtension};
use serde::{Serialize, de::DeserializeOwned};
use updraft_types::{
    AccountId,
    iam::{GROUPS_MAX, Group, POLICIES_MAX, Policy, ROLES_MAX, Role, USERS_MAX, User},
};

use super::{Noun, Quota, Refusal, grants, unreadable};

/// Why a verb stops.
pub(super) enum Stop {
    Refused(Refusal),
    Failed(rusqlite::Error),
}

/// A record with a table of its own.
pub(super) trait Record: Serialize + DeserializeOwned {
    const TABLE: &'static str;
    const NOUN: Noun;
    /// Most of them in an account.
    const QUOTA: (Quota, usize);

    fn account(&self) -> &AccountId;
    fn name(&self) -> &str;
    /// Adds what is kept in other tables.
    fn complete(&mut self, _: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }
}

impl Record for User {
    const TABLE: &'static str = "user";
    const NOUN: Noun = Noun::User;
    const QUOTA: (Quota, usize) = (Quota::Users, USERS_MAX);

    fn account(&self) -> &AccountId {
        &self.account
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn complete(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.grants = grants::of(connection, &self.account, "user", &self.name)?;
        Ok(())
    }
}

impl Record for Group {
    const TABLE: &'static str = "iam_group";
    const NOUN: Noun = Noun::Group;
    const QUOTA: (Quota, usize) = (Quota::Groups, GROUPS_MAX);

    fn account(&self) -> &AccountId {
        &self.account
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn complete(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.grants = grants::of(connection, &self.account, "group", &self.name)?;
        Ok(())
    }
}

impl Record for Role {
    const TABLE: &'static str = "role";
    const NOUN: Noun = Noun::Role;
    const QUOTA: (Quota, usize) = (Quota::Roles, ROLES_MAX);

    fn account(&self) -> &AccountId {
        &self.account
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn complete(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.grants = grants::of(connection, &self.account, "role", &self.name)?;
        Ok(())
    }
}

impl Record for Policy {
    const TABLE: &'static str = "policy";
    const NOUN: Noun = Noun::Policy;
    const QUOTA: (Quota, usize) = (Quota::Policies, POLICIES_MAX);

    fn account(&self) -> &AccountId {
        &self.account
    }
    fn name(&self) -> &str {
        &self.name
    }
}

/// Every record of one kind, in order of account and name, without what [`Record::complete`] adds.
pub(super) fn every<R: Record>(connection: &Connection) -> rusqlite::Result<Vec<R>> {
    let sql = format!("SELECT account, name, document FROM {} ORDER BY account, name", R::TABLE);
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(())?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let (account, name): (String, String) = (row.get(0)?, row.get(1)?);
        let record = serde_json::from_str(row.get_ref(2)?.as_str()?);
        records.push(record.map_err(|error| unreadable(&format!("the {} {account}/{name}", R::TABLE), error))?);
    }
    Ok(records)
}

/// One record, whole.
pub(super) fn read<R: Record>(connection: &Connection, account: &AccountId, name: &str) -> Result<R, Stop> {
    let sql = format!("SELECT document FROM {} WHERE account = ?1 AND name = ?2", R::TABLE);
    let found: Option<String> =
        connection.prepare_cached(&sql)?.query_row((account.as_str(), name), |row| row.get(0)).optional()?;
    let document = found.ok_or(Refusal::NotFound(R::NOUN))?;
    let mut record: R = serde_json::from_str(&document)
        .map_err(|error| unreadable(&format!("the {} {account}/{name}", R::TABLE), error))?;
    record.complete(connection)?;
    Ok(record)
}

/// Adds a record, if its name is free and the account may have one more.
pub(super) fn insert<R: Record>(connection: &Connection, record: &R) -> Result<(), Stop> {
    let key = (record.account().as_str(), record.name());
    let sql = format!("SELECT 1 FROM {} WHERE account = ?1 AND name = ?2 COLLATE NOCASE", R::TABLE);
    if connection.prepare_cached(&sql)?.exists(key)? {
        return Err(Refusal::Exists.into());
    }
    let sql = format!("SELECT count(*) FROM {} WHERE account = ?1", R::TABLE);
    let count: u32 = connection.prepare_cached(&sql)?.query_row([key.0], |row| row.get(0))?;
    let (quota, max) = R::QUOTA;
    if count as usize >= max {
        return Err(Refusal::Quota(quota).into());
    }
    let sql = format!("INSERT INTO {} (account, name, document) VALUES (?1, ?2, ?3)", R::TABLE);
    connection.prepare_cached(&sql)?.execute((key.0, key.1, encode(record)?))?;
    Ok(())
}

/// Puts a record in the place of the one called `before`. The caller has made sure that its own name is free.
pub(super) fn replace<R: Record>(connection: &Connection, before: &str, record: &R) -> Result<(), Stop> {
    let sql = format!("UPDATE {} SET name = ?3, document = ?4 WHERE account = ?1 AND name = ?2", R::TABLE);
    let values = (record.account().as_str(), before, record.name(), encode(record)?);
    match connection.prepare_cached(&sql)?.execute(values)? {
        0 => Err(Refusal::NotFound(R::NOUN).into()),
        _ => Ok(()),
    }
}

/// Removes a record.
pub(super) fn remove<R: Record>(connection: &Connection, account: &AccountId, name: &str) -> Result<(), Stop> {
    let sql = format!("DELETE FROM {} WHERE account = ?1 AND name = ?2", R::TABLE);
    match connection.prepare_cached(&sql)?.execute((account.as_str(), name))? {
        0 => Err(Refusal::NotFound(R::NOUN).into()),
        _ => Ok(()),
    }
}

pub(super) fn encode(record: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(record).map_err(|error| unreadable("a record", error))
}
