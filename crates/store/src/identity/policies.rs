//! Customer managed policies and their versions.

use rusqlite::Connection;
use updraft_types::{
    AccountId, Timestamp,
    iam::{POLICY_VERSIONS_MAX, Policy, PolicyVersion},
};

use super::{
    ChangeError, Identity, Noun, Quota, Refusal,
    record::{self, Stop},
};

impl Identity {
    /// Adds a policy.
    pub async fn create_policy(&self, policy: Policy) -> Result<(), ChangeError> {
        self.change(move |connection| record::insert(connection, &policy)).await
    }

    /// Changes a policy's tags, and answers it; `change` may refuse.
    pub async fn amend_policy(
        &self,
        account: AccountId,
        name: String,
        change: impl FnOnce(&mut Policy) -> Result<(), Quota> + Send + 'static,
    ) -> Result<Policy, ChangeError> {
        self.alter_policy(account, name, move |policy| change(policy).map_err(Refusal::Quota)).await
    }

    /// Adds a version, and answers the policy. The version's number is the one `next_version` was.
    pub async fn add_policy_version(
        &self,
        account: AccountId,
        name: String,
        document: String,
        is_default: bool,
        now: Timestamp,
    ) -> Result<Policy, ChangeError> {
        let alter = move |policy: &mut Policy| {
            if policy.versions.len() >= POLICY_VERSIONS_MAX {
                return Err(Refusal::Quota(Quota::PolicyVersions));
            }
            let number = policy.next_version;
            policy.versions.insert(number, PolicyVersion { created_at: now, document });
            policy.next_version += 1;
            policy.updated_at = now;
            if is_default {
                policy.default_version = number;
            }
            Ok(())
        };
        self.alter_policy(account, name, alter).await
    }

    /// Removes a version that is not the default, and answers the policy.
    pub async fn delete_policy_version(
        &self,
        account: AccountId,
        name: String,
        number: u32,
    ) -> Result<Policy, ChangeError> {
        let alter = move |policy: &mut Policy| {
            if policy.default_version == number {
                return Err(Refusal::IsDefault);
            }
            policy.versions.remove(&number).map(|_| ()).ok_or(Refusal::NotFound(Noun::PolicyVersion))
        };
        self.alter_policy(account, name, alter).await
    }

    /// Puts a version in force, and answers the policy.
    pub async fn set_default_policy_version(
        &self,
        account: AccountId,
        name: String,
        number: u32,
        now: Timestamp,
    ) -> Result<Policy, ChangeError> {
        let alter = move |policy: &mut Policy| {
            if !policy.versions.contains_key(&number) {
                return Err(Refusal::NotFound(Noun::PolicyVersion));
            }
            policy.default_version = number;
            policy.updated_at = now;
            Ok(())
        };
        self.alter_policy(account, name, alter).await
    }

    /// Removes a policy that is attached to nothing and has no version but the default.
    pub async fn delete_policy(&self, account: AccountId, name: String) -> Result<(), ChangeError> {
        let verb = move |connection: &Connection| -> Result<(), Stop> {
            let policy: Policy = record::read(connection, &account, &name)?;
            let attached = "SELECT 1 FROM attachment WHERE account = ?1 AND policy = ?2";
            if connection.prepare_cached(attached)?.exists((account.as_str(), policy.arn()))? {
                return Err(Refusal::InUse(Noun::Attachment).into());
            }
            if policy.versions.len() > 1 {
                return Err(Refusal::InUse(Noun::PolicyVersion).into());
            }
            record::remove::<Policy>(connection, &account, &name)
        };
        self.change(verb).await
    }

    async fn alter_policy(
        &self,
        account: AccountId,
        name: String,
        alter: impl FnOnce(&mut Policy) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Policy, ChangeError> {
        let verb = move |connection: &Connection| {
            let mut policy: Policy = record::read(connection, &account, &name)?;
            alter(&mut policy)?;
            record::replace(connection, &name, &policy)?;
            Ok(policy)
        };
        self.change(verb).await
    }
}
