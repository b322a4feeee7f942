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
