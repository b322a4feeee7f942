//! Executables that speak the Runtime API themselves, well and badly.

use std::time::Duration;

use updraft_executor::Executor;
use updraft_types::{ExitStatus, Fault};

use crate::host::{Host, readable};

crate::tests! {
    the_runtime_api_answers_good_and_bad_requests_exactly
    a_bootstrap_that_cannot_run_is_a_clear_fault
    a_bootstrap_that_never_asks_is_left_without_a_trace
    a_start_outlives_the_sandboxes_parent
}

/// A client that sees every status, and breaks every rule when told to.
const CLIENT: &str = r#"#!/usr/bin/python3
import http.client, json, os, sys
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def ask(method, path, body=None, headers={}, connection=api):
    connection.request(method, "/2018-06-01/runtime/" + path, body, headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()
def status(*arguments, **options):
    code, _, body = ask(*arguments, **options)
    return "%d %s" % (code, body.decode().strip())
previous = "none"
while True:
    _, headers, event = ask("GET", "invocation/next")
    event = json.loads(event)
    request, nonce = headers["Lambda-Runtime-Aws-Request-Id"], headers["Lambda-Runtime-Invocation-Id"]
    answer = "invocation/%s/response" % request
    said = []
    if event == "rules":
        other = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        said.append(status("GET", "invocation/next", connection=other))
        said.append(status("POST", "invocation/nonsense/response", "x"))
        said.append(status("POST", answer, "x", {"Lambda-Runtime-Invocation-Id": previous}))
        said.append(status("POST", "init/error", "{}"))
        said.append(status("GET", "unknown"))
        said.append(status("POST", answer, b"x" * 6291557))
        api.close()
    elif event == "garbage":
        import socket
        for garbage in (b"\xff\xfe\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf" % request.encode(), b"A" * 1000000):
            for _ in range(20):
                peer = socket.create_connection(("127.0.0.1", 9001))
                try:
                    peer.sendall(garbage)
                except OSError:
                    pass
                peer.close()
        while not status("POST", answer, '"survived"').startswith("202"):
            pass
    elif event == "error":
        said.append(status("POST", "invocation/%s/error" % request, b"\xff not json", {"Lambda-Runtime-Function-Error-Type": "x" * 500}))
    else:
        said.append(status("POST", answer, json.dumps(event), {"Lambda-Runtime-Invocation-Id": nonce}))
        if event == "twice":
            said.append(status("POST", answer, json.dumps(event)))
    previous = nonce
    print("\n".join(said), flush=True)
"#;

async fn the_runtime_api_answers_good_and_bad_requests_exactly(_: Host) {
    // It has something to say after its answer, for which a frozen one would need another call.
    let host = Host::with(|config| config.freeze_after = Duration::from_secs(3600));
    let running = host.deploy("provided.al2023", "anything", &[("bootstrap", CLIENT)]).start().await;
    assert_eq!(running.answer("\"twice\"").await, "\"twice\"");
    while !running.output.text().contains("InvocationResponse") {
        // The next invocation would change what the second answer is late for.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(running.call("\"rules\"").await, Err(Fault::ResponseTooLarge));
    assert_eq!(running.answer("\"garbage\"").await, "\"survived\"");
    let Err(Fault::Handler { error_type, body }) = running.call("\"error\"").await else { panic!("no error") };
    assert_eq!((error_type.as_str(), body.as_ref()), ("Unhandled", b"\xff not json".as_slice()));
    assert_eq!(running.answer("1").await, "1");
    running.answer("2").await;
    let output = running.output.text();
    let lines: Vec<&str> = output.lines().filter(|line| !line.is_empty()).collect();
    let expected = [
        r#"202 {"status":"OK"}"#,
        r#"403 {"errorMessage":"Transition from Ready to InvocationResponse is not allowed","errorType":"InvalidStateTransition"}"#,
        r#"403 {"errorMessage":"Transition from Running to Ready is not allowed","errorType":"InvalidStateTransition"}"#,
        r#"400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#,
        r#"410 {"errorMessage":"The invocation is over","errorType":"InvocationGone"}"#,
        r#"403 {"errorMessage":"Transition from Running to InitError is not allowed","errorType":"InvalidStateTransition"}"#,
        r#"404 {"errorMessage":"404 page not found","errorType":"NotFound"}"#,
        r#"413 {"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}"#,
        r#"202 {"status":"OK"}"#,
    ];
    assert_eq!(lines[..expected.len()], expected, "{output}");
}

async fn a_bootstrap_that_cannot_run_is_a_clear_fault(host: Host) {
    let deploy = |content: &str| host.deploy("provided.al2023", "x", &[("bootstrap", content)]);
    let entry = |words: &str| Fault::Entrypoint { reason: format!("fork/exec /var/task/bootstrap: {words}") };
    let plain = deploy("#!/bin/sh\n");
    readable(&plain.package.path().join("bootstrap"), 0o644);
    assert_eq!(plain.start_fault().await, entry("permission denied"));
    assert_eq!(deploy("\u{7f}ELF of another kind").start_fault().await, entry("exec format error"));
    let expected = entry("no such file or directory (the file is there; the interpreter or loader it names is not)");
    assert_eq!(deploy("#!/nowhere/sh\n").start_fault().await, expected);
    assert_eq!(deploy("#!/bin/sh\nexit 0\n").start_fault().await, Fault::Exit(ExitStatus::Code(0)));
    assert_eq!(deploy("#!/bin/sh\nexit 127\n").start_fault().await, Fault::Exit(ExitStatus::Code(127)));
    assert_eq!(deploy("#!/bin/sh\nkill -9 $$\n").start_fault().await, Fault::Exit(ExitStatus::Signal(9)));
    let empty = host.deploy("provided.al2023", "x", &[("readme", "")]);
    let rejected = host.executor.prepare(&empty.function, empty.package.path()).await.unwrap_err();
    assert!(rejected.0.contains("bootstrap"), "{rejected}");
}

async fn a_bootstrap_that_never_asks_is_left_without_a_trace(host: Host) {
    let marker = format!("updraft-marker-{}", std::process::id());
    let script = format!("#!/bin/sh\necho started\nexec -a {marker} sleep 600\n").replace("/bin/sh", "/bin/bash");
    let function = host.deploy("provided.al2023", "x", &[("bootstrap", &script)]);
    let started = tokio::time::timeout(Duration::from_millis(400), function.try_start()).await;
    assert!(started.is_err(), "nothing that never asks for an event has started");
    let is_there = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|line| line.starts_with(marker.as_bytes()))
    };
    while is_there() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Our child that forks sandboxes.
fn helper() -> Option<nix::unistd::Pid> {
    let us = std::process::id().to_string();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_alive = fields.next()? != "Z";
        let is_helper = std::fs::read(entry.path().join("cmdline")).ok()?.starts_with(b"updraft-sandbox-helper\0");
        (is_alive && is_helper && fields.next()? == us).then(|| nix::unistd::Pid::from_raw(pid))
    })
}

async fn a_start_outlives_the_sandboxes_parent(host: Host) {
    let function = host.deploy("provided.al2023", "x", &[("bootstrap", CLIENT)]);
    for round in 0..5 {
        let helper = helper().expect("a helper runs");
        nix::sys::signal::kill(helper, nix::sys::signal::Signal::SIGKILL).unwrap();
        let running = function.start().await;
        assert_eq!(running.answer("1").await, "1", "round {round}");
    }
}
