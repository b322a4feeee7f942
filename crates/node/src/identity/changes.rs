//! Changes to identities: to the store first, then to the snapshot, one after the other.

use std::collections::BTreeMap;

use updraft_types::{
    AccountId, Timestamp,
    iam::{
        AccessKey, Account, Grants, Group, Holder, KeyStatus, POLICY_CHARS_MAX, Policy, PolicyVersion, Role, Secret,
        TAGS_MAX, TRUST_CHARS_MAX, User,
    },
};

use super::{
    ChangeError, Error, Identity, Noun, Quota, Refusal, Snapshot,
    document::{Document, Kind},
    ids, managed,
};

/// Tags: keys and values.
pub type Tags = BTreeMap<String, String>;

/// What a user, role or policy to be made is called. The door has checked it.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whose it will be.
    pub account: AccountId,
    /// Begins and ends with a slash.
    pub path: String,
    /// Its name.
    pub name: String,
    /// Its first tags, at most [`TAGS_MAX`].
    pub tags: Tags,
    /// The ARN of a user's or role's permissions boundary.
    pub boundary: Option<String>,
}

/// What has tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tagged {
    /// A user, by name.
    User(String),
    /// A role, by name.
    Role(String),
    /// A customer managed policy, by name.
    Policy(String),
}

/// What changes of a role; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct RoleChange {
    /// The description.
    pub description: Option<String>,
    /// The longest session, seconds.
    pub max_session_s: Option<u32>,
    /// The trust policy's document.
    pub trust: Option<String>,
}

/// Tries to find a free account or access key id; two in a row are taken once in many billions.
const TRIES: usize = 4;

impl Identity {
    /// Makes an account, with the id given or a random one.
    pub(crate) async fn create_account(&self, name: String, wanted: Option<AccountId>) -> Result<Account, Error> {
        self.change(async move |identity| {
            for _ in 0..TRIES {
                let id = wanted.clone().unwrap_or_else(random_account);
                let account = Account { id, name: name.clone(), created_at: Timestamp::now() };
                match identity.inner.store.identity().create_account(account.clone()).await {
                    Ok(()) => {
                        identity.publish(|next| {
                            // What was left of one that had its number went.
                            next.drop_account(&account.id);
                            next.put_account(account.clone());
                        });
                        return Ok(account);
                    }
                    Err(ChangeError::Refused(Refusal::Exists | Refusal::InUse(_))) if wanted.is_none() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(Refusal::Exists.into())
        })
        .await
    }

    /// Removes an account with all that the platform's database has of it.
    pub(crate) async fn delete_account(&self, id: AccountId) -> Result<(), Error> {
        self.change(async move |identity| {
            identity.inner.store.identity().delete_account(id.clone()).await?;
            identity.publish(|next| next.drop_account(&id));
            Ok(())
        })
        .await
    }

    /// Makes a user.
    pub async fn create_user(&self, draft: Draft) -> Result<User, Error> {
        self.change(async move |identity| {
            let Draft { account, path, name, tags, boundary } = draft;
            identity.check_boundary(&account, boundary.as_deref())?;
            let (id, created_at) = (ids::unique("AIDA"), Timestamp::now());
            let user = User { account, path, name, id, created_at, tags, boundary, grants: Grants::default() };
            identity.inner.store.identity().create_user(user.clone()).await?;
            identity.publish(|next| next.put_user(user.clone()));
            Ok(user)
        })
        .await
    }

    /// Gives a user another path, another name, or both.
    pub async fn update_user(
        &self,
        account: AccountId,
        name: String,
        path: Option<String>,
        new: Option<String>,
    ) -> Result<(), Error> {
        self.change(async move |identity| {
            let new = new.unwrap_or_else(|| name.clone());
            let user = identity.inner.store.identity().rename_user(account, name.clone(), new, path).await?;
            identity.publish(|next| next.rename_user(&name, user));
            Ok(())
        })
        .await
    }

    /// Removes a user that has no keys and policies left.
    pub async fn delete_user(&self, account: AccountId, name: String) -> Result<(), Error> {
        self.change(async move |identity| {
            identity.inner.store.identity().delete_user(account.clone(), name.clone()).await?;
            identity.publish(|next| next.drop_user(&account, &name));
            Ok(())
        })
        .await
    }

    /// Makes a group.
    pub async fn create_group(&self, account: AccountId, path: String, name: String) -> Result<Group, Error> {
        self.change(async move |identity| {
            let (id, created_at) = (ids::unique("AGPA"), Timestamp::now());
            let (members, grants) = Default::default();
            let group = Group { account, path, name, id, created_at, members, grants };
            identity.inner.store.identity().create_group(group.clone()).await?;
            identity.publish(|next| next.put_group(group.clone()));
            Ok(group)
        })
        .await
    }

    /// Gives a group another path, another name, or both.
    pub async fn update_group(
        &self,
        account: AccountId,
        name: String,
        path: Option<String>,
        new: Option<String>,
    ) -> Result<(), Error> {
        self.change(async move |identity| {
            let new = new.unwrap_or_else(|| name.clone());
            let group = identity.inner.store.identity().rename_group(account, name.clone(), new, path).await?;
            identity.publish(|next| next.rename_group(&name, group));
            Ok(())
        })
        .await
    }

    /// Removes a group that has no members and policies left.
    pub async fn delete_group(&self, account: AccountId, name: String) -> Result<(), Error> {
        self.change(async move |identity| {
            identity.inner.store.identity().delete_group(account.clone(), name.clone()).await?;
            identity.publish(|next| next.drop_group(&account, &name));
            Ok(())
        })
        .await
    }

    /// Puts a user into a group.
    pub async fn join_group(&self, account: AccountId, group: String, user: String) -> Result<(), Error> {
        self.change(async move |identity| {
            let group = identity.inner.store.identity().join_group(account, group, user).await?;
            identity.publish(|next| next.put_group(group));
            Ok(())
        })
        .await
    }

    /// Takes a user out of a group.
    pub async fn leave_group(&self, account: AccountId, group: String, user: String) -> Result<(), Error> {
        self.change(async move |identity| {
            let group = identity.inner.store.identity().leave_group(account, group, user).await?;
            identity.publish(|next| next.put_group(group));
            Ok(())
        })
        .await
    }

    /// Makes a role.
    pub async fn create_role(
        &self,
        draft: Draft,
        trust: String,
        description: Option<String>,
        max_session_s: u32,
    ) -> Result<Role, Error> {
        let document = Document::parse(&trust, Kind::Trust, TRUST_CHARS_MAX)?;
        self.change(async move |identity| {
            let Draft { account, path, name, tags, boundary } = draft;
            identity.check_boundary(&account, boundary.as_deref())?;
            let role = Role {
                account,
                path,
                name,
                id: ids::unique("AROA"),
                created_at: Timestamp::now(),
                tags,
                trust,
                trusted: Some(identity.snapshot().ids_in(&document)),
                description,
                max_session_s,
                boundary,
                grants: Grants::default(),
            };
            identity.inner.store.identity().create_role(role.clone()).await?;
            identity.publish(|next| next.put_role(role.clone()));
            Ok(role)
        })
        .await
    }

    /// Changes a role, and answers it.
    pub async fn update_role(&self, account: AccountId, name: String, change: RoleChange) -> Result<Role, Error> {
        let trust = match &change.trust {
            Some(trust) => Some(Document::parse(trust, Kind::Trust, TRUST_CHARS_MAX)?),
            None => None,
        };
        self.change(async move |identity| {
            let trusted = trust.map(|document| identity.snapshot().ids_in(&document));
            let amended = identity.inner.store.identity().amend_role(account, name, move |role| {
                let RoleChange { description, max_session_s, trust } = change;
                role.description = description.or_else(|| role.description.take());
                role.max_session_s = max_session_s.unwrap_or(role.max_session_s);
                if let Some(trust) = trust {
                    (role.trust, role.trusted) = (trust, trusted);
                }
                Ok(())
            });
            let role = amended.await?;
            identity.publish(|next| next.put_role(role.clone()));
            Ok(role)
        })
        .await
    }

    /// Removes a role that has no policies left.
    pub async fn delete_role(&self, account: AccountId, name: String) -> Result<(), Error> {
        self.change(async move |identity| {
            identity.inner.store.identity().delete_role(account.clone(), name.clone()).await?;
            identity.publish(|next| next.drop_role(&account, &name));
            Ok(())
        })
        .await
    }

    /// Makes a managed policy.
    pub async fn create_policy(
        &self,
        draft: Draft,
        document: String,
        description: Option<String>,
    ) -> Result<Policy, Error> {
        Document::parse(&document, Kind::Identity, POLICY_CHARS_MAX)?;
        self.change(async move |identity| {
            let Draft { account, path, name, tags, boundary: _ } = draft;
            let now = Timestamp::now();
            let policy = Policy {
                account,
                path,
                name,
                id: ids::unique("ANPA"),
                description,
                created_at: now,
                updated_at: now,
                tags,
                versions: [(1, PolicyVersion { created_at: now, document })].into(),
                default_version: 1,
                next_version: 2,
            };
            identity.inner.store.identity().create_policy(policy.clone()).await?;
            identity.publish(|next| next.put_policy(policy.clone()));
            Ok(policy)
        })
        .await
    }

    /// Adds a version to a policy, and answers the policy and the version's number.
    pub async fn add_policy_version(
        &self,
        account: AccountId,
        name: String,
        document: String,
        is_default: bool,
    ) -> Result<(Policy, u32), Error> {
        Document::parse(&document, Kind::Identity, POLICY_CHARS_MAX)?;
        self.change(async move |identity| {
            let store = identity.inner.store.identity();
            let policy = store.add_policy_version(account, name, document, is_default, Timestamp::now()).await?;
            identity.publish(|next| next.put_policy(policy.clone()));
            let number = policy.next_version - 1;
            Ok((policy, number))
        })
        .await
    }

    /// Removes a version of a policy.
    pub async fn delete_policy_version(&self, account: AccountId, name: String, number: u32) -> Result<(), Error> {
        self.change(async move |identity| {
            let policy = identity.inner.store.identity().delete_policy_version(account, name, number).await?;
            identity.publish(|next| next.put_policy(policy));
            Ok(())
        })
        .await
    }

    /// Puts a version of a policy in force.
    pub async fn set_default_policy_version(&self, account: AccountId, name: String, number: u32) -> Result<(), Error> {
        self.change(async move |identity| {
            let store = identity.inner.store.identity();
            let policy = store.set_default_policy_version(account, name, number, Timestamp::now()).await?;
            identity.publish(|next| next.put_policy(policy));
            Ok(())
        })
        .await
    }

    /// Removes a managed policy that is attached to nothing.
    pub async fn delete_policy(&self, account: AccountId, name: String) -> Result<(), Error> {
        self.change(async move |identity| {
            let snapshot = identity.snapshot();
            let bounds = |arn: &str| snapshot.members(&account).bounded(arn) > 0;
            if snapshot.members(&account).policies().any(|policy| policy.name == name && bounds(&policy.arn())) {
                return Err(Refusal::InUse(Noun::Attachment).into());
            }
            identity.inner.store.identity().delete_policy(account.clone(), name.clone()).await?;
            identity.publish(|next| next.drop_policy(&account, &name));
            Ok(())
        })
        .await
    }

    /// Adds or replaces an inline policy.
    pub async fn put_inline(
        &self,
        account: AccountId,
        holder: Holder,
        name: String,
        document: String,
    ) -> Result<(), Error> {
        Document::parse(&document, Kind::Identity, holder.inline_chars_max())?;
        self.change(async move |identity| {
            let store = identity.inner.store.identity();
            let grants = store.put_inline(account.clone(), holder.clone(), name, document).await?;
            identity.publish(|next| next.put_grants(&account, &holder, grants));
            Ok(())
        })
        .await
    }

    /// Removes an inline policy.
    pub async fn delete_inline(&self, account: AccountId, holder: Holder, name: String) -> Result<(), Error> {
        self.change(async move |identity| {
            let grants = identity.inner.store.identity().delete_inline(account.clone(), holder.clone(), name).await?;
            identity.publish(|next| next.put_grants(&account, &holder, grants));
            Ok(())
        })
        .await
    }

    /// Attaches a managed policy, the account's own or one of [`managed`].
    pub async fn attach(&self, account: AccountId, holder: Holder, policy: String) -> Result<(), Error> {
        if policy.starts_with("arn:aws:iam::aws:") && managed::by_arn(&policy).is_none() {
            return Err(Refusal::NotFound(Noun::Policy).into());
        }
        self.change(async move |identity| {
            let grants = identity.inner.store.identity().attach(account.clone(), holder.clone(), policy).await?;
            identity.publish(|next| next.put_grants(&account, &holder, grants));
            Ok(())
        })
        .await
    }

    /// Detaches a managed policy.
    pub async fn detach(&self, account: AccountId, holder: Holder, policy: String) -> Result<(), Error> {
        self.change(async move |identity| {
            let grants = identity.inner.store.identity().detach(account.clone(), holder.clone(), policy).await?;
            identity.publish(|next| next.put_grants(&account, &holder, grants));
            Ok(())
        })
        .await
    }

    /// Gives a user or role a permissions boundary, or (with `None`) takes away the one it has.
    pub async fn set_boundary(
        &self,
        account: AccountId,
        holder: Holder,
        boundary: Option<String>,
    ) -> Result<(), Error> {
        self.change(async move |identity| {
            identity.check_boundary(&account, boundary.as_deref())?;
            let store = identity.inner.store.identity();
            match holder {
                Holder::User(name) => {
                    let set = move |user: &mut User| {
                        user.boundary = boundary;
                        Ok(())
                    };
                    let user = store.amend_user(account, name, set).await?;
                    identity.publish(|next| next.put_user(user));
                }
                Holder::Group(_) => return Err(Refusal::NotFound(Noun::Group).into()),
                Holder::Role(name) => {
                    let set = move |role: &mut Role| {
                        role.boundary = boundary;
                        Ok(())
                    };
                    let role = store.amend_role(account, name, set).await?;
                    identity.publish(|next| next.put_role(role));
                }
            }
            Ok(())
        })
        .await
    }

    /// Refuses a boundary that is no policy of the account or of [`managed`]. Called by who has the turn, so that it stays.
    fn check_boundary(&self, account: &AccountId, boundary: Option<&str>) -> Result<(), Error> {
        let is_there =
            |arn: &str| managed::by_arn(arn).is_some() || self.snapshot().members(account).policy(arn).is_some();
        if boundary.is_none_or(is_there) { Ok(()) } else { Err(Refusal::NotFound(Noun::Policy).into()) }
    }

    /// Makes an access key for a user, or for the root user. The secret is told here and never again.
    pub async fn create_key(&self, account: AccountId, user: Option<String>) -> Result<(AccessKey, Secret), Error> {
        self.change(async move |identity| {
            for _ in 0..TRIES {
                let (id, secret) = (ids::access_key("AKIA", &account), ids::secret());
                let (account, user) = (account.clone(), user.clone());
                let key = AccessKey { id, account, user, created_at: Timestamp::now(), status: KeyStatus::Active };
                match identity.inner.store.identity().create_key(key.clone(), secret.clone()).await {
                    Ok(()) => {
                        identity.publish(|next| next.put_key(key.clone(), secret.clone()));
                        return Ok((key, secret));
                    }
                    Err(ChangeError::Refused(Refusal::Exists)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(Refusal::Exists.into())
        })
        .await
    }

    /// Enables or disables an access key.
    pub async fn set_key_status(
        &self,
        account: AccountId,
        user: Option<String>,
        id: String,
        status: KeyStatus,
    ) -> Result<(), Error> {
        self.change(async move |identity| {
            let key = identity.inner.store.identity().set_key_status(account, user, id, status).await?;
            identity.publish(|next| {
                if let Some(entry) = next.key(&key.id).cloned() {
                    next.put_key(key, entry.secret.clone());
                }
            });
            Ok(())
        })
        .await
    }

    /// Removes an access key.
    pub async fn delete_key(&self, account: AccountId, user: Option<String>, id: String) -> Result<(), Error> {
        self.change(async move |identity| {
            identity.inner.store.identity().delete_key(account.clone(), user, id.clone()).await?;
            identity.publish(|next| next.drop_key(&account, &id));
            Ok(())
        })
        .await
    }

    /// Removes the tags of the keys in `gone`, then adds or replaces `tags`. Keys have no case: a tag takes the place of one whose
    /// key is spelled otherwise (source: IAM user guide, «Tags for IAM resources»).
    pub async fn tag(&self, account: AccountId, what: Tagged, tags: Tags, gone: Vec<String>) -> Result<(), Error> {
        let amend = move |now: &mut Tags| {
            let is_named = |key: &str| tags.keys().chain(&gone).any(|named| named.eq_ignore_ascii_case(key));
            now.retain(|key, _| !is_named(key));
            now.extend(tags);
            if now.len() > TAGS_MAX { Err(Quota::Tags) } else { Ok(()) }
        };
        self.change(async move |identity| {
            let store = identity.inner.store.identity();
            match what {
                Tagged::User(name) => {
                    let user = store.amend_user(account, name, |user| amend(&mut user.tags)).await?;
                    identity.publish(|next| next.put_user(user));
                }
                Tagged::Role(name) => {
                    let role = store.amend_role(account, name, |role| amend(&mut role.tags)).await?;
                    identity.publish(|next| next.put_role(role));
                }
                Tagged::Policy(name) => {
                    let policy = store.amend_policy(account, name, |policy| amend(&mut policy.tags)).await?;
                    identity.publish(|next| next.put_policy(policy));
                }
            }
            Ok(())
        })
        .await
    }

    /// Runs a change on a task of its own, when it is its turn.
    async fn change<T, Work>(&self, work: impl FnOnce(Identity) -> Work) -> Result<T, Error>
    where
        T: Send + 'static,
        Work: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let identity = self.clone();
        let work = work(self.clone());
        let task = tokio::spawn(async move {
            let _turn = identity.inner.turn.lock().await;
            work.await
        });
        task.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
    }

    /// Makes the next snapshot of the current one. Called by who has the turn alone.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut next = Snapshot::clone(&self.snapshot());
        change(&mut next);
        self.inner.snapshot.store(next.into());
    }
}

fn random_account() -> AccountId {
    let number = u64::from_le_bytes(updraft_store::seal::random()) % 900_000_000_000 + 100_000_000_000;
    number.to_string().parse().expect("twelve digits are an account")
}
