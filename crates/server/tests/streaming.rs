//! InvokeWithResponseStream through the door: what comes, and how its end is told.

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

mod platform;

use platform::{Answer, Platform};

/// Type and payload of each event, the messages' checksums aside.
fn events(answer: &Answer) -> Vec<(String, String)> {
    let mut rest = &answer.body[..];
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (message, after) = rest.split_at(number(rest));
        let (mut headers, payload) = message[12..message.len() - 4].split_at(number(&message[4..]));
        let mut kind = String::new();
        while let Some((name_bytes, after)) = headers.split_first() {
            let (name, after) = after.split_at(usize::from(*name_bytes));
            let (value, after) = after[3..].split_at(usize::from(u16::from_be_bytes([after[1], after[2]])));
            if name == b":event-type" {
                kind = String::from_utf8(value.to_vec()).unwrap();
            }
            headers = after;
        }
        events.push((kind, String::from_utf8(payload.to_vec()).unwrap()));
        rest = after;
    }
    events
}

async fn invoke(platform: &Platform, headers: &[(&str, &str)], payload: &str) -> Answer {
    let target = "/2021-11-15/functions/f/response-streaming-invocations";
    platform.send("POST", target, headers, payload).await
}

fn chunk(text: &str) -> (String, String) {
    ("PayloadChunk".to_owned(), text.to_owned())
}

/// The chunks, and what the last event says.
fn told(answer: &Answer) -> (Vec<(String, String)>, Value) {
    let mut events = events(answer);
    let (kind, complete) = events.pop().unwrap();
    assert_eq!(kind, "InvokeComplete");
    (events, serde_json::from_str(&complete).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_writes_comes_in_pieces_and_a_value_in_one() {
    let platform = Platform::start().await;
    platform.create("f", "python3.12", json!({})).await;
    platform.settled("f").await;
    let streamed = invoke(&platform, &[], r#"{"stream":["ab","c"]}"#).await;
    assert_eq!((streamed.status, streamed.header("content-type")), (200, "application/vnd.amazon.eventstream"));
    assert_eq!(streamed.header("x-amz-executed-version"), "$LATEST");
    assert!(!streamed.header("x-amzn-requestid").is_empty());
    assert_eq!(told(&streamed), (vec![chunk("ab"), chunk("c")], json!({})));

    let (chunks, complete) = told(&invoke(&platform, &[("x-amz-log-type", "Tail")], "[1]").await);
    assert_eq!(chunks, [chunk("[1]")]);
    let tail = BASE64.decode(complete["LogResult"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(tail).unwrap().contains("REPORT RequestId: "));
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_at_the_end_and_what_runs_nothing_is_an_http_error() {
    let platform = Platform::start().await;
    platform.create("f", "python3.12", json!({})).await;
    platform.settled("f").await;
    let (chunks, complete) = told(&invoke(&platform, &[], r#""fail""#).await);
    assert_eq!(chunks, []);
    assert_eq!(complete["ErrorCode"], "Unhandled");
    let details: Value = serde_json::from_str(complete["ErrorDetails"].as_str().unwrap()).unwrap();
    assert_eq!(details, json!({ "errorType": "Oops", "errorMessage": "as asked" }));

    let (chunks, complete) = told(&invoke(&platform, &[], r#"{"stream":["ab",null]}"#).await);
    assert_eq!(chunks, [chunk("ab")]);
    assert_eq!(complete["ErrorCode"], "Unhandled");
    assert!(complete["ErrorDetails"].as_str().unwrap().contains("as asked"));

    let dry = invoke(&platform, &[("x-amz-invocation-type", "DryRun")], "{}").await;
    assert_eq!((dry.status, dry.body.len()), (204, 0));
    let event = invoke(&platform, &[("x-amz-invocation-type", "Event")], "{}").await;
    assert_eq!((event.status, event.code()), (400, "ValidationException"));
    let broken = invoke(&platform, &[], "{").await;
    assert_eq!((broken.status, broken.code()), (400, "InvalidRequestContentException"));
    let absent = "/2021-11-15/functions/absent/response-streaming-invocations";
    assert_eq!(platform.send("POST", absent, &[], "{}").await.code(), "ResourceNotFoundException");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_bounded() {
    let platform = Platform::start_with(|config| config.stream_bytes_max = 5).await;
    platform.create("f", "python3.12", json!({})).await;
    platform.settled("f").await;
    let (chunks, complete) = told(&invoke(&platform, &[], r#"{"stream":["abc","def"]}"#).await);
    assert_eq!(chunks, [chunk("abc")]);
    assert_eq!(complete["ErrorCode"], "Function.ResponseSizeTooLarge");
    platform.stop().await;
}
