//! Identities against a model in memory: random verbs, reopening and crashing, and after each the two must agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use updraft_store::identity::{ChangeError, Noun, Refusal};
use updraft_types::{
    AccountId, Timestamp,
    iam::{AccessKey, Grants, Holder, KeyStatus, Policy, PolicyVersion, Secret, User},
};

use crate::fixture::Fixture;

#[derive(Debug, Clone)]
enum Step {
    CreateUser(u8),
    RenameUser(u8, u8),
    DeleteUser(u8),
    CreatePolicy(u8),
    DeletePolicy(u8),
    Attach(u8, u8),
    Detach(u8, u8),
    PutInline(u8, u8),
    DeleteInline(u8, u8),
    CreateKey(u8),
    DisableKey(u8),
    DeleteKey(u8),
    Reopen,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..3_u8;
    let step = prop_oneof![
        5 => name().prop_map(Step::CreateUser),
        2 => (name(), name()).prop_map(|(name, new)| Step::RenameUser(name, new)),
        3 => name().prop_map(Step::DeleteUser),
        3 => name().prop_map(Step::CreatePolicy),
        3 => name().prop_map(Step::DeletePolicy),
        5 => (name(), name()).prop_map(|(user, policy)| Step::Attach(user, policy)),
        3 => (name(), name()).prop_map(|(user, policy)| Step::Detach(user, policy)),
        3 => (name(), name()).prop_map(|(user, policy)| Step::PutInline(user, policy)),
        3 => (name(), name()).prop_map(|(user, policy)| Step::DeleteInline(user, policy)),
        4 => name().prop_map(Step::CreateKey),
        2 => (0..8_u8).prop_map(Step::DisableKey),
        3 => (0..8_u8).prop_map(Step::DeleteKey),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..80)
}

#[derive(Default)]
struct Model {
    users: BTreeMap<String, Grants>,
    policies: BTreeSet<String>,
    /// Id: whose it is, and whether it is active.
    keys: BTreeMap<String, (String, bool)>,
    made: u32,
}

fn account() -> AccountId {
    "111111111111".parse().unwrap()
}

fn named(prefix: &str, number: u8) -> String {
    format!("{prefix}{number}")
}

fn user(name: &str) -> User {
    let at = Timestamp::from_ms(1);
    let (path, id) = ("/".to_owned(), "AIDA".to_owned());
    User {
        account: account(),
        path,
        name: name.into(),
        id,
        created_at: at,
        tags: Default::default(),
        boundary: None,
        grants: Default::default(),
    }
}

fn policy(name: &str) -> Policy {
    let at = Timestamp::from_ms(1);
    Policy {
        account: account(),
        path: "/".into(),
        name: name.into(),
        id: "ANPA".into(),
        description: None,
        created_at: at,
        updated_at: at,
        tags: Default::default(),
        versions: [(1, PolicyVersion { created_at: at, document: "{}".into() })].into(),
        default_version: 1,
        next_version: 2,
    }
}

/// Whether a verb succeeded, and that it was refused, if it was, for what the model says.
#[track_caller]
fn same<T: std::fmt::Debug>(outcome: Result<T, ChangeError>, expected: Option<Refusal>) -> bool {
    match (outcome, expected) {
        (Ok(_), None) => true,
        (Err(ChangeError::Refused(refusal)), Some(expected)) if refusal == expected => false,
        (outcome, expected) => panic!("{outcome:?}, and the model says {expected:?}"),
    }
}

async fn apply(fixture: &mut Fixture, model: &mut Model, step: Step) {
    let store = fixture.store.clone();
    let identity = store.identity();
    let missing = |noun| Some(Refusal::NotFound(noun));
    match step {
        Step::CreateUser(name) => {
            let name = named("u", name);
            let expected = model.users.contains_key(&name).then_some(Refusal::Exists);
            if same(identity.create_user(user(&name)).await, expected) {
                model.users.insert(name, Grants::default());
            }
        }
        Step::RenameUser(name, new) => {
            let (name, new) = (named("u", name), named("u", new));
            let expected = match model.users.contains_key(&name) {
                false => missing(Noun::User),
                true => (name != new && model.users.contains_key(&new)).then_some(Refusal::Exists),
            };
            if same(identity.rename_user(account(), name.clone(), new.clone(), None).await, expected) {
                let grants = model.users.remove(&name).unwrap();
                model.users.insert(new.clone(), grants);
                model.keys.values_mut().filter(|key| key.0 == name).for_each(|key| key.0.clone_from(&new));
            }
        }
        Step::DeleteUser(name) => {
            let name = named("u", name);
            let expected = match model.users.get(&name) {
                None => missing(Noun::User),
                Some(_) if model.keys.values().any(|key| key.0 == name) => Some(Refusal::InUse(Noun::AccessKey)),
                Some(grants) if !grants.attached.is_empty() => Some(Refusal::InUse(Noun::Attachment)),
                Some(grants) if !grants.inline.is_empty() => Some(Refusal::InUse(Noun::InlinePolicy)),
                Some(_) => None,
            };
            if same(identity.delete_user(account(), name.clone()).await, expected) {
                model.users.remove(&name);
            }
        }
        Step::CreatePolicy(name) => {
            let name = named("p", name);
            let expected = model.policies.contains(&name).then_some(Refusal::Exists);
            if same(identity.create_policy(policy(&name)).await, expected) {
                model.policies.insert(name);
            }
        }
        Step::DeletePolicy(name) => {
            let name = named("p", name);
            let arn = policy(&name).arn();
            let expected = match model.policies.contains(&name) {
                false => missing(Noun::Policy),
                true => model
                    .users
                    .values()
                    .any(|grants| grants.attached.contains(&arn))
                    .then_some(Refusal::InUse(Noun::Attachment)),
            };
            if same(identity.delete_policy(account(), name.clone()).await, expected) {
                model.policies.remove(&name);
            }
        }
        Step::Attach(user, name) => {
            let (user, name) = (named("u", user), named("p", name));
            let expected = match (model.users.contains_key(&user), model.policies.contains(&name)) {
                (false, _) => missing(Noun::User),
                (true, false) => missing(Noun::Policy),
                (true, true) => None,
            };
            let arn = policy(&name).arn();
            if same(identity.attach(account(), Holder::User(user.clone()), arn.clone()).await, expected) {
                model.users.get_mut(&user).unwrap().attached.insert(arn);
            }
        }
        Step::Detach(user, name) => {
            let (user, arn) = (named("u", user), policy(&named("p", name)).arn());
            let expected = match model.users.get(&user) {
                None => missing(Noun::User),
                Some(grants) if !grants.attached.contains(&arn) => missing(Noun::Attachment),
                Some(_) => None,
            };
            if same(identity.detach(account(), Holder::User(user.clone()), arn.clone()).await, expected) {
                model.users.get_mut(&user).unwrap().attached.remove(&arn);
            }
        }
        Step::PutInline(user, name) => {
            let (user, name) = (named("u", user), named("i", name));
            model.made += 1;
            let document = format!("{{\"made\":{}}}", model.made);
            let expected = if model.users.contains_key(&user) { None } else { missing(Noun::User) };
            let put = identity.put_inline(account(), Holder::User(user.clone()), name.clone(), document.clone());
            if same(put.await, expected) {
                model.users.get_mut(&user).unwrap().inline.insert(name, document);
            }
        }
        Step::DeleteInline(user, name) => {
            let (user, name) = (named("u", user), named("i", name));
            let expected = match model.users.get(&user) {
                None => missing(Noun::User),
                Some(grants) if !grants.inline.contains_key(&name) => missing(Noun::InlinePolicy),
                Some(_) => None,
            };
            if same(identity.delete_inline(account(), Holder::User(user.clone()), name.clone()).await, expected) {
                model.users.get_mut(&user).unwrap().inline.remove(&name);
            }
        }
        Step::CreateKey(user) => {
            let user = named("u", user);
            model.made += 1;
            let id = format!("AKIA{}", model.made);
            let count = model.keys.values().filter(|key| key.0 == user).count();
            let expected = match model.users.contains_key(&user) {
                false => missing(Noun::User),
                true => (count >= 2).then_some(Refusal::Quota(updraft_store::identity::Quota::AccessKeys)),
            };
            let key = AccessKey {
                id: id.clone(),
                account: account(),
                user: Some(user.clone()),
                created_at: Timestamp::from_ms(1),
                status: KeyStatus::Active,
            };
            if same(identity.create_key(key, Secret::from(format!("secret of {id}"))).await, expected) {
                model.keys.insert(id, (user, true));
            }
        }
        Step::DisableKey(index) => {
            let Some((id, (user, _))) = model.keys.iter().nth(index.into()) else { return };
            let (id, user) = (id.clone(), user.clone());
            identity.set_key_status(account(), Some(user), id.clone(), KeyStatus::Inactive).await.unwrap();
            model.keys.get_mut(&id).unwrap().1 = false;
        }
        Step::DeleteKey(index) => {
            let Some((id, (user, _))) = model.keys.iter().nth(index.into()) else { return };
            let (id, user) = (id.clone(), user.clone());
            same(identity.delete_key(account(), None, id.clone()).await, missing(Noun::AccessKey));
            identity.delete_key(account(), Some(user), id.clone()).await.unwrap();
            model.keys.remove(&id);
        }
        Step::Reopen => fixture.reopen().await,
        Step::Crash => fixture.crash().await,
    }
}

async fn agree(fixture: &Fixture, model: &Model) {
    let all = fixture.store.identity().all().await.unwrap();
    let users: BTreeMap<_, _> = all.users.into_iter().map(|user| (user.name, user.grants)).collect();
    assert_eq!(users, model.users);
    assert!(all.policies.iter().map(|policy| &policy.name).eq(&model.policies));
    let keys: BTreeMap<_, _> = all
        .keys
        .into_iter()
        .map(|(key, secret)| {
            assert_eq!(secret.expose(), format!("secret of {}", key.id));
            (key.id, (key.user.unwrap(), key.status == KeyStatus::Active))
        })
        .collect();
    assert_eq!(keys, model.keys);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn identities_agree_with_a_model_through_reopening_and_crashes(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut fixture, mut model) = (Fixture::open().await, Model::default());
            for step in steps {
                apply(&mut fixture, &mut model, step).await;
                agree(&fixture, &model).await;
            }
        });
    }
}
