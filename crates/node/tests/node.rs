//! A node on a real store with fake instances: deployment, dispatch, limits, recovery.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use std::{
    io::{Cursor, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use updraft_executor::fake::{FakeExecutor, Handler};
use updraft_node::{
    AdmissionLimits, CapacityLimits, Config, Draft, Executors, Handle, KeepAlivePolicy, PlacementLimits, Refusal,
    Reply, Service, control, logs,
};
use updraft_store::Store;
use updraft_types::{
    ExitStatus, Fault, FunctionId, Invocation, Payload, RequestId, Runtime,
    function::{Architecture, Configuration, LastUpdate, State, TracingMode},
    invocation::{Context, LogTail},
};

struct Node {
    handle: Handle,
    executor: Arc<FakeExecutor>,
    stop: tokio::sync::oneshot::Sender<()>,
    service: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn open(directory: &std::path::Path, executor: FakeExecutor, change: impl FnOnce(&mut Config)) -> Self {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        let mut config = Config {
            region: "us-east-1".parse().unwrap(),
            packages_directory: directory.join("packages"),
            capacity: CapacityLimits { memory_mb_max: 10_000, instances_max: 100 },
            admission: AdmissionLimits::default(),
            placement: PlacementLimits::default(),
            wait_max: Duration::from_secs(20),
            keep_alive: KeepAlivePolicy::default(),
            logs: logs::Config::default(),
            drain_max: Duration::from_secs(10),
        };
        change(&mut config);
        let executor = Arc::new(executor);
        let executors = Executors { process: executor.clone(), wasm: executor.clone() };
        let (service, handle) = Service::open(config, store, executors).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let service = tokio::spawn(service.run(async move {
            let _ = stopped.await;
        }));
        Self { handle, executor, stop, service }
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.service.await.unwrap();
        assert_eq!(self.executor.alive.load(Ordering::SeqCst), 0, "instances were left");
    }

    async fn create(&self, name: &str) {
        self.handle.create(draft(name), zip("app.py", name.as_bytes())).await.unwrap();
        self.settled(name).await;
    }

    async fn settled(&self, name: &str) {
        for _ in 0..1_000 {
            let catalog = self.handle.catalog();
            let function = catalog.get(&id(name)).unwrap();
            if function.state == State::Active && function.last_update == Some(LastUpdate::Successful) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} did not settle");
    }

    async fn invoke(&self, name: &str, event: &str) -> Result<Result<String, Fault>, Refusal> {
        let (result, _) = self.invoke_with_tail(name, event, LogTail::None).await?;
        Ok(result)
    }

    async fn invoke_with_tail(
        &self,
        name: &str,
        event: &str,
        log_tail: LogTail,
    ) -> Result<(Result<String, Fault>, String), Refusal> {
        let catalog = self.handle.catalog();
        let invocation = Invocation {
            id: RequestId::random(),
            function: catalog.get(&id(name)).ok_or(Refusal::NotFound)?.clone(),
            payload: Payload::Event(Bytes::copy_from_slice(event.as_bytes())),
            context: Context::default(),
            log_tail,
        };
        let answer = self.handle.invoke(invocation).await?;
        let result = match answer.result {
            Ok(Reply::Event { body, .. }) => {
                let bytes = body.collect().await.unwrap().to_bytes();
                Ok(String::from_utf8(bytes.to_vec()).unwrap())
            }
            Ok(Reply::Http(_)) => panic!("a fake answers events"),
            Err(fault) => Err(fault),
        };
        let tail = answer.log_tail.map(|tail| String::from_utf8_lossy(&tail.read()).into_owned());
        Ok((result, tail.unwrap_or_default()))
    }
}

fn id(name: &str) -> FunctionId {
    FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
}

fn draft(name: &str) -> Draft {
    Draft {
        id: id(name),
        configuration: Configuration {
            runtime: Runtime::Python { minor: 11 },
            handler: "app.handler".into(),
            role: "arn:aws:iam::000000000000:role/r".into(),
            description: String::new(),
            timeout_s: 3,
            memory_mb: 128,
            ephemeral_storage_mb: 512,
            environment: Default::default(),
            architecture: Architecture::X86_64,
            tracing: TracingMode::PassThrough,
            log_group: None,
        },
        tags: Default::default(),
    }
}

fn zip(name: &str, content: &[u8]) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner().into()
}

fn echo() -> Handler {
    Arc::new(Ok)
}

#[tokio::test]
async fn a_function_is_created_invoked_reused_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |_| {}).await;
    node.create("hello").await;
    for _ in 0..3 {
        assert_eq!(node.invoke("hello", "1").await, Ok(Ok("1".into())));
    }
    assert_eq!(node.executor.started.load(Ordering::SeqCst), 1, "a warm instance is reused");
    assert!(matches!(node.handle.create(draft("hello"), zip("a", b"")).await, Err(control::Error::Exists)));
    node.handle.delete(&id("hello")).await.unwrap();
    assert_eq!(node.invoke("hello", "1").await, Err(Refusal::NotFound));
    assert!(matches!(node.handle.delete(&id("hello")).await, Err(control::Error::NotFound)));
    node.close().await;
}

#[tokio::test]
async fn an_update_moves_calls_to_new_instances_and_checks_the_revision() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |_| {}).await;
    node.create("f").await;
    node.invoke("f", "1").await.unwrap().unwrap();
    let before = node.handle.catalog().get(&id("f")).unwrap().clone();
    node.handle.update_code(&id("f"), zip("app.py", b"new"), Some(&before.revision)).await.unwrap();
    node.settled("f").await;
    node.invoke("f", "1").await.unwrap().unwrap();
    assert_eq!(node.executor.started.load(Ordering::SeqCst), 2);
    let stale = node.handle.update_configuration(&id("f"), Some(&before.revision), |c| c.timeout_s = 9).await;
    assert!(matches!(stale, Err(control::Error::RevisionMismatch)));
    let bad = node.handle.update_code(&id("f"), Bytes::from_static(b"no zip"), None).await;
    assert!(matches!(bad, Err(control::Error::Package(_))));
    assert_eq!(
        node.handle.read_code(&node.handle.catalog().get(&id("f")).unwrap().code).await.unwrap(),
        zip("app.py", b"new")
    );
    node.close().await;
}

#[tokio::test]
async fn concurrent_calls_get_instances_of_their_own_and_limits_hold() {
    let directory = tempfile::tempdir().unwrap();
    let most = Arc::new(AtomicUsize::new(0));
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |config| {
        config.placement = PlacementLimits { instances_max: 4, waiting_max: 1_000 };
    })
    .await;
    node.create("f").await;
    let node = Arc::new(node);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (node, most) = (node.clone(), most.clone());
        calls.spawn(async move {
            let answer = node.invoke("f", &number.to_string()).await;
            most.fetch_max(node.executor.alive.load(Ordering::SeqCst), Ordering::SeqCst);
            assert_eq!(answer, Ok(Ok(number.to_string())));
        });
    }
    calls.join_all().await;
    assert!((1..=4).contains(&most.load(Ordering::SeqCst)));
    Arc::into_inner(node).unwrap().close().await;
}

#[tokio::test]
async fn callers_beyond_the_queue_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let slow: Handler = Arc::new(|event| {
        std::thread::sleep(Duration::from_millis(50));
        Ok(event)
    });
    let node = Node::open(directory.path(), FakeExecutor::new(1, slow), |config| {
        config.placement = PlacementLimits { instances_max: 1, waiting_max: 2 };
    })
    .await;
    node.create("f").await;
    let calls = futures_util::future::join_all((0..10).map(|_| node.invoke("f", "1"))).await;
    let refused = calls.iter().filter(|call| matches!(call, Err(Refusal::TooManyRequests(_)))).count();
    let served = calls.iter().filter(|call| matches!(call, Ok(Ok(_)))).count();
    assert_eq!(refused + served, 10);
    assert_eq!(served, 2, "those that the queue holds while the instance starts");
    node.close().await;
}

#[tokio::test]
async fn an_idle_instance_makes_room_for_another_function() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |config| {
        config.capacity = CapacityLimits { memory_mb_max: 200, instances_max: 10 };
    })
    .await;
    node.create("a").await;
    node.create("b").await;
    for _ in 0..3 {
        node.invoke("a", "1").await.unwrap().unwrap();
        node.invoke("b", "2").await.unwrap().unwrap();
    }
    assert_eq!(node.executor.alive.load(Ordering::SeqCst), 1);
    node.close().await;
}

#[tokio::test]
async fn a_function_that_fails_or_dies_is_answered_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let handler: Handler = Arc::new(|event| match &event[..] {
        b"die" => Err(Fault::Exit(ExitStatus::Code(3))),
        b"raise" => Err(Fault::Handler { error_type: "E".into(), body: Bytes::from_static(b"{}") }),
        _ => Ok(event),
    });
    let node = Node::open(directory.path(), FakeExecutor::new(1, handler), |_| {}).await;
    node.create("f").await;
    assert!(matches!(node.invoke("f", "raise").await, Ok(Err(Fault::Handler { .. }))));
    assert_eq!(node.invoke("f", "1").await, Ok(Ok("1".into())));
    assert_eq!(node.executor.started.load(Ordering::SeqCst), 1, "a raised error keeps the instance");
    assert!(matches!(node.invoke("f", "die").await, Ok(Err(Fault::Exit(_)))));
    assert_eq!(node.invoke("f", "1").await, Ok(Ok("1".into())));
    assert_eq!(node.executor.started.load(Ordering::SeqCst), 2, "a dead instance is replaced");
    node.close().await;
}

#[tokio::test]
async fn the_log_has_start_end_and_report_and_the_tail_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |_| {}).await;
    node.create("f").await;
    let (_, tail) = node.invoke_with_tail("f", "1", LogTail::Tail).await.unwrap();
    let lines: Vec<&str> = tail.lines().collect();
    assert_eq!(lines.len(), 3, "{tail}");
    assert!(lines[0].starts_with("START RequestId: ") && lines[0].ends_with("Version: $LATEST"));
    assert!(lines[1].starts_with("END RequestId: "));
    assert!(lines[2].contains("Billed Duration: ") && lines[2].contains("Init Duration: "), "{}", lines[2]);
    let kept = node.handle.logs().read(&id("f"), Default::default(), 100).await;
    assert_eq!(
        kept.iter().map(|line| &line.text[..]).collect::<Vec<_>>(),
        lines.iter().map(|l| l.as_bytes()).collect::<Vec<_>>()
    );
    node.close().await;
}

#[tokio::test]
async fn a_restart_finds_everything_and_finishes_what_was_pending() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |_| {}).await;
    node.create("kept").await;
    node.create("gone").await;
    node.handle.delete(&id("gone")).await.unwrap();
    node.close().await;

    let store = Store::open(updraft_store::Config { directory: directory.path().to_owned() }).await.unwrap();
    let kept = store.functions().all().await.unwrap().pop().unwrap();
    let mut pending = kept.clone();
    pending.state = State::Pending;
    pending.last_update = None;
    store.functions().replace(pending, kept.revision).await.unwrap();
    store.close().await;
    drop(store);
    std::fs::remove_dir_all(directory.path().join("packages")).unwrap();

    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |_| {}).await;
    node.settled("kept").await;
    assert_eq!(node.handle.catalog().all().count(), 1);
    assert_eq!(node.invoke("kept", "1").await, Ok(Ok("1".into())));
    node.close().await;
}

#[tokio::test]
async fn idle_instances_are_reaped_by_keep_alive() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |config| {
        config.keep_alive = KeepAlivePolicy::Fixed(Duration::from_millis(1));
    })
    .await;
    node.create("f").await;
    node.invoke("f", "1").await.unwrap().unwrap();
    for _ in 0..1_000 {
        if node.executor.alive.load(Ordering::SeqCst) == 0 && node.handle.instances() == 0 {
            assert_eq!(node.invoke("f", "1").await, Ok(Ok("1".into())));
            return node.close().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the instance was never reaped");
}
