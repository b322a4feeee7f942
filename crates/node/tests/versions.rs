//! Versions, aliases and what is provisioned for them, on a real store with instances that tell which version they run.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use std::{
    io::{Cursor, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use updraft_executor::{Call, Executor, Framing, Instance, Rejected, Reply, Start, Support, Unsupported};
use updraft_node::{
    CapacityLimits, Config, Draft, Executors, Handle, PlacementLimits, Publish, Refusal, Service, aliases, control,
    provisioned::{self, Status},
    versions::Publication,
};
use updraft_store::Store;
use updraft_types::{
    Fault, Function, FunctionId, Invocation, Payload, Qualifier, RequestId, Runtime, Version, VersionId, body,
    function::{Configuration, LastUpdate, PolicyStatement, ResourcePolicy, State},
    invocation::{Context, LogTail},
    settings::{EventInvoke, Settings, UpdateRuntimeOn},
    version::Additional,
};

/// Starts instances that answer `VERSION CODE DESCRIPTION`.
#[derive(Default)]
struct Teller {
    alive: Arc<AtomicUsize>,
}

struct Told {
    text: String,
    is_alive: AtomicBool,
    alive: Arc<AtomicUsize>,
}

#[async_trait]
impl Executor for Teller {
    fn check(&self, _: &Configuration) -> Result<Support, Unsupported> {
        Ok(Support::Exact)
    }

    fn concurrency(&self, _: &Configuration) -> u32 {
        1
    }

    async fn prepare(&self, _: &Function, _: &Path) -> Result<(), Rejected> {
        Ok(())
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn Instance>, Fault> {
        let code = std::fs::read_to_string(start.package.join("app.py")).unwrap();
        let stream = start.log_stream.split(['[', ']']).nth(1).unwrap().to_owned();
        assert_eq!(stream, start.function.version.to_string());
        if code == "broken" {
            return Err(Fault::Exit(updraft_types::ExitStatus::Code(1)));
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        let text = format!("{} {code} {}", start.function.version, start.function.configuration.description);
        Ok(Arc::new(Told { text, is_alive: AtomicBool::new(true), alive: self.alive.clone() }))
    }
}

#[async_trait]
impl Instance for Told {
    async fn call(self: Arc<Self>, _: Call) -> Result<Reply, Fault> {
        Ok(Reply::Event { framing: Framing::Value, body: body::full(Bytes::from(self.text.clone())) })
    }

    fn is_alive(&self) -> bool {
        self.is_alive.load(Ordering::SeqCst)
    }

    fn memory_bytes_max(&self) -> u64 {
        0
    }

    async fn stop(&self) {
        if self.is_alive.swap(false, Ordering::SeqCst) {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

struct Node {
    handle: Handle,
    alive: Arc<AtomicUsize>,
    stop: tokio::sync::oneshot::Sender<()>,
    service: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn open(directory: &Path) -> Self {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        let config = Config {
            capacity: CapacityLimits { memory_mb_max: 20_000, instances_max: 150 },
            // How busy the machine is must not decide what a test sees.
            placement: PlacementLimits { busy_instances_max: 1_000, ..PlacementLimits::default() },
            ..Config::new("us-east-1".parse().unwrap(), directory)
        };
        let teller = Arc::new(Teller::default());
        let alive = teller.alive.clone();
        let executors = Executors { process: teller.clone(), wasm: teller };
        let (service, handle) = Service::open(config, store, executors).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let service = tokio::spawn(service.run(async move {
            let _ = stopped.await;
        }));
        Self { handle, alive, stop, service }
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.service.await.unwrap();
        assert_eq!(self.alive.load(Ordering::SeqCst), 0, "instances were left");
    }

    async fn create(&self, publish: Publish) {
        self.handle.create_with(draft(), zip("one"), publish).await.unwrap();
        self.settled().await;
    }

    async fn update(&self, code: &str) {
        self.handle.update_code(&id(), zip(code), None).await.unwrap();
        self.settled().await;
    }

    async fn publish(&self) -> u64 {
        let version = self.handle.publish_version(&id(), Publication::default()).await.unwrap();
        number(&version)
    }

    /// Waits until every version is in force.
    async fn settled(&self) {
        until(|| {
            let catalog = self.handle.catalog();
            let is_settled = |function: &Arc<Function>| {
                function.state == State::Active && function.last_update == Some(LastUpdate::Successful)
            };
            catalog.all_versions().all(is_settled)
        })
        .await;
    }

    async fn invoke(&self, qualifier: &str) -> Result<String, Refusal> {
        let function = self.handle.route(&id(), &qualifier.parse().unwrap()).ok_or(Refusal::NotFound)?;
        self.invoke_function(function).await
    }

    async fn invoke_function(&self, function: Arc<Function>) -> Result<String, Refusal> {
        let invocation = Invocation {
            id: RequestId::random(),
            function,
            payload: Payload::Event("1".into()),
            context: Context::default(),
            log_tail: LogTail::None,
        };
        match self.handle.invoke(invocation).await?.result.unwrap() {
            Reply::Event { body, .. } => {
                Ok(String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
            }
            Reply::Http(_) => panic!("an event was sent"),
        }
    }

    async fn alias(&self, name: &str, version: u64, additional: Option<(u64, f64)>) -> Result<(), aliases::Error> {
        let additional = additional.map(|(version, weight)| Additional { version, weight });
        let (function, name, description) = (id(), name.parse().unwrap(), String::new());
        let version = if version == 0 { Version::Latest } else { Version::Number(version) };
        let draft = aliases::Draft { function, name, version, additional, description };
        self.handle.create_alias(draft).await.map(drop)
    }
}

async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to be so");
}

fn number(function: &Function) -> u64 {
    match function.version {
        Version::Number(number) => number,
        Version::Latest => 0,
    }
}

fn id() -> FunctionId {
    FunctionId { account: "000000000000".parse().unwrap(), name: "f".parse().unwrap() }
}

fn draft() -> Draft {
    Draft {
        id: id(),
        configuration: Configuration {
            description: "latest".into(),
            ..Configuration::new(Runtime::Python { minor: 11 }, "app.handler", "arn:aws:iam::000000000000:role/r")
        },
        tags: Default::default(),
    }
}

fn zip(content: &str) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner().into()
}

#[tokio::test]
async fn versions_run_side_by_side_with_their_own_code_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::Yes).await;
    node.update("two").await;
    let described = Publication { description: Some("second".into()), ..Publication::default() };
    assert_eq!(number(&node.handle.publish_version(&id(), described).await.unwrap()), 2);
    node.update("three").await;
    let expected = [("1", "1 one latest"), ("2", "2 two second"), ("$LATEST", "$LATEST three latest")];
    for (qualifier, answer) in expected {
        assert_eq!(node.invoke(qualifier).await.unwrap(), answer);
    }
    assert_eq!(node.handle.instances(), 3);
    assert_eq!(node.handle.figures(&id()).instances.running, 3, "figures are the function's");
    node.alias("live", 1, None).await.unwrap();
    node.close().await;

    let node = Node::open(directory.path()).await;
    for (qualifier, answer) in expected {
        assert_eq!(node.invoke(qualifier).await.unwrap(), answer);
    }
    assert_eq!(node.invoke("live").await.unwrap(), "1 one latest");
    assert_eq!(node.invoke("3").await, Err(Refusal::NotFound));
    node.close().await;
}

#[tokio::test]
async fn nothing_is_published_twice() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::No).await;
    assert_eq!((node.publish().await, node.publish().await), (1, 1));
    let described = Publication { description: Some("other".into()), ..Publication::default() };
    assert_eq!(number(&node.handle.publish_version(&id(), described).await.unwrap()), 1, "a description is no change");
    // The same code, and published with the update.
    let again = node.handle.update_code_with(&id(), zip("one"), None, Publish::Yes).await.unwrap();
    assert_eq!(number(&again.function), 1);
    node.settled().await;
    let changed = node.handle.update_code_with(&id(), zip("two"), None, Publish::Yes).await.unwrap();
    assert_eq!((number(&changed.function), &changed.function.state), (2, &State::Pending));
    node.settled().await;
    node.handle.update_configuration(&id(), None, |to| to.description = "new".into()).await.unwrap();
    assert_eq!(node.publish().await, 3, "it waited for the change, and its description is one");
    node.close().await;
}

#[tokio::test]
async fn what_is_asked_of_a_publication_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::No).await;
    let latest = node.handle.catalog().get(&id()).unwrap().clone();
    let of = |code_sha256: &str, revision: &str| Publication {
        description: None,
        code_sha256: Some(code_sha256.to_owned()),
        revision: Some(revision.parse().unwrap()),
    };
    let (sha256, revision) = (latest.code.sha256.as_str(), latest.revision.as_str());
    let stale = node.handle.publish_version(&id(), of(sha256, "00")).await;
    assert!(matches!(stale, Err(control::Error::RevisionMismatch)));
    let other = node.handle.publish_version(&id(), of("x", revision)).await;
    assert!(matches!(other, Err(control::Error::CodeMismatch { current }) if current == sha256));
    assert_eq!(number(&node.handle.publish_version(&id(), of(sha256, revision)).await.unwrap()), 1);
    let now = node.handle.catalog().get(&id()).unwrap().revision.clone();
    assert_ne!(now, latest.revision, "publishing is a revision of the function, as on AWS");
    node.close().await;
}

#[tokio::test]
async fn a_deleted_version_takes_its_instances_and_its_code_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::Yes).await;
    node.update("two").await;
    node.invoke("1").await.unwrap();
    let version = node.handle.route(&id(), &"1".parse().unwrap()).unwrap();
    node.alias("live", 1, None).await.unwrap();
    let refused = node.handle.delete_version(&id(), 1).await;
    assert!(matches!(refused, Err(control::Error::Aliased(names)) if names == ["live".parse().unwrap()]));
    node.handle.delete_alias(&id(), &"live".parse().unwrap()).await.unwrap();
    node.handle.delete_version(&id(), 1).await.unwrap();
    assert!(matches!(node.handle.delete_version(&id(), 1).await, Err(control::Error::NotFound)));
    assert_eq!(node.invoke_function(version.clone()).await, Err(Refusal::NotFound), "nor by who still holds it");
    until(|| node.alive.load(Ordering::SeqCst) == 0).await;
    let mut is_there = true;
    for _ in 0..2_000 {
        is_there = node.handle.read_code(&version.code).await.is_ok();
        if !is_there {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!is_there, "its package was left");
    assert_eq!(node.publish().await, 2, "numbers are not given again");
    node.handle.delete(&id()).await.unwrap();
    assert!(node.handle.catalog().version(&VersionId { function: id(), version: Version::Number(2) }).is_none());
    node.create(Publish::Yes).await;
    assert_eq!(node.invoke("3").await.unwrap(), "3 one latest", "not even by a function of the same name");
    node.close().await;
}

/// Or whoever makes an alias of the same name would find it open to those whom the old one let in.
#[tokio::test]
async fn what_is_kept_by_a_name_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::Yes).await;
    node.alias("live", 1, None).await.unwrap();
    for qualifier in ["", "live", "1"] {
        let statement = PolicyStatement { sid: "s".into(), text: "{}".into(), principals: None };
        let add = move |policy: &mut ResourcePolicy| policy.statements.push(statement);
        node.handle.set_policy(&id(), qualifier, None, add).await.unwrap();
        let set = move |settings: &mut Settings| {
            settings.event_invoke.insert(qualifier.into(), EventInvoke::default());
            settings.runtime_management.insert(qualifier.into(), UpdateRuntimeOn::FunctionUpdate);
        };
        node.handle.update_settings(&id(), set).await.unwrap();
    }
    let kept = || {
        let function = node.handle.catalog().get(&id()).unwrap().clone();
        let (policies, settings) = (&function.policies, &function.settings);
        let names = |one: Vec<&String>| one.into_iter().cloned().collect::<Vec<_>>();
        let all = [
            policies.keys().collect(),
            settings.event_invoke.keys().collect(),
            settings.runtime_management.keys().collect(),
        ];
        all.map(names)
    };
    node.handle.delete_alias(&id(), &"live".parse().unwrap()).await.unwrap();
    assert_eq!(kept(), [(); 3].map(|()| vec!["".to_owned(), "1".to_owned()]));
    node.handle.delete_version(&id(), 1).await.unwrap();
    assert_eq!(kept(), [(); 3].map(|()| vec!["".to_owned()]));
    node.close().await;
}

#[tokio::test]
async fn an_alias_shares_calls_by_weight_and_follows_its_changes() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::Yes).await;
    node.update("two").await;
    assert_eq!(node.publish().await, 2);
    node.alias("live", 1, Some((2, 0.5))).await.unwrap();
    let mut seen = [0; 2];
    for _ in 0..200 {
        let answer = node.invoke("live").await.unwrap();
        seen[usize::from(answer.starts_with('2'))] += 1;
    }
    // Of 200 fair draws, fewer than 50 of one kind come up once in 10^12 runs.
    assert!(seen[0] > 50 && seen[1] > 50, "{seen:?}");
    let live: Qualifier = "live".parse().unwrap();
    assert_eq!(number(node.handle.catalog().find(&id(), &live).unwrap()), 1, "it is shown as the first");
    let change = aliases::Change { version: Some(Version::Number(2)), additional: Some(None), description: None };
    node.handle.update_alias(&id(), &"live".parse().unwrap(), None, change).await.unwrap();
    for _ in 0..20 {
        assert_eq!(node.invoke("live").await.unwrap(), "2 two latest");
    }
    node.close().await;
}

#[tokio::test]
async fn an_alias_points_at_what_is_there_and_at_two_published_versions_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    assert!(matches!(node.alias("a", 1, None).await, Err(aliases::Error::NoVersion(Version::Number(1)))));
    node.create(Publish::Yes).await;
    assert!(matches!(node.alias("a", 2, None).await, Err(aliases::Error::NoVersion(Version::Number(2)))));
    assert!(matches!(node.alias("a", 1, Some((2, 0.1))).await, Err(aliases::Error::NoVersion(_))));
    assert!(matches!(node.alias("a", 1, Some((1, 0.1))).await, Err(aliases::Error::SameVersion(_))));
    assert!(matches!(node.alias("a", 0, Some((1, 0.1))).await, Err(aliases::Error::LatestShared)));
    node.alias("a", 0, None).await.unwrap();
    assert!(matches!(node.alias("a", 1, None).await, Err(aliases::Error::Exists)));
    let name = "a".parse().unwrap();
    let alias = node.handle.catalog().alias(&id(), &name).unwrap().clone();
    let described = || aliases::Change { description: Some("d".into()), ..Default::default() };
    let stale = node.handle.update_alias(&id(), &name, Some(&"00".parse().unwrap()), described()).await;
    assert!(matches!(stale, Err(aliases::Error::Change(control::Error::RevisionMismatch))));
    let changed = node.handle.update_alias(&id(), &name, Some(&alias.revision), described()).await.unwrap();
    assert_eq!((changed.description.as_str(), changed.version), ("d", Version::Latest));
    assert_ne!(changed.revision, alias.revision);
    let missing = node.handle.delete_alias(&id(), &"none".parse().unwrap()).await;
    assert!(matches!(missing, Err(aliases::Error::NotFound)));
    node.close().await;
}

#[tokio::test]
async fn provisioned_instances_are_there_before_calls_and_go_with_what_asked_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::Yes).await;
    let one: Qualifier = "1".parse().unwrap();
    let live: Qualifier = "live".parse().unwrap();
    node.handle.provision(&id(), &one, Some(3)).await.unwrap();
    let ready = |node: &Node, qualifier: &Qualifier| {
        let standing = node.handle.provisioned(&id(), qualifier);
        standing
            .is_some_and(|standing| (standing.allocated, standing.available, standing.status) == (3, 3, Status::Ready))
    };
    until(|| ready(&node, &one)).await;
    assert_eq!(node.alive.load(Ordering::SeqCst), 3);
    node.alias("live", 1, None).await.unwrap();
    assert!(matches!(node.handle.provision(&id(), &live, Some(1)).await, Err(provisioned::Error::VersionProvisioned)));
    node.close().await;

    // They are started again with the platform, and moved with the alias that has them.
    let node = Node::open(directory.path()).await;
    until(|| ready(&node, &one)).await;
    node.handle.provision(&id(), &one, None).await.unwrap();
    assert_eq!(node.handle.provisioned(&id(), &one), None);
    node.handle.provision(&id(), &live, Some(3)).await.unwrap();
    until(|| ready(&node, &live)).await;
    assert!(matches!(node.handle.provision(&id(), &one, Some(1)).await, Err(provisioned::Error::AliasProvisioned)));
    node.update("two").await;
    assert_eq!(node.publish().await, 2);
    let change = aliases::Change { version: Some(Version::Number(2)), ..Default::default() };
    node.handle.update_alias(&id(), &"live".parse().unwrap(), None, change).await.unwrap();
    until(|| ready(&node, &live)).await;
    assert_eq!(node.invoke("live").await.unwrap(), "2 two latest");
    node.update("broken").await;
    assert_eq!(node.publish().await, 3);
    let three: Qualifier = "3".parse().unwrap();
    node.handle.provision(&id(), &three, Some(1)).await.unwrap();
    until(|| node.handle.provisioned(&id(), &three).unwrap().status == Status::Failed).await;
    assert!(matches!(
        node.handle.provision(&id(), &"$LATEST".parse().unwrap(), Some(1)).await,
        Err(provisioned::Error::Unpublished)
    ));
    node.close().await;
}

#[tokio::test]
async fn what_is_provisioned_leaves_enough_to_everyone() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    node.create(Publish::Yes).await;
    let one: Qualifier = "1".parse().unwrap();
    let refused = node.handle.provision(&id(), &one, Some(1_001)).await;
    assert!(matches!(refused, Err(provisioned::Error::OverUnreserved { unreserved: 1_000 })), "{refused:?}");
    let refused = node.handle.provision(&id(), &one, Some(901)).await;
    assert!(matches!(refused, Err(provisioned::Error::UnreservedTooFew)));
    node.handle.reserve_concurrency(&id(), Some(4)).await.unwrap();
    assert!(matches!(node.handle.provision(&id(), &one, Some(5)).await, Err(provisioned::Error::OverReserved)));
    node.handle.provision(&id(), &one, Some(4)).await.unwrap();
    assert_eq!(node.handle.catalog().committed(&id().account), 4, "what is provisioned is part of the reservation");
    let below = node.handle.reserve_concurrency(&id(), Some(3)).await;
    assert!(matches!(below, Err(control::Error::BelowProvisioned { provisioned: 4 })));
    node.handle.reserve_concurrency(&id(), None).await.unwrap();
    assert_eq!(node.handle.catalog().committed(&id().account), 4);
    node.handle.delete_version(&id(), 1).await.unwrap();
    assert_eq!(node.handle.catalog().committed(&id().account), 0);
    until(|| node.alive.load(Ordering::SeqCst) == 0).await;
    node.close().await;
}
