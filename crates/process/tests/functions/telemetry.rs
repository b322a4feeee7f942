//! The Telemetry API: events and lines into the sandbox, to an extension that listens there.

use std::time::{Duration, Instant};

use crate::{
    extensions::agent,
    host::{Host, Running},
};

crate::tests! {
    a_subscriber_hears_of_everything_in_order
    a_subscriber_that_does_not_listen_costs_its_own_events_alone
    bad_subscriptions_are_refused_exactly
}

/// A subscriber that prints what it gets, and answers as it is told.
const SUBSCRIBER: &str = r#"
import http.server, threading
ready = threading.Event()
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ready.wait()
        for event in json.loads(body):
            got(event, self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", 4243), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
def subscribe(body, identifier):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request("PUT", "/2022-07-01/telemetry", body if isinstance(body, (bytes, str)) else json.dumps(body), {"Lambda-Extension-Identifier": identifier} if identifier else {})
    response = api.getresponse()
    return response.status, response.read()
def wanted(**changes):
    return {"schemaVersion": "2022-12-13", "types": ["platform", "function"],
            "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/here"}, **changes}
"#;

fn subscriber(script: &str) -> String {
    agent(&format!("{SUBSCRIBER}{script}"))
}

async fn await_output(running: &Running, text: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while !running.output.text().contains(text) {
        assert!(Instant::now() < until, "no {text:?} in {}", running.output.text());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The events that the subscriber has printed, each in one piece, though maybe in the middle of a line of the function's.
fn events(running: &Running) -> Vec<serde_json::Value> {
    let output = running.output.text();
    // The last may not have been read to its end yet.
    let event = |(at, _)| serde_json::Deserializer::from_str(&output[at + 4..]).into_iter().next()?.ok();
    output.match_indices("got {").filter_map(event).collect()
}

async fn a_subscriber_hears_of_everything_in_order(_: Host) {
    // Frozen as soon as it may be: nothing of this depends on staying awake.
    let host = Host::with(|config| config.freeze_after = Duration::ZERO);
    let script = subscriber(
        r#"
done, reported = threading.Semaphore(0), threading.Semaphore(0)
def got(event, path):
    assert path == "/here"
    os.write(1, ("got " + json.dumps(event) + "\n").encode())
    if event["type"] == "platform.runtimeDone": done.release()
    if event["type"] == "platform.report": reported.release()
ready.set()
me, _ = register()
say(*subscribe(wanted(), me))
while next_event()["eventType"] == "INVOKE":
    # As real ones do: not done before the runtime is.
    done.acquire()
for _ in range(2): reported.acquire()
"#,
    );
    let code = "
import sys
def handler(event, context):
    print('line', event)
    sys.stderr.write('half a line')
    if event == 2: raise ValueError('no')
    return context.aws_request_id
";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let running = function.with_layers(&[("extensions/sink", &script)]).start().await;
    assert!(running.output.text().contains("agent 200 b'\"OK\"'"), "{}", running.output.text());
    let id = running.answer("1").await.trim_matches('"').to_owned();
    running.instance.settled().await;
    running.handler_error("2").await;
    running.instance.settled().await;
    // What came after the last `next` waits for the next invocation, or for the end.
    running.instance.stop().await;
    let events = events(&running);
    let shown: Vec<String> = events
        .iter()
        .map(|event| match event["record"].as_str() {
            Some(line) => format!("{} {line}", event["type"].as_str().unwrap()),
            None => {
                format!("{} {}", event["type"].as_str().unwrap(), event["record"]["status"].as_str().unwrap_or("-"))
            }
        })
        .filter(|event| !event.starts_with("function   ") && !event.starts_with("function Traceback"))
        .collect();
    let expected = [
        "platform.initStart -",
        "platform.telemetrySubscription -",
        "platform.initRuntimeDone success",
        "platform.extension -",
        "platform.initReport success",
        "platform.start -",
        "function line 1",
        "function half a line",
        "platform.runtimeDone success",
        "platform.report success",
        "platform.start -",
        "function line 2",
        "function half a line[ERROR] ValueError: no",
        "platform.runtimeDone error",
        "platform.report error",
    ];
    assert_eq!(shown, expected);
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    let report = &of("platform.report")["record"];
    assert_eq!((report["requestId"].as_str(), &report["metrics"]["memorySizeMB"]), (Some(id.as_str()), &256.into()));
    assert!(report["metrics"]["initDurationMs"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(of("platform.start")["record"]["version"], "$LATEST");
    assert_eq!(of("platform.telemetrySubscription")["record"]["types"], serde_json::json!(["platform", "function"]));
    assert_eq!(of("platform.initStart")["record"]["functionName"], "hello");
    assert!(events.iter().all(|event| event["time"].as_str().unwrap().ends_with('Z')));
}

async fn a_subscriber_that_does_not_listen_costs_its_own_events_alone(host: Host) {
    let script = subscriber(
        r#"
lines = 0
last = threading.Event()
def got(event, path):
    global lines
    if event["type"] == "function": lines += 1
    if event["type"] == "platform.logsDropped": os.write(1, ("got " + json.dumps(event["record"]) + "\n").encode())
    if event["record"] == "last":
        say("lines", 0 < lines < 40000)
        last.set()
me, _ = register(["SHUTDOWN"])
subscribe(wanted(), me)
def release():
    while not os.path.exists("/var/task/release"): time.sleep(0.002)
    ready.set()
threading.Thread(target=release, daemon=True).start()
next_event()
last.wait()
"#,
    );
    let code = "
def handler(event, context):
    for number in range(event): print('x' * 100, number)
    if event == 1: print('last')
    return event
";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let function = function.with_layers(&[("extensions/sink", &script)]);
    let running = function.start().await;
    for _ in 0..4 {
        assert_eq!(running.answer("10000").await, "10000", "no call waits for a subscriber");
    }
    std::fs::write(function.package.path().join("release"), "").unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    // The batch that waited for the subscriber may tell of a few that were lost before it, the next one of the rest.
    let lost = |what: &str| events(&running).iter().map(|dropped| dropped[what].as_u64().unwrap()).sum::<u64>();
    while lost("droppedRecords") <= 10_000 {
        assert!(Instant::now() < until, "of 40,000 lines {} were said to be lost", lost("droppedRecords"));
        // Between calls it may be frozen.
        assert_eq!(running.answer("0").await, "0");
    }
    assert!(lost("droppedBytes") > 1_000_000);
    assert_eq!(running.answer("1").await, "1");
    // What is left goes out before the end.
    running.instance.stop().await;
    assert!(running.output.text().contains("agent lines True\n"));
}

async fn bad_subscriptions_are_refused_exactly(host: Host) {
    let script = subscriber(
        r#"
def got(event, path): pass
me, _ = register(["SHUTDOWN"])
for body, identifier in ((wanted(), None), (wanted(), "nonsense"), ("{", me), (b"\xff", me), (wanted(types=[]), me),
                         (wanted(buffering={"maxItems": 1}), me), (wanted(destination={"protocol": "TCP", "port": 1}), me),
                         (wanted(destination={"protocol": "HTTP", "URI": "http://example.com:80"}), me), (b"x" * 1000000, me), (wanted(), me), (wanted(), me)):
    status, body = subscribe(body, identifier)
    say(status, json.loads(body).get("errorType") if status != 200 else body)
threading.Thread(target=next_event, daemon=True).start()
# Closed once the runtime and this one have asked for their first events.
while True:
    status, body = subscribe(wanted(), me)
    if status != 200: break
    time.sleep(0.002)
say(status, json.loads(body)["errorType"])
time.sleep(600)
"#,
    );
    let code = "def handler(event, context): return event\n";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let running = function.with_layers(&[("extensions/sink", &script)]).start().await;
    await_output(&running, "SubscriptionClosed").await;
    let output = running.output.text();
    let said: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("agent ")).collect();
    let expected = [
        "403 Extension.MissingHeader",
        "403 Extension.UnknownExtensionIdentifier",
        "400 ValidationError",
        "400 ValidationError",
        "400 ValidationError",
        "400 ValidationError",
        "400 ValidationError",
        "400 ValidationError",
        "413 RequestEntityTooLarge",
        "200 b'\"OK\"'",
        "200 b'\"OK\"'",
        "403 Telemetry.SubscriptionClosed",
    ];
    assert_eq!(said, expected);
    assert_eq!(running.answer("1").await, "1");
}
