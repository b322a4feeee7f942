//! Users.

use rusqlite::Connection;
use updraft_types::{AccountId, iam::User};

use super::{
    ChangeError, Identity, Noun, Quota, Refusal, grants, groups,
    record::{self, Stop},
};

impl Identity {
    /// Adds a user without grants or keys.
    pub async fn create_user(&self, user: User) -> Result<(), ChangeError> {
        self.change(move |connection| record::insert(connection, &user)).await
    }

    /// Changes a user's tags; `change` may refuse. Its name and id stay.
    pub async fn amend_user(
        &self,
        account: AccountId,
        name: String,
        change: impl FnOnce(&mut User) -> Result<(), Quota> + Send + 'static,
    ) -> Result<User, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut user: User = record::read(connection, &account, &name)?;
            change(&mut user).map_err(Refusal::Quota)?;
            user.name.clone_from(&name);
            record::replace(connection, &name, &user)?;
            Ok(user)
        };
        self.change(verb).await
    }

    /// Gives a user another name, its grants and keys with it, and another path if one is given, and answers it. The new
    /// name may be the old one.
    pub async fn rename_user(
        &self,
        account: AccountId,
        name: String,
        new: String,
        path: Option<String>,
    ) -> Result<User, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut user: User = record::read(connection, &account, &name)?;
            let taken = "SELECT 1 FROM user WHERE account = ?1 AND name = ?2 COLLATE NOCASE AND name <> ?3";
            if connection.prepare_cached(taken)?.exists((account.as_str(), &new, &name))? {
                return Err(Refusal::Exists.into());
            }
            user.name.clone_from(&new);
            user.path = path.unwrap_or(user.path);
            record::replace(connection, &name, &user)?;
            for table in ["inline_policy", "attachment"] {
                let sql =
                    format!("UPDATE {table} SET holder = ?3 WHERE account = ?1 AND kind = 'user' AND holder = ?2");
                connection.execute(&sql, (account.as_str(), &name, &new))?;
            }
            let sql = "UPDATE access_key SET user = ?3 WHERE account = ?1 AND user = ?2";
            connection.execute(sql, (account.as_str(), &name, &new))?;
            Ok(user)
        };
        self.change(verb).await
    }

    /// Removes a user that has no keys and no policies left.
    pub async fn delete_user(&self, account: AccountId, name: String) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| -> Result<(), Stop> {
            let user: User = record::read(connection, &account, &name)?;
            if groups::groups_of(connection, &account, &user.id)? > 0 {
                return Err(Refusal::InUse(Noun::Membership).into());
            }
            let sql = "SELECT 1 FROM access_key WHERE account = ?1 AND user = ?2";
            if connection.prepare_cached(sql)?.exists((account.as_str(), &name))? {
                return Err(Refusal::InUse(Noun::AccessKey).into());
            }
            grants::must_be_none(connection, &account, "user", &name)?;
            record::remove::<User>(connection, &account, &name)
        };
        self.change(verb).await
    }
}
