//! Asynchronous events on a real store, with instances that do as the event says and remember what they were given.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use std::{
    collections::HashMap,
    io::{Cursor, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use updraft_executor::{Call, Executor, Framing, Instance, Rejected, Reply, Start, Support, Unsupported};
use updraft_node::{
    CapacityLimits, Config, Draft, Executors, Handle, PlacementLimits, Publish, Refusal, Service, aliases,
    events::{self, Full, Limits, Policy, Refused},
    figures, identity,
    versions::Publication,
};
use updraft_store::Store;
use updraft_types::{
    Event, Fault, Function, FunctionId, Payload, Qualifier, RequestId, Runtime, Timestamp, body,
    function::{Configuration, LastUpdate, State},
    iam::Holder,
    settings::{EventInvoke, RecursiveLoop},
};

/// What one try was given.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    function: String,
    version: String,
    request: RequestId,
    qualifier: Option<String>,
    client_context: Option<String>,
    trace: String,
    event: Value,
}

/// Starts instances that remember their calls, answer with the event, and fail as it says: `{"fail": N}` at the first N
/// tries, `{"hold": true}` once they are let go.
#[derive(Default)]
struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    is_open: Arc<AtomicBool>,
}

struct Recording {
    function: String,
    version: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    is_open: Arc<AtomicBool>,
    is_alive: AtomicBool,
}

#[async_trait]
impl Executor for Recorder {
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
        Ok(Arc::new(Recording {
            function: start.function.id.name.to_string(),
            version: start.function.version.to_string(),
            seen: self.seen.clone(),
            is_open: self.is_open.clone(),
            is_alive: AtomicBool::new(true),
        }))
    }
}

#[async_trait]
impl Instance for Recording {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        let Payload::Event(payload) = call.payload else { panic!("no runtime here speaks HTTP") };
        let event: Value = serde_json::from_slice(&payload).unwrap();
        let tries = {
            let mut seen = self.seen.lock();
            seen.push(Seen {
                function: self.function.clone(),
                version: self.version.clone(),
                request: call.request,
                qualifier: call.context.qualifier.map(|qualifier| qualifier.to_string()),
                client_context: call.context.client_context,
                trace: call.context.trace.unwrap(),
                event: event.clone(),
            });
            seen.iter().filter(|seen| seen.request == call.request).count() as u64
        };
        while event["hold"] == true && !self.is_open.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if event["fail"].as_u64().is_some_and(|fail| tries <= fail) {
            let body = Bytes::from_static(br#"{"errorType":"Oops","errorMessage":"as told"}"#);
            return Err(Fault::Handler { error_type: "Oops".into(), body });
        }
        // A record in a record in a record would soon be too large.
        let answer = if event["requestContext"].is_object() { Bytes::from_static(b"true") } else { payload };
        Ok(Reply::Event { framing: Framing::Value, body: body::full(answer) })
    }

    fn is_alive(&self) -> bool {
        self.is_alive.load(Ordering::SeqCst)
    }

    fn memory_bytes_max(&self) -> u64 {
        0
    }

    async fn stop(&self) {
        self.is_alive.store(false, Ordering::SeqCst);
    }
}

struct Node {
    handle: Handle,
    recorder: Arc<Recorder>,
    stop: tokio::sync::oneshot::Sender<()>,
    service: tokio::task::JoinHandle<()>,
}

const ROLE: &str = "arn:aws:iam::000000000000:role/r";

impl Node {
    async fn open(directory: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        let mut config = Config {
            capacity: CapacityLimits { memory_mb_max: 20_000, instances_max: 150 },
            // How busy the machine is must not decide what a test sees.
            placement: PlacementLimits { busy_instances_max: 1_000, ..PlacementLimits::default() },
            events: events::Config {
                policy: Policy::default().with_retry_pause(Duration::from_millis(1)),
                ..events::Config::default()
            },
            ..Config::new("us-east-1".parse().unwrap(), directory)
        };
        change(&mut config);
        let recorder = Arc::new(Recorder::default());
        let executors = Executors { process: recorder.clone(), wasm: recorder.clone() };
        let (service, handle) = Service::open(config, store, executors).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let service = tokio::spawn(service.run(async move {
            let _ = stopped.await;
        }));
        Self { handle, recorder, stop, service }
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.service.await.unwrap();
    }

    async fn create(&self, name: &str) {
        self.handle.create_with(draft(name), zip(name), Publish::No).await.unwrap();
        self.settled(name).await;
    }

    async fn settled(&self, name: &str) {
        until(&format!("{name} is in force"), || {
            let catalog = self.handle.catalog();
            let function = catalog.get(&id(name)).unwrap();
            function.state == State::Active && function.last_update == Some(LastUpdate::Successful)
        })
        .await;
    }

    async fn configure(&self, name: &str, qualifier: &str, config: EventInvoke) {
        let qualifier = qualifier.to_owned();
        let set = move |settings: &mut updraft_types::settings::Settings| {
            settings.event_invoke.insert(qualifier, config);
        };
        self.handle.update_settings(&id(name), set).await.unwrap();
    }

    /// Makes the role that functions here have, with a policy that allows this.
    async fn allow(&self, action: &str) {
        let account: updraft_types::AccountId = "000000000000".parse().unwrap();
        let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": { "Service": "lambda.amazonaws.com" } }] });
        let draft = identity::Draft {
            account: account.clone(),
            path: "/".into(),
            name: "r".into(),
            tags: Default::default(),
            boundary: None,
        };
        self.handle.identity().create_role(draft, trust.to_string(), None, 3_600).await.unwrap();
        let policy = json!({ "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] });
        let holder = Holder::Role("r".into());
        self.handle.identity().put_inline(account, holder, "p".into(), policy.to_string()).await.unwrap();
    }

    /// Waits until nothing is pending anywhere.
    async fn drained(&self) {
        until("nothing is pending", || {
            let node = self.handle.node_figures();
            node.shown.iter().all(|(_, row)| row.events.pending == 0) && node.others.events.pending == 0
        })
        .await;
    }

    fn seen(&self, name: &str) -> Vec<Seen> {
        self.recorder.seen.lock().iter().filter(|seen| seen.function == name).cloned().collect()
    }

    fn figures(&self, name: &str) -> figures::Events {
        self.handle.figures(&id(name)).figures.events
    }

    async fn letters(&self, name: &str) -> Vec<(String, Value)> {
        let letters = self.handle.dead_letters(&id(name), 100).await.unwrap();
        letters.into_iter().map(|letter| (letter.reason, serde_json::from_str(&letter.record).unwrap())).collect()
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain: {what}");
}

fn id(name: &str) -> FunctionId {
    FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
}

fn arn(name: &str) -> String {
    id(name).arn(&"us-east-1".parse().unwrap())
}

fn draft(name: &str) -> Draft {
    Draft {
        id: id(name),
        configuration: Configuration {
            timeout_s: 30,
            ..Configuration::new(Runtime::Python { minor: 11 }, "app.handler", ROLE)
        },
        tags: Default::default(),
    }
}

/// An alias of the first version.
fn alias(function: &str, name: &updraft_types::AliasName) -> aliases::Draft {
    aliases::Draft {
        function: id(function),
        name: name.clone(),
        version: updraft_types::Version::Number(1),
        additional: None,
        description: String::new(),
    }
}

fn zip(content: &str) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner().into()
}

fn event(name: &str, payload: &Value) -> Event {
    Event {
        request: RequestId::random(),
        function: id(name),
        qualifier: None,
        client_context: None,
        trace: "Root=1-a-b;Parent=c;Sampled=0".into(),
        payload: payload.to_string().into(),
        accepted_at: Timestamp::now(),
    }
}

#[tokio::test]
async fn an_event_is_tried_until_it_succeeds_and_is_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    node.create("f").await;
    let sent = Event { client_context: Some("{\"a\":1}".into()), ..event("f", &json!({ "fail": 2 })) };
    node.handle.accept(sent.clone()).await.unwrap();
    node.drained().await;
    let seen = node.seen("f");
    assert_eq!((seen.len(), seen[0].request, &seen[0]), (3, sent.request, &seen[2]));
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].trace.starts_with("Root=1-a-b;Parent=c;Sampled=0;Lineage="), "{}", seen[0].trace);
    assert_eq!((seen[0].client_context.as_deref(), seen[0].qualifier.as_deref()), (Some("{\"a\":1}"), None));
    let figures = node.figures("f");
    assert_eq!((figures.accepted, figures.delivered, figures.waits.count()), (1, 1, 1));
    assert_eq!(node.letters("f").await, []);
    node.close().await;
}

#[tokio::test]
async fn what_fails_too_often_becomes_a_dead_letter() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    node.create("f").await;
    node.handle.accept(event("f", &json!({ "fail": 9 }))).await.unwrap();
    node.drained().await;
    assert_eq!(node.seen("f").len(), 3);
    let letters = node.letters("f").await;
    assert_eq!((letters.len(), letters[0].0.as_str()), (1, "RetriesExhausted; there is no OnFailure destination"));
    let record = &letters[0].1;
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(
        (&record["requestPayload"]["fail"], &record["responsePayload"]["errorType"]),
        (&json!(9), &json!("Oops"))
    );
    let figures = node.figures("f");
    assert_eq!((figures.given_up[0], figures.buried, figures.delivered), (1, 1, 0));
    node.configure("f", "$LATEST", EventInvoke { retries_max: Some(0), ..EventInvoke::default() }).await;
    node.handle.accept(event("f", &json!({ "fail": 9 }))).await.unwrap();
    node.drained().await;
    assert_eq!(node.seen("f").len(), 4);
    node.close().await;
}

#[tokio::test]
async fn destinations_are_told_if_the_role_may_call_them() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    for name in ["f", "good", "bad"] {
        node.create(name).await;
    }
    let config = EventInvoke { on_success: Some(arn("good")), on_failure: Some(arn("bad")), ..EventInvoke::default() };
    node.configure("f", "$LATEST", config.clone()).await;
    // Without a role that exists nothing is delivered, and nothing is lost.
    node.handle.accept(event("f", &json!(1))).await.unwrap();
    node.drained().await;
    let letters = node.letters("f").await;
    assert!(
        letters[0].0.starts_with("Success; the OnSuccess destination") && letters[0].0.contains(ROLE),
        "{letters:?}"
    );
    assert_eq!(letters[0].1["responsePayload"], 1);

    node.allow("lambda:GetFunction").await;
    node.handle.accept(event("f", &json!(2))).await.unwrap();
    node.drained().await;
    let letters = node.letters("f").await;
    assert!(letters[0].0.contains("is not authorized to perform: lambda:InvokeFunction"), "{letters:?}");

    let account: updraft_types::AccountId = "000000000000".parse().unwrap();
    let policy = json!({ "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*" }] });
    let holder = Holder::Role("r".into());
    node.handle.identity().put_inline(account, holder, "p".into(), policy.to_string()).await.unwrap();
    let (succeeds, fails) = (event("f", &json!({ "n": 3 })), event("f", &json!({ "fail": 9 })));
    node.handle.accept(succeeds.clone()).await.unwrap();
    node.handle.accept(fails.clone()).await.unwrap();
    node.drained().await;
    let (good, bad) = (node.seen("good"), node.seen("bad"));
    assert_eq!((good.len(), bad.len(), node.letters("f").await.len()), (1, 1, 2));
    let context = &good[0].event["requestContext"];
    assert_eq!(
        (&context["condition"], &context["requestId"]),
        (&json!("Success"), &json!(succeeds.request.to_string()))
    );
    assert_eq!(context["functionArn"], format!("{}:$LATEST", arn("f")));
    assert_eq!((&good[0].event["responsePayload"]["n"], &good[0].event["version"]), (&json!(3), &json!("1.0")));
    let context = &bad[0].event["requestContext"];
    assert_eq!((&context["condition"], &context["approximateInvokeCount"]), (&json!("RetriesExhausted"), &json!(3)));
    assert_eq!(context["requestId"], fails.request.to_string());

    // Whatever else a destination is, and one that is gone.
    let queue =
        EventInvoke { on_failure: Some("arn:aws:sqs:us-east-1:000000000000:q".into()), ..EventInvoke::default() };
    node.configure("f", "$LATEST", queue).await;
    node.handle.accept(event("f", &json!({ "fail": 9 }))).await.unwrap();
    node.drained().await;
    assert!(
        node.letters("f").await[0].0.contains("not a function of this account"),
        "{:?}",
        node.letters("f").await[0]
    );
    node.configure("f", "$LATEST", config).await;
    node.handle.delete(&id("good")).await.unwrap();
    node.handle.accept(event("f", &json!(1))).await.unwrap();
    node.drained().await;
    assert!(node.letters("f").await[0].0.ends_with("there is no such function"));
    node.close().await;
}

#[tokio::test]
async fn what_was_accepted_survives_a_platform_that_is_gone_in_the_middle() {
    let directory = tempfile::tempdir().unwrap();
    let few = |config: &mut Config| {
        config.events.in_flight_max = 4;
        config.drain_max = Duration::from_millis(100);
    };
    let node = Node::open(directory.path(), few).await;
    node.create("f").await;
    let events: Vec<Event> = (0..20).map(|number| event("f", &json!({ "hold": true, "n": number }))).collect();
    for event in &events {
        node.handle.accept(event.clone()).await.unwrap();
    }
    until("two are at work", || node.seen("f").len() == 2).await;
    let now = node.handle.figures(&id("f")).events;
    assert_eq!((now.pending, now.in_flight), (20, 2), "half of the workers");
    // The two do not end in time.
    node.close().await;

    let node = Node::open(directory.path(), few).await;
    node.recorder.is_open.store(true, Ordering::SeqCst);
    assert_eq!(node.handle.figures(&id("f")).events.pending, 20);
    node.drained().await;
    let mut tried: Vec<u64> = node.seen("f").iter().map(|seen| seen.event["n"].as_u64().unwrap()).collect();
    tried.sort_unstable();
    assert_eq!(tried, (0..20).collect::<Vec<_>>(), "each once more, and none of them counted as a failure");
    assert_eq!((node.figures("f").delivered, node.letters("f").await.len()), (20, 0));
    node.close().await;
}

#[tokio::test]
async fn a_flood_leaves_workers_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |config| config.events.in_flight_max = 8).await;
    node.create("flood").await;
    node.create("quiet").await;
    for _ in 0..50 {
        node.handle.accept(event("flood", &json!({ "hold": true }))).await.unwrap();
    }
    until("the flood has half of the workers", || node.seen("flood").len() == 4).await;
    node.handle.accept(event("quiet", &json!(1))).await.unwrap();
    until("the quiet one is served meanwhile", || node.figures("quiet").delivered == 1).await;
    assert_eq!(node.seen("flood").len(), 4);
    node.recorder.is_open.store(true, Ordering::SeqCst);
    node.drained().await;
    assert_eq!(node.seen("flood").len(), 50);
    node.close().await;
}

#[tokio::test]
async fn limits_of_the_function_are_waited_for_and_not_failures() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    node.create("f").await;
    node.handle.reserve_concurrency(&id("f"), Some(1)).await.unwrap();
    for number in 0..10 {
        node.handle.accept(event("f", &json!({ "n": number }))).await.unwrap();
    }
    node.drained().await;
    assert_eq!((node.seen("f").len(), node.figures("f").delivered), (10, 10));
    // Stopped, it is given up at once, without a try.
    node.handle.reserve_concurrency(&id("f"), Some(0)).await.unwrap();
    node.handle.accept(event("f", &json!({ "n": 10 }))).await.unwrap();
    node.drained().await;
    let letters = node.letters("f").await;
    assert_eq!((node.seen("f").len(), letters.len()), (10, 1));
    let record = &letters[0].1;
    assert_eq!(record["requestContext"]["condition"], "ZeroReservedConcurrency");
    assert_eq!((&record["requestContext"]["approximateInvokeCount"], record.get("responseContext")), (&json!(0), None));
    node.close().await;
}

#[tokio::test]
async fn what_is_full_is_said_and_an_event_that_is_too_old_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { function_events_max: 3, account_events_max: 4, account_bytes_max: 1_000_000 };
    let node = Node::open(directory.path(), |config| config.events.limits = limits).await;
    node.create("f").await;
    node.create("g").await;
    for _ in 0..3 {
        node.handle.accept(event("f", &json!({ "hold": true }))).await.unwrap();
    }
    let more = node.handle.accept(event("f", &json!(1))).await;
    assert!(matches!(more, Err(Refused::Full(Full::Function))), "{more:?}");
    let large = event("g", &json!("x".repeat(600_000)));
    assert!(matches!(node.handle.accept(large).await, Err(Refused::Full(Full::Function))));
    node.handle.accept(event("g", &json!({ "hold": true }))).await.unwrap();
    assert!(matches!(node.handle.accept(event("g", &json!(1))).await, Err(Refused::Full(Full::Account))));
    let nobody = node.handle.accept(event("nobody", &json!(1))).await;
    assert!(matches!(nobody, Err(Refused::Invocation(Refusal::NotFound))), "{nobody:?}");
    node.recorder.is_open.store(true, Ordering::SeqCst);
    node.drained().await;

    let old = Event { accepted_at: Timestamp::from_ms(1), ..event("f", &json!(1)) };
    node.handle.accept(old).await.unwrap();
    node.drained().await;
    let letters = node.letters("f").await;
    assert_eq!(
        (letters[0].1["requestContext"]["condition"].as_str(), node.seen("f").len()),
        (Some("EventAgeExceeded"), 3)
    );
    assert_eq!(node.figures("f").given_up[1], 1);
    node.close().await;
}

#[tokio::test]
async fn ages_pass_whether_or_not_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    for name in ["f", "told"] {
        node.create(name).await;
    }
    node.allow("lambda:InvokeFunction").await;
    node.handle.reserve_concurrency(&id("f"), Some(1)).await.unwrap();
    let tell = EventInvoke { on_failure: Some(arn("told")), ..EventInvoke::default() };
    node.configure("f", "live", tell).await;
    node.handle.publish_version(&id("f"), Publication::default()).await.unwrap();
    let live: updraft_types::AliasName = "live".parse().unwrap();
    node.handle.create_alias(alias("f", &live)).await.unwrap();
    node.handle.accept(event("f", &json!({ "hold": true }))).await.unwrap();
    until("the only place is taken", || node.seen("f").len() == 1).await;

    let old = |qualifier| Event { accepted_at: Timestamp::from_ms(1), qualifier, ..event("f", &json!("old")) };
    node.handle.accept(event("f", &json!("young"))).await.unwrap();
    node.handle.accept(old(None)).await.unwrap();
    node.handle.accept(old(Some(Qualifier::Alias(live)))).await.unwrap();
    until("the old ones are given up", || node.figures("f").given_up[1] == 2).await;
    until("the destination is told", || node.seen("told").len() == 1).await;
    assert_eq!(node.seen("told")[0].event["requestContext"]["condition"], "EventAgeExceeded");
    let letters = node.letters("f").await;
    assert_eq!((letters.len(), &letters[0].1["requestPayload"]), (1, &json!("old")));
    let now = node.handle.figures(&id("f")).events;
    assert_eq!((now.pending, now.in_flight, node.seen("f").len()), (2, 1, 1));

    node.recorder.is_open.store(true, Ordering::SeqCst);
    node.drained().await;
    assert_eq!((node.figures("f").delivered, &node.seen("f")[1].event), (2, &json!("young")));
    node.close().await;
}

#[tokio::test]
async fn ages_pass_with_no_worker_free_and_many_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |config| config.events.in_flight_max = 1).await;
    node.create("f").await;
    node.create("g").await;
    node.handle.accept(event("g", &json!({ "hold": true }))).await.unwrap();
    until("the only worker is taken", || node.seen("g").len() == 1).await;
    let mut accepting = tokio::task::JoinSet::new();
    for number in 0..150 {
        let old = Event { accepted_at: Timestamp::from_ms(1 + number), ..event("f", &json!(number)) };
        let handle = node.handle.clone();
        accepting.spawn(async move { handle.accept(old).await.unwrap() });
    }
    accepting.join_all().await;
    until("all of them are given up", || node.figures("f").given_up[1] == 150).await;
    assert_eq!((node.seen("f").len(), node.handle.figures(&id("f")).events.pending), (0, 0));
    assert_eq!(node.seen("g").len(), 1, "the worker is where it was");
    node.recorder.is_open.store(true, Ordering::SeqCst);
    node.drained().await;
    node.close().await;
}

#[tokio::test]
async fn a_functions_error_while_the_platform_stops_is_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    node.create("f").await;
    node.configure("f", "$LATEST", EventInvoke { retries_max: Some(0), ..EventInvoke::default() }).await;
    node.handle.accept(event("f", &json!({ "hold": true, "fail": 9 }))).await.unwrap();
    until("it is tried", || node.seen("f").len() == 1).await;
    let Node { handle, recorder, stop, service } = node;
    stop.send(()).unwrap();
    loop {
        match handle.accept(event("f", &json!({ "hold": true }))).await {
            Err(Refused::Invocation(Refusal::Stopping)) => break,
            other => other.unwrap(),
        }
        tokio::task::yield_now().await;
    }
    recorder.is_open.store(true, Ordering::SeqCst);
    service.await.unwrap();

    let node = Node::open(directory.path(), |_| {}).await;
    node.recorder.is_open.store(true, Ordering::SeqCst);
    node.drained().await;
    let letters = node.letters("f").await;
    assert_eq!((letters.len(), letters[0].0.as_str()), (1, "RetriesExhausted; there is no OnFailure destination"));
    assert!(node.seen("f").iter().all(|seen| seen.event.get("fail").is_none()), "it was not tried again");
    node.close().await;
}

#[tokio::test]
async fn deleting_a_function_deletes_its_events() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |config| config.events.in_flight_max = 2).await;
    node.create("f").await;
    for _ in 0..5 {
        node.handle.accept(event("f", &json!({ "hold": true }))).await.unwrap();
    }
    until("one is at work", || node.seen("f").len() == 1).await;
    node.handle.delete(&id("f")).await.unwrap();
    assert_eq!(node.handle.figures(&id("f")).events.pending, 0);
    node.create("f").await;
    node.recorder.is_open.store(true, Ordering::SeqCst);
    node.handle.accept(event("f", &json!({ "new": true }))).await.unwrap();
    node.drained().await;
    let seen = node.seen("f");
    assert_eq!((seen.len(), &seen[1].event), (2, &json!({ "new": true })));
    node.close().await;
}

#[tokio::test]
async fn an_alias_is_asked_anew_at_each_try() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    node.create("f").await;
    node.handle.publish_version(&id("f"), Publication::default()).await.unwrap();
    let live: updraft_types::AliasName = "live".parse().unwrap();
    node.handle.create_alias(alias("f", &live)).await.unwrap();
    let sent =
        Event { qualifier: Some(Qualifier::Alias(live.clone())), ..event("f", &json!({ "fail": 1, "hold": true })) };
    node.handle.accept(sent).await.unwrap();
    until("it is tried", || node.seen("f").len() == 1).await;
    let change = aliases::Change { version: Some(updraft_types::Version::Latest), ..aliases::Change::default() };
    node.handle.update_alias(&id("f"), &live, None, change).await.unwrap();
    node.recorder.is_open.store(true, Ordering::SeqCst);
    node.drained().await;
    let versions: Vec<(String, Option<String>)> =
        node.seen("f").into_iter().map(|seen| (seen.version, seen.qualifier)).collect();
    let live = Some("live".to_owned());
    assert_eq!(versions, [("1".to_owned(), live.clone()), ("$LATEST".to_owned(), live)]);
    node.close().await;
}

#[tokio::test]
async fn a_loop_is_ended_unless_it_may_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |_| {}).await;
    node.allow("lambda:InvokeFunction").await;
    node.create("ping").await;
    node.create("pong").await;
    for (own, other) in [("ping", "pong"), ("pong", "ping")] {
        let config = EventInvoke { on_success: Some(arn(other)), ..EventInvoke::default() };
        node.configure(own, "$LATEST", config).await;
    }
    node.handle.accept(event("ping", &json!(0))).await.unwrap();
    node.drained().await;
    assert_eq!((node.seen("ping").len(), node.seen("pong").len()), (16, 16));
    let letters = node.letters("ping").await;
    assert_eq!((letters.len(), &letters[0].1["requestContext"]["condition"]), (1, &json!("RecursiveInvocation")));

    let allow = |settings: &mut updraft_types::settings::Settings| settings.recursion = Some(RecursiveLoop::Allow);
    node.handle.update_settings(&id("ping"), allow).await.unwrap();
    node.handle.accept(event("ping", &json!(0))).await.unwrap();
    node.drained().await;
    // Now it is the other that is ended, one step later.
    assert_eq!((node.seen("ping").len(), node.seen("pong").len()), (16 + 17, 16 + 16));
    node.close().await;
}

#[tokio::test]
async fn many_events_of_many_functions_are_all_delivered_once() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(directory.path(), |config| config.events.in_flight_max = 16).await;
    for number in 0..5 {
        node.create(&format!("f{number}")).await;
    }
    let mut accepting = tokio::task::JoinSet::new();
    for number in 0..500 {
        let (handle, event) = (node.handle.clone(), event(&format!("f{}", number % 5), &json!({ "n": number })));
        accepting.spawn(async move { handle.accept(event).await.unwrap() });
    }
    accepting.join_all().await;
    node.drained().await;
    let mut counts: HashMap<u64, u32> = HashMap::new();
    node.recorder
        .seen
        .lock()
        .iter()
        .for_each(|seen| *counts.entry(seen.event["n"].as_u64().unwrap()).or_default() += 1);
    assert!(counts.len() == 500 && counts.values().all(|count| *count == 1), "{counts:?}");
    node.close().await;
}
