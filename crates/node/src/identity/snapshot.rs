//! All identities at one moment, made for looking up.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Deref,
    sync::Arc,
};

use updraft_store::identity::Everything;
use updraft_types::{
    AccountId, Caller, Principal,
    iam::{AccessKey, Account, Grants, Group, Holder, Policy, Role, Secret, User},
};

use super::{
    document::{Document, Kind, closed, stored, stored_for},
    managed,
};

/// A compiled document, and what decisions call it by: a managed policy's ARN, an inline policy's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// What it says.
    pub document: Arc<Document>,
}

/// A user with its inline policies compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct UserEntry {
    /// The record.
    pub record: User,
    /// Its inline policies.
    pub inline: Vec<Named>,
}

/// A group with its inline policies compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupEntry {
    /// The record.
    pub record: Group,
    /// Its inline policies.
    pub inline: Vec<Named>,
}

/// A role with its policies compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleEntry {
    /// The record.
    pub record: Role,
    /// Its inline policies.
    pub inline: Vec<Named>,
    /// Who may assume it.
    pub trust: Arc<Document>,
}

/// A customer managed policy with its default version compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyEntry {
    /// The record.
    pub record: Policy,
    /// The version in force.
    pub document: Arc<Document>,
}

impl Deref for UserEntry {
    type Target = User;
    fn deref(&self) -> &User {
        &self.record
    }
}

impl Deref for GroupEntry {
    type Target = Group;
    fn deref(&self) -> &Group {
        &self.record
    }
}

impl Deref for RoleEntry {
    type Target = Role;
    fn deref(&self) -> &Role {
        &self.record
    }
}

impl Deref for PolicyEntry {
    type Target = Policy;
    fn deref(&self) -> &Policy {
        &self.record
    }
}

/// An access key, and what it opens.
#[derive(Debug, Clone)]
pub(super) struct KeyEntry {
    pub(super) key: AccessKey,
    pub(super) secret: Secret,
}

/// An account's identities, by name.
#[derive(Debug, Default, Clone)]
pub struct Members {
    users: BTreeMap<String, Arc<UserEntry>>,
    groups: BTreeMap<String, Arc<GroupEntry>>,
    roles: BTreeMap<String, Arc<RoleEntry>>,
    policies: BTreeMap<String, Arc<PolicyEntry>>,
    /// Ids of access keys, in order, by user; the root user's under `None`. At most two each.
    keys: BTreeMap<Option<String>, Vec<String>>,
}

impl Members {
    /// Users in order of name.
    pub fn users(&self) -> impl Iterator<Item = &Arc<UserEntry>> {
        self.users.values()
    }

    /// Groups in order of name.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<GroupEntry>> {
        self.groups.values()
    }

    /// A group.
    pub fn group(&self, name: &str) -> Option<&Arc<GroupEntry>> {
        self.groups.get(name)
    }

    /// The groups of the user with that id, in order of name.
    pub fn groups_of<'a>(&'a self, user_id: &'a str) -> impl Iterator<Item = &'a Arc<GroupEntry>> {
        self.groups.values().filter(move |group| group.members.contains(user_id))
    }

    /// Roles in order of name.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<RoleEntry>> {
        self.roles.values()
    }

    /// Customer managed policies in order of name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<PolicyEntry>> {
        self.policies.values()
    }

    /// A user.
    pub fn user(&self, name: &str) -> Option<&Arc<UserEntry>> {
        self.users.get(name)
    }

    /// A role.
    pub fn role(&self, name: &str) -> Option<&Arc<RoleEntry>> {
        self.roles.get(name)
    }

    /// The customer managed policy of that ARN.
    pub fn policy(&self, arn: &str) -> Option<&Arc<PolicyEntry>> {
        self.policies.get(arn.rsplit('/').next()?).filter(|policy| policy.arn() == arn)
    }

    /// How many users and roles have a managed policy as their permissions boundary.
    pub fn bounded(&self, arn: &str) -> usize {
        let users = self.users.values().map(|user| &user.boundary);
        users
            .chain(self.roles.values().map(|role| &role.boundary))
            .filter(|boundary| boundary.as_deref() == Some(arn))
            .count()
    }

    /// How many users, groups and roles a managed policy is attached to.
    pub fn attachments(&self, arn: &str) -> usize {
        let users = self.users.values().map(|user| &user.grants);
        let groups = self.groups.values().map(|group| &group.grants);
        let grants = users.chain(groups).chain(self.roles.values().map(|role| &role.grants));
        grants.filter(|grants| grants.attached.contains(arn)).count()
    }
}

/// All identities at one moment. Parts that a change leaves alone are shared with the snapshot before.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    accounts: Arc<BTreeMap<AccountId, Arc<Account>>>,
    members: HashMap<AccountId, Arc<Members>>,
    keys: Arc<HashMap<String, Arc<KeyEntry>>>,
    nothing: Arc<Members>,
}

impl Snapshot {
    pub(super) fn new(all: Everything) -> Self {
        let mut snapshot = Self::default();
        for account in all.accounts {
            snapshot.put_account(account);
        }
        for user in all.users {
            snapshot.put_user(user);
        }
        for group in all.groups {
            snapshot.put_group(group);
        }
        for role in all.roles {
            snapshot.put_role(role);
        }
        for policy in all.policies {
            snapshot.put_policy(policy);
        }
        for (key, secret) in all.keys {
            snapshot.put_key(key, secret);
        }
        snapshot
    }

    /// An account that was made.
    pub fn account(&self, id: &AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(id)
    }

    /// Accounts that were made, in order of id.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// What an account has; nothing, if nothing was made in it.
    pub fn members(&self, account: &AccountId) -> &Members {
        self.members.get(account).unwrap_or(&self.nothing)
    }

    /// The role of that ARN.
    pub fn role_by_arn(&self, arn: &str) -> Option<&Arc<RoleEntry>> {
        let (account, path) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
        let role = self.members(&account.parse().ok()?).role(path.rsplit('/').next()?)?;
        Some(role).filter(|role| role.arn() == arn)
    }

    /// The access keys of a user, or of an account's root user, oldest first.
    pub fn keys_of(&self, account: &AccountId, user: Option<&str>) -> Vec<AccessKey> {
        let ids = self.members(account).keys.get(&user.map(str::to_owned)).into_iter().flatten();
        let mut keys: Vec<_> = ids.filter_map(|id| Some(self.keys.get(id)?.key.clone())).collect();
        keys.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        keys
    }

    /// An access key with its secret.
    pub(super) fn key(&self, id: &str) -> Option<&Arc<KeyEntry>> {
        self.keys.get(id)
    }

    /// The identity policies that are in force for a principal: inline and managed ones of a user and its groups, or of a
    /// session's role.
    /// The root user has none and needs none. `None`: there is no such principal any more.
    pub fn policies_of(&self, caller: &Caller) -> Option<Vec<Named>> {
        let members = self.members(&caller.account);
        let mut found = Vec::new();
        let mut add = |inline: &[Named], grants: &Grants| {
            let managed = grants.attached.iter().filter_map(|arn| {
                let document = self.managed(&caller.account, arn)?;
                Some(Named { name: arn.clone(), document })
            });
            found.extend(inline.iter().cloned().chain(managed));
        };
        match &caller.principal {
            Principal::Root | Principal::Anonymous => {}
            Principal::User { name, id, .. } => {
                let user = members.user(name).filter(|user| user.id == *id)?;
                add(&user.inline, &user.grants);
                members.groups_of(id).for_each(|group| add(&group.inline, &group.grants));
            }
            Principal::Session { role, role_id, .. } => {
                let role = members.role(role).filter(|role| role.id == *role_id)?;
                add(&role.inline, &role.grants);
            }
        }
        Some(found)
    }

    /// A managed policy, the account's own or one of [`managed`], as it is in force.
    pub(super) fn managed(&self, account: &AccountId, arn: &str) -> Option<Arc<Document>> {
        match managed::by_arn(arn) {
            Some(policy) => Some(policy.document.clone()),
            None => self.members(account).policy(arn).map(|policy| policy.document.clone()),
        }
    }

    /// The permissions boundary of a user or a session's role. One that is gone, which cannot be, bounds to nothing.
    pub(super) fn boundary_of(&self, caller: &Caller) -> Option<Named> {
        let members = self.members(&caller.account);
        let boundary = match &caller.principal {
            Principal::Root | Principal::Anonymous => None,
            Principal::User { name, .. } => members.user(name).and_then(|user| user.boundary.as_ref()),
            Principal::Session { role, .. } => members.role(role).and_then(|role| role.boundary.as_ref()),
        };
        let arn = boundary?;
        let document = self.managed(&caller.account, arn).unwrap_or_else(closed);
        Some(Named { name: arn.clone(), document })
    }

    /// The tags of a user or of a session's role.
    pub fn tags_of(&self, caller: &Caller) -> Option<&BTreeMap<String, String>> {
        let members = self.members(&caller.account);
        match &caller.principal {
            Principal::Root | Principal::Anonymous => None,
            Principal::User { name, .. } => members.user(name).map(|user| &user.tags),
            Principal::Session { role, .. } => members.role(role).map(|role| &role.tags),
        }
    }

    pub(super) fn put_account(&mut self, account: Account) {
        Arc::make_mut(&mut self.accounts).insert(account.id.clone(), Arc::new(account));
    }

    pub(super) fn drop_account(&mut self, id: &AccountId) {
        Arc::make_mut(&mut self.accounts).remove(id);
        self.members.remove(id);
        Arc::make_mut(&mut self.keys).retain(|_, entry| entry.key.account != *id);
    }

    pub(super) fn put_user(&mut self, user: User) {
        let inline = compiled(&user.grants);
        let entry = UserEntry { inline, record: user };
        self.of(&entry.account.clone()).users.insert(entry.name.clone(), Arc::new(entry));
    }

    pub(super) fn rename_user(&mut self, before: &str, user: User) {
        let (account, after) = (user.account.clone(), user.name.clone());
        let members = self.of(&account);
        members.users.remove(before);
        let ids = members.keys.remove(&Some(before.to_owned())).unwrap_or_default();
        members.keys.insert(Some(after.clone()), ids.clone());
        let keys = Arc::make_mut(&mut self.keys);
        for id in ids {
            if let Some(entry) = keys.get_mut(&id) {
                Arc::make_mut(entry).key.user = Some(after.clone());
            }
        }
        self.put_user(user);
    }

    pub(super) fn drop_user(&mut self, account: &AccountId, name: &str) {
        self.of(account).users.remove(name);
    }

    pub(super) fn put_group(&mut self, group: Group) {
        let entry = GroupEntry { inline: compiled(&group.grants), record: group };
        self.of(&entry.account.clone()).groups.insert(entry.name.clone(), Arc::new(entry));
    }

    pub(super) fn rename_group(&mut self, before: &str, group: Group) {
        self.of(&group.account).groups.remove(before);
        self.put_group(group);
    }

    pub(super) fn drop_group(&mut self, account: &AccountId, name: &str) {
        self.of(account).groups.remove(name);
    }

    pub(super) fn put_role(&mut self, role: Role) {
        let ids = role.trusted.iter().flatten().map(Some);
        let trust = stored_for(&role.trust, Kind::Trust, &role.arn(), ids);
        let entry = RoleEntry { inline: compiled(&role.grants), trust, record: role };
        self.of(&entry.account.clone()).roles.insert(entry.name.clone(), Arc::new(entry));
    }

    pub(super) fn drop_role(&mut self, account: &AccountId, name: &str) {
        self.of(account).roles.remove(name);
    }

    pub(super) fn put_grants(&mut self, account: &AccountId, holder: &Holder, grants: Grants) {
        let members = self.members(account);
        match holder {
            Holder::User(name) => {
                if let Some(user) = members.user(name) {
                    self.put_user(User { grants, ..user.record.clone() });
                }
            }
            Holder::Group(name) => {
                if let Some(group) = members.group(name) {
                    self.put_group(Group { grants, ..group.record.clone() });
                }
            }
            Holder::Role(name) => {
                if let Some(role) = members.role(name) {
                    self.put_role(Role { grants, ..role.record.clone() });
                }
            }
        }
    }

    pub(super) fn put_policy(&mut self, policy: Policy) {
        let document = stored(policy.document(), Kind::Identity, &policy.arn());
        let entry = PolicyEntry { document, record: policy };
        self.of(&entry.account.clone()).policies.insert(entry.name.clone(), Arc::new(entry));
    }

    pub(super) fn drop_policy(&mut self, account: &AccountId, name: &str) {
        self.of(account).policies.remove(name);
    }

    pub(super) fn put_key(&mut self, key: AccessKey, secret: Secret) {
        let ids = self.of(&key.account).keys.entry(key.user.clone()).or_default();
        if !ids.contains(&key.id) {
            ids.push(key.id.clone());
        }
        Arc::make_mut(&mut self.keys).insert(key.id.clone(), Arc::new(KeyEntry { key, secret }));
    }

    pub(super) fn drop_key(&mut self, account: &AccountId, id: &str) {
        let members = self.of(account);
        members.keys.values_mut().for_each(|ids| ids.retain(|known| known != id));
        members.keys.retain(|_, ids| !ids.is_empty());
        Arc::make_mut(&mut self.keys).remove(id);
    }

    fn of(&mut self, account: &AccountId) -> &mut Members {
        Arc::make_mut(self.members.entry(account.clone()).or_default())
    }
}

fn compiled(grants: &Grants) -> Vec<Named> {
    let named =
        |(name, text): (&String, &String)| Named { name: name.clone(), document: stored(text, Kind::Identity, name) };
    grants.inline.iter().map(named).collect()
}
