//! Access keys. Their secrets are sealed for the account and the key's id.

use rusqlite::{Connection, OptionalExtension};
use updraft_types::{
    AccountId,
    iam::{ACCESS_KEYS_MAX, AccessKey, KeyStatus, Secret, User},
};

use super::{
    ChangeError, Identity, Noun, Quota, Refusal,
    record::{self, Stop},
    unreadable,
};
use crate::seal::Seal;

impl Identity {
    /// Adds an access key to a user, or to the account's root user. [`Refusal::Exists`]: the id is taken.
    pub async fn create_key(&self, key: AccessKey, secret: Secret) -> Result<(), ChangeError> {
        let sealed = self.seal.seal(&sealed_for(&key.account, &key.id), secret.expose().as_bytes());
        let verb = move |connection: &Connection| {
            let account = key.account.as_str();
            if let Some(user) = &key.user {
                let _: User = record::read(connection, &key.account, user)?;
            }
            let sql = "SELECT count(*) FROM access_key WHERE account = ?1 AND user IS ?2";
            let count: u32 = connection.prepare_cached(sql)?.query_row((account, &key.user), |row| row.get(0))?;
            if count as usize >= ACCESS_KEYS_MAX {
                return Err(Refusal::Quota(Quota::AccessKeys).into());
            }
            let sql = "INSERT INTO access_key (id, account, user, document, secret) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO NOTHING";
            let values = (&key.id, account, &key.user, record::encode(&key)?, &sealed);
            match connection.prepare_cached(sql)?.execute(values)? {
                0 => Err(Refusal::Exists.into()),
                _ => Ok(()),
            }
        };
        self.change(verb).await
    }

    /// Enables or disables a user's (or, with `None`, the root user's) access key.
    pub async fn set_key_status(
        &self,
        account: AccountId,
        user: Option<String>,
        id: String,
        status: KeyStatus,
    ) -> Result<AccessKey, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut key = find(connection, &account, user, &id)?;
            key.status = status;
            let values = (&id, record::encode(&key)?);
            connection.prepare_cached("UPDATE access_key SET document = ?2 WHERE id = ?1")?.execute(values)?;
            Ok(key)
        };
        self.change(verb).await
    }

    /// Removes an access key.
    pub async fn delete_key(&self, account: AccountId, user: Option<String>, id: String) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| {
            find(connection, &account, user, &id)?;
            connection.prepare_cached("DELETE FROM access_key WHERE id = ?1")?.execute([&id])?;
            Ok(())
        };
        self.change(verb).await
    }
}

fn sealed_for(account: &AccountId, id: &str) -> String {
    format!("access-key:{account}:{id}")
}

fn find(connection: &Connection, account: &AccountId, user: Option<String>, id: &str) -> Result<AccessKey, Stop> {
    let sql = "SELECT document FROM access_key WHERE id = ?1 AND account = ?2 AND user IS ?3";
    let found: Option<String> =
        connection.prepare_cached(sql)?.query_row((id, account.as_str(), &user), |row| row.get(0)).optional()?;
    let mut key: AccessKey = decode(id, &found.ok_or(Refusal::NotFound(Noun::AccessKey))?)?;
    // The column is what counts: it follows a user that gets another name.
    key.user = user;
    Ok(key)
}

fn decode(id: &str, document: &str) -> rusqlite::Result<AccessKey> {
    serde_json::from_str(document).map_err(|error| unreadable(&format!("the access key {id}"), error))
}

/// Every access key with its secret.
pub(super) fn every(connection: &Connection, seal: &Seal) -> rusqlite::Result<Vec<(AccessKey, Secret)>> {
    let mut statement = connection.prepare("SELECT id, user, document, secret FROM access_key ORDER BY account, id")?;
    let mut rows = statement.query(())?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let mut key = decode(&id, row.get_ref(2)?.as_str()?)?;
        key.user = row.get(1)?;
        let broken = |error: &dyn std::fmt::Display| unreadable(&format!("the secret of the access key {id}"), error);
        let secret =
            seal.open(&sealed_for(&key.account, &id), row.get_ref(3)?.as_blob()?).map_err(|error| broken(&error))?;
        let secret = String::from_utf8(secret).map_err(|error| broken(&error))?;
        keys.push((key, secret.into()));
    }
    Ok(keys)
}
