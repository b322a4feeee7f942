//! Conformance: accounts, users, roles, policies, access keys; and the master key they need.

use std::{fs, os::unix::fs::PermissionsExt};

use updraft_store::{
    MasterKey, Store,
    identity::{ChangeError, Noun, Quota, Refusal},
    open::Error,
};
use updraft_types::{
    AccountId, Timestamp,
    iam::{
        AccessKey, Account, GROUPS_PER_USER_MAX, Group, Holder, KeyStatus, Policy, PolicyVersion, Role, Secret, User,
    },
};

use crate::fixture::{Fixture, open};

fn account() -> AccountId {
    "111111111111".parse().unwrap()
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn user(name: &str) -> User {
    User {
        account: account(),
        path: "/".into(),
        name: name.into(),
        id: format!("AIDA{name}"),
        created_at: at(1),
        tags: Default::default(),
        boundary: None,
        grants: Default::default(),
    }
}

fn group(name: &str) -> Group {
    Group {
        account: account(),
        path: "/".into(),
        name: name.into(),
        id: format!("AGPA{name}"),
        created_at: at(1),
        members: Default::default(),
        grants: Default::default(),
    }
}

fn role(name: &str) -> Role {
    Role {
        account: account(),
        path: "/service-role/".into(),
        name: name.into(),
        id: format!("AROA{name}"),
        created_at: at(1),
        tags: [("team".to_owned(), "core".to_owned())].into(),
        trust: "{}".into(),
        trusted: Some(vec![[("arn:aws:iam::111111111111:user/ada".to_owned(), "AIDAada".to_owned())].into()]),
        description: Some("übung".into()),
        max_session_s: 3_600,
        boundary: None,
        grants: Default::default(),
    }
}

fn policy(name: &str) -> Policy {
    Policy {
        account: account(),
        path: "/".into(),
        name: name.into(),
        id: format!("ANPA{name}"),
        description: None,
        created_at: at(1),
        updated_at: at(1),
        tags: Default::default(),
        versions: [(1, PolicyVersion { created_at: at(1), document: "{}".into() })].into(),
        default_version: 1,
        next_version: 2,
    }
}

fn key(id: &str, user: Option<&str>) -> AccessKey {
    AccessKey {
        id: id.into(),
        account: account(),
        user: user.map(str::to_owned),
        created_at: at(1),
        status: KeyStatus::Active,
    }
}

fn secret(text: &str) -> Secret {
    text.to_owned().into()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, ChangeError>, expected: Refusal) {
    match outcome {
        Err(ChangeError::Refused(refusal)) => assert_eq!(refusal, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_is_read_back_as_it_was_after_a_crash() {
    let mut fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    let tenant = Account { id: account(), name: "Tenant".into(), created_at: at(1) };
    identity.create_account(tenant.clone()).await.unwrap();
    identity.create_user(user("ada")).await.unwrap();
    identity.create_role(role("runner")).await.unwrap();
    identity.create_policy(policy("reads")).await.unwrap();
    identity.create_key(key("AKIA1", Some("ada")), secret("hunter2")).await.unwrap();
    let holder = Holder::Role("runner".into());
    let (arn, managed) = (policy("reads").arn(), "arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned());
    identity.put_inline(account(), holder.clone(), "own".into(), "{\"a\":1}".into()).await.unwrap();
    identity.attach(account(), holder.clone(), arn.clone()).await.unwrap();
    let grants = identity.attach(account(), holder, managed.clone()).await.unwrap();
    assert_eq!(grants.attached, [managed, arn].into());
    fixture.crash().await;
    let all = fixture.store.identity().all().await.unwrap();
    assert_eq!(all.accounts, [tenant]);
    assert_eq!(all.users, [user("ada")]);
    assert_eq!(all.roles, [Role { grants, ..role("runner") }]);
    assert_eq!(all.policies, [policy("reads")]);
    assert_eq!(all.keys, [(key("AKIA1", Some("ada")), secret("hunter2"))]);
}

#[tokio::test]
async fn names_are_taken_once_an_account_whatever_their_case() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    identity.create_user(user("ada")).await.unwrap();
    refused(identity.create_user(user("ADA")).await, Refusal::Exists);
    identity.create_role(role("ada")).await.unwrap();
    refused(identity.create_role(role("Ada")).await, Refusal::Exists);
    identity.create_policy(policy("ada")).await.unwrap();
    refused(identity.create_policy(policy("aDa")).await, Refusal::Exists);
    let elsewhere = User { account: "222222222222".parse().unwrap(), ..user("ada") };
    identity.create_user(elsewhere).await.unwrap();
    // And found as they are written.
    refused(identity.delete_user(account(), "ADA".into()).await, Refusal::NotFound(Noun::User));
}

#[tokio::test]
async fn a_group_keeps_its_users_and_grants_under_every_name() {
    let mut fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    identity.create_user(user("ada")).await.unwrap();
    identity.create_group(group("makers")).await.unwrap();
    refused(identity.create_group(group("Makers")).await, Refusal::Exists);
    let holder = Holder::Group("makers".into());
    identity.put_inline(account(), holder.clone(), "p".into(), "{}".into()).await.unwrap();
    refused(identity.join_group(account(), "makers".into(), "eve".into()).await, Refusal::NotFound(Noun::User));
    refused(identity.join_group(account(), "none".into(), "ada".into()).await, Refusal::NotFound(Noun::Group));
    for _ in 0..2 {
        let joined = identity.join_group(account(), "makers".into(), "ada".into()).await.unwrap();
        assert_eq!(joined.members, [user("ada").id].into());
    }
    identity.rename_user(account(), "ada".into(), "eve".into(), None).await.unwrap();
    identity.rename_group(account(), "makers".into(), "builders".into(), Some("/b/".into())).await.unwrap();
    refused(identity.delete_user(account(), "eve".into()).await, Refusal::InUse(Noun::Membership));
    refused(identity.delete_group(account(), "builders".into()).await, Refusal::InUse(Noun::Membership));

    fixture.store.close().await;
    fixture.store = open(fixture.path()).await.unwrap();
    let identity = fixture.store.identity();
    let all = identity.all().await.unwrap();
    assert_eq!((all.groups.len(), all.groups[0].path.as_str()), (1, "/b/"));
    assert_eq!(all.groups[0].grants.inline.keys().collect::<Vec<_>>(), ["p"]);
    identity.leave_group(account(), "builders".into(), "eve".into()).await.unwrap();
    let again = identity.leave_group(account(), "builders".into(), "eve".into()).await;
    refused(again, Refusal::NotFound(Noun::Membership));
    refused(identity.delete_group(account(), "builders".into()).await, Refusal::InUse(Noun::InlinePolicy));
    identity.delete_inline(account(), Holder::Group("builders".into()), "p".into()).await.unwrap();
    identity.delete_group(account(), "builders".into()).await.unwrap();
    identity.delete_user(account(), "eve".into()).await.unwrap();
}

#[tokio::test]
async fn a_user_is_in_so_many_groups_and_no_more() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    identity.create_user(user("ada")).await.unwrap();
    for number in 0..=GROUPS_PER_USER_MAX {
        let name = format!("g{number}");
        identity.create_group(group(&name)).await.unwrap();
        let joined = identity.join_group(account(), name, "ada".into()).await;
        match number < GROUPS_PER_USER_MAX {
            true => drop(joined.unwrap()),
            false => refused(joined, Refusal::Quota(Quota::GroupsOfUser)),
        }
    }
}

#[tokio::test]
async fn a_user_goes_after_its_keys_and_policies() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    let ada = || Holder::User("ada".into());
    let delete = || identity.delete_user(account(), "ada".into());
    refused(delete().await, Refusal::NotFound(Noun::User));
    identity.create_user(user("ada")).await.unwrap();
    identity.create_key(key("AKIA1", Some("ada")), secret("x")).await.unwrap();
    identity.put_inline(account(), ada(), "own".into(), "{}".into()).await.unwrap();
    let managed = "arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned();
    identity.attach(account(), ada(), managed.clone()).await.unwrap();
    refused(delete().await, Refusal::InUse(Noun::AccessKey));
    identity.delete_key(account(), Some("ada".into()), "AKIA1".into()).await.unwrap();
    refused(delete().await, Refusal::InUse(Noun::Attachment));
    identity.detach(account(), ada(), managed).await.unwrap();
    refused(delete().await, Refusal::InUse(Noun::InlinePolicy));
    identity.delete_inline(account(), ada(), "own".into()).await.unwrap();
    delete().await.unwrap();
    assert_eq!(identity.all().await.unwrap().users, []);
}

#[tokio::test]
async fn a_renamed_user_keeps_what_it_has() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    identity.create_user(user("ada")).await.unwrap();
    identity.create_user(user("bob")).await.unwrap();
    identity.create_key(key("AKIA1", Some("ada")), secret("x")).await.unwrap();
    identity.put_inline(account(), Holder::User("ada".into()), "own".into(), "{}".into()).await.unwrap();
    refused(identity.rename_user(account(), "ada".into(), "BOB".into(), None).await, Refusal::Exists);
    let renamed = identity.rename_user(account(), "ada".into(), "Ada".into(), Some("/team/".into())).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.id.as_str(), renamed.path.as_str()), ("Ada", "AIDAada", "/team/"));
    let all = identity.all().await.unwrap();
    assert_eq!(all.users[0], renamed);
    assert_eq!(all.keys[0].0, key("AKIA1", Some("Ada")));
    assert!(renamed.grants.inline.contains_key("own"));
}

#[tokio::test]
async fn a_policy_goes_after_its_attachments_and_versions() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    let runner = || Holder::Role("runner".into());
    let arn = policy("reads").arn();
    identity.create_role(role("runner")).await.unwrap();
    refused(identity.attach(account(), runner(), arn.clone()).await, Refusal::NotFound(Noun::Policy));
    identity.create_policy(policy("reads")).await.unwrap();
    let other_path = "arn:aws:iam::111111111111:policy/elsewhere/reads".to_owned();
    refused(identity.attach(account(), runner(), other_path).await, Refusal::NotFound(Noun::Policy));
    identity.attach(account(), runner(), arn.clone()).await.unwrap();
    let delete = || identity.delete_policy(account(), "reads".into());
    refused(delete().await, Refusal::InUse(Noun::Attachment));
    refused(identity.delete_role(account(), "runner".into()).await, Refusal::InUse(Noun::Attachment));
    identity.detach(account(), runner(), arn.clone()).await.unwrap();
    refused(identity.detach(account(), runner(), arn).await, Refusal::NotFound(Noun::Attachment));

    let add =
        |is_default| identity.add_policy_version(account(), "reads".into(), "{\"v\":2}".into(), is_default, at(2));
    let version = |number| identity.delete_policy_version(account(), "reads".into(), number);
    let two = add(true).await.unwrap();
    assert_eq!((two.default_version, two.document(), two.updated_at), (2, "{\"v\":2}", at(2)));
    refused(delete().await, Refusal::InUse(Noun::PolicyVersion));
    refused(version(2).await, Refusal::IsDefault);
    refused(version(9).await, Refusal::NotFound(Noun::PolicyVersion));
    version(1).await.unwrap();
    // Numbers are never used again.
    assert_eq!(add(false).await.unwrap().versions.into_keys().collect::<Vec<_>>(), [2, 3]);
    let set = identity.set_default_policy_version(account(), "reads".into(), 3, at(3)).await.unwrap();
    assert_eq!(set.default_version, 3);
    version(2).await.unwrap();
    delete().await.unwrap();
}

#[tokio::test]
async fn quotas_hold() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    identity.create_user(user("ada")).await.unwrap();
    identity.create_policy(policy("reads")).await.unwrap();
    for id in ["AKIA1", "AKIA2"] {
        identity.create_key(key(id, Some("ada")), secret("x")).await.unwrap();
    }
    refused(identity.create_key(key("AKIA3", Some("ada")), secret("x")).await, Refusal::Quota(Quota::AccessKeys));
    // The root user's are counted for themselves.
    identity.create_key(key("AKIA3", None), secret("x")).await.unwrap();
    refused(identity.create_key(key("AKIA3", None), secret("x")).await, Refusal::Exists);

    let ada = || Holder::User("ada".into());
    for number in 0..10 {
        let arn = format!("arn:aws:iam::aws:policy/P{number}");
        identity.attach(account(), ada(), arn.clone()).await.unwrap();
        identity.attach(account(), ada(), arn).await.unwrap();
    }
    refused(identity.attach(account(), ada(), policy("reads").arn()).await, Refusal::Quota(Quota::Attached));

    let put = |name: &str, chars: usize| {
        identity.put_inline(account(), ada(), name.into(), format!(" \n{}", "x".repeat(chars)))
    };
    put("a", 2_000).await.unwrap();
    refused(put("b", 49).await, Refusal::Quota(Quota::InlineChars));
    put("b", 48).await.unwrap();
    put("a", 1).await.unwrap();

    for _ in 0..4 {
        identity.add_policy_version(account(), "reads".into(), "{}".into(), false, at(2)).await.unwrap();
    }
    refused(
        identity.add_policy_version(account(), "reads".into(), "{}".into(), false, at(2)).await,
        Refusal::Quota(Quota::PolicyVersions),
    );
    let refuse = identity.amend_user(account(), "ada".into(), |user| {
        user.path = "/x/".into();
        Err(Quota::Tags)
    });
    refused(refuse.await, Refusal::Quota(Quota::Tags));
    assert_eq!(identity.all().await.unwrap().users[0].path, "/");
}

#[tokio::test]
async fn the_number_of_roles_is_bounded_also_for_many_at_once() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    let creates = (0..1_010).map(|number| identity.create_role(role(&format!("r{number}"))));
    let outcomes = futures_util::future::join_all(creates).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1_000);
    assert_eq!(identity.all().await.unwrap().roles.len(), 1_000);
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_and_touches_no_other() {
    let fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    refused(identity.delete_account(account()).await, Refusal::NotFound(Noun::Account));
    identity.create_account(Account { id: account(), name: "a".into(), created_at: at(1) }).await.unwrap();
    identity.create_user(user("ada")).await.unwrap();
    identity.create_key(key("AKIA1", Some("ada")), secret("x")).await.unwrap();
    identity.put_inline(account(), Holder::User("ada".into()), "own".into(), "{}".into()).await.unwrap();
    let other = User { account: "222222222222".parse().unwrap(), ..user("ada") };
    identity.create_user(other.clone()).await.unwrap();
    identity.delete_account(account()).await.unwrap();
    let all = identity.all().await.unwrap();
    assert_eq!((all.accounts.len(), all.keys.len()), (0, 0));
    assert_eq!(all.users, [other]);
    // A function keeps its account from being deleted, and from being made.
    let mut function = crate::fixture::function("f", 1);
    function.id.account = account();
    let made = || identity.create_account(Account { id: account(), name: "a".into(), created_at: at(1) });
    fixture.store.functions().create(function.clone()).await.unwrap();
    refused(made().await, Refusal::InUse(Noun::Function));
    fixture.store.functions().delete(function.id.clone()).await.unwrap();
    // What came under its number while nobody had it is nobody's.
    identity.create_role(role("left")).await.unwrap();
    made().await.unwrap();
    assert!(identity.all().await.unwrap().roles.is_empty());
    fixture.store.functions().create(function).await.unwrap();
    refused(identity.delete_account(account()).await, Refusal::InUse(Noun::Function));
    assert_eq!(identity.all().await.unwrap().accounts.len(), 1);
    // A user of that name begins with nothing.
    identity.create_user(user("ada")).await.unwrap();
    assert!(identity.all().await.unwrap().users[0].grants.is_empty());
}

#[tokio::test]
async fn no_secret_is_in_any_file() {
    let fixture = Fixture::open().await;
    fixture.store.identity().create_key(key("AKIA1", None), secret("correct-horse-battery")).await.unwrap();
    let holds = |needle: &[u8]| {
        ["platform.db", "platform.db-wal", "logs.db"].iter().any(|name| {
            let bytes = fs::read(fixture.path().join(name)).unwrap_or_default();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    assert!(holds(b"AKIA1"));
    assert!(!holds(b"correct-horse-battery"));
}

#[tokio::test]
async fn a_sealed_secret_moved_to_another_key_does_not_open() {
    let mut fixture = Fixture::open().await;
    let identity = fixture.store.identity();
    identity.create_key(key("AKIA1", None), secret("one")).await.unwrap();
    identity.create_key(key("AKIA2", None), secret("two")).await.unwrap();
    fixture.store.close().await;
    let connection = rusqlite::Connection::open(fixture.path().join("platform.db")).unwrap();
    let sql = "UPDATE access_key SET secret = (SELECT secret FROM access_key WHERE id = 'AKIA2') WHERE id = 'AKIA1'";
    connection.execute(sql, ()).unwrap();
    drop(connection);
    fixture.store = open(fixture.path()).await.unwrap();
    let error = fixture.store.identity().all().await.unwrap_err().to_string();
    assert!(error.contains("AKIA1") && !error.contains("two"), "{error}");
}

#[tokio::test]
async fn the_master_key_is_made_once_for_its_owner_alone_and_needed_ever_after() {
    let fixture = Fixture::open().await;
    let path = fs::canonicalize(fixture.path()).unwrap().join("master.key");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fixture.store.identity().create_key(key("AKIA1", None), secret("x")).await.unwrap();
    fixture.store.close().await;

    fs::remove_file(&path).unwrap();
    match open(fixture.path()).await.err().unwrap() {
        Error::MasterKeyMissing { path: named } => assert_eq!(named, path),
        other => panic!("{other}"),
    }
    assert!(!path.exists(), "a refused start made another key");
    fs::write(&path, "0".repeat(64)).unwrap();
    let error = open(fixture.path()).await.err().unwrap();
    assert!(matches!(error, Error::MasterKeyWrong { .. }), "{error}");
    fs::write(&path, "no key").unwrap();
    let error = open(fixture.path()).await.err().unwrap();
    assert!(matches!(error, Error::MasterKeyInvalid { .. }), "{error}");

    // Given from outside, it counts for more than the file.
    let config = updraft_store::Config { directory: fixture.path().to_owned() };
    let given: MasterKey = text.parse().unwrap();
    Store::open_with(config, Some(given)).await.unwrap().close().await;
    fs::write(&path, text).unwrap();
    let store = open(fixture.path()).await.unwrap();
    assert_eq!(store.identity().all().await.unwrap().keys.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_master_key_from_outside_is_not_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let config = || updraft_store::Config { directory: directory.path().to_owned() };
    let key = MasterKey::random();
    Store::open_with(config(), Some(key.clone())).await.unwrap().close().await;
    assert!(!directory.path().join("master.key").exists());
    assert!(matches!(open(directory.path()).await, Err(Error::MasterKeyMissing { .. })));
    let store = Store::open_with(config(), Some(key)).await.unwrap();
    let sealed = store.seal("parameters").seal("a", b"b");
    store.close().await;
    assert_eq!(store.seal("parameters").open("a", &sealed).unwrap(), b"b");
}

#[tokio::test]
async fn a_directory_from_before_there_was_a_master_key_gets_one() {
    let fixture = Fixture::open().await;
    fixture.store.close().await;
    let connection = rusqlite::Connection::open(fixture.path().join("platform.db")).unwrap();
    connection.execute("DELETE FROM master_key", ()).unwrap();
    drop(connection);
    fs::remove_file(fixture.path().join("master.key")).unwrap();
    open(fixture.path()).await.unwrap().close().await;
    assert!(fixture.path().join("master.key").exists());
    fs::remove_file(fixture.path().join("master.key")).unwrap();
    assert!(matches!(open(fixture.path()).await, Err(Error::MasterKeyMissing { .. })));
}
