//! `AWS_LAMBDA_EXEC_WRAPPER`, and the trace header that runtimes get.

use updraft_types::{ExitStatus, Fault, Payload, function::TracingMode, invocation::Context};

use crate::{
    host::{Deployed, Host, Running, text},
    testing,
};

crate::tests! {
    a_wrapper_starts_the_runtime
    a_wrapper_that_cannot_run_says_so
    a_bootstrap_is_not_wrapped
    every_invocation_has_a_trace_of_its_own
}

fn with_wrapper(function: Deployed, path: &str) -> Deployed {
    function.with(|function| {
        function.configuration.environment.insert("AWS_LAMBDA_EXEC_WRAPPER".into(), path.into());
    })
}

/// The one of Lambda's documentation, and one without a first line.
const WRAPPER: &str = r#"#!/bin/bash
args=("$@")
extra_args=(EXTRA)
export WRAPPED="$0 $#"
args=("${args[@]:0:$#-1}" "${extra_args[@]}" "${args[@]: -1}")
echo "wrapping"
exec "${args[@]}"
"#;
const BARE: &str = "export WRAPPED=bare\nexec \"$@\"\n";

async fn a_wrapper_starts_the_runtime(host: Host) {
    let python =
        "import os, sys\ndef handler(event, context): return [os.environ['WRAPPED'], 'mark' in sys._xoptions]\n";
    let wrapper = WRAPPER.replace("EXTRA", "-X mark");
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", python)]);
    let running = with_wrapper(function.with_layers(&[("wrapper", &wrapper)]), "/opt/wrapper").start().await;
    assert_eq!(running.answer("1").await, "[\"/opt/wrapper 6\", true]");
    assert_eq!(running.output.text(), "wrapping\n");
    let node = "exports.handler = async () => [process.env.WRAPPED, process.execArgv.at(-1)];\n";
    let wrapper = WRAPPER.replace("EXTRA", "--no-warnings");
    let function = host.deploy(&host.nodejs(), "app.handler", &[("app.js", node), ("wrapper.sh", &wrapper)]);
    let running = with_wrapper(function, "/var/task/wrapper.sh").start().await;
    assert_eq!(running.answer("1").await, "[\"/var/task/wrapper.sh 4\",\"--no-warnings\"]");
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", python), ("wrapper.sh", BARE)]);
    let running = with_wrapper(function, "wrapper.sh").start_fault().await;
    assert_eq!(running, Fault::Exit(ExitStatus::Code(127)), "a path without a slash is looked up along PATH");
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", python), ("wrapper.sh", BARE)]);
    let running = with_wrapper(function, "./wrapper.sh").start().await;
    assert_eq!(running.answer("1").await, "[\"bare\", false]");
}

async fn a_wrapper_that_cannot_run_says_so(host: Host) {
    let code = "def handler(event, context): return event\n";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code), ("plain.sh", WRAPPER)]);
    let function = with_wrapper(function, "/opt/nothing");
    let (started, output) = function.try_start().await;
    assert_eq!(started.err(), Some(Fault::Exit(ExitStatus::Code(127))));
    assert_eq!(output.text(), "/opt/nothing: does not exist\n");
    let (started, output) = with_wrapper(function, "/var/task/plain.sh").try_start().await;
    assert_eq!(started.err(), Some(Fault::Exit(ExitStatus::Code(126))));
    assert_eq!(output.text(), "/var/task/plain.sh: is not an executable\n");
}

async fn a_bootstrap_is_not_wrapped(host: Host) {
    let function = host.deploy("provided.al2023", "x", &[("bootstrap", "#!/bin/sh\nexit 9\n")]);
    assert_eq!(with_wrapper(function, "/opt/nothing").start_fault().await, Fault::Exit(ExitStatus::Code(9)));
}

async fn trace_of(running: &Running, given: Option<&str>) -> String {
    let context = Context { client_context: None, trace: given.map(str::to_owned), qualifier: None };
    let call = updraft_executor::Call { context, ..testing::call(Payload::Event("1".into())) };
    let updraft_executor::Reply::Event { body, .. } = running.instance.clone().call(call).await.unwrap() else {
        panic!("an event is answered with an event")
    };
    text(body).await.unwrap().trim_matches('"').to_owned()
}

async fn every_invocation_has_a_trace_of_its_own(host: Host) {
    let python = "import os\ndef handler(event, context):\n    assert os.environ['AWS_XRAY_DAEMON_ADDRESS'] == '127.0.0.1:2000'\n    return os.environ['_X_AMZN_TRACE_ID']\n";
    let node = "exports.handler = async () => process.env._X_AMZN_TRACE_ID;\n";
    let whole = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let functions = [
        host.deploy(&host.python(), "app.handler", &[("app.py", python)]),
        host.deploy(&host.nodejs(), "app.handler", &[("app.js", node)]),
    ];
    for function in functions {
        let function = function.with(|function| function.configuration.tracing = TracingMode::Active);
        let running = function.start().await;
        assert_eq!(trace_of(&running, Some(whole)).await, whole);
        let (first, second) = (trace_of(&running, None).await, trace_of(&running, None).await);
        assert_ne!(first, second);
        assert!(first.starts_with("Root=1-") && first.contains(";Parent=") && first.ends_with(";Sampled=1"), "{first}");
        assert_eq!(trace_of(&running, Some("Root=1-a-b;Parent=c")).await, "Root=1-a-b;Parent=c;Sampled=1");
    }
}
