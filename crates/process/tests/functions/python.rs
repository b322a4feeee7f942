//! Python functions.

use std::time::Duration;

use updraft_executor::Milestone;
use updraft_sandbox::State;
use updraft_types::{ExitStatus, Fault, Payload};

use crate::{
    host::{Host, init_error},
    testing,
};

crate::tests! {
    warm_calls_share_a_process_and_see_their_context
    every_python_of_this_host_runs
    what_was_printed_before_the_reply_is_in_the_log_with_it
    a_function_that_cannot_be_loaded_says_why
    an_exception_is_the_calls_and_not_the_instances
    what_json_cannot_hold_is_an_error
    an_exit_is_reported_with_its_status
    a_reply_that_is_too_large_costs_the_call_only
    payloads_of_megabytes_go_through
    memory_runs_out_for_the_function_alone
    an_abandoned_call_ends_the_instance
    a_package_is_compiled_when_it_is_deployed
    what_does_not_compile_fails_when_it_is_imported
    a_call_that_ignores_signals_and_leaves_a_daemon_ends_all_the_same
    instances_of_two_functions_share_nothing
}

async fn warm_calls_share_a_process_and_see_their_context(host: Host) {
    let code = r#"
import os
count = 0
def handler(event, context):
    global count
    count += 1
    assert 0 < context.get_remaining_time_in_millis() <= 10_000
    assert os.environ["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    return [count, event["name"], context.function_name, context.memory_limit_in_mb, context.invoked_function_arn,
            context.log_group_name, len(context.aws_request_id), os.getcwd(), os.environ["KEY"], context.identity.cognito_identity_id]
"#;
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let function = function.with(|function| {
        function.configuration.environment.insert("KEY".into(), "välue".into());
    });
    let running = function.start().await;
    assert_eq!(running.output.milestones(), [Milestone::Sandbox, Milestone::Runtime]);
    for count in 1..=20 {
        assert_eq!(
            running.answer(r#"{"name": "wörld"}"#).await.replace("\\u00f6", "ö").replace("\\u00e4", "ä"),
            format!(
                r#"[{count}, "wörld", "hello", "256", "arn:aws:lambda:us-east-1:000000000000:function:hello", "/aws/lambda/hello", 36, "/var/task", "välue", null]"#
            )
        );
    }
    assert!(running.instance.is_alive());
    running.instance.stop().await;
    assert!(!running.instance.is_alive());
}

async fn every_python_of_this_host_runs(host: Host) {
    let code = r#"
import json, logging, sys
logging.getLogger().setLevel("INFO")
def handler(event, context):
    logging.info("working on %s", event)
    if event == "fail":
        raise ValueError("no")
    return {"minor": sys.version_info[1], "event": event, "number": json.loads("1.5")}
"#;
    for interpreter in host.executor.interpreters() {
        let updraft_types::Runtime::Python { minor } = interpreter.runtime else { continue };
        let running = host.deploy(&interpreter.runtime.to_string(), "app.handler", &[("app.py", code)]).start().await;
        assert_eq!(
            running.answer("[1, 2.5e3, null, \"x\"]").await,
            format!("{{\"minor\": {minor}, \"event\": [1, 2500.0, null, \"x\"], \"number\": 1.5}}")
        );
        let (error_type, _) = running.handler_error("\"fail\"").await;
        assert_eq!(error_type, "ValueError");
        let output = running.output.text();
        assert!(output.contains("[INFO]\t20") && output.contains("\tworking on [1, 2500.0, None, 'x']\n"), "{output}");
    }
}

async fn what_was_printed_before_the_reply_is_in_the_log_with_it(host: Host) {
    let code = "
import sys, os
def handler(event, context):
    print('line', event)
    sys.stderr.write('half a line')
    os.write(1, b' and bytes \\xff\\n')
    print('x' * 50000)
";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    for count in 1..=10 {
        assert_eq!(running.answer(format!("{count}")).await, "null");
        let output = running.output.text();
        assert!(output.contains(&format!("line {count}\nhalf a line and bytes \u{fffd}\nxxx")), "{count}");
        assert!(output.ends_with("xxx\n") && output.len() > 50_000 * count);
    }
}

async fn a_function_that_cannot_be_loaded_says_why(host: Host) {
    let files = [
        ("app.py", "def other(): pass\n"),
        ("broken.py", "def handler(:\n"),
        ("needs.py", "import missing_module\n"),
        ("raises.py", "def f():\n    return 1 / 0\nf()\n"),
        ("sub/inner.py", "def handler(event, context): return 'inner'\n"),
        ("exits.py", "import sys\nprint('leaving')\nsys.exit(7)\n"),
    ];
    let python = host.python();
    let deploy = |handler: &str| host.deploy(&python, handler, &files);
    let cases = [
        (
            "nothing.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'nothing': No module named 'nothing'",
        ),
        (
            "needs.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'needs': No module named 'missing_module'",
        ),
        ("app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        (
            "broken.handler",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'broken': invalid syntax (broken.py, line 1)",
        ),
        (
            "handler",
            "Runtime.MalformedHandlerName",
            "Bad handler 'handler': not enough values to unpack (expected 2, got 1)",
        ),
        ("sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
        (".handler", "Runtime.ImportModuleError", "Unable to import module '': Empty module name"),
        ("raises.handler", "ZeroDivisionError", "division by zero"),
    ];
    for (handler, expected_type, message) in cases {
        let (fault, output) = deploy(handler).try_start().await;
        let (error_type, body) = init_error(fault.err().expect(handler));
        assert_eq!(error_type, expected_type, "{body}");
        assert!(body.contains(&format!("\"errorMessage\": \"{message}\"")), "{body}");
        let head = format!("[ERROR] {expected_type}: {message}\nTraceback (most recent call last):\n");
        assert!(output.text().contains(&head), "{}", output.text());
    }
    let (_, body) = init_error(deploy("raises.handler").start_fault().await);
    assert!(body.contains(r#"File \"/var/task/raises.py\", line 2, in f\n    return 1 / 0\n"#), "{body}");
    let (exited, output) = deploy("exits.handler").try_start().await;
    assert_eq!(exited.err(), Some(Fault::Exit(ExitStatus::Code(7))));
    assert_eq!(output.text(), "leaving\n");
    assert_eq!(deploy("sub/inner.handler").start().await.answer("0").await, "\"inner\"");
    assert_eq!(deploy("sub.inner.handler").start().await.answer("0").await, "\"inner\"");
}

async fn an_exception_is_the_calls_and_not_the_instances(host: Host) {
    let code = "
def deeper(event):
    raise KeyError(event)
def handler(event, context):
    if event is None:
        return 'fine'
    deeper(event)
";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    for _ in 0..3 {
        let (error_type, body) = running.handler_error("\"what\"").await;
        assert_eq!(error_type, "KeyError");
        let expected = r#""stackTrace": ["  File \"/var/task/app.py\", line 7, in handler\n    deeper(event)\n", "  File \"/var/task/app.py\", line 3, in deeper\n    raise KeyError(event)\n"]"#;
        assert!(body.contains(expected), "{body}");
        assert!(body.contains(r#"{"errorMessage": "'what'", "errorType": "KeyError", "requestId": ""#), "{body}");
    }
    assert!(running.output.text().contains("[ERROR] KeyError: 'what'\nTraceback (most recent call last):\n  File \"/var/task/app.py\", line 7, in handler\n"));
    assert_eq!(running.answer("null").await, "\"fine\"");
    let (error_type, body) = running.handler_error("{").await;
    assert_eq!(error_type, "Runtime.UnmarshalError");
    assert!(body.contains("Unable to unmarshal input: Expecting property name"), "{body}");
}

async fn what_json_cannot_hold_is_an_error(host: Host) {
    let code = "
from decimal import Decimal
def handler(event, context):
    if event == 'set':
        return {1, 2}
    if event == 'circle':
        circle = []
        circle.append(circle)
        return circle
    if event == 'bytes':
        return b'raw'
    return {'n': Decimal('2'), 'f': Decimal('0.5'), 's': 'q\"\\n', 't': (1, True, None), 1: 1.0}
";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    let (error_type, body) = running.handler_error("\"set\"").await;
    assert_eq!(error_type, "Runtime.MarshalError");
    assert!(body.contains("Unable to marshal response: Object of type set is not JSON serializable"), "{body}");
    assert!(running.handler_error("\"circle\"").await.1.contains("Circular reference detected"));
    let expected = r#"{"n": 2, "f": 0.5, "s": "q\"\n", "t": [1, true, null], "1": 1.0}"#;
    assert_eq!(running.answer("null").await, expected);
    assert_eq!(running.answer("\"bytes\"").await, "raw");
}

async fn an_exit_is_reported_with_its_status(host: Host) {
    let code = "
import os, sys
def handler(event, context):
    print('bye')
    if event == 'abort':
        os.abort()
    if event == 'builtin':
        exit(4)
    sys.exit(event)
";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let cases = [
        ("0", ExitStatus::Code(0)),
        ("3", ExitStatus::Code(3)),
        ("\"builtin\"", ExitStatus::Code(4)),
        ("\"abort\"", ExitStatus::Signal(6)),
    ];
    for (event, status) in cases {
        let running = function.start().await;
        assert_eq!(running.call(event).await, Err(Fault::Exit(status)));
        assert_eq!(running.output.text(), "bye\n");
        assert!(!running.instance.is_alive());
        assert_eq!(running.call(event).await, Err(Fault::Exit(status)), "a dead instance says what it died of");
    }
}

async fn a_reply_that_is_too_large_costs_the_call_only(host: Host) {
    let code = "def handler(event, context): return 'x' * event\n";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    assert_eq!(running.call("7000000").await, Err(Fault::ResponseTooLarge));
    assert_eq!(running.call("40000000").await, Err(Fault::ResponseTooLarge));
    assert_eq!(running.answer("6000000").await.len(), 6_000_002);
    assert_eq!(running.answer("1").await, "\"x\"");
}

async fn payloads_of_megabytes_go_through(host: Host) {
    let code = "def handler(event, context): return event\n";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    let event = format!("\"{}\"", "0123456789".repeat(500_000));
    assert_eq!(running.answer(event.clone()).await, event);
    let event = format!(" [{}0] ", "1, ".repeat(50_000));
    assert_eq!(running.answer(event.clone()).await, event.trim());
}

async fn memory_runs_out_for_the_function_alone(host: Host) {
    let memory = updraft_sandbox::probe().into_iter().find(|mechanism| mechanism.name.contains("memory"));
    if !memory.as_ref().is_some_and(|mechanism| matches!(mechanism.state, State::Present(_))) {
        println!("SKIPPED memory_runs_out_for_the_function_alone: this host cannot limit memory ({memory:?})");
        return;
    }
    let code = "def handler(event, context): return len(b'x' * (event * 1024 * 1024))\n";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let running = function.with(|function| function.configuration.memory_mb = 128).start().await;
    assert_eq!(running.answer("20").await, "20971520");
    assert!(running.instance.memory_bytes_max() > 20 * 1024 * 1024);
    assert_eq!(running.call("400").await, Err(Fault::OutOfMemory));
    assert!(!running.instance.is_alive());
}

async fn an_abandoned_call_ends_the_instance(host: Host) {
    let code = "
import time
def handler(event, context):
    print('waiting')
    time.sleep(event)
";
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", code)]).start().await;
    let call = running.instance.clone().call(testing::call(Payload::Event("600".into())));
    assert!(tokio::time::timeout(Duration::from_millis(300), call).await.is_err());
    assert!(!running.instance.is_alive());
    running.instance.stop().await;
    assert!(matches!(running.call("0").await, Err(Fault::Exit(ExitStatus::Signal(9)))));
}

async fn a_package_is_compiled_when_it_is_deployed(host: Host) {
    let code = r#"
import sub.module, os, sys
def handler(event, context):
    caches = [module.__spec__.cached for module in (sys.modules[__name__], sub.module)]
    return [all(map(os.path.exists, caches)), sub.module.VALUE, sub.module.f.__code__.co_filename]
"#;
    let module = "assert True, 'kept'\nVALUE = 1\ndef f(): 'documented'\n";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code), ("sub/module.py", module)]);
    assert_eq!(function.start().await.answer("null").await, r#"[true, 1, "/var/task/sub/module.py"]"#);
    // That the files are what is run shows when their sources change, which no package's do.
    let source = function.package.path().join("sub/module.py");
    std::fs::write(&source, "VALUE = 2\ndef f(): pass\n").unwrap();
    assert!(function.start().await.answer("null").await.starts_with("[true, 1, "));
    // An author's own are kept.
    let own = host.deploy(&host.python(), "app.handler", &[("app.py", "def handler(event, context): return 1\n")]);
    let interpreter = host.executor.interpreters().iter().rfind(|one| one.runtime.to_string() == host.python());
    let minor = interpreter.unwrap().version.split('.').nth(1).unwrap().to_owned();
    let cache = own.package.path().join("__pycache__");
    std::fs::create_dir(&cache).unwrap();
    let name = format!("app.cpython-3{minor}.pyc");
    std::fs::write(cache.join(&name), "no bytecode").unwrap();
    for path in [cache.clone(), cache.join(&name)] {
        crate::host::readable(&path, 0o755);
    }
    assert_eq!(own.start().await.answer("null").await, "1");
    assert_eq!(std::fs::read_to_string(cache.join(&name)).unwrap(), "no bytecode");
}

async fn what_does_not_compile_fails_when_it_is_imported(host: Host) {
    let deep = format!("x = {}{}\n", "(".repeat(5000), ")".repeat(5000));
    let files = [
        ("app.py", "def handler(event, context):\n    import broken\n"),
        ("broken.py", "def f(:\n"),
        ("deep.py", deep.as_str()),
        ("odd.py", "# coding: nothing-like-that\n"),
        ("zzz.py", "x = 1\n"),
    ];
    let function = host.deploy(&host.python(), "app.handler", &files);
    let (error_type, _) = function.start().await.handler_error("null").await;
    assert_eq!(error_type, "SyntaxError");
    let cached = std::fs::read_dir(function.package.path().join("__pycache__")).unwrap();
    let mut names: Vec<_> = cached.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names.iter().map(|name| name.split('.').next().unwrap()).collect::<Vec<_>>(),
        ["app", "zzz"],
        "{names:?}"
    );
}

/// Whether a process of this host has `marker` among its arguments.
fn runs(marker: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default())
        .any(|arguments| arguments.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes()))
}

async fn a_call_that_ignores_signals_and_leaves_a_daemon_ends_all_the_same(host: Host) {
    let marker = format!("marker-{}", std::process::id());
    let code = format!(
        "
import os, signal, subprocess, sys, time
def handler(event, context):
    for number in set(signal.Signals) - {{signal.SIGKILL, signal.SIGSTOP}}:
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', '{marker}'], start_new_session=True)
    print('left', flush=True)
    if event: time.sleep(600)
"
    );
    let running = host.deploy(&host.python(), "app.handler", &[("app.py", &code)]).start().await;
    running.answer("0").await;
    assert!(runs(&marker), "the control: it is left behind by a call that ends");
    let call = running.instance.clone().call(testing::call(Payload::Event("1".into())));
    let timed_out = async {
        while running.output.text().matches("left").count() < 2 {
            tokio::task::yield_now().await
        }
    };
    tokio::select! {
        _ = call => panic!("it sleeps"),
        () = timed_out => {}
    }
    assert!(!running.instance.is_alive());
    running.instance.stop().await;
    assert!(!runs(&marker), "a daemon outlives its instance");
}

async fn instances_of_two_functions_share_nothing(host: Host) {
    let code = r#"
import os, sys
seen = None
def handler(event, context):
    global seen
    found = [seen, os.environ.get("SECRET"), sorted(os.listdir("/tmp")), sorted(os.listdir("/dev/shm")), getattr(sys, "seen", None)]
    seen = sys.seen = os.environ["SECRET"] = event
    open("/tmp/secret", "w").write(event)
    open("/dev/shm/secret", "w").write(event)
    return found
"#;
    // The same code and package, of two accounts; also one after the other has ended.
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let nothing = "[null, null, [], [], null]";
    let first = function.start().await;
    assert_eq!(first.answer("\"one\"").await, nothing);
    let kept = "[\"one\", \"one\", [\"secret\"], [\"secret\"], \"one\"]";
    assert_eq!(first.answer("\"one\"").await, kept, "the control: an instance does keep what it has");
    let other = function.with(|function| function.id.account = "111111111111".parse().unwrap());
    let second = other.start().await;
    assert_eq!(second.answer("\"two\"").await, nothing);
    first.instance.stop().await;
    let third = other.start().await;
    assert_eq!(third.answer("\"three\"").await, nothing);
    second.instance.stop().await;
    third.instance.stop().await;
}
