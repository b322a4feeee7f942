//! `updraft invoke`: call a function; its result on standard output, its log and its errors on standard error.

use std::{
    fs,
    io::{self, Read, Write},
};

use owo_colors::{Stream, Style};
use serde_json::{Value, json};
use updraft_types::limits;

use super::client;
use crate::{
    cli,
    client::lambda::{InvocationType, Invoked},
    output::{Output, paint, say, stdout_is_terminal},
    problem::{Exit, Problem},
};

/// Invokes. A function's own error is exit code 1.
pub fn run(arguments: &cli::Invoke, output: &Output) -> anyhow::Result<()> {
    let payload = read_payload(&arguments.payload, &mut io::stdin())?;
    let how = if arguments.asynchronous { InvocationType::Event } else { InvocationType::RequestResponse };
    let invoked =
        client(&arguments.endpoint)?.invoke(&arguments.name, &payload, how, arguments.tail).map_err(Problem::from)?;
    if output.is_json() {
        output.document(&to_json(&invoked))?;
    } else {
        if let Some(tail) = &invoked.log_tail {
            let _ = write!(io::stderr(), "{}", paint(tail, Stream::Stderr, Style::new().dimmed()));
        }
        match &invoked.function_error {
            Some(_) => say(readable(&invoked.payload, true)),
            None if how == InvocationType::Event => {
                output.note(format!(
                    "accepted; its request id is {}",
                    invoked.request_id.as_deref().unwrap_or("not told")
                ));
            }
            None => output.line(readable(&invoked.payload, stdout_is_terminal()))?,
        }
    }
    match invoked.function_error {
        None => Ok(()),
        Some(kind) => Err(failure(&arguments.name, &kind, &invoked.payload).into()),
    }
}

fn failure(name: &str, kind: &str, payload: &[u8]) -> Problem {
    let document: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |key: &str| document[key].as_str().filter(|text| !text.is_empty());
    let problem = Problem::new(Exit::Function, format!("{name} failed ({kind})"));
    let problem = match (text("errorType"), text("errorMessage")) {
        (Some(name), Some(message)) => problem.because(format!("{name}: {message}")),
        (Some(one), None) | (None, Some(one)) => problem.because(one),
        (None, None) => problem,
    };
    problem.try_next(format!("`updraft logs {name}` shows what it wrote"))
}

fn to_json(invoked: &Invoked) -> Value {
    let payload = serde_json::from_slice(&invoked.payload)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&invoked.payload)));
    json!({
        "StatusCode": invoked.status,
        "RequestId": invoked.request_id,
        "FunctionError": invoked.function_error,
        "ExecutedVersion": invoked.executed_version,
        "LogTail": invoked.log_tail,
        "Payload": payload,
    })
}

/// The payload as it is, or indented for a person if it is JSON.
fn readable(payload: &[u8], indent: bool) -> String {
    if indent && let Ok(value) = serde_json::from_slice::<Value>(payload) {
        return format!("{value:#}");
    }
    String::from_utf8_lossy(payload).into_owned()
}

/// The event an argument stands for: JSON as it is, `@FILE`, or `-` for standard input. It must be JSON.
fn read_payload(argument: &str, stdin: &mut dyn Read) -> Result<Vec<u8>, Problem> {
    let (bytes, place) = if argument == "-" {
        let mut bytes = Vec::new();
        let read = stdin.take(limits::PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| Problem::usage("standard input could not be read").because(error))?;
        (bytes, "standard input".to_owned())
    } else if let Some(file) = argument.strip_prefix('@') {
        let bytes =
            fs::read(file).map_err(|error| Problem::usage(format!("{file} could not be read")).because(error))?;
        (bytes, file.to_owned())
    } else {
        (argument.as_bytes().to_vec(), "the payload".to_owned())
    };
    if bytes.len() > limits::PAYLOAD_BYTES_MAX {
        return Err(Problem::usage(format!("{place} is too large for one call"))
            .because(format!("at most {} bytes go through", limits::PAYLOAD_BYTES_MAX)));
    }
    if bytes.is_empty() {
        return Ok(bytes);
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Problem::usage(format!("{place} is not JSON")).because(error).try_next(
            "text needs its own quotes: --payload '\"text\"'; a file is named with @: --payload @event.json",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_from_three_places() {
        let read = |argument: &str, stdin: &str| read_payload(argument, &mut stdin.as_bytes());
        assert_eq!(read("{\"a\":1}", "").unwrap(), b"{\"a\":1}");
        assert_eq!(read("-", "[1]").unwrap(), b"[1]");
        assert_eq!(read("-", "").unwrap(), b"");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("event.json");
        fs::write(&file, "3").unwrap();
        assert_eq!(read(&format!("@{}", file.display()), "").unwrap(), b"3");
        for bad in ["hello", "{", "@/nowhere"] {
            assert_eq!(read(bad, "").unwrap_err().exit(), Exit::Usage, "{bad}");
        }
        let large = "1".repeat(limits::PAYLOAD_BYTES_MAX + 1);
        assert!(read("-", &large).unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn a_functions_own_error_is_exit_code_one() {
        let problem = failure("f", "Unhandled", br#"{"errorType":"ValueError","errorMessage":"no"}"#);
        assert_eq!(problem.exit(), Exit::Function);
        assert!(format!("{problem:?}").contains("ValueError: no"));
        assert_eq!(failure("f", "Unhandled", b"not json").exit(), Exit::Function);
    }

    #[test]
    fn payloads_are_indented_only_for_people() {
        assert_eq!(readable(b"{\"a\":1}", true), "{\n  \"a\": 1\n}");
        assert_eq!(readable(b"{\"a\":1}", false), "{\"a\":1}");
        assert_eq!(readable(b"\xff", true), "\u{fffd}");
    }
}
