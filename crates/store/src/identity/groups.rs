//! Groups of users.

use rusqlite::Connection;
use updraft_types::{
    AccountId,
    iam::{GROUPS_PER_USER_MAX, Group, User},
};

use super::{
    ChangeError, Identity, Noun, Quota, Refusal, grants,
    record::{self, Stop},
};

impl Identity {
    /// Adds a group without members and grants.
    pub async fn create_group(&self, group: Group) -> Result<(), ChangeError> {
        self.change(move |connection| record::insert(connection, &group)).await
    }

    /// Gives a group another name, its grants with it, and another path if one is given, and answers it. The new name may be
    /// the old one.
    pub async fn rename_group(
        &self,
        account: AccountId,
        name: String,
        new: String,
        path: Option<String>,
    ) -> Result<Group, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut group: Group = record::read(connection, &account, &name)?;
            let taken = "SELECT 1 FROM iam_group WHERE account = ?1 AND name = ?2 COLLATE NOCASE AND name <> ?3";
            if connection.prepare_cached(taken)?.exists((account.as_str(), &new, &name))? {
                return Err(Refusal::Exists.into());
            }
            group.name.clone_from(&new);
            group.path = path.unwrap_or(group.path);
            record::replace(connection, &name, &group)?;
            for table in ["inline_policy", "attachment"] {
                let sql =
                    format!("UPDATE {table} SET holder = ?3 WHERE account = ?1 AND kind = 'group' AND holder = ?2");
                connection.execute(&sql, (account.as_str(), &name, &new))?;
            }
            Ok(group)
        };
        self.change(verb).await
    }

    /// Removes a group that has no members and no policies left.
    pub async fn delete_group(&self, account: AccountId, name: String) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| -> Result<(), Stop> {
            let group: Group = record::read(connection, &account, &name)?;
            if !group.members.is_empty() {
                return Err(Refusal::InUse(Noun::Membership).into());
            }
            grants::must_be_none(connection, &account, "group", &name)?;
            record::remove::<Group>(connection, &account, &name)
        };
        self.change(verb).await
    }

    /// Puts a user into a group, where it may be already, and answers the group.
    pub async fn join_group(&self, account: AccountId, name: String, user: String) -> Result<Group, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut group: Group = record::read(connection, &account, &name)?;
            let user: User = record::read(connection, &account, &user)?;
            if group.members.insert(user.id.clone()) {
                if groups_of(connection, &account, &user.id)? >= GROUPS_PER_USER_MAX {
                    return Err(Refusal::Quota(Quota::GroupsOfUser).into());
                }
                record::replace(connection, &name, &group)?;
            }
            Ok(group)
        };
        self.change(verb).await
    }

    /// Takes a user out of a group, and answers the group.
    pub async fn leave_group(&self, account: AccountId, name: String, user: String) -> Result<Group, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut group: Group = record::read(connection, &account, &name)?;
            let user: User = record::read(connection, &account, &user)?;
            if !group.members.remove(&user.id) {
                return Err(Refusal::NotFound(Noun::Membership).into());
            }
            record::replace(connection, &name, &group)?;
            Ok(group)
        };
        self.change(verb).await
    }
}

/// In how many groups a user is.
pub(super) fn groups_of(connection: &Connection, account: &AccountId, user_id: &str) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM iam_group, json_each(iam_group.document, '$.members') AS member
               WHERE iam_group.account = ?1 AND member.value = ?2";
    let count: u32 = connection.prepare_cached(sql)?.query_row((account.as_str(), user_id), |row| row.get(0))?;
    Ok(count as usize)
}
