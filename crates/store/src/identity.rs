//! Remembers accounts, users, groups, roles, managed policies and access keys, and keeps their quotas.
//!
//! Each verb checks and changes in one transaction, and answers the record as it then is, so that who keeps a copy in
//! memory need not ask again. A verb that is refused has changed nothing. Access keys' secrets are sealed ([`crate::seal`])
//! before they reach the database. What a policy says is not looked at.

mod accounts;
mod grants;
mod groups;
mod keys;
mod policies;
mod record;
mod roles;
mod users;

use std::sync::Arc;

use rusqlite::Connection;
use updraft_types::iam::{AccessKey, Account, Group, Policy, Role, Secret, User};

use crate::{database::Database, failure::passes_outward, identity::record::Stop, seal::Seal};

/// The identities of every account.
#[derive(Clone)]
pub struct Identity {
    database: Arc<Database>,
    seal: Seal,
}

/// Everything there is, for who keeps it in memory.
#[derive(Debug, Default)]
pub struct Everything {
    /// Accounts that were made; the platform's own is not among them.
    pub accounts: Vec<Account>,
    /// Users with their grants.
    pub users: Vec<User>,
    /// Groups with their grants.
    pub groups: Vec<Group>,
    /// Roles with their grants.
    pub roles: Vec<Role>,
    /// Managed policies with their versions.
    pub policies: Vec<Policy>,
    /// Access keys with their secrets.
    pub keys: Vec<(AccessKey, Secret)>,
}

/// Why identities could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("identities could not be read: {0}")]
    Internal(String),
}

/// Why a change was not made. Everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What is there does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the change could not be stored: {0}")]
    Internal(String),
}

passes_outward!(Error, ChangeError);

/// What forbids a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no such {0:?}")]
    NotFound(Noun),
    /// There is one of that name.
    #[error("it exists already")]
    Exists,
    /// It has parts, or users, that have to go first.
    #[error("{0:?} must be removed first")]
    InUse(Noun),
    /// The default version of a policy stays as long as the policy does.
    #[error("it is the default version")]
    IsDefault,
    /// There are as many as there may be.
    #[error("the quota {0:?} would be exceeded")]
    Quota(Quota),
}

/// What there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// An account.
    Account,
    /// A function.
    Function,
    /// A user.
    User,
    /// A group.
    Group,
    /// A user's being in a group.
    Membership,
    /// A role.
    Role,
    /// A managed policy.
    Policy,
    /// A version of one.
    PolicyVersion,
    /// A policy inside a user or role.
    InlinePolicy,
    /// A managed policy's attachment to a user or role.
    Attachment,
    /// An access key.
    AccessKey,
}

/// What there may be only so much of; how much is said in [`updraft_types::iam`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Accounts of the platform.
    Accounts,
    /// Users of an account.
    Users,
    /// Groups of an account.
    Groups,
    /// Groups of a user.
    GroupsOfUser,
    /// Roles of an account.
    Roles,
    /// Managed policies of an account.
    Policies,
    /// Versions of a policy.
    PolicyVersions,
    /// Policies attached to a user or role.
    Attached,
    /// Access keys of a user.
    AccessKeys,
    /// Characters of a user's or role's inline policies.
    InlineChars,
    /// Tags of one thing.
    Tags,
}

impl Identity {
    pub(crate) fn new(database: Arc<Database>, seal: Seal) -> Self {
        Self { database, seal }
    }

    /// All of it, at one moment.
    pub async fn all(&self) -> Result<Everything, Error> {
        let seal = self.seal.clone();
        let read = self.database.read(move |connection| {
            // One transaction, so that what is read belongs together.
            let moment = connection.unchecked_transaction()?;
            let mut users: Vec<User> = record::every(&moment)?;
            let mut groups: Vec<Group> = record::every(&moment)?;
            let mut roles: Vec<Role> = record::every(&moment)?;
            grants::fill(&moment, &mut users, &mut groups, &mut roles)?;
            Ok(Everything {
                accounts: accounts::every(&moment)?,
                policies: record::every(&moment)?,
                keys: keys::every(&moment, &seal)?,
                users,
                groups,
                roles,
            })
        });
        Ok(read.await?)
    }

    /// Runs a verb in a transaction of its own. It looks before it writes: what it wrote before it refuses would stay.
    async fn change<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Connection) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let outcome = self.database.write(move |connection| match verb(connection) {
            Ok(value) => Ok(Ok(value)),
            Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
            Err(Stop::Failed(error)) => Err(error),
        });
        Ok(outcome.await.map_err(ChangeError::from)??)
    }
}

/// A stored record that cannot be read, as the failure it is.
fn unreadable(what: &str, error: impl std::fmt::Display) -> rusqlite::Error {
    let text: Box<dyn std::error::Error + Send + Sync> = format!("{what}: {error}").into();
    rusqlite::Error::ToSqlConversionFailure(text)
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Failed(error)
    }
}
