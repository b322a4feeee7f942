//! Layers on a node with a real store and fake instances: numbers, use, what is kept and what is swept.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use std::{
    io::{Cursor, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use updraft_executor::{
    Executor, Instance, Rejected, Start, Support, Unsupported,
    fake::{FakeExecutor, Handler},
};
use updraft_node::{
    CapacityLimits, Config, Draft, Executors, Handle, PlacementLimits, Reply, Service, control, layers,
    versions::Publication,
};
use updraft_store::Store;
use updraft_types::{
    AccountId, Fault, Function, FunctionId, Invocation, LayerId, LayerVersionId, Payload, RequestId, Runtime,
    function::{Configuration, State},
    invocation::{Context, LogTail},
    layer::{LayerStatement, LayerVersion},
};

/// A fake that remembers which layers its instances were started with.
struct Layered {
    fake: FakeExecutor,
    seen: Mutex<Vec<Option<PathBuf>>>,
}

#[async_trait]
impl Executor for Layered {
    fn check(&self, configuration: &Configuration) -> Result<Support, Unsupported> {
        self.fake.check(configuration)
    }

    fn concurrency(&self, configuration: &Configuration) -> u32 {
        self.fake.concurrency(configuration)
    }

    async fn prepare(&self, function: &Function, package: &Path) -> Result<(), Rejected> {
        self.fake.prepare(function, package).await
    }

    async fn prepare_layers(&self, _: &Function, _: &Path, layers: &Path) -> Result<(), Rejected> {
        if layers.join("bad").exists() { Err(Rejected("a bad layer".into())) } else { Ok(()) }
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn Instance>, Fault> {
        self.seen.lock().push(start.layers.as_ref().map(|layers| layers.to_path_buf()));
        self.fake.start(start).await
    }
}

struct Node {
    handle: Handle,
    executor: Arc<Layered>,
    packages: PathBuf,
    stop: tokio::sync::oneshot::Sender<()>,
    service: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn open(directory: &Path) -> Self {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        let packages = directory.join("packages");
        let config = Config {
            capacity: CapacityLimits { memory_mb_max: 20_000, instances_max: 150 },
            // How busy the machine is must not decide what a test sees.
            placement: PlacementLimits { busy_instances_max: 1_000, ..PlacementLimits::default() },
            ..Config::new("us-east-1".parse().unwrap(), directory)
        };
        let echo: Handler = Arc::new(Ok);
        let executor = Arc::new(Layered { fake: FakeExecutor::new(1, echo), seen: Mutex::default() });
        let executors = Executors { process: executor.clone(), wasm: executor.clone() };
        let (service, handle) = Service::open(config, store, executors).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let service = tokio::spawn(service.run(async move {
            let _ = stopped.await;
        }));
        Self { handle, executor, packages, stop, service }
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.service.await.unwrap();
    }

    async fn publish(&self, layer: &str, files: &[(&str, &str)]) -> Result<LayerVersion, layers::Error> {
        let draft = layers::Draft {
            layer: layer_id(layer),
            description: String::new(),
            license: None,
            runtimes: None,
            architectures: None,
        };
        self.handle.publish_layer(draft, zip(files)).await
    }

    async fn create(&self, name: &str, layers: &[&LayerVersion]) -> Result<(), control::Error> {
        self.handle.create(draft(name, layers), zip(&[("app.py", name)])).await?;
        self.settled(name).await;
        Ok(())
    }

    async fn settled(&self, name: &str) {
        self.until("a function is settled", || {
            self.handle.catalog().get(&id(name)).is_some_and(|function| function.state == State::Active)
        })
        .await;
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..2_000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to be that {what}");
    }

    async fn invoke(&self, name: &str) {
        let invocation = Invocation {
            id: RequestId::random(),
            function: self.handle.catalog().get(&id(name)).unwrap().clone(),
            payload: Payload::Event("1".into()),
            context: Context::default(),
            log_tail: LogTail::None,
        };
        let answer = self.handle.invoke(invocation).await.unwrap();
        let Ok(Reply::Event { body, .. }) = answer.result else { panic!("it failed") };
        assert_eq!(body.collect().await.unwrap().to_bytes(), "1");
    }

    /// What the last instance had at `/opt`.
    fn opt(&self) -> PathBuf {
        self.executor.seen.lock().last().unwrap().clone().unwrap()
    }

    /// Folders that are laid out: of packages, of layers and of sets.
    fn laid_out(&self) -> usize {
        let boot = std::fs::read_dir(&self.packages).unwrap().next().unwrap().unwrap().path();
        std::fs::read_dir(boot).unwrap().count()
    }
}

fn id(name: &str) -> FunctionId {
    FunctionId { account: account("000000000000"), name: name.parse().unwrap() }
}

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn layer_id(name: &str) -> LayerId {
    LayerId { account: account("000000000000"), name: name.parse().unwrap() }
}

fn draft(name: &str, layers: &[&LayerVersion]) -> Draft {
    Draft {
        id: id(name),
        configuration: Configuration {
            layers: layers.iter().map(|layer| (*layer).clone().into()).collect(),
            ..Configuration::new(Runtime::Python { minor: 11 }, "app.handler", "arn:aws:iam::000000000000:role/r")
        },
        tags: Default::default(),
    }
}

fn zip(files: &[(&str, &str)]) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_its_layers_in_order_and_keeps_those_that_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    let first = node.publish("a", &[("both", "of a"), ("only-a", "a")]).await.unwrap();
    let second = node.publish("b", &[("both", "of b"), ("only-b", "b")]).await.unwrap();
    assert_eq!((first.id.version, first.unzipped_bytes), (1, 5));
    node.create("one", &[&first]).await.unwrap();
    node.create("forth", &[&first, &second]).await.unwrap();
    node.create("back", &[&second, &first]).await.unwrap();
    node.create("none", &[]).await.unwrap();
    let read = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    node.invoke("one").await;
    assert_eq!(read(&node.opt(), "both"), "of a");
    assert!(!node.opt().join("only-b").exists());
    node.invoke("forth").await;
    assert_eq!((read(&node.opt(), "both"), read(&node.opt(), "only-a")), ("of b".into(), "a".into()));
    node.invoke("back").await;
    assert_eq!((read(&node.opt(), "both"), read(&node.opt(), "only-b")), ("of a".into(), "b".into()));
    node.invoke("none").await;
    assert_eq!(node.executor.seen.lock().last().unwrap(), &None);

    for version in [&first, &second] {
        node.handle.delete_layer_version(version.id.clone()).await.unwrap();
        let gone = node.handle.layer_version(&account("000000000000"), version.id.clone()).await;
        assert!(matches!(gone, Err(layers::Error::NotFound)));
    }
    node.close().await;
    // As after the machine went down: nothing is laid out any more, all is made again from the zips.
    std::fs::remove_dir_all(directory.path().join("packages")).unwrap();
    let node = Node::open(directory.path()).await;
    node.invoke("forth").await;
    assert_eq!(read(&node.opt(), "both"), "of b");
    assert_eq!(node.publish("a", &[("x", "")]).await.unwrap().id.version, 2, "numbers are never used again");
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_is_swept_also_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    let first = node.publish("a", &[("a", "a")]).await.unwrap();
    let second = node.publish("b", &[("b", "b")]).await.unwrap();
    node.create("f", &[&first, &second]).await.unwrap();
    assert_eq!(node.laid_out(), 4, "a package, two layers and their set");
    node.invoke("f").await;
    node.handle.publish_version(&id("f"), Publication::default()).await.unwrap();
    node.handle.update_configuration(&id("f"), None, |to| to.layers.clear()).await.unwrap();
    let passing = node.publish("c", &[("c", "c")]).await.unwrap();
    assert_eq!(node.laid_out(), 5);
    node.handle.delete_layer_version(passing.id).await.unwrap();
    node.until("a round of sweeping is over", || node.laid_out() == 4).await;
    // Only the version had the set by then.
    node.handle.delete_version(&id("f"), 1).await.unwrap();
    node.until("the set is swept", || node.laid_out() == 3).await;
    node.handle.delete_layer_version(first.id).await.unwrap();
    node.until("the layer is swept", || node.laid_out() == 2).await;
    node.close().await;

    // What a killed platform may leave: packages that were added, and nothing names them.
    let stray = directory.path().join("blobs");
    let blob = std::fs::read_dir(&stray).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(&blob, stray.join(format!("code-{}.zip", "0".repeat(64)))).unwrap();
    let blobs = || std::fs::read_dir(&stray).unwrap().count();
    assert_eq!(blobs(), 3);
    let node = Node::open(directory.path()).await;
    assert_eq!(blobs(), 2, "the function's and the layer's that is left");
    let kept = node.handle.layer_version(&account("000000000000"), second.id).await.unwrap().0;
    assert_eq!(node.handle.read_code(&kept.code).await.unwrap(), zip(&[("b", "b")]));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_cannot_be_kept_is_not_left_laid_out() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    let (blobs, aside) = (directory.path().join("blobs"), directory.path().join("aside"));
    std::fs::rename(&blobs, &aside).unwrap();
    std::fs::write(&blobs, "no folder").unwrap();
    let failed = node.create("f", &[]).await;
    assert!(matches!(failed, Err(control::Error::Internal(_))), "{failed:?}");
    let failed = node.publish("a", &[("a", "a")]).await;
    assert!(matches!(failed, Err(layers::Error::Change(control::Error::Internal(_)))), "{failed:?}");
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&aside, &blobs).unwrap();
    node.until("what was laid out is swept", || node.laid_out() == 0).await;
    node.create("f", &[]).await.unwrap();
    assert_eq!(node.laid_out(), 1);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_cannot_go_with_a_function_are_refused_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    let bad = node.publish("bad", &[("bad", "")]).await.unwrap();
    let refused = node.create("f", &[&bad]).await;
    assert!(matches!(&refused, Err(control::Error::Package(text)) if text == "a bad layer"), "{refused:?}");
    let mut huge = node.publish("huge", &[("x", "")]).await.unwrap();
    huge.unzipped_bytes = 262_144_000;
    let refused = node.create("f", &[&huge]).await;
    let text = "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size \
                is 262144001 bytes.";
    assert!(matches!(&refused, Err(control::Error::Package(told)) if told == text), "{refused:?}");
    assert!(node.handle.catalog().get(&id("f")).is_none());

    node.create("f", &[]).await.unwrap();
    let layers = vec![bad.clone().into()];
    let refused = node.handle.update_configuration(&id("f"), None, move |to| to.layers = layers).await;
    assert!(matches!(refused, Err(control::Error::Package(_))));
    assert!(node.handle.catalog().get(&id("f")).unwrap().configuration.layers.is_empty());
    let wasm = node.handle.create(
        Draft {
            configuration: Configuration { runtime: Runtime::Wasm, ..draft("w", &[&bad]).configuration },
            ..draft("w", &[])
        },
        zip(&[("a.wasm", "")]),
    );
    assert!(matches!(wasm.await, Err(control::Error::Unsupported(_))));
    let broken = layers::Draft {
        layer: layer_id("a"),
        description: String::new(),
        license: None,
        runtimes: None,
        architectures: None,
    };
    let broken = node.handle.publish_layer(broken, "no zip".into()).await;
    assert!(matches!(broken, Err(layers::Error::Change(control::Error::Package(_)))));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_has_what_the_policy_says() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path()).await;
    let version: LayerVersionId = node.publish("a", &[("a", "a")]).await.unwrap().id;
    let (friend, stranger) = (account("111111111111"), account("222222222222"));
    let may = async |caller: &AccountId| match node.handle.layer_version(caller, version.clone()).await {
        Ok(_) => true,
        Err(layers::Error::NotFound) => false,
        Err(error) => panic!("{error}"),
    };
    assert!(!may(&friend).await && !may(&stranger).await);
    let statement = LayerStatement { sid: "s".into(), principal: friend.to_string(), organization: None };
    node.handle.add_layer_statement(version.clone(), statement, None).await.unwrap();
    assert!(may(&friend).await && !may(&stranger).await);
    node.handle.remove_layer_statement(version.clone(), "s".into(), None).await.unwrap();
    assert!(!may(&friend).await);
    node.close().await;
}
