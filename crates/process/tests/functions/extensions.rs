//! Extensions: programs of layers beside the runtime, and parts of it that ask the Extensions API.

use std::time::{Duration, Instant};

use updraft_types::{ExitStatus, ExtensionFailure, Fault, Payload};

use crate::{
    host::{Host, Running, init_error},
    testing,
};

crate::tests! {
    an_extension_lives_from_before_the_runtime_to_after_it
    an_instance_is_not_idle_while_an_extension_works
    an_extension_that_works_too_long_ends_with_its_call
    an_internal_extension_hears_of_invocations_and_of_the_end
    without_extensions_an_end_is_silent
    an_extension_that_fails_fails_the_instance_by_name
    extensions_hear_why_an_instance_ends
    an_extension_that_stays_is_killed
    the_extensions_api_answers_bad_requests_exactly
    a_layer_is_shown_at_opt
}

/// A client of the Extensions API.
const AGENT: &str = r#"#!/usr/bin/python3 -I
import http.client, json, os, sys, time
def ask(method, path, body=None, headers={}):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request(method, "/2020-01-01/extension/" + path, body, headers)
    response = api.getresponse()
    return response.status, response.headers, response.read()
def say(*words):
    # In one piece, whatever other threads write.
    os.write(1, (" ".join(map(str, ("agent", *words))) + "\n").encode())
name = os.path.basename(sys.argv[0])
def register(events=("INVOKE", "SHUTDOWN"), **more):
    status, headers, body = ask("POST", "register", json.dumps({"events": events}), {"Lambda-Extension-Name": name, **more})
    assert status == 200, body
    return headers["Lambda-Extension-Identifier"], json.loads(body)
def next_event():
    status, headers, body = ask("GET", "event/next", headers={"Lambda-Extension-Identifier": me})
    assert status == 200 and headers["Lambda-Extension-Event-Identifier"], body
    return json.loads(body)
"#;

pub(crate) fn agent(script: &str) -> String {
    format!("{AGENT}{script}")
}

/// The whole life of one that does nothing but talk.
const PLAIN: &str = r#"
me, about = register()
while True:
    event = next_event()
    say(event["eventType"], event.get("shutdownReason"))
    if event["eventType"] == "SHUTDOWN": break
"#;

const ECHO: &str = "def handler(event, context): return event\n";

async fn await_output(running: &Running, text: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !running.output.text().contains(text) {
        assert!(Instant::now() < until, "no {text:?} in {}", running.output.text());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn an_extension_lives_from_before_the_runtime_to_after_it(host: Host) {
    let script = r#"
say("loaded", os.path.exists("/tmp/loaded"), "cwd", os.getcwd(), "handler", os.environ.get("_HANDLER"), os.environ["KEY"], os.environ["AWS_LAMBDA_FUNCTION_NAME"])
me, about = register(**{"Lambda-Extension-Accept-Feature": "accountId"})
say(json.dumps(about))
while True:
    event = next_event()
    if event["eventType"] == "SHUTDOWN":
        left = event["deadlineMs"] - time.time() * 1000
        say("SHUTDOWN", event["shutdownReason"], 0 < left <= 2000)
        break
    say(event["requestId"], event["invokedFunctionArn"], event["tracing"]["type"], event["tracing"]["value"][:7],
        event["deadlineMs"] > time.time() * 1000)
say("over")
"#;
    let code = r#"
import signal, sys
open("/tmp/loaded", "w").close()
def leave(*_):
    open("/tmp/left", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
def handler(event, context): return context.aws_request_id
"#;
    let script = agent(script);
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let function = function.with(|function| {
        function.configuration.environment.insert("KEY".into(), "value".into());
    });
    let running = function.with_layers(&[("extensions/my-agent", &script)]).start().await;
    let first = running.answer("1").await;
    running.instance.settled().await;
    let second = running.answer("2").await;
    running.instance.settled().await;
    running.instance.stop().await;
    assert!(!running.instance.is_alive());
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello";
    let output = running.output.text();
    let invoke = |id: &str| format!("agent {} {arn} X-Amzn-Trace-Id Root=1- True", id.trim_matches('"'));
    let expected = [
        "agent loaded False cwd / handler None value hello".to_owned(),
        r#"agent {"accountId": "000000000000", "functionName": "hello", "functionVersion": "$LATEST", "handler": "app.handler"}"#.into(),
        "EXTENSION\tName: my-agent\tState: Ready\tEvents: [INVOKE, SHUTDOWN]".into(),
        invoke(&first),
        invoke(&second),
        "agent SHUTDOWN spindown True".into(),
        "agent over".into(),
    ];
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

async fn an_instance_is_not_idle_while_an_extension_works(_: Host) {
    // Frozen as soon as it may be, where the host can do that.
    let host = Host::with(|config| config.freeze_after = Duration::ZERO);
    let script = agent(
        r#"
me, about = register()
while next_event()["eventType"] == "INVOKE":
    count = 0
    while not os.path.exists("/var/task/release"):
        time.sleep(0.001)
        count += 1
        if count % 50 == 0: say("tick", count)
    say("done")
"#,
    );
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", ECHO)]);
    let function = function.with_layers(&[("extensions/slow", &script)]);
    let running = function.start().await;
    assert_eq!(running.answer("1").await, "1");
    assert!(!running.instance.is_settled());
    await_output(&running, "tick 200\n").await;
    assert!(!running.instance.is_settled());
    std::fs::write(function.package.path().join("release"), "").unwrap();
    running.instance.settled().await;
    assert!(running.instance.is_settled() && running.instance.is_alive());
    // A call that does not wait for that meets it all the same.
    assert_eq!((running.answer("2").await, running.answer("3").await), ("2".into(), "3".into()));
    running.instance.stop().await;
    assert_eq!(running.output.text().matches("agent done\n").count(), 3);
}

async fn an_extension_that_works_too_long_ends_with_its_call(host: Host) {
    let script = agent(
        "me, about = register()\nwhile True:\n    event = next_event()\n    say(event['eventType'])\n    time.sleep(600)\n",
    );
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", ECHO)]);
    let running = function.with_layers(&[("extensions/slow", &script)]).start().await;
    // Long enough for the call itself to be answered.
    let limit = Duration::from_secs(5);
    let mut call = testing::call(Payload::Event("1".into()));
    call.deadline = Instant::now() + limit;
    assert!(running.instance.clone().call(call).await.is_ok());
    running.instance.settled().await;
    assert!(!running.instance.is_alive());
    running.instance.stop().await;
}

async fn an_internal_extension_hears_of_invocations_and_of_the_end(host: Host) {
    let code = r#"
import http.client, json, os, signal, sys, threading
def ask(method, path, body=None, headers={}):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request(method, "/2020-01-01/extension/" + path, body, headers)
    response = api.getresponse()
    return response.status, response.headers, json.loads(response.read())
def register(name, events):
    return ask("POST", "register", json.dumps({"events": events}), {"Lambda-Extension-Name": name})
status, headers, about = register("inner", ["INVOKE"])
print(status, about["functionName"], register("inner", ["INVOKE"])[0], register("other", ["SHUTDOWN"])[2]["errorType"], flush=True)
def listen():
    while True:
        event = ask("GET", "event/next", headers={"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]})[2]
        print("inner", event["eventType"], event["requestId"], flush=True)
threading.Thread(target=listen, daemon=True).start()
def leave(*_):
    print("leaving", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
def handler(event, context):
    return [context.aws_request_id, register("late", [])[2]["errorType"]]
"#;
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    let answer = running.answer("1").await;
    let (id, late) = answer.trim_matches(['[', ']', '"']).split_once("\", \"").unwrap();
    assert_eq!(late, "Extension.RegistrationClosed");
    running.instance.settled().await;
    running.instance.stop().await;
    let expected = format!(
        "200 hello 403 Extension.InvalidEventType\nEXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]\ninner INVOKE {id}\nleaving\n"
    );
    assert_eq!(running.output.text(), expected);
}

async fn without_extensions_an_end_is_silent(host: Host) {
    let code = "
import signal
signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True))
def handler(event, context): return event
";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    assert_eq!(running.answer("1").await, "1");
    running.instance.stop().await;
    assert_eq!(running.output.text(), "");
}

async fn an_extension_that_fails_fails_the_instance_by_name(host: Host) {
    let python = host.python();
    let start = |script: &str| {
        let function = host.deploy(&python, "app.handler", &[("app.py", ECHO)]);
        function.with_layers(&[("extensions/well", &agent(PLAIN)), ("extensions/x", script)])
    };
    let failed = |failure, reason: &str| Fault::Extension { failure, reason: reason.into() };
    let launch = failed(ExtensionFailure::Launch, "fork/exec /opt/extensions/x: exec format error");
    assert_eq!(start("nonsense").start_fault().await, launch);
    assert_eq!(start("#!/bin/sh\nexit 0\n").start_fault().await, failed(ExtensionFailure::Crash, "exit code 0"));
    let init = agent(
        "me, _ = register()\nask('POST', 'init/error', '{}', {'Lambda-Extension-Identifier': me, 'Lambda-Extension-Function-Error-Type': 'Agent.Bad'})\ntime.sleep(600)\n",
    );
    assert_eq!(start(&init).start_fault().await, failed(ExtensionFailure::Init, "extension x: Agent.Bad"));
    let exit = agent(
        "me, _ = register()\nnext_event()\nask('POST', 'exit/error', '{}', {'Lambda-Extension-Identifier': me, 'Lambda-Extension-Function-Error-Type': 'Agent.Gone'})\ntime.sleep(600)\n",
    );
    let slow = "import time\ndef handler(event, context): time.sleep(600)\n";
    let function = host.deploy(&python, "app.handler", &[("app.py", slow)]).with_layers(&[("extensions/x", &exit)]);
    let running = function.start().await;
    assert_eq!(running.call("1").await, Err(failed(ExtensionFailure::Exit, "extension x: Agent.Gone")));
    assert!(!running.instance.is_alive());
    running.instance.stop().await;
    let crash = agent("me, _ = register()\nnext_event()\nos._exit(3)\n");
    let function = host.deploy(&python, "app.handler", &[("app.py", slow)]).with_layers(&[("extensions/x", &crash)]);
    let running = function.start().await;
    assert_eq!(running.call("1").await, Err(failed(ExtensionFailure::Crash, "exit code 3")));
    running.instance.stop().await;
    let broken = host.deploy(&python, "app.handler", &[("app.py", "import nothing_there\n")]);
    let (started, output) = broken.with_layers(&[("extensions/well", &agent(PLAIN))]).try_start().await;
    let (error_type, _) = init_error(started.err().unwrap());
    assert_eq!(error_type, "Runtime.ImportModuleError");
    let until = Instant::now() + Duration::from_secs(20);
    while !output.text().contains("agent SHUTDOWN failure\n") {
        assert!(Instant::now() < until, "{}", output.text());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn extensions_hear_why_an_instance_ends(host: Host) {
    let code = "
import os, time
def handler(event, context):
    if event == 'exit': os._exit(5)
    if event == 'sleep': time.sleep(600)
    return event
";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let function = function.with_layers(&[("extensions/agent", &agent(PLAIN))]);
    let running = function.start().await;
    assert_eq!(running.call("\"exit\"").await, Err(Fault::Exit(ExitStatus::Code(5))));
    assert!(!running.instance.is_alive());
    running.instance.stop().await;
    assert!(
        running.output.text().ends_with("agent INVOKE None\nagent SHUTDOWN failure\n"),
        "{}",
        running.output.text()
    );
    let running = function.start().await;
    let mut call = testing::call(Payload::Event("\"sleep\"".into()));
    call.deadline = Instant::now() + Duration::from_millis(200);
    let deadline = call.deadline.into();
    assert!(tokio::time::timeout_at(deadline, running.instance.clone().call(call)).await.is_err());
    assert!(!running.instance.is_alive());
    running.instance.stop().await;
    assert!(running.output.text().ends_with("agent SHUTDOWN timeout\n"), "{}", running.output.text());
}

async fn an_extension_that_stays_is_killed(host: Host) {
    let script = agent(
        "import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
me, about = register()
if os.fork() == 0: os.setsid()
else: next_event()
say('stays')
time.sleep(600)
",
    );
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", ECHO)]);
    let running = function.with_layers(&[("extensions/stays", &script)]).start().await;
    running.instance.stop().await;
    assert!(running.output.text().contains("agent stays\n"), "the control: it was told");
    assert!(!running.instance.is_alive());
}

async fn the_extensions_api_answers_bad_requests_exactly(host: Host) {
    let code = r#"
import http.client, json, os, socket
lines = []
def ask(method, path, body=None, headers={}):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        api.request(method, "/2020-01-01/extension/" + path, body, headers)
    except OSError:
        pass
    response = api.getresponse()
    lines.append("%d %s" % (response.status, json.loads(response.read()).get("errorType")))
    return response.headers.get("Lambda-Extension-Identifier")
name = {"Lambda-Extension-Name": "bad"}
ask("POST", "register", "{}")
for body in ("{", "[]", '{"events": "INVOKE"}', '{"events": [1]}', b"\xff\x00", ""):
    ask("POST", "register", body, name)
ask("POST", "register", '{"events": ["WAKE"]}', name)
ask("POST", "register", b"x" * 2_000_000, name)
ask("POST", "register", '{"events": []}', {"Lambda-Extension-Name": "n" * 129})
ask("GET", "event/next")
ask("GET", "event/next", headers={"Lambda-Extension-Identifier": "nonsense"})
ask("GET", "event/next", headers={"Lambda-Extension-Identifier": "00000000-0000-0000-0000-000000000000"})
ask("POST", "init/error", "{}")
ask("POST", "exit/error", "{}", {"Lambda-Extension-Function-Error-Type": "X", "Lambda-Extension-Identifier": "1"})
ask("GET", "register"); ask("POST", "event/next"); ask("GET", ""); ask("DELETE", "../x")
me = [ask("POST", "register", '{"events": []}', {"Lambda-Extension-Name": "inner-%d" % n}) for n in range(11)]
ask("POST", "exit/error", b"x" * 2_000_000, {"Lambda-Extension-Function-Error-Type": "X", "Lambda-Extension-Identifier": "1"})
def handler(event, context):
    return lines
import threading
def wait(id):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request("GET", "/2020-01-01/extension/event/next", headers={"Lambda-Extension-Identifier": id})
    api.getresponse()
for id in me[:10]: threading.Thread(target=wait, args=(id,), daemon=True).start()
for garbage in (b"\xff\xfe\r\n\r\n", b"POST /2020-01-01/extension/register HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf"):
    peer = socket.create_connection(("127.0.0.1", 9001))
    peer.sendall(garbage)
    peer.close()
"#;
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    let answer = running.answer("1").await;
    let lines: Vec<&str> = answer.trim_matches(['[', ']', '"']).split("\", \"").collect();
    let bad = "400 InvalidRequestFormat";
    let unknown = "403 Extension.UnknownExtensionIdentifier";
    let expected = [
        "403 Extension.InvalidExtensionName",
        bad,
        bad,
        bad,
        bad,
        bad,
        bad,
        "403 Extension.InvalidEventType",
        "413 RequestEntityTooLarge",
        "403 Extension.InvalidExtensionName",
        "403 Extension.MissingHeader",
        unknown,
        unknown,
        "403 Extension.MissingHeader",
        unknown,
        "404 NotFound",
        "404 NotFound",
        "404 NotFound",
        "404 NotFound",
        "200 None",
        "200 None",
        "200 None",
        "200 None",
        "200 None",
        "200 None",
        "200 None",
        "200 None",
        "200 None",
        "200 None",
        "403 Extension.TooManyExtensions",
        unknown,
    ];
    assert_eq!(lines, expected);
    running.instance.stop().await;
}

async fn a_layer_is_shown_at_opt(host: Host) {
    let code = "
import greeting
def handler(event, context):
    with open('/opt/data.txt') as file: return [greeting.WORD, file.read()]
";
    let layer = [("python/greeting.py", "WORD = 'hello'\n"), ("data.txt", "data")];
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).with_layers(&layer).start().await;
    assert_eq!(running.answer("1").await, "[\"hello\", \"data\"]");
}
