//! A node on a real store with fake instances: deployment, dispatch, limits, recovery.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use std::{
    io::{Cursor, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use updraft_executor::fake::{AsyncHandler, FakeExecutor, Handler};
use updraft_node::{
    AdmissionLimits, BurstLimits, CapacityLimits, Config, Draft, Executors, Handle, KeepAlivePolicy, PlacementLimits,
    Refusal, Reply, Service, control,
    dispatch::{Limit, Throttle},
    layers,
};
use updraft_store::Store;
use updraft_types::{
    ExitStatus, Fault, FunctionId, Invocation, LayerId, Payload, RequestId, Runtime,
    function::{Configuration, LastUpdate, Scaling, State},
    invocation::{Context, LogTail},
};

struct Node {
    handle: Handle,
    executor: Arc<FakeExecutor>,
    stop: tokio::sync::oneshot::Sender<()>,
    service: tokio::task::JoinHandle<()>,
}

/// Which limit an invocation was refused for.
fn throttled(answer: &Result<Result<String, Fault>, Refusal>) -> Option<Limit> {
    match answer {
        Err(Refusal::TooManyRequests(throttle)) => Some(throttle.limit),
        _ => None,
    }
}

impl Node {
    async fn open(directory: &std::path::Path, executor: FakeExecutor, change: impl FnOnce(&mut Config)) -> Self {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        let mut config = Config {
            capacity: CapacityLimits { memory_mb_max: 20_000, instances_max: 150 },
            // How busy the machine is must not decide what a test sees.
            placement: PlacementLimits { busy_instances_max: 1_000, ..PlacementLimits::default() },
            ..Config::new("us-east-1".parse().unwrap(), directory)
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
        configuration: Configuration::new(
            Runtime::Python { minor: 11 },
            "app.handler",
            "arn:aws:iam::000000000000:role/r",
        ),
        tags: Default::default(),
    }
}

fn zip(name: &str, content: &[u8]) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner().into()
}

/// Holds calls inside their handlers until it is opened.
#[derive(Clone, Default)]
struct Hold {
    entered: Arc<AtomicUsize>,
    is_open: Arc<AtomicBool>,
}

impl Hold {
    /// Echoes once open.
    fn handler(&self) -> AsyncHandler {
        let hold = self.clone();
        Arc::new(move |event| {
            let hold = hold.clone();
            Box::pin(async move {
                hold.entered.fetch_add(1, Ordering::SeqCst);
                while !hold.is_open.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(event)
            })
        })
    }

    /// Waits until this many calls are or were inside.
    async fn entered(&self, count: usize) {
        for _ in 0..20_000 {
            if self.entered.load(Ordering::SeqCst) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("only {} calls came in", self.entered.load(Ordering::SeqCst));
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
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
        config.placement = PlacementLimits { instances_max: 4, waiting_max: 1_000, ..PlacementLimits::default() };
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
        config.placement = PlacementLimits { instances_max: 1, waiting_max: 2, ..PlacementLimits::default() };
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
async fn an_account_keeps_so_much_code_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let package = || zip("app.py", &[b'x'; 4]);
    let size = package().len() as u64;
    // Room for four packages of that size.
    let limits = |config: &mut Config| config.admission.code_bytes_max = 4 * size + 1;
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), limits).await;
    let (account, handle) = (id("f").account, node.handle.clone());
    let usage = async || handle.code_usage(&account).await.unwrap();
    for name in ["f", "g"] {
        handle.create(draft(name), package()).await.unwrap();
        node.settled(name).await;
    }
    handle.publish_version(&id("f"), Default::default()).await.unwrap();
    assert_eq!((usage().await.functions, usage().await.bytes), (2, 3 * size));
    let layer = layers::Draft {
        layer: LayerId { account: account.clone(), name: "l".parse().unwrap() },
        description: String::new(),
        license: None,
        runtimes: None,
        architectures: None,
    };
    let published = handle.publish_layer(layer.clone(), package()).await.unwrap();
    assert_eq!((usage().await.functions, usage().await.bytes), (2, 4 * size));

    let full = |error| matches!(error, control::Error::CodeStorage);
    assert!(full(handle.create(draft("h"), package()).await.unwrap_err()));
    assert!(full(handle.publish_version(&id("g"), Default::default()).await.unwrap_err()));
    assert!(matches!(
        handle.publish_layer(layer, package()).await.unwrap_err(),
        layers::Error::Change(control::Error::CodeStorage)
    ));
    // Nothing that packing makes small.
    let larger = zip("app.py", &(0..64).collect::<Vec<u8>>());
    assert!(full(handle.update_code(&id("g"), larger, None).await.unwrap_err()));
    // As much in place of what was there is no more than before.
    handle.update_code(&id("g"), zip("app.py", &[b'z'; 4]), None).await.unwrap();
    node.settled("g").await;
    // What is deleted makes room, a layer and a function with its versions alike.
    handle.delete_layer_version(published.id).await.unwrap();
    handle.create(draft("h"), package()).await.unwrap();
    node.settled("h").await;
    handle.delete(&id("f")).await.unwrap();
    assert_eq!((usage().await.functions, usage().await.bytes), (2, 2 * size));
    node.close().await;
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), limits).await;
    assert_eq!(node.handle.code_usage(&account).await.unwrap().bytes, 2 * size);
    node.close().await;
}

#[tokio::test]
async fn reservations_limit_guarantee_and_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let limits = |config: &mut Config| config.admission = AdmissionLimits { in_flight_max: 102, ..Default::default() };
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), limits).await;
    node.create("kept").await;
    node.create("other").await;
    let revision = node.handle.catalog().get(&id("kept")).unwrap().revision.clone();
    node.handle.reserve_concurrency(&id("kept"), Some(2)).await.unwrap();
    let refused = node.handle.reserve_concurrency(&id("other"), Some(1)).await;
    assert!(matches!(refused, Err(control::Error::Unreservable)));
    assert_eq!(node.handle.catalog().get(&id("kept")).unwrap().revision, revision);
    node.close().await;

    let hold = Hold::default();
    let node = Node::open(directory.path(), FakeExecutor::with_async(1, hold.handler()), limits).await;
    assert_eq!(node.handle.catalog().reserved(&id("kept").account), 2);
    let calls = |name: &'static str, count: usize| (0..count).map(|_| node.invoke(name, "1")).collect::<Vec<_>>();
    let limit = |answers: &[Result<Result<String, Fault>, Refusal>], limit| {
        answers.iter().filter(|answer| throttled(answer) == Some(limit)).count()
    };
    // The others take all that is unreserved, and no more; the reservation is there all the same.
    let (others, kept, ()) = tokio::join!(
        futures_util::future::join_all(calls("other", 101)),
        futures_util::future::join_all(calls("kept", 3)),
        async {
            hold.entered(102).await;
            hold.open();
        },
    );
    assert_eq!((limit(&others, Limit::Account), limit(&kept, Limit::Function)), (1, 1));
    assert_eq!(others.iter().chain(&kept).filter(|answer| matches!(answer, Ok(Ok(_)))).count(), 102);

    node.handle.reserve_concurrency(&id("kept"), Some(0)).await.unwrap();
    let stopped = node.invoke("kept", "1").await;
    assert_eq!(throttled(&stopped), Some(Limit::Function));
    let Err(Refusal::TooManyRequests(Throttle { retry_after_s, .. })) = stopped else { panic!("it was throttled") };
    assert_eq!(retry_after_s, 60, "nobody's turn ever comes");
    node.handle.reserve_concurrency(&id("kept"), None).await.unwrap();
    assert_eq!(node.invoke("kept", "1").await, Ok(Ok("1".into())));
    node.handle.reserve_concurrency(&id("kept"), Some(1)).await.unwrap();
    node.handle.delete(&id("kept")).await.unwrap();
    assert_eq!(node.handle.catalog().reserved(&id("kept").account), 0);
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

/// Invokes a function from this many callers, each again and again, until told to stop.
async fn flood(node: &Node, name: &str, callers: usize, is_over: &AtomicBool) {
    let caller = async || {
        while !is_over.load(Ordering::SeqCst) {
            node.invoke(name, "1").await.unwrap().unwrap();
        }
    };
    futures_util::future::join_all((0..callers).map(|_| caller())).await;
}

fn slow(milliseconds: u64) -> AsyncHandler {
    Arc::new(move |event| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok(event)
        })
    })
}

#[tokio::test]
async fn a_flood_on_a_full_node_starves_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::with_async(1, slow(2)), |config| {
        config.capacity = CapacityLimits { memory_mb_max: 4 * 128, instances_max: 10 };
    })
    .await;
    for name in ["flood", "quiet", "large"] {
        node.create(name).await;
    }
    node.handle.update_configuration(&id("large"), None, |configuration| configuration.memory_mb = 512).await.unwrap();
    node.settled("large").await;
    let is_over = AtomicBool::new(false);
    let others = async {
        // Without an end to the flood none of these would ever find room, but for fairness.
        for _ in 0..5 {
            node.invoke("quiet", "2").await.unwrap().unwrap();
        }
        node.invoke("large", "3").await.unwrap().unwrap();
        node.invoke("quiet", "4").await.unwrap().unwrap();
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(flood(&node, "flood", 30, &is_over), others);
    assert!(node.executor.most_alive.load(Ordering::SeqCst) <= 4, "memory for four");
    node.close().await;
}

/// Everything at once on several threads: floods on a small node, growth held back, bounds and code that change, figures
/// being read. Each call is answered, and nothing stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_at_once_stands_still_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::with_async(1, slow(1)), |config| {
        config.capacity = CapacityLimits { memory_mb_max: 5 * 128, instances_max: 10 };
        config.placement = PlacementLimits { busy_instances_max: 1, ..PlacementLimits::default() };
        config.keep_alive = KeepAlivePolicy::Fixed(Duration::from_millis(20));
    })
    .await;
    let names = ["a", "b", "c", "d"];
    for name in names {
        node.create(name).await;
    }
    let node = Arc::new(node);
    let mut tasks = tokio::task::JoinSet::new();
    for name in names {
        for _ in 0..8 {
            let node = node.clone();
            tasks.spawn(async move {
                for _ in 0..100 {
                    assert_eq!(node.invoke(name, "1").await, Ok(Ok("1".into())));
                }
            });
        }
        let node = node.clone();
        tasks.spawn(async move {
            for number in 0..20 {
                let scaling = Scaling {
                    instances_min: number % 2,
                    instances_max: Some(1 + number % 3),
                    weight: Some(1 + number % 5),
                    ..Scaling::default()
                };
                node.handle.set_scaling(&id(name), scaling).await.unwrap();
                node.handle.node_figures();
                node.handle.update_configuration(&id(name), None, move |c| c.timeout_s = 3 + number).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert!(node.executor.most_alive.load(Ordering::SeqCst) <= 5, "memory for five");
    let ended: u64 = names.iter().map(|name| node.handle.figures(&id(name)).figures.successes()).sum();
    assert_eq!(ended, 4 * 8 * 100);
    Arc::into_inner(node).unwrap().close().await;
}

#[tokio::test]
async fn room_is_not_kept_for_callers_that_have_gone() {
    let directory = tempfile::tempdir().unwrap();
    let hold = Hold::default();
    let node = Node::open(directory.path(), FakeExecutor::with_async(1, hold.handler()), |config| {
        config.capacity = CapacityLimits { memory_mb_max: 2 * 128, instances_max: 10 };
    })
    .await;
    for name in ["held", "large", "small"] {
        node.create(name).await;
    }
    node.handle.update_configuration(&id("large"), None, |configuration| configuration.memory_mb = 256).await.unwrap();
    node.settled("large").await;
    let held = async {
        node.invoke("held", "1").await.unwrap().unwrap();
    };
    let others = async {
        hold.entered(1).await;
        // Long enough for what comes free to be gathered for it, had it not given up.
        let gives_up = tokio::time::timeout(Duration::from_millis(300), node.invoke("large", "2")).await;
        assert!(gives_up.is_err(), "there was no room");
        let small = node.invoke("small", "3");
        tokio::join!(async { small.await.unwrap().unwrap() }, async {
            hold.entered(2).await;
            hold.open();
        });
    };
    tokio::join!(held, others);
    node.close().await;
}

#[tokio::test]
async fn an_instance_too_large_for_the_node_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |config| {
        config.capacity = CapacityLimits { memory_mb_max: 100, instances_max: 10 };
        config.wait_max = Duration::from_secs(3_600);
    })
    .await;
    node.create("f").await;
    assert_eq!(throttled(&node.invoke("f", "1").await), Some(Limit::Node));
    node.close().await;
}

#[tokio::test]
async fn the_least_valuable_instance_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::new(1, echo()), |config| {
        config.capacity = CapacityLimits { memory_mb_max: 2 * 128, instances_max: 10 };
    })
    .await;
    for name in ["often", "once", "new"] {
        node.create(name).await;
    }
    for _ in 0..1_000 {
        node.invoke("often", "1").await.unwrap().unwrap();
    }
    node.invoke("once", "1").await.unwrap().unwrap();
    node.invoke("new", "1").await.unwrap().unwrap();
    assert_eq!(node.executor.started.load(Ordering::SeqCst), 3);
    node.invoke("often", "1").await.unwrap().unwrap();
    assert_eq!(
        node.executor.started.load(Ordering::SeqCst),
        3,
        "the one used often was idle for longest, and is there"
    );
    node.close().await;
}

#[tokio::test]
async fn a_function_grows_no_faster_than_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let hold = Hold::default();
    let node = Node::open(directory.path(), FakeExecutor::with_async(1, hold.handler()), |config| {
        config.burst = BurstLimits { growth_max: 3, period: Duration::from_secs(3_600) };
        config.wait_max = Duration::from_millis(400);
    })
    .await;
    node.create("f").await;
    let gave_up = AtomicUsize::new(0);
    let call = async || {
        let answer = node.invoke("f", "1").await;
        gave_up.fetch_add(usize::from(answer.is_err()), Ordering::SeqCst);
        answer
    };
    let calls = futures_util::future::join_all((0..8).map(|_| call()));
    let (calls, ()) = tokio::join!(calls, async {
        hold.entered(3).await;
        // Opened only after those without an instance have given up.
        while gave_up.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hold.open();
    });
    let refused = calls.iter().filter(|call| throttled(call) == Some(Limit::Node)).count();
    assert_eq!((refused, node.executor.started.load(Ordering::SeqCst)), (5, 3));
    node.close().await;
}

#[tokio::test]
async fn bounds_of_instances_hold_and_change_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), FakeExecutor::with_async(50, slow(3)), |_| {}).await;
    node.create("f").await;
    let web = |configuration: &mut Configuration| configuration.runtime = Runtime::Web;
    let python =
        node.handle.set_scaling(&id("f"), Scaling { instance_concurrency: Some(2), ..Scaling::default() }).await;
    assert!(matches!(python, Err(control::Error::Scaling(text)) if text.contains("one call at a time")));
    node.handle.update_configuration(&id("f"), None, web).await.unwrap();
    node.settled("f").await;
    let scaling = Scaling { instance_concurrency: Some(2), instances_max: Some(3), ..Scaling::default() };
    node.handle.set_scaling(&id("f"), scaling).await.unwrap();
    let all = || futures_util::future::join_all((0..40).map(|_| node.invoke("f", "1")));
    assert!(all().await.iter().all(|call| matches!(call, Ok(Ok(_)))));
    assert_eq!(node.executor.most_alive.load(Ordering::SeqCst), 3);
    assert_eq!(node.executor.most_calls.load(Ordering::SeqCst), 6, "two calls on each of three");
    node.handle.set_scaling(&id("f"), Scaling { instances_max: Some(1), ..scaling }).await.unwrap();
    assert!(all().await.iter().all(|call| matches!(call, Ok(Ok(_)))));
    assert_eq!(node.handle.instances(), 1, "what is above a new maximum is ended");
    for wrong in [
        Scaling { instances_max: Some(0), ..scaling },
        Scaling { instances_min: 4, ..scaling },
        Scaling { weight: Some(0), ..scaling },
        Scaling { instance_concurrency: Some(0), ..scaling },
    ] {
        assert!(matches!(node.handle.set_scaling(&id("f"), wrong).await, Err(control::Error::Scaling(_))), "{wrong:?}");
    }
    node.close().await;
}

/// Waits until a function has this many instances running.
async fn running(node: &Node, name: &str, count: u32) {
    for _ in 0..20_000 {
        let now = node.handle.figures(&id(name)).instances;
        if (now.running, now.starting) == (count, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{:?}", node.handle.figures(&id(name)).instances);
}

#[tokio::test]
async fn instances_that_are_always_to_be_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let handler: Handler = Arc::new(|event| match &event[..] {
        b"die" => Err(Fault::Exit(ExitStatus::Code(3))),
        _ => Ok(event),
    });
    let config = |config: &mut Config| {
        config.keep_alive = KeepAlivePolicy::Fixed(Duration::from_millis(1));
        config.capacity = CapacityLimits { memory_mb_max: 4 * 128, instances_max: 10 };
    };
    let node = Node::open(directory.path(), FakeExecutor::new(1, handler.clone()), config).await;
    node.create("kept").await;
    node.create("other").await;
    node.handle.set_scaling(&id("kept"), Scaling { instances_min: 2, ..Scaling::default() }).await.unwrap();
    running(&node, "kept", 2).await;
    assert_eq!(node.invoke("kept", "1").await, Ok(Ok("1".into())));
    assert_eq!(node.handle.figures(&id("kept")).figures.cold_starts(), 0);
    // One that died is replaced, and neither keep-alive nor another function's need ends them.
    assert!(matches!(node.invoke("kept", "die").await, Ok(Err(Fault::Exit(_)))));
    running(&node, "kept", 2).await;
    let others = futures_util::future::join_all((0..20).map(|_| node.invoke("other", "1"))).await;
    assert!(others.iter().all(|call| matches!(call, Ok(Ok(_)))));
    running(&node, "other", 0).await;
    running(&node, "kept", 2).await;
    assert_eq!(node.handle.figures(&id("kept")).figures.starts, 3);
    // New code has its own.
    node.handle.update_code(&id("kept"), zip("app.py", b"new"), None).await.unwrap();
    running(&node, "kept", 2).await;
    node.close().await;

    let node = Node::open(directory.path(), FakeExecutor::new(1, handler), config).await;
    running(&node, "kept", 2).await;
    node.handle.set_scaling(&id("kept"), Scaling::default()).await.unwrap();
    running(&node, "kept", 0).await;
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
    // Readers of Lambda's fields find each of them once, and ours after them.
    assert_eq!(lines[2].matches("Duration: ").count(), 3, "{}", lines[2]);
    assert!(lines[2].split('\t').next_back().unwrap().starts_with("Cold Start: place "), "{}", lines[2]);
    let row = node.handle.figures(&id("f"));
    assert_eq!((row.figures.successes(), row.figures.cold_starts(), row.instances.idle), (1, 1, 1));
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
