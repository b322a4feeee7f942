//! What IAM keeps: accounts, users, groups, roles, managed policies and access keys, as plain data.
//!
//! Policy documents are kept as the text their author sent; what they mean is for the policy engine. Names, paths and
//! texts were checked by the door that took them. Secrets are no part of these records.
//!
//! Quotas are AWS's defaults (source: IAM User Guide, «IAM and AWS STS quotas»).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{AccountId, Timestamp};

/// Most accounts of a platform.
pub const ACCOUNTS_MAX: usize = 10_000;
/// Most users of an account.
pub const USERS_MAX: usize = 5_000;
/// Most groups of an account.
pub const GROUPS_MAX: usize = 300;
/// Most groups that a user is in.
pub const GROUPS_PER_USER_MAX: usize = 10;
/// Most roles of an account.
pub const ROLES_MAX: usize = 1_000;
/// Most customer managed policies of an account.
pub const POLICIES_MAX: usize = 1_500;
/// Most versions of a managed policy kept at once.
pub const POLICY_VERSIONS_MAX: usize = 5;
/// Most managed policies attached to a user, a group or a role.
pub const ATTACHED_MAX: usize = 10;
/// Most access keys of a user, and of an account's root user.
pub const ACCESS_KEYS_MAX: usize = 2;
/// Most tags of a user, a role or a policy.
pub const TAGS_MAX: usize = 50;
/// Characters of a managed policy's document, whitespace not counted.
pub const POLICY_CHARS_MAX: usize = 6_144;
/// Characters of all of a user's inline policies together, whitespace not counted.
pub const USER_INLINE_CHARS_MAX: usize = 2_048;
/// Characters of all of a group's inline policies together, whitespace not counted.
pub const GROUP_INLINE_CHARS_MAX: usize = 5_120;
/// Characters of all of a role's inline policies together, whitespace not counted.
pub const ROLE_INLINE_CHARS_MAX: usize = 10_240;
/// Characters of a role's trust policy, whitespace not counted.
pub const TRUST_CHARS_MAX: usize = 2_048;

/// The unique ids of users and roles, by the ARNs that they were named by; a session's ARN has its role's.
pub type PrincipalIds = BTreeMap<String, String>;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its twelve digits.
    pub id: AccountId,
    /// What people call it; need not be unique.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The permissions policies of a user, a group or a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Inline policies: name and document.
    pub inline: BTreeMap<String, String>,
    /// The ARNs of attached managed policies.
    pub attached: BTreeSet<String>,
}

impl Grants {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inline.is_empty() && self.attached.is_empty()
    }
}

/// An IAM user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Whose it is.
    pub account: AccountId,
    /// Begins and ends with a slash.
    pub path: String,
    /// Unique within the account, letter case aside.
    pub name: String,
    /// `AIDA…`; a user made again under its old name has another.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// At most [`TAGS_MAX`].
    pub tags: BTreeMap<String, String>,
    /// The ARN of the managed policy that is its permissions boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    /// Kept beside the record.
    #[serde(skip)]
    pub grants: Grants,
}

impl User {
    /// `arn:aws:iam::ACCOUNT:user/PATH/NAME`
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:user{}{}", self.account, self.path, self.name)
    }
}

/// A group of users: they have its permissions policies beside their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Whose it is.
    pub account: AccountId,
    /// Begins and ends with a slash.
    pub path: String,
    /// Unique within the account, letter case aside.
    pub name: String,
    /// `AGPA…`
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The ids of its users, which stay with a user that gets another name.
    pub members: BTreeSet<String>,
    /// Kept beside the record.
    #[serde(skip)]
    pub grants: Grants,
}

impl Group {
    /// `arn:aws:iam::ACCOUNT:group/PATH/NAME`
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:group{}{}", self.account, self.path, self.name)
    }
}

/// An IAM role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Whose it is.
    pub account: AccountId,
    /// Begins and ends with a slash.
    pub path: String,
    /// Unique within the account, letter case aside.
    pub name: String,
    /// `AROA…`; a role made again under its old name has another.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// At most [`TAGS_MAX`].
    pub tags: BTreeMap<String, String>,
    /// The trust policy's document: who may assume the role.
    pub trust: String,
    /// Whom each of its statements named when it was stored; `None` of one from before that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Vec<PrincipalIds>>,
    /// Its author's words.
    pub description: Option<String>,
    /// The longest session, seconds: 3,600 to 43,200.
    pub max_session_s: u32,
    /// The ARN of the managed policy that is its permissions boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    /// Kept beside the record.
    #[serde(skip)]
    pub grants: Grants,
}

impl Role {
    /// `arn:aws:iam::ACCOUNT:role/PATH/NAME`
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:role{}{}", self.account, self.path, self.name)
    }
}

/// A customer managed policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Whose it is.
    pub account: AccountId,
    /// Begins and ends with a slash.
    pub path: String,
    /// Unique within the account, letter case aside.
    pub name: String,
    /// `ANPA…`
    pub id: String,
    /// Its author's words, for good.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a version was last added, or another made the default.
    pub updated_at: Timestamp,
    /// At most [`TAGS_MAX`].
    pub tags: BTreeMap<String, String>,
    /// The versions by number, at most [`POLICY_VERSIONS_MAX`].
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The version in force; one of `versions`.
    pub default_version: u32,
    /// The number the next version gets; numbers are never used again.
    pub next_version: u32,
}

impl Policy {
    /// `arn:aws:iam::ACCOUNT:policy/PATH/NAME`
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:policy{}{}", self.account, self.path, self.name)
    }

    /// The document in force.
    pub fn document(&self) -> &str {
        self.versions.get(&self.default_version).map_or("", |version| &version.document)
    }
}

/// One version of a managed policy. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// When it was made.
    pub created_at: Timestamp,
    /// The document.
    pub document: String,
}

/// An access key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…`
    pub id: String,
    /// Whose it is.
    pub account: AccountId,
    /// The user's name; `None` for the account's root user.
    pub user: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it opens anything.
    pub status: KeyStatus,
}

/// Whether an access key is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// It is.
    Active,
    /// It is kept and refused.
    Inactive,
}

impl KeyStatus {
    /// As IAM writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Active => "Active",
            KeyStatus::Inactive => "Inactive",
        }
    }
}

/// Who holds permissions policies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// A user, by name.
    User(String),
    /// A group, by name.
    Group(String),
    /// A role, by name.
    Role(String),
}

impl Holder {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Holder::User(name) | Holder::Group(name) | Holder::Role(name) => name,
        }
    }

    /// `user`, `group` or `role`.
    pub fn kind(&self) -> &'static str {
        match self {
            Holder::User(_) => "user",
            Holder::Group(_) => "group",
            Holder::Role(_) => "role",
        }
    }

    /// Most characters of its inline policies together.
    pub fn inline_chars_max(&self) -> usize {
        match self {
            Holder::User(_) => USER_INLINE_CHARS_MAX,
            Holder::Group(_) => GROUP_INLINE_CHARS_MAX,
            Holder::Role(_) => ROLE_INLINE_CHARS_MAX,
        }
    }
}

/// A document's characters as IAM counts them: without whitespace.
pub fn document_chars(document: &str) -> usize {
    document.chars().filter(|char| !char.is_whitespace()).count()
}

/// A secret in memory. Never shown by `Debug`; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(std::sync::Arc<str>);

impl Secret {
    /// The secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_counted_without_its_whitespace() {
        assert_eq!(document_chars("{ \"é\" :\n 1 }"), 7);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "Secret(…)");
    }
}
