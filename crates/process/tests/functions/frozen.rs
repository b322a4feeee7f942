//! Instances that stand still between calls.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use http::{Request, StatusCode};
use updraft_executor::Reply;
use updraft_sandbox::State;
use updraft_types::{Payload, body};

use crate::{
    host::{Host, Running, text},
    testing,
};

crate::tests! {
    nothing_runs_between_calls
    no_call_is_lost_however_it_meets_the_freezing
    node_goes_on_after_every_thaw
    a_server_runs_while_a_request_is_under_way
    a_frozen_instance_stops
    a_start_is_not_frozen
}

/// A host that freezes as soon as it may. `None`, said aloud, where nothing can be frozen.
fn host_that_freezes(test: &str) -> Option<Host> {
    let freezer = updraft_sandbox::probe().into_iter().find(|mechanism| mechanism.name == "cgroup freezer");
    if !freezer.as_ref().is_some_and(|mechanism| matches!(mechanism.state, State::Present(_))) {
        println!("SKIPPED {test}: this host cannot freeze ({freezer:?})");
        return None;
    }
    Some(Host::with(|config| config.freeze_after = Duration::ZERO))
}

/// The host's groups that can be frozen, in whatever hierarchy.
fn groups(host: &Host) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = next.pop() {
        let can_freeze = ["cgroup.freeze", "freezer.state"].iter().any(|file| directory.join(file).exists());
        if can_freeze && directory.ends_with(&host.cgroup_name) {
            found.push(directory);
        } else {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            next.extend(entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
        }
    }
    found
}

/// Whether the kernel says that one of them stands still.
fn is_frozen(groups: &[PathBuf]) -> bool {
    let slots = groups.iter().flat_map(|group| std::fs::read_dir(group).into_iter().flatten().flatten());
    slots.map(|slot| slot.path()).any(|slot| {
        let says = |file: &str, word: &str| std::fs::read_to_string(slot.join(file)).is_ok_and(|t| t.contains(word));
        says("cgroup.events", "frozen 1") || says("freezer.state", "FROZEN")
    })
}

async fn await_frozen(host: &Host) {
    let until = Instant::now() + Duration::from_secs(20);
    let groups = groups(host);
    while !is_frozen(&groups) {
        assert!(Instant::now() < until, "it never stands still");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const COUNTING: &str = "
import threading, time
count = 0
def run():
    global count
    while True:
        count += 1
        time.sleep(0.0001)
        if count % 100 == 0:
            print('tick', flush=True)
threading.Thread(target=run, daemon=True).start()
def handler(event, context):
    start = count
    while count - start < event: time.sleep(0.001)
    return count
";

async fn nothing_runs_between_calls(_: Host) {
    let Some(host) = host_that_freezes("nothing_runs_between_calls") else { return };
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", COUNTING)]);
    let running = function.start().await;
    let before: u64 = running.answer("300").await.parse().unwrap();
    await_frozen(&host).await;
    // While another instance starts and works, which takes a good while. The first time for what was on its way still.
    let other = host.deploy(&host.python(), "app.handler", &[("app.py", "def handler(event, context): return 1\n")]);
    assert_eq!(other.start().await.answer("1").await, "1");
    let output = running.output.text();
    assert!(output.contains("tick"), "the control: its thread did run");
    assert_eq!(other.start().await.answer("1").await, "1");
    assert_eq!(running.output.text(), output);
    assert!(running.instance.memory_bytes_max() > 0);
    // And it goes on where it was.
    let after: u64 = running.answer("300").await.parse().unwrap();
    assert!(after >= before + 300, "{before} {after}");
}

async fn no_call_is_lost_however_it_meets_the_freezing(_: Host) {
    let Some(host) = host_that_freezes("no_call_is_lost_however_it_meets_the_freezing") else { return };
    let code = "def handler(event, context): return event\n";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    for number in 0..400 {
        for _ in 0..number % 17 {
            tokio::task::yield_now().await;
        }
        if number % 50 == 0 {
            await_frozen(&host).await;
        }
        assert_eq!(running.answer(number.to_string()).await, number.to_string());
    }
    assert!(running.instance.is_alive());
}

async fn node_goes_on_after_every_thaw(_: Host) {
    let Some(host) = host_that_freezes("node_goes_on_after_every_thaw") else { return };
    let code = "let ticks = 0; setInterval(() => { ticks += 1 }, 1);
exports.handler = async (event) => { await new Promise((done) => setTimeout(done, 2)); return event; };\n";
    let running = host.deploy(&host.nodejs(), "app.handler", &[("app.js", code)]).start().await;
    for number in 0..20 {
        await_frozen(&host).await;
        assert_eq!(running.answer(number.to_string()).await, number.to_string());
    }
}

const SERVER: &str = r#"
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for _ in range(10):
            time.sleep(0.01)
            self.wfile.write(b"5\r\npiece\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

async fn get(running: &Running) -> String {
    let request = Request::get("/").body(body::full("")).unwrap();
    let reply = running.instance.clone().call(testing::call(Payload::Http(Box::new(request)))).await.unwrap();
    let Reply::Http(response) = reply else { panic!("not HTTP") };
    assert_eq!(response.status(), StatusCode::OK);
    text(response.into_body()).await.unwrap()
}

async fn a_server_runs_while_a_request_is_under_way(_: Host) {
    let Some(host) = host_that_freezes("a_server_runs_while_a_request_is_under_way") else { return };
    let running = host.deploy("web", "python3 server.py", &[("server.py", SERVER)]).start().await;
    for _ in 0..3 {
        await_frozen(&host).await;
        // Two that overlap: the end of one leaves the other its server.
        let (one, two) = tokio::join!(get(&running), async {
            tokio::task::yield_now().await;
            get(&running).await
        });
        assert_eq!((one, two), ("piece".repeat(10), "piece".repeat(10)));
    }
}

async fn a_frozen_instance_stops(_: Host) {
    let Some(host) = host_that_freezes("a_frozen_instance_stops") else { return };
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", COUNTING)]).start().await;
    await_frozen(&host).await;
    running.instance.stop().await;
    assert!(!running.instance.is_alive());
    assert!(running.call("1").await.is_err());
}

async fn a_start_is_not_frozen(_: Host) {
    let Some(host) = host_that_freezes("a_start_is_not_frozen") else { return };
    let code = "import time\ntime.sleep(0.2)\ndef handler(event, context): return event\n";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    assert_eq!(running.answer("1").await, "1");
}
