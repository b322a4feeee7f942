//! Node.js functions.

use std::path::{Path, PathBuf};

use updraft_executor::{Framing, Reply};
use updraft_types::{ExitStatus, Fault};

use crate::host::{Host, init_error, text};

crate::tests! {
    handlers_of_every_shape_answer
    modules_of_both_kinds_load
    console_lines_carry_time_request_and_level
    a_failure_is_reported_with_its_trace
    a_function_that_cannot_be_loaded_says_why
    a_rejection_nobody_handles_ends_the_process
    a_stream_arrives_with_its_framing
    a_stream_that_fails_ends_in_the_failure
    large_payloads_go_through
    a_package_is_compiled_when_it_is_deployed
    what_was_compiled_is_used_for_its_source_alone
    what_does_not_compile_fails_when_it_is_loaded
}

async fn handlers_of_every_shape_answer(host: Host) {
    let code = r#"
let count = 0;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
exports.asynchronous = async (event, context) => {
  await wait(1);
  count += 1;
  if (context.getRemainingTimeInMillis() <= 0) throw new Error('late');
  return { count, event, name: context.functionName, arn: context.invokedFunctionArn, memory: context.memoryLimitInMB };
};
exports.callback = (event, context, callback) => { setTimeout(() => callback(null, event), 5); };
exports.eager = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = false;
  setInterval(() => {}, 1000);
  callback(null, event);
};
exports.done = (event, context) => context.succeed('done');
exports.never = () => new Promise(() => {});
exports.nothing = () => 'ignored, because there is no promise';
exports.undefined = async () => {};
exports.nested = { deep: async () => 'deep' };
"#;
    let deploy = |handler: &str| host.deploy(&host.nodejs(), handler, &[("index.js", code)]);
    let running = deploy("index.asynchronous").start().await;
    for count in 1..=20 {
        let expected = format!(
            r#"{{"count":{count},"event":{{"a":"ü"}},"name":"hello","arn":"arn:aws:lambda:us-east-1:000000000000:function:hello","memory":"256"}}"#
        );
        assert_eq!(running.answer(r#"{"a":"ü"}"#).await, expected);
    }
    let cases = [
        ("callback", "7"),
        ("eager", "7"),
        ("done", "\"done\""),
        ("never", "null"),
        ("nothing", "null"),
        ("undefined", "null"),
        ("nested.deep", "\"deep\""),
    ];
    for (name, expected) in cases {
        let running = deploy(&format!("index.{name}")).start().await;
        for _ in 0..3 {
            assert_eq!(running.answer("7").await, expected, "{name}");
        }
    }
}

async fn modules_of_both_kinds_load(host: Host) {
    let common = "const dep = require('dep'); exports.handler = async () => dep;";
    let module = "import dep from 'dep'; await 0; export const handler = async () => dep;";
    let dependency = ("node_modules/dep/index.js", "module.exports = 'from dep';");
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("a.handler", &[("a.mjs", module), dependency]),
        ("b.handler", &[("b.cjs", common), dependency]),
        ("src/c.handler", &[("package.json", "{\"type\":\"module\"}"), ("src/c.js", module), dependency]),
        ("d.handler", &[("d.js", common), dependency]),
    ];
    for (handler, files) in cases {
        let running = host.deploy(&host.nodejs(), handler, files).start().await;
        assert_eq!(running.answer("{}").await, "\"from dep\"", "{handler}");
    }
}

async fn console_lines_carry_time_request_and_level(host: Host) {
    let code = r#"
console.log('loading');
exports.handler = async (event, context) => {
  console.log('hello %s', 'there', { a: 1 });
  console.error('bad');
  process.stdout.write('raw\n');
  return context.awsRequestId;
};
"#;
    let running = host.deploy(&host.nodejs(), "index.handler", &[("index.js", code)]).start().await;
    let request = running.answer("{}").await.trim_matches('"').to_owned();
    let output = running.output.text();
    let lines: Vec<&str> = output.lines().map(|line| line.split_once('\t').map_or(line, |(_, rest)| rest)).collect();
    let expected = [
        "undefined\tINFO\tloading".to_owned(),
        format!("{request}\tINFO\thello there {{ a: 1 }}"),
        format!("{request}\tERROR\tbad"),
        "raw".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert!(output.starts_with("20") && output.contains("Z\tundefined"));
}

async fn a_failure_is_reported_with_its_trace(host: Host) {
    let code = r#"
class Custom extends Error { constructor(message) { super(message); this.name = 'Custom'; this.code = 7; } }
exports.handler = async (event) => {
  if (event === 'error') throw new Custom('went wrong');
  if (event === 'text') throw 'just text';
  if (event === 'circle') { const circle = {}; circle.circle = circle; return circle; }
  if (event === 'exit') process.exit(5);
  return 'fine';
};
exports.callback = (event, context, callback) => callback(new Custom('called back'));
"#;
    let deploy = |handler: &str| host.deploy(&host.nodejs(), handler, &[("index.js", code)]);
    let running = deploy("index.handler").start().await;
    let (error_type, body) = running.handler_error("\"error\"").await;
    assert_eq!(error_type, "Custom");
    assert!(body.starts_with(r#"{"errorType":"Custom","errorMessage":"went wrong","trace":["#), "{body}");
    assert!(body.contains("/var/task/index.js:4"), "{body}");
    let output = running.output.text();
    assert!(
        output.contains("\tERROR\tInvoke Error \t{\"errorType\":\"Custom\",\"errorMessage\":\"went wrong\",\"name\":\"Custom\",\"code\":7"),
        "{output}"
    );
    let (error_type, body) = running.handler_error("\"text\"").await;
    assert_eq!(
        (error_type.as_str(), body.as_str()),
        ("string", r#"{"errorType":"string","errorMessage":"just text","trace":[]}"#)
    );
    let (error_type, body) = running.handler_error("\"circle\"").await;
    assert_eq!(error_type, "Runtime.JSONStringifyError");
    assert!(body.contains("Unable to stringify response body"), "{body}");
    assert_eq!(running.answer("0").await, "\"fine\"");
    assert_eq!(running.call("\"exit\"").await, Err(Fault::Exit(ExitStatus::Code(5))));
    assert_eq!(deploy("index.callback").start().await.handler_error("0").await.0, "Custom");
}

async fn a_function_that_cannot_be_loaded_says_why(host: Host) {
    let files = [
        ("index.js", "exports.other = 1; exports.text = 'no function';"),
        ("broken.js", "exports.handler = async ( => {"),
        ("needs.js", "require('missing-module');"),
        ("raises.js", "throw new TypeError('at load');"),
        (
            "rejects.js",
            "Promise.reject(new Error('unseen')); exports.handler = async () => { await new Promise((r) => setTimeout(r, 50)); };",
        ),
    ];
    let cases = [
        ("nothing.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'nothing'"),
        ("needs.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'missing-module'"),
        ("index.handler", "Runtime.HandlerNotFound", "index.handler is undefined or not exported"),
        ("index.text", "Runtime.HandlerNotFound", "index.text is not a function"),
        ("broken.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: "),
        ("handler", "Runtime.MalformedHandlerName", "Bad handler"),
        ("../index.handler", "Runtime.MalformedHandlerName", "is not a valid handler name"),
        ("raises.handler", "TypeError", "at load"),
    ];
    for (handler, expected_type, message) in cases {
        let (fault, output) = host.deploy(&host.nodejs(), handler, &files).try_start().await;
        let (error_type, body) = init_error(fault.err().expect(handler));
        assert_eq!(error_type, expected_type, "{body}");
        assert!(body.contains(message), "{body}");
        assert!(output.text().contains(expected_type), "{}", output.text());
    }
}

async fn a_rejection_nobody_handles_ends_the_process(host: Host) {
    let code = r#"
exports.handler = async (event) => {
  if (event === 'reject') Promise.reject(new Error('unseen'));
  else setTimeout(() => { throw new RangeError('in a timer'); }, 1);
  await new Promise((resolve) => setTimeout(resolve, 1000));
};
"#;
    let function = host.deploy(&host.nodejs(), "index.handler", &[("index.js", code)]);
    let (error_type, body) = function.start().await.handler_error("\"reject\"").await;
    assert_eq!(error_type, "Runtime.UnhandledPromiseRejection");
    assert!(body.contains("\"errorMessage\":\"Error: unseen\""), "{body}");
    let running = function.start().await;
    let (error_type, body) = running.handler_error("\"timer\"").await;
    assert_eq!(error_type, "RangeError", "{body}");
    assert_eq!(running.call("0").await.unwrap_err(), Fault::Exit(ExitStatus::Code(129)));
}

async fn a_stream_arrives_with_its_framing(host: Host) {
    let code = r#"
exports.plain = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType('text/plain');
  for (let index = 0; index < event; index += 1) stream.write(`part ${index}\n`);
  console.log('before the end');
  stream.end();
});
exports.http = awslambda.streamifyResponse(async (event, stream, context) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 'ü' } });
  stream.write('body');
  stream.end();
  await stream.finished;
});
exports.pipeline = awslambda.streamifyResponse(async (event, stream) => {
  await require('node:stream/promises').pipeline(require('node:stream').Readable.from([Buffer.alloc(3000000, 'a'), 'b']), stream);
});
"#;
    let deploy = |handler: &str| host.deploy(&host.nodejs(), handler, &[("index.js", code)]);
    let running = deploy("index.plain").start().await;
    for count in 1..4 {
        let Ok(Reply::Event { framing: Framing::Stream, body }) = running.reply(format!("{count}")).await else {
            panic!("not a stream");
        };
        assert_eq!(text(body).await.unwrap().lines().count(), count);
        assert_eq!(running.output.text().matches("before the end").count(), count);
    }
    let running = deploy("index.http").start().await;
    for _ in 0..3 {
        let Ok(Reply::Event { framing: Framing::HttpIntegration, body }) = running.reply("0").await else {
            panic!("not an HTTP integration");
        };
        let expected = "{\"statusCode\":201,\"headers\":{\"x-a\":\"ü\"}}\0\0\0\0\0\0\0\0body";
        assert_eq!(text(body).await.unwrap(), expected);
    }
    let running = deploy("index.pipeline").start().await;
    assert_eq!(running.answer("0").await.len(), 3_000_001);
    let Ok(Reply::Event { body, .. }) = running.reply("0").await else { panic!("no reply") };
    drop(body);
    assert!(!running.instance.is_alive(), "a stream dropped before its end abandons the call");
}

async fn a_stream_that_fails_ends_in_the_failure(host: Host) {
    let code = r#"
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  if (event === 'before') throw new Error('before the first byte');
  stream.write('half');
  await new Promise((resolve) => setTimeout(resolve, 5));
  if (event === 'exit') process.exit(3);
  if (event === 'middle') throw new TypeError('in the middle');
  stream.end();
});
"#;
    let running = host.deploy(&host.nodejs(), "index.handler", &[("index.js", code)]).start().await;
    assert_eq!(running.handler_error("\"before\"").await.0, "Error");
    let (error_type, body) = running.handler_error("\"middle\"").await;
    assert_eq!(error_type, "TypeError");
    assert!(body.contains("in the middle"), "{body}");
    assert_eq!(running.answer("\"whole\"").await, "half");
    assert!(matches!(running.call("\"exit\"").await, Err(Fault::Crash { .. } | Fault::Exit(_))));
    assert!(!running.instance.is_alive());
}

async fn large_payloads_go_through(host: Host) {
    let code = "exports.handler = async (event) => typeof event === 'number' ? 'x'.repeat(event) : event;";
    let running = host.deploy(&host.nodejs(), "index.handler", &[("index.js", code)]).start().await;
    let event = format!("\"{}\"", "0123456789".repeat(500_000));
    assert_eq!(running.answer(event.clone()).await, event);
    assert_eq!(running.call("7000000").await, Err(Fault::ResponseTooLarge));
    assert_eq!(running.call("40000000").await, Err(Fault::ResponseTooLarge));
    assert_eq!(running.answer("1").await, "\"x\"");
}

/// Whether the module that it stands in was compiled ahead: then our own hook runs it.
pub(crate) const IS_COMPILED: &str = "new Error().stack.split('\\n')[2].includes('/var/runtime/compiled.cjs')";

/// A module that makes a package large enough to be compiled ahead.
pub(crate) fn module(code: &str) -> String {
    format!("#!/usr/bin/env node\n// {}\n{code}\n", "x".repeat(64 << 10))
}

/// Where the compiled modules of a package are.
pub(crate) fn compiled(package: &Path) -> PathBuf {
    let entries = std::fs::read_dir(package).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.filter(|path| path.to_str().unwrap().contains("/.updraft-node-"));
    found.collect::<Vec<_>>().try_into().map(|[one]: [PathBuf; 1]| one).unwrap()
}

async fn a_package_is_compiled_when_it_is_deployed(host: Host) {
    let code = module(&format!(
        "const isCompiled = {IS_COMPILED};
const dependency = require('dependency');
exports.handler = async () => [isCompiled, dependency.isCompiled, dependency.trace(), await require('./importing.cjs')()];"
    ));
    let dependency = module(&format!(
        "exports.isCompiled = {IS_COMPILED};
exports.trace = () => new Error().stack.split('\\n')[1].trim();"
    ));
    let importing = module("module.exports = async () => (await import('./text.mjs')).default;");
    let files = [
        ("app.js", code.as_str()),
        ("node_modules/dependency/index.js", &dependency),
        ("importing.cjs", &importing),
        ("text.mjs", "export default `from ${import.meta.url}`;"),
    ];
    let function = host.deploy(&host.nodejs(), "app.handler", &files);
    let running = function.start().await;
    let expected = r#"[true,true,"at exports.trace (/var/task/node_modules/dependency/index.js:4:23)","from file:///var/task/text.mjs"]"#;
    assert_eq!(running.answer("null").await, expected);
    assert!(!running.output.text().contains("Warning"), "{}", running.output.text());
    // Flags may change what V8 makes of a source.
    let flagged = function.with(|function| {
        let variable = ("NODE_OPTIONS".to_owned(), "--enable-source-maps".to_owned());
        function.configuration.environment.extend([variable]);
    });
    assert_eq!(flagged.start_plainly().await.answer("null").await, expected.replace("true", "false"));
}

/// What `zlib.crc32` says.
fn checksum(bytes: &[u8]) -> u32 {
    let fold = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, fold)
}

async fn what_was_compiled_is_used_for_its_source_alone(host: Host) {
    let code = module(&format!("exports.handler = async () => [1, isCompiled];\nconst isCompiled = {IS_COMPILED};"));
    let function = host.deploy(&host.nodejs(), "app.handler", &[("app.js", &code)]);
    assert_eq!(function.start().await.answer("null").await, "[1,true]");
    let (source, file) =
        (function.package.path().join("app.js"), compiled(function.package.path()).join("app.js.code"));
    let good = std::fs::read(&file).unwrap();
    assert_eq!(good[good.len() - 4..], checksum(&[&good[..good.len() - 4], code.as_bytes()].concat()).to_be_bytes());
    // No package's sources change; what loads them may.
    std::fs::write(&source, code.replace("[1", "[2")).unwrap();
    assert_eq!(function.start().await.answer("null").await, "[2,false]");
    std::fs::write(&source, &code).unwrap();
    let nonsense = b"no code of V8's, but with its checksum".to_vec();
    let signed = [&nonsense[..], &checksum(&[&nonsense[..], code.as_bytes()].concat()).to_be_bytes()].concat();
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    for other in [&good[..good.len() / 2], &changed, &nonsense, b"x", b""] {
        std::fs::write(&file, other).unwrap();
        assert_eq!(function.start().await.answer("null").await, "[1,false]");
    }
    // V8 refuses it, and compiles the source.
    std::fs::write(&file, signed).unwrap();
    assert_eq!(function.start().await.answer("null").await, "[1,true]");
    std::fs::write(&file, good).unwrap();
    assert_eq!(function.start().await.answer("null").await, "[1,true]");
}

async fn what_does_not_compile_fails_when_it_is_loaded(host: Host) {
    let [broken, esm, plain] = ["let x = ;", "export const y = 1;", "exports.z = 1;"].map(module);
    let files = [
        ("app.js", "exports.handler = async () => { require('./broken.js'); };"),
        ("broken.js", &broken),
        ("lib/esm.js", &esm),
        ("lib/zzz.js", &plain),
    ];
    let function = host.deploy(&host.nodejs(), "app.handler", &files);
    let (error_type, _) = function.start().await.handler_error("null").await;
    assert_eq!(error_type, "SyntaxError");
    let entries = std::fs::read_dir(compiled(function.package.path())).unwrap().map(Result::unwrap);
    let mut found: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len() > 0)).collect();
    found.sort();
    let expected = [("broken.js.code", false), ("lib%2Fesm.js.code", false), ("lib%2Fzzz.js.code", true)];
    assert_eq!(found, expected.map(|(name, holds)| (name.to_owned(), holds)));
}
