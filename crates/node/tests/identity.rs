//! Identities in front of a real store: what keys and tokens open, and until when.

#![allow(clippy::unwrap_used, reason = "clippy exempts test functions, but not the helpers beside them")]

use std::{path::Path, sync::Arc, time::Duration};

use updraft_executor::fake::FakeExecutor;
use updraft_node::{
    CapacityLimits, Context, Executors, Handle, Service,
    identity::{
        Ask, Draft, Noun, Refusal, RoleChange,
        credential::Unusable,
        sessions::{FUNCTION_SESSION, Terms},
    },
};
use updraft_store::Store;
use updraft_types::{
    AccountId, Caller, Function, Principal, Timestamp,
    function::{PolicyStatement, ResourcePolicy},
    iam::{Holder, KeyStatus, PrincipalIds, Role},
};

const TRUST: &str =
    r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

struct Node {
    handle: Handle,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn start(directory: &Path) -> Self {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        let config = updraft_node::Config {
            capacity: CapacityLimits { memory_mb_max: 1_000, instances_max: 10 },
            ..updraft_node::Config::new("us-east-1".parse().unwrap(), directory)
        };
        let executor = Arc::new(FakeExecutor::new(1, Arc::new(Ok)));
        let executors = Executors { process: executor.clone(), wasm: executor };
        let (service, handle) = Service::open(config, store, executors).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(service.run(async {
            let _ = stopped.await;
        }));
        Self { handle, stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn account() -> AccountId {
    "111111111111".parse().unwrap()
}

fn draft(name: &str) -> Draft {
    Draft { account: account(), path: "/".into(), name: name.into(), tags: Default::default(), boundary: None }
}

fn now() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}

fn function(role: &str) -> Function {
    let document = serde_json::json!({
        "id": { "account": "111111111111", "name": "hello" }, "revision": "1", "modified_at": 0,
        "configuration": {
            "runtime": "wasm", "handler": "a.wasm", "role": role, "description": "", "timeout_s": 3, "memory_mb": 128,
            "ephemeral_storage_mb": 512, "environment": {}, "architecture": "x86_64", "tracing": "PassThrough",
            "log_group": null
        },
        "code": { "sha256": "x", "size_bytes": 1 }, "state": "Active", "last_update": "Successful", "tags": {},
        "url": null
    });
    serde_json::from_value(document).unwrap()
}

#[tokio::test]
async fn a_key_opens_its_user_until_it_is_disabled_or_gone() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let identity = node.handle.identity();
    let user = identity.create_user(draft("ada")).await.unwrap();
    let (key, secret) = identity.create_key(account(), Some("ada".into())).await.unwrap();
    let open = |token| identity.credential(&key.id, token, now());
    let held = open(None).unwrap();
    assert_eq!(held.secret, secret);
    let principal = Principal::User { path: "/".into(), name: "ada".into(), id: user.id.clone() };
    assert_eq!(held.caller, Caller { account: account(), principal });
    assert_eq!(open(Some("token")).unwrap_err(), Unusable::Token);
    assert_eq!(identity.credential("AKIANOSUCHKEY", None, now()).unwrap_err(), Unusable::Unknown);

    let status = |status| identity.set_key_status(account(), Some("ada".into()), key.id.clone(), status);
    status(KeyStatus::Inactive).await.unwrap();
    assert_eq!(open(None).unwrap_err(), Unusable::Inactive);
    status(KeyStatus::Active).await.unwrap();
    identity.update_user(account(), "ada".into(), Some("/team/".into()), Some("lovelace".into())).await.unwrap();
    assert_eq!(open(None).unwrap().caller.arn(), "arn:aws:iam::111111111111:user/team/lovelace");
    identity.delete_key(account(), Some("lovelace".into()), key.id.clone()).await.unwrap();
    assert_eq!(open(None).unwrap_err(), Unusable::Unknown);
    node.stop().await;
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_ends_on_time_or_with_its_role() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    node.handle.identity().create_role(draft("runner"), TRUST.into(), None, 3_600).await.unwrap();
    let snapshot = node.handle.identity().snapshot();
    let role = snapshot.members(&account()).role("runner").unwrap();
    let lifetime = Duration::from_secs(900);
    let ends = now().plus(lifetime);
    let bounded = Terms { policy: Some(ALLOW.into()), ..Terms::default() };
    let issued = node.handle.identity().issue_for_role(role, "s1", bounded, now(), lifetime).unwrap();
    let other = node.handle.identity().issue_for_role(role, "s1", Terms::default(), now(), lifetime).unwrap();
    node.stop().await;

    let node = Node::start(directory.path()).await;
    let identity = node.handle.identity();
    let open = |at| identity.credential(&issued.access_key_id, Some(&issued.token), at);
    let held = open(now()).unwrap();
    assert_eq!(held.secret, issued.secret);
    assert_eq!(held.caller.arn(), "arn:aws:sts::111111111111:assumed-role/runner/s1");
    let bounds = held.session.unwrap();
    assert_eq!((bounds.policies.len(), bounds.issued_at, bounds.expires_at), (1, now(), ends));
    assert_eq!(open(ends).unwrap_err(), Unusable::Expired);
    // A token is its own key's alone, whole.
    let with = |token: Option<&str>| identity.credential(&issued.access_key_id, token, now()).unwrap_err();
    assert_eq!(with(None), Unusable::Token);
    assert_eq!(with(Some(&other.token)), Unusable::Token);
    assert_eq!(with(Some(&issued.token[4..])), Unusable::Token);
    assert_eq!(with(Some("")), Unusable::Token);

    identity.delete_role(account(), "runner".into()).await.unwrap();
    assert_eq!(open(now()).unwrap_err(), Unusable::Unknown);
    identity.create_role(draft("runner"), TRUST.into(), None, 3_600).await.unwrap();
    assert_eq!(open(now()).unwrap_err(), Unusable::Unknown, "a role made again is another");
    node.stop().await;
}

#[tokio::test]
async fn a_root_session_ends_with_its_account() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let identity = node.handle.identity();
    node.handle.create_account("tenant".into(), Some(account())).await.unwrap();
    let issued = identity.issue_for_caller(&Caller::root(account()), now(), Duration::from_secs(900)).unwrap();
    let (key, _) = identity.create_key(account(), None).await.unwrap();
    let open = || identity.credential(&issued.access_key_id, Some(&issued.token), now());
    assert_eq!(open().unwrap().caller, Caller::root(account()));
    node.handle.delete_account(account()).await.unwrap();
    assert_eq!(open().unwrap_err(), Unusable::Unknown);
    assert_eq!(identity.credential(&key.id, None, now()).unwrap_err(), Unusable::Unknown);
    node.stop().await;
}

#[tokio::test]
async fn a_function_gets_a_session_of_a_role_that_trusts_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let identity = node.handle.identity();
    let arn = "arn:aws:iam::111111111111:role/runner";
    assert!(identity.issue_for_function(&function(arn), now()).is_none(), "there is no such role");
    identity.create_role(draft("runner"), TRUST.into(), None, 3_600).await.unwrap();
    let issued = identity.issue_for_function(&function(arn), now()).unwrap();
    assert_eq!(issued.caller.arn(), "arn:aws:sts::111111111111:assumed-role/runner/hello");
    assert_eq!(issued.expires_at, now().plus(FUNCTION_SESSION));
    for other in ["arn:aws:iam::222222222222:role/runner", "arn:aws:iam::111111111111:role/x/runner", "r"] {
        assert!(identity.issue_for_function(&function(other), now()).is_none(), "{other}");
    }
    let distrust = TRUST.replace("lambda", "events");
    let change = RoleChange { trust: Some(distrust), ..RoleChange::default() };
    identity.update_role(account(), "runner".into(), change).await.unwrap();
    assert!(identity.issue_for_function(&function(arn), now()).is_none());
    node.stop().await;
}

#[tokio::test]
async fn a_principals_policies_are_its_own_and_what_is_attached() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let identity = node.handle.identity();
    let user = identity.create_user(draft("ada")).await.unwrap();
    let ada = || Holder::User("ada".into());
    identity.put_inline(account(), ada(), "own".into(), ALLOW.into()).await.unwrap();
    let policy = identity.create_policy(draft("reads"), ALLOW.into(), None).await.unwrap();
    identity.attach(account(), ada(), policy.arn()).await.unwrap();
    let basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
    identity.attach(account(), ada(), basic.into()).await.unwrap();
    let principal = Principal::User { path: "/".into(), name: "ada".into(), id: user.id };
    let caller = Caller { account: account(), principal };
    let names = || -> Option<Vec<String>> {
        Some(identity.snapshot().policies_of(&caller)?.into_iter().map(|policy| policy.name).collect())
    };
    assert_eq!(names().unwrap(), ["own".to_owned(), policy.arn(), basic.to_owned()]);
    // As the store has it.
    node.stop().await;
    let node = Node::start(directory.path()).await;
    let names = node.handle.identity().snapshot().policies_of(&caller).unwrap().len();
    assert_eq!(names, 3);
    let missing = node.handle.identity().attach(account(), Holder::Role("none".into()), basic.into()).await;
    assert_eq!(missing.unwrap_err().to_string(), Refusal::NotFound(Noun::Role).to_string());
    node.stop().await;
}

#[tokio::test]
async fn changes_made_at_once_all_show() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let identity = node.handle.identity();
    let creates = (0..40).map(|number| identity.create_user(draft(&format!("u{number}"))));
    for created in futures_util::future::join_all(creates).await {
        created.unwrap();
    }
    assert_eq!(identity.snapshot().members(&account()).users().count(), 40);
    node.stop().await;
}

/// Grants were to names once. They go to whoever has the name when the platform learns better, and to nobody else after.
#[tokio::test]
async fn what_was_granted_to_a_name_stays_with_who_had_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let ada = node.handle.identity().create_user(draft("ada")).await.unwrap();
    node.stop().await;

    let statement = |action: &str, more: &str| {
        let principal = r#"{"AWS":["arn:aws:iam::111111111111:user/ada","arn:aws:iam::111111111111:role/none"]}"#;
        format!(r#"{{"Effect":"Allow","Principal":{principal},"Action":"{action}"{more}}}"#)
    };
    let store = Store::open(updraft_store::Config { directory: directory.path().to_owned() }).await.unwrap();
    let mut old = function("r");
    let statements = ["one", "two"].map(|sid| PolicyStatement {
        sid: sid.into(),
        text: statement("lambda:*", r#","Resource":"*""#),
        principals: None,
    });
    old.policies.insert(String::new(), ResourcePolicy { statements: statements.into(), ..ResourcePolicy::default() });
    store.functions().create(old.clone()).await.unwrap();
    let trust = format!(r#"{{"Statement":[{}]}}"#, statement("sts:AssumeRole", ""));
    let role = Role {
        account: account(),
        path: "/".into(),
        name: "runner".into(),
        id: "AROA1".into(),
        created_at: now(),
        tags: Default::default(),
        trust,
        trusted: None,
        description: None,
        max_session_s: 3_600,
        boundary: None,
        grants: Default::default(),
    };
    store.identity().create_role(role).await.unwrap();
    store.close().await;

    // The second start reads what the first has noted.
    for _ in 0..2 {
        let node = Node::start(directory.path()).await;
        let bound: PrincipalIds = [(ada.arn(), ada.id.clone())].into();
        let function = node.handle.catalog().get(&old.id).unwrap().clone();
        let noted: Vec<_> = function.policies[""].statements.iter().map(|one| one.principals.clone()).collect();
        assert_eq!(noted, [Some(bound.clone()), Some(bound.clone())]);
        let snapshot = node.handle.identity().snapshot();
        assert_eq!(snapshot.members(&account()).role("runner").unwrap().trusted, Some(vec![bound]));
        assert_eq!(function.revision, old.revision);
        node.stop().await;
    }

    let node = Node::start(directory.path()).await;
    let may = |id: &str| {
        let principal = Principal::User { path: "/".into(), name: "ada".into(), id: id.into() };
        let (caller, catalog, owner) = (Caller { account: account(), principal }, node.handle.catalog(), account());
        let policy = Some(&*catalog.policy(&old.id, "").unwrap().document);
        let context = Context::new();
        let ask = Ask {
            caller: &caller,
            session: &[],
            action: "lambda:InvokeFunction",
            resource: "arn:aws:lambda:us-east-1:111111111111:function:hello",
            owner: &owner,
            resource_policy: policy,
            context: &context,
        };
        node.handle.identity().snapshot().authorize(&ask).is_ok()
    };
    assert!(may(&ada.id));
    node.handle.identity().delete_user(account(), "ada".into()).await.unwrap();
    let another = node.handle.identity().create_user(draft("ada")).await.unwrap();
    assert!(!may(&another.id));
    node.stop().await;
}
