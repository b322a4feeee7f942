//! Inline policies, and attachments of managed ones, of users, groups and roles alike.
//!
//! Each verb answers all that the holder then has.

use std::collections::HashMap;

use rusqlite::Connection;
use updraft_types::{
    AccountId,
    iam::{ATTACHED_MAX, Grants, Group, Holder, Policy, Role, User, document_chars},
};

use super::{
    ChangeError, Identity, Noun, Quota, Refusal,
    record::{self, Stop},
};

impl Identity {
    /// Adds an inline policy, or replaces the one of that name.
    pub async fn put_inline(
        &self,
        account: AccountId,
        holder: Holder,
        name: String,
        document: String,
    ) -> Result<Grants, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut grants = held(connection, &account, &holder)?;
            grants.inline.insert(name.clone(), document.clone());
            let chars: usize = grants.inline.values().map(|document| document_chars(document)).sum();
            if chars > holder.inline_chars_max() {
                return Err(Refusal::Quota(Quota::InlineChars).into());
            }
            let sql = "INSERT INTO inline_policy (account, kind, holder, name, document) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT (account, kind, holder, name) DO UPDATE SET document = excluded.document";
            let values = (account.as_str(), holder.kind(), holder.name(), &name, &document);
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(grants)
        };
        self.change(verb).await
    }

    /// Removes an inline policy.
    pub async fn delete_inline(&self, account: AccountId, holder: Holder, name: String) -> Result<Grants, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut grants = held(connection, &account, &holder)?;
            grants.inline.remove(&name).ok_or(Refusal::NotFound(Noun::InlinePolicy))?;
            let sql = "DELETE FROM inline_policy WHERE account = ?1 AND kind = ?2 AND holder = ?3 AND name = ?4";
            connection.prepare_cached(sql)?.execute((account.as_str(), holder.kind(), holder.name(), &name))?;
            Ok(grants)
        };
        self.change(verb).await
    }

    /// Attaches a managed policy; one that is attached stays so. A policy of the account must exist, and those of other
    /// accounts do not; whether one of the provider's (`arn:aws:iam::aws:policy/…`) does is for the caller to know.
    pub async fn attach(&self, account: AccountId, holder: Holder, policy: String) -> Result<Grants, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut grants = held(connection, &account, &holder)?;
            if !policy.starts_with("arn:aws:iam::aws:policy/") {
                let name = policy.rsplit('/').next().unwrap_or_default();
                let found: Policy = record::read(connection, &account, name)?;
                if found.arn() != policy {
                    return Err(Refusal::NotFound(Noun::Policy).into());
                }
            }
            if !grants.attached.insert(policy.clone()) {
                return Ok(grants);
            }
            if grants.attached.len() > ATTACHED_MAX {
                return Err(Refusal::Quota(Quota::Attached).into());
            }
            let sql = "INSERT INTO attachment (account, kind, holder, policy) VALUES (?1, ?2, ?3, ?4)";
            connection.prepare_cached(sql)?.execute((account.as_str(), holder.kind(), holder.name(), &policy))?;
            Ok(grants)
        };
        self.change(verb).await
    }

    /// Detaches a managed policy.
    pub async fn detach(&self, account: AccountId, holder: Holder, policy: String) -> Result<Grants, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut grants = held(connection, &account, &holder)?;
            if !grants.attached.remove(&policy) {
                return Err(Refusal::NotFound(Noun::Attachment).into());
            }
            let sql = "DELETE FROM attachment WHERE account = ?1 AND kind = ?2 AND holder = ?3 AND policy = ?4";
            connection.prepare_cached(sql)?.execute((account.as_str(), holder.kind(), holder.name(), &policy))?;
            Ok(grants)
        };
        self.change(verb).await
    }
}

/// What a holder has, if there is such a holder.
fn held(connection: &Connection, account: &AccountId, holder: &Holder) -> Result<Grants, Stop> {
    match holder {
        Holder::User(name) => record::read::<User>(connection, account, name).map(|user| user.grants),
        Holder::Group(name) => record::read::<Group>(connection, account, name).map(|group| group.grants),
        Holder::Role(name) => record::read::<Role>(connection, account, name).map(|role| role.grants),
    }
}

/// The grants kept for a holder.
pub(super) fn of(connection: &Connection, account: &AccountId, kind: &str, name: &str) -> rusqlite::Result<Grants> {
    let key = (account.as_str(), kind, name);
    let sql = "SELECT name, document FROM inline_policy WHERE account = ?1 AND kind = ?2 AND holder = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let inline = statement.query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let sql = "SELECT policy FROM attachment WHERE account = ?1 AND kind = ?2 AND holder = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let attached = statement.query_map(key, |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Grants { inline, attached })
}

/// Refuses as long as a holder has policies: attached ones first, as IAM does.
pub(super) fn must_be_none(connection: &Connection, account: &AccountId, kind: &str, name: &str) -> Result<(), Stop> {
    let grants = of(connection, account, kind, name)?;
    if !grants.attached.is_empty() {
        return Err(Refusal::InUse(Noun::Attachment).into());
    }
    if !grants.inline.is_empty() {
        return Err(Refusal::InUse(Noun::InlinePolicy).into());
    }
    Ok(())
}

/// Adds to every user, group and role what is kept for it.
pub(super) fn fill(
    connection: &Connection,
    users: &mut [User],
    groups: &mut [Group],
    roles: &mut [Role],
) -> rusqlite::Result<()> {
    let mut all: HashMap<(String, String, String), Grants> = HashMap::new();
    let mut statement = connection.prepare("SELECT account, kind, holder, name, document FROM inline_policy")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let grants = all.entry((row.get(0)?, row.get(1)?, row.get(2)?)).or_default();
        grants.inline.insert(row.get(3)?, row.get(4)?);
    }
    let mut statement = connection.prepare("SELECT account, kind, holder, policy FROM attachment")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        all.entry((row.get(0)?, row.get(1)?, row.get(2)?)).or_default().attached.insert(row.get(3)?);
    }
    let mut take = |account: &AccountId, kind: &str, name: &str| {
        all.remove(&(account.to_string(), kind.to_owned(), name.to_owned())).unwrap_or_default()
    };
    for user in users {
        user.grants = take(&user.account, "user", &user.name);
    }
    for group in groups {
        group.grants = take(&group.account, "group", &group.name);
    }
    for role in roles {
        role.grants = take(&role.account, "role", &role.name);
    }
    Ok(())
}
