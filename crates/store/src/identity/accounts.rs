//! Accounts. The platform's own is known to the configuration and not kept here.

use rusqlite::Connection;
use updraft_types::{
    AccountId,
    iam::{ACCOUNTS_MAX, Account},
};

use super::{ChangeError, Identity, Noun, Quota, Refusal, record, unreadable};

/// Every table with rows of an account.
const TABLES: [&str; 7] = ["user", "iam_group", "role", "policy", "inline_policy", "attachment", "access_key"];

impl Identity {
    /// Adds an account.
    pub async fn create_account(&self, account: Account) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| {
            if connection.prepare_cached("SELECT 1 FROM account WHERE id = ?1")?.exists([account.id.as_str()])? {
                return Err(Refusal::Exists.into());
            }
            let count: u32 = connection.query_row("SELECT count(*) FROM account", (), |row| row.get(0))?;
            if count as usize >= ACCOUNTS_MAX {
                return Err(Refusal::Quota(Quota::Accounts).into());
            }
            let values = (account.id.as_str(), record::encode(&account)?);
            connection.prepare_cached("INSERT INTO account (id, document) VALUES (?1, ?2)")?.execute(values)?;
            Ok(())
        };
        self.change(verb).await
    }

    /// Removes an account with all of its identities and access keys. What else it has is removed by other verbs.
    pub async fn delete_account(&self, id: AccountId) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| {
            if connection.execute("DELETE FROM account WHERE id = ?1", [id.as_str()])? == 0 {
                return Err(Refusal::NotFound(Noun::Account).into());
            }
            for table in TABLES {
                connection.execute(&format!("DELETE FROM {table} WHERE account = ?1"), [id.as_str()])?;
            }
            Ok(())
        };
        self.change(verb).await
    }
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
