//! Logs in JSON, as Lambda's own runtimes write them, and the levels that let them through.

use updraft_types::logging::{ApplicationLevel, LogFormat, Logging};

use crate::host::{Deployed, Host, init_error};

crate::tests! {
    python_logs_are_json_lines_of_the_wanted_levels
    nodejs_logs_are_json_lines_of_the_wanted_levels
    levels_mean_nothing_in_text
}

fn in_json(function: Deployed, application: ApplicationLevel) -> Deployed {
    function.with(|function| {
        function.configuration.logging = Logging { format: LogFormat::Json, application, ..Logging::default() };
    })
}

/// The entries of a log, checked for what all have.
fn entries(output: &str, request: Option<&str>) -> Vec<serde_json::Value> {
    let entries = output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    let entries: Vec<serde_json::Value> = entries.collect();
    for entry in &entries {
        let timestamp = entry["timestamp"].as_str().unwrap();
        assert!(timestamp.starts_with("20") && timestamp.ends_with('Z'), "{entry}");
        assert!(request.is_none_or(|request| entry["requestId"] == request), "{entry}");
    }
    entries
}

async fn python_logs_are_json_lines_of_the_wanted_levels(host: Host) {
    let code = r#"
import logging
logger = logging.getLogger("mine")
def handler(event, context):
    logger.debug("too little")
    logger.info("wörld %s\n", 1, extra={"key": {"a": 1}, "odd": object})
    logger.warning({"is": "dict"})
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("caught")
    if event: raise ValueError("out")
    return context.aws_request_id
"#;
    let function = in_json(host.deploy(&host.python(), "app.handler", &[("app.py", code)]), ApplicationLevel::Info);
    let running = function.start().await;
    let answer = running.answer("0").await;
    let entries_of = entries(&running.output.text(), Some(answer.trim_matches('"')));
    let [info, warning, caught] = entries_of.as_slice() else { panic!("{entries_of:?}") };
    assert_eq!((&info["level"], &info["message"]), (&"INFO".into(), &"wörld 1\n".into()));
    assert_eq!(
        (&info["logger"], &info["key"]["a"], &info["odd"]),
        (&"mine".into(), &1.into(), &"<class 'object'>".into())
    );
    assert_eq!((&warning["level"], &warning["message"]["is"]), (&"WARNING".into(), &"dict".into()));
    assert_eq!(
        (&caught["errorType"], &caught["errorMessage"]),
        (&"ZeroDivisionError".into(), &"division by zero".into())
    );
    assert!(caught["location"].as_str().unwrap().starts_with("/var/task/app.py:handler:"), "{caught}");
    assert!(caught["stackTrace"][0].as_str().unwrap().contains("1 / 0"), "{caught}");
    let before = running.output.text().len();
    running.handler_error("1").await;
    let entries_of = entries(&running.output.text()[before..], None);
    let last = entries_of.last().unwrap();
    assert_eq!(
        (&last["level"], &last["errorType"], &last["errorMessage"]),
        (&"ERROR".into(), &"ValueError".into(), &"out".into())
    );
    let broken = in_json(
        host.deploy(&host.python(), "app.handler", &[("app.py", "import nothing_there\n")]),
        ApplicationLevel::Fatal,
    );
    let (started, output) = broken.try_start().await;
    init_error(started.err().unwrap());
    assert_eq!(entries(&output.text(), None)[0]["errorType"], "Runtime.ImportModuleError");
}

async fn nodejs_logs_are_json_lines_of_the_wanted_levels(host: Host) {
    let code = r#"
exports.handler = async (event, context) => {
  console.info('too little');
  console.warn('hello %d', 1, 'wörld\n');
  console.error({ is: 'object' });
  console.error('failed', new TypeError('bad'));
  console.error(Object.assign(new RangeError('alone'), { code: 7 }));
  const round = {}; round.round = round;
  console.fatal(round);
  if (event) throw new Error('out');
  return context.awsRequestId;
};
"#;
    let function = in_json(host.deploy(&host.nodejs(), "app.handler", &[("app.js", code)]), ApplicationLevel::Warn);
    let running = function.start().await;
    let answer = running.answer("0").await;
    let entries_of = entries(&running.output.text(), Some(answer.trim_matches('"')));
    let [warn, object, failed, alone, round] = entries_of.as_slice() else { panic!("{entries_of:?}") };
    assert_eq!((&warn["level"], &warn["message"]), (&"WARN".into(), &"hello 1 wörld\n".into()));
    assert_eq!(object["message"]["is"], "object");
    assert_eq!((&failed["errorType"], &failed["errorMessage"]), (&"TypeError".into(), &"bad".into()));
    assert!(failed["stackTrace"][0].as_str().unwrap().contains("TypeError: bad"), "{failed}");
    assert_eq!((&alone["message"]["errorType"], &alone["message"]["code"]), (&"RangeError".into(), &7.into()));
    assert_eq!(round["level"], "FATAL");
    let before = running.output.text().len();
    running.handler_error("1").await;
    let entries_of = entries(&running.output.text()[before..], None);
    assert_eq!(entries_of.last().unwrap()["message"]["errorMessage"], "out");
}

async fn levels_mean_nothing_in_text(host: Host) {
    let level = Logging { application: ApplicationLevel::Fatal, ..Logging::default() };
    let code = "
import logging, os
logging.getLogger().setLevel('DEBUG')
def handler(event, context):
    logging.debug('shown')
    return os.environ.get('AWS_LAMBDA_LOG_LEVEL')
";
    let function = host.deploy(&host.python(), "app.handler", &[("app.py", code)]);
    let running = function.with(|function| function.configuration.logging = level).start().await;
    assert_eq!(running.answer("1").await, "null");
    assert!(running.output.text().contains("[DEBUG]\t"), "{}", running.output.text());
}
