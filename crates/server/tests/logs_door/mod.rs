//! CloudWatch Logs over real connections: what functions wrote, what was put by hand, and live tails.

#![allow(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use updraft_node::logs::stored::{Change, Entry};
use updraft_types::{LogGroupId, Timestamp};

use crate::platform::{Answer, Platform};

const SCOPE: &str =
    "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=x";

async fn call(platform: &Platform, operation: &str, input: Value) -> Answer {
    let target = format!("Logs_20140328.{operation}");
    let headers = [("authorization", SCOPE), ("x-amz-target", &target), ("content-type", "application/x-amz-json-1.1")];
    platform.send("POST", "/", &headers, &input.to_string()).await
}

async fn ok(platform: &Platform, operation: &str, input: Value) -> Value {
    let answer = call(platform, operation, input).await;
    assert_eq!(answer.status, 200, "{operation}: {:?}", answer.body);
    assert_eq!(answer.header("content-type"), "application/x-amz-json-1.1");
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

/// The error's code and text.
async fn refused(platform: &Platform, operation: &str, input: Value) -> (String, String) {
    let answer = call(platform, operation, input).await;
    assert_eq!(answer.status, 400, "{operation}: {:?}", answer.body);
    let error = answer.json();
    (error["__type"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

fn messages(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_a_function_wrote_is_read_as_tail_and_console_do() {
    let platform = Platform::start().await;
    let group = "/aws/lambda/hello";
    let missing = refused(&platform, "FilterLogEvents", json!({ "logGroupName": group })).await;
    assert_eq!(missing.0, "ResourceNotFoundException");
    assert_eq!(missing.1, "The specified log group does not exist.");
    platform.create("hello", "python3.12", json!({})).await;
    platform.settled("hello").await;
    let invoke = async || {
        let answer = platform.send("POST", "/2015-03-31/functions/hello/invocations", &[], "{}").await;
        assert_eq!(answer.status, 200);
    };
    invoke().await;

    let groups = ok(&platform, "DescribeLogGroups", json!({ "logGroupNamePrefix": "/aws/lambda/he" })).await;
    let found = &groups["logGroups"][0];
    assert_eq!(found["logGroupName"], group);
    assert_eq!(found["arn"], format!("arn:aws:logs:us-east-1:000000000000:log-group:{group}:*"));
    assert!(found["storedBytes"].as_u64().unwrap() > 0 && groups.get("nextToken").is_none());

    let streams = json!({ "logGroupName": group, "orderBy": "LastEventTime", "descending": true });
    let streams = ok(&platform, "DescribeLogStreams", streams).await;
    let stream = streams["logStreams"][0]["logStreamName"].as_str().unwrap();
    assert!(stream.contains("/[$LATEST]"), "{stream}");
    let get = json!({ "logGroupName": group, "logStreamName": stream, "startFromHead": true });
    let page = ok(&platform, "GetLogEvents", get).await;
    let texts = messages(&page);
    assert!(texts[0].starts_with("START RequestId: ") && texts[2].starts_with("REPORT RequestId: "), "{texts:?}");

    // As `aws logs tail --follow` does: pages to the end, then again from the newest time, each event told once.
    let mut told = BTreeSet::new();
    let mut start = 0;
    for round in 1..=3 {
        let mut input = json!({ "logGroupIdentifier": group, "interleaved": true, "startTime": start, "limit": 2 });
        loop {
            let page = ok(&platform, "FilterLogEvents", input.clone()).await;
            for event in page["events"].as_array().unwrap() {
                told.insert(event["eventId"].as_str().unwrap().to_owned());
                start = start.max(event["timestamp"].as_u64().unwrap());
                assert!(event["ingestionTime"].as_u64().unwrap() >= event["timestamp"].as_u64().unwrap());
            }
            match page.get("nextToken") {
                Some(token) => input["nextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!(told.len(), 3 * round, "round {round}");
        invoke().await;
    }
    let filtered = json!({ "logGroupName": group, "filterPattern": "REPORT -START" });
    let filtered = ok(&platform, "FilterLogEvents", filtered).await;
    assert!(filtered["events"].as_array().unwrap().len() >= 3);
    assert!(messages(&filtered).iter().all(|text| text.starts_with("REPORT")));
    platform.stop().await;
}

#[tokio::test]
async fn groups_streams_and_events_are_made_by_hand() {
    let platform = Platform::start().await;
    let tags = json!({ "a": "1" });
    ok(&platform, "CreateLogGroup", json!({ "logGroupName": "/mine", "tags": tags })).await;
    let twice = refused(&platform, "CreateLogGroup", json!({ "logGroupName": "/mine" })).await;
    assert_eq!(twice.0, "ResourceAlreadyExistsException");
    let bad = refused(&platform, "CreateLogGroup", json!({ "logGroupName": "a b" })).await;
    let text = "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: Member must \
                satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+";
    assert_eq!(bad, ("InvalidParameterException".to_owned(), text.to_owned()));
    assert_eq!(refused(&platform, "CreateLogGroup", json!({ "logGroupName": 7 })).await.0, "SerializationException");

    ok(&platform, "PutRetentionPolicy", json!({ "logGroupName": "/mine", "retentionInDays": 30 })).await;
    let group = ok(&platform, "DescribeLogGroups", json!({ "logGroupNamePattern": "MIN" })).await;
    assert_eq!(group["logGroups"][0]["retentionInDays"], 30);
    let two = json!({ "logGroupName": "/mine", "retentionInDays": 2 });
    assert_eq!(refused(&platform, "PutRetentionPolicy", two).await.0, "InvalidParameterException");
    ok(&platform, "DeleteRetentionPolicy", json!({ "logGroupName": "/mine" })).await;

    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:/mine";
    ok(&platform, "TagResource", json!({ "resourceArn": arn, "tags": { "b": "2" } })).await;
    ok(&platform, "UntagResource", json!({ "resourceArn": format!("{arn}:*"), "tagKeys": ["a", "none"] })).await;
    let tags = ok(&platform, "ListTagsForResource", json!({ "resourceArn": arn })).await;
    assert_eq!(tags, json!({ "tags": { "b": "2" } }));
    // What an operation does not read does not say which group it is about.
    ok(&platform, "CreateLogGroup", json!({ "logGroupName": "/other" })).await;
    let both = json!({ "resourceArn": arn, "logGroupName": "/other", "tags": { "c": "3" } });
    ok(&platform, "TagResource", both).await;
    let (of_mine, of_other) = (json!({ "resourceArn": arn }), json!({ "logGroupName": "/other", "resourceArn": arn }));
    let tags = ok(&platform, "ListTagsForResource", of_mine).await;
    assert_eq!(tags, json!({ "tags": { "b": "2", "c": "3" } }));
    assert_eq!(ok(&platform, "ListTagsLogGroup", of_other).await, json!({ "tags": {} }));
    ok(&platform, "UntagLogGroup", json!({ "logGroupName": "/mine", "tags": ["c"], "tagKeys": ["b"] })).await;
    assert_eq!(
        ok(&platform, "ListTagsForResource", json!({ "resourceArn": arn })).await,
        json!({ "tags": { "b": "2" } })
    );
    ok(&platform, "DeleteLogGroup", json!({ "logGroupName": "/other" })).await;

    let now = Timestamp::now().as_ms();
    let put = |events: Value| json!({ "logGroupName": "/mine", "logStreamName": "s", "logEvents": events });
    let no_stream = refused(&platform, "PutLogEvents", put(json!([{ "timestamp": now, "message": "x" }]))).await;
    assert_eq!(no_stream.1, "The specified log stream does not exist.");
    ok(&platform, "CreateLogStream", json!({ "logGroupName": "/mine", "logStreamName": "s" })).await;
    let events: Vec<_> = (0..5).map(|n| json!({ "timestamp": now - 10 + n, "message": format!("m{n}\n") })).collect();
    let accepted = ok(&platform, "PutLogEvents", put(json!(events))).await;
    assert!(accepted["nextSequenceToken"].is_string() && accepted.get("rejectedLogEventsInfo").is_none());
    let at = |times: &[u64]| put(times.iter().map(|at| json!({ "timestamp": at, "message": "x" })).collect());
    let day = 86_400_000;
    let unordered = refused(&platform, "PutLogEvents", at(&[now, now - 1])).await;
    assert!(unordered.1.contains("chronological"));
    assert!(refused(&platform, "PutLogEvents", at(&[now - day - 1, now])).await.1.contains("24 hours"));
    let old = ok(&platform, "PutLogEvents", at(&[now - 15 * day, now - 15 * day + 5])).await;
    assert_eq!(old["rejectedLogEventsInfo"], json!({ "tooOldLogEventEndIndex": 2 }));
    let new = ok(&platform, "PutLogEvents", at(&[now - 9, now + day / 2])).await;
    assert_eq!(new["rejectedLogEventsInfo"], json!({ "tooNewLogEventStartIndex": 1 }));
    let large = put(json!([{ "timestamp": now, "message": "x".repeat(1_048_576) }]));
    assert!(refused(&platform, "PutLogEvents", large).await.1.starts_with("Upload too large"));

    ok(&platform, "DeleteLogGroup", json!({ "logGroupName": "/mine" })).await;
    assert_eq!(
        refused(&platform, "DeleteLogGroup", json!({ "logGroupName": "/mine" })).await.0,
        "ResourceNotFoundException"
    );
    let unknown = call(&platform, "PutMetricFilter", json!({})).await;
    assert_eq!((unknown.status, unknown.json()["__type"].as_str()), (501, Some("NotImplementedException")));
    platform.stop().await;
}

#[tokio::test]
async fn the_tokens_of_get_log_events_lead_both_ways_and_stop_at_the_ends() {
    let platform = Platform::start().await;
    ok(&platform, "CreateLogGroup", json!({ "logGroupName": "g" })).await;
    ok(&platform, "CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "s" })).await;
    let now = Timestamp::now().as_ms() - 1_000;
    let put = async |numbers: std::ops::Range<u64>| {
        let events: Vec<_> = numbers.map(|n| json!({ "timestamp": now + n, "message": n.to_string() })).collect();
        let input = json!({ "logGroupName": "g", "logStreamName": "s", "logEvents": events });
        ok(&platform, "PutLogEvents", input).await;
    };
    let get = async |extra: Value| {
        let mut input = json!({ "logGroupName": "g", "logStreamName": "s", "limit": 2 });
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        ok(&platform, "GetLogEvents", input).await
    };
    let empty = get(json!({})).await;
    assert_eq!(messages(&empty), [""; 0]);
    put(0..5).await;
    let first = get(json!({ "nextToken": empty["nextForwardToken"] })).await;
    assert_eq!(messages(&first), ["0", "1"]);
    let newest = get(json!({})).await;
    assert_eq!(messages(&newest), ["3", "4"]);
    let before = get(json!({ "nextToken": newest["nextBackwardToken"] })).await;
    assert_eq!(messages(&before), ["1", "2"]);
    let earliest = get(json!({ "nextToken": before["nextBackwardToken"] })).await;
    assert_eq!(messages(&earliest), ["0"]);
    let end = get(json!({ "nextToken": earliest["nextBackwardToken"] })).await;
    assert_eq!((messages(&end).len(), &end["nextBackwardToken"]), (0, &earliest["nextBackwardToken"]));
    let end = get(json!({ "nextToken": newest["nextForwardToken"] })).await;
    assert_eq!((messages(&end).len(), &end["nextForwardToken"]), (0, &newest["nextForwardToken"]));
    put(5..6).await;
    assert_eq!(messages(&get(json!({ "nextToken": newest["nextForwardToken"] })).await), ["5"]);
    let within = json!({ "startTime": now + 1, "endTime": now + 3, "startFromHead": true });
    assert_eq!(messages(&get(within).await), ["1", "2"]);
    let filtered =
        ok(&platform, "FilterLogEvents", json!({ "logGroupName": "g", "startTime": now + 1, "endTime": now + 3 }));
    assert_eq!(messages(&filtered.await), ["1", "2", "3"]);
    for (name, input) in [
        ("GetLogEvents", json!({ "logGroupName": "g", "logStreamName": "s", "nextToken": "f/x" })),
        ("FilterLogEvents", json!({ "logGroupName": "g", "nextToken": "x" })),
        ("FilterLogEvents", json!({ "logGroupName": "g", "filterPattern": "{ $.a }" })),
        ("FilterLogEvents", json!({ "logGroupName": "g", "logStreamNames": ["a"], "logStreamNamePrefix": "b" })),
        ("GetLogEvents", json!({ "logGroupName": "g", "logGroupIdentifier": "g", "logStreamName": "s" })),
        ("GetLogEvents", json!({ "logGroupName": "g" })),
        ("GetLogEvents", json!({ "logGroupName": "g", "logStreamName": "s", "limit": 10_001 })),
    ] {
        assert_eq!(refused(&platform, name, input.clone()).await.0, "InvalidParameterException", "{input}");
    }
    let none = json!({ "logGroupName": "g", "logStreamNames": ["s", "none"] });
    assert_eq!(refused(&platform, "FilterLogEvents", none).await.0, "ResourceNotFoundException");
    platform.stop().await;
}

#[tokio::test]
async fn lists_go_on_where_their_token_says() {
    let platform = Platform::start().await;
    let names: Vec<String> = (0..7).map(|number| format!("n{number}")).collect();
    for name in &names {
        ok(&platform, "CreateLogGroup", json!({ "logGroupName": name })).await;
        ok(&platform, "CreateLogStream", json!({ "logGroupName": "n0", "logStreamName": name })).await;
    }
    for (operation, list, member, order) in [
        ("DescribeLogGroups", "logGroups", "logGroupName", None),
        ("DescribeLogStreams", "logStreams", "logStreamName", Some("LogStreamName")),
        ("DescribeLogStreams", "logStreams", "logStreamName", Some("LastEventTime")),
    ] {
        let mut input = json!({ "limit": 3 });
        if let Some(order) = order {
            input["logGroupName"] = json!("n0");
            input["orderBy"] = json!(order);
        }
        let mut found = Vec::new();
        loop {
            let page = ok(&platform, operation, input.clone()).await;
            found.extend(page[list].as_array().unwrap().iter().map(|one| one[member].as_str().unwrap().to_owned()));
            match page.get("nextToken") {
                Some(token) => input["nextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!(found, names, "{operation}");
    }
    platform.stop().await;
}

#[tokio::test]
async fn another_accounts_groups_are_not_there() {
    let platform = Platform::start().await;
    let theirs = LogGroupId { account: "111111111111".parse().unwrap(), name: "/theirs".parse().unwrap() };
    let groups = platform.node.logs().groups().await;
    assert_eq!(groups.create_group(theirs.clone(), Default::default(), Timestamp::now()).await.unwrap(), Change::Done);
    let lines = [(Timestamp::now(), "secret")].into_iter().collect();
    let entry = Entry { group: theirs.clone(), stream: "s".into(), ingested_at: Timestamp::now(), lines };
    groups.append(vec![entry]).await.unwrap();
    assert_eq!(ok(&platform, "DescribeLogGroups", json!({})).await, json!({ "logGroups": [] }));
    let arn = "arn:aws:logs:us-east-1:111111111111:log-group:/theirs";
    for (operation, input) in [
        ("FilterLogEvents", json!({ "logGroupIdentifier": arn })),
        ("FilterLogEvents", json!({ "logGroupName": "/theirs" })),
        ("GetLogEvents", json!({ "logGroupIdentifier": arn, "logStreamName": "s" })),
        ("DescribeLogStreams", json!({ "logGroupIdentifier": arn })),
        ("StartLiveTail", json!({ "logGroupIdentifiers": [arn] })),
        ("ListTagsForResource", json!({ "resourceArn": arn })),
        ("TagResource", json!({ "resourceArn": arn, "tags": { "a": "b" } })),
        ("UntagResource", json!({ "resourceArn": arn, "tagKeys": ["a"] })),
        ("DeleteLogGroup", json!({ "logGroupName": "/theirs" })),
        ("PutRetentionPolicy", json!({ "logGroupName": "/theirs", "retentionInDays": 1 })),
        ("CreateLogStream", json!({ "logGroupName": "/theirs", "logStreamName": "t" })),
        (
            "PutLogEvents",
            json!({ "logGroupName": "/theirs", "logStreamName": "s",
                "logEvents": [{ "timestamp": Timestamp::now(), "message": "x" }] }),
        ),
    ] {
        let (code, text) = refused(&platform, operation, input).await;
        let expected = ("ResourceNotFoundException", "The specified log group does not exist.");
        assert_eq!((&code[..], &text[..]), expected, "{operation}");
    }
    let kept = groups.group(theirs).await.unwrap().unwrap();
    assert!(kept.tags.is_empty() && kept.retention_days.is_none());
    platform.stop().await;
}

/// Takes the first whole message off `bytes`: its event type and its JSON. CRCs are for the encoder's own tests.
fn take_message(bytes: &mut Vec<u8>) -> Option<(String, Value)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().unwrap()) as usize);
    let (whole, headers) = (number(0)?, number(4)?);
    let message: Vec<u8> = bytes.get(..whole)?.to_vec();
    bytes.drain(..whole);
    let text = String::from_utf8_lossy(&message[12..12 + headers]).into_owned();
    let event_type = ["initial-response", "sessionStart", "sessionUpdate"].into_iter().find(|name| text.contains(name));
    let payload = serde_json::from_slice(&message[12 + headers..whole - 4]).unwrap();
    Some((event_type.unwrap_or("?").to_owned(), payload))
}

#[tokio::test]
async fn a_live_tail_shows_what_comes_and_ends_with_the_platform() {
    let platform = Platform::start().await;
    ok(&platform, "CreateLogGroup", json!({ "logGroupName": "g" })).await;
    ok(&platform, "CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "s" })).await;
    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:g";
    let input = json!({ "logGroupIdentifiers": [arn], "logEventFilterPattern": "{ $.level = ERROR }" }).to_string();
    let request = http::Request::post("/")
        .header("host", platform.address.to_string())
        .header("authorization", SCOPE)
        .header("x-amz-target", "Logs_20140328.StartLiveTail")
        .body(Full::new(Bytes::from(input)))
        .unwrap();
    let stream = TcpStream::connect(platform.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let mut next = async || {
        loop {
            if let Some(message) = take_message(&mut bytes) {
                return Some(message);
            }
            let frame =
                tokio::time::timeout(Duration::from_secs(30), body.frame()).await.expect("an update a second")?;
            bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    };
    assert_eq!(next().await.unwrap(), ("initial-response".to_owned(), json!({})));
    let (kind, started) = next().await.unwrap();
    assert_eq!((&kind[..], &started["logGroupIdentifiers"]), ("sessionStart", &json!([arn])));
    let events: Vec<_> = ["{\"level\":\"INFO\"}", "{\"level\":\"ERROR\"}", "ERROR"]
        .iter()
        .map(|text| json!({ "timestamp": Timestamp::now(), "message": text }))
        .collect();
    let input = json!({ "logGroupName": "g", "logStreamName": "s", "logEvents": events });
    ok(&platform, "PutLogEvents", input).await;
    let shown = loop {
        let (kind, update) = next().await.unwrap();
        assert_eq!((&kind[..], &update["sessionMetadata"]["sampled"]), ("sessionUpdate", &json!(false)));
        if let [shown] = &update["sessionResults"].as_array().unwrap()[..] {
            break shown.clone();
        }
    };
    assert_eq!(shown["message"], "{\"level\":\"ERROR\"}");
    assert_eq!((&shown["logStreamName"], &shown["logGroupIdentifier"]), (&json!("s"), &json!("000000000000:g")));
    let stopping = tokio::spawn(platform.stop());
    while next().await.is_some() {}
    drop(client);
    let _ = connection.await.unwrap();
    stopping.await.unwrap();
}
