//! Accounts. The platform's own is known to the configuration and not kept here.
//!
//! An account that is deleted leaves nothing, and one that is made finds nothing: a number may be used again. Its log lines and
//! what is no row are removed by their own verbs.

use rusqlite::Connection;
use updraft_types::{
    AccountId,
    iam::{ACCOUNTS_MAX, Account},
};

use super::{
    ChangeError, Identity, Noun, Quota, Refusal,
    record::{self, Stop},
    unreadable,
};

/// Every table with rows of an account that go with it.
const TABLES: [&str; 19] = [
    "user",
    "iam_group",
    "role",
    "policy",
    "inline_policy",
    "attachment",
    "access_key",
    "version_number",
    "layer",
    "layer_version",
    "layer_statement",
    "parameter",
    "secret",
    "secret_version",
    "image",
    "image_tag",
    "image_layer",
    "habit",
    "dead_letter",
];

impl Identity {
    /// Adds an account. What is left of one that had its number goes, unless that are functions.
    pub async fn create_account(&self, account: Account) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| {
            if connection.prepare_cached("SELECT 1 FROM account WHERE id = ?1")?.exists([account.id.as_str()])? {
                return Err(Refusal::Exists.into());
            }
            let count: u32 = connection.query_row("SELECT count(*) FROM account", (), |row| row.get(0))?;
            if count as usize >= ACCOUNTS_MAX {
                return Err(Refusal::Quota(Quota::Accounts).into());
            }
            clear(connection, &account.id)?;
            let values = (account.id.as_str(), record::encode(&account)?);
            connection.prepare_cached("INSERT INTO account (id, document) VALUES (?1, ?2)")?.execute(values)?;
            Ok(())
        };
        self.change(verb).await
    }

    /// Removes an account that has no functions, with all that it has.
    pub async fn delete_account(&self, id: AccountId) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| {
            if !connection.prepare_cached("SELECT 1 FROM account WHERE id = ?1")?.exists([id.as_str()])? {
                return Err(Refusal::NotFound(Noun::Account).into());
            }
            clear(connection, &id)?;
            connection.execute("DELETE FROM account WHERE id = ?1", [id.as_str()])?;
            Ok(())
        };
        self.change(verb).await
    }
}

/// Removes all that there is of an account, if it has no functions.
fn clear(connection: &Connection, id: &AccountId) -> Result<(), Stop> {
    if connection.prepare_cached("SELECT 1 FROM function WHERE account = ?1")?.exists([id.as_str()])? {
        return Err(Refusal::InUse(Noun::Function).into());
    }
    for table in TABLES {
        connection.execute(&format!("DELETE FROM {table} WHERE account = ?1"), [id.as_str()])?;
    }
    Ok(())
}

/// Every account, in order of id.
pub(super) fn every(connection: &Connection) -> rusqlite::Result<Vec<Account>> {
    let mut statement = connection.prepare("SELECT id, document FROM account ORDER BY id")?;
    let mut rows = statement.query(())?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let account = serde_json::from_str(row.get_ref(1)?.as_str()?);
        accounts.push(account.map_err(|error| unreadable(&format!("the account {id}"), error))?);
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use crate::{Config, Store};

    use super::*;

    /// Those whose rows are there as long as a function is.
    const OF_FUNCTIONS: [&str; 4] = ["alias", "delivery", "function", "version"];

    #[tokio::test]
    async fn no_table_of_accounts_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Config { directory: directory.path().to_owned() }).await.unwrap();
        let found = store.inner.platform.read(|connection| {
            let sql = "SELECT of.name FROM sqlite_schema AS of, pragma_table_info(of.name) AS of_table
                       WHERE of.type = 'table' AND of_table.name = 'account'";
            connection.prepare(sql)?.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
        });
        let mut found = found.await.unwrap();
        found.sort();
        let mut known: Vec<&str> = TABLES.into_iter().chain(OF_FUNCTIONS).collect();
        known.sort_unstable();
        assert_eq!(found, known);
    }
}
