//! The record of an event that a destination is given (source: «Capturing records of Lambda asynchronous invocations», and
//! AWS's recorded destination messages).

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use updraft_engine::events::Condition;
use updraft_types::{Event, Region, Timestamp, Version};

/// What a function answered at its last try.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    /// The version that ran.
    pub(super) version: Version,
    /// Its answer, or its error.
    pub(super) payload: Bytes,
    /// Whether that is an error.
    pub(super) is_error: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: String,
    function_arn: String,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    status_code: u16,
    executed_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
}

/// The record as JSON. `condition` is `None` for a success. Without an answer, because the function did not run at the last
/// try, it has no response.
pub(super) fn build(
    event: &Event,
    condition: Option<Condition>,
    attempts: u32,
    answered: Option<&Answered>,
    region: &Region,
    now: Timestamp,
) -> String {
    let request_payload = raw(&event.payload);
    let response_payload = answered.map(|answered| raw(&answered.payload));
    let record = Record {
        version: "1.0",
        timestamp: now.to_rfc3339(),
        request_context: RequestContext {
            request_id: event.request.to_string(),
            function_arn: format!("{}:{}", event.function.arn(region), event.qualifier_text()),
            condition: condition.map_or("Success", Condition::name),
            approximate_invoke_count: attempts,
        },
        request_payload: &request_payload,
        response_context: answered.map(|answered| ResponseContext {
            status_code: 200,
            executed_version: answered.version.to_string(),
            function_error: answered.is_error.then_some("Unhandled"),
        }),
        response_payload: response_payload.as_deref(),
    };
    serde_json::to_string(&record).expect("a record has string keys and no failing parts")
}

/// Bytes as JSON: themselves if they are, nothing as null, other text as a string.
fn raw(bytes: &[u8]) -> Box<RawValue> {
    if bytes.is_empty() {
        return RawValue::NULL.to_owned();
    }
    let own = std::str::from_utf8(bytes).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok());
    own.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(bytes);
        serde_json::value::to_raw_value(&text).expect("a text is a JSON string")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use updraft_types::FunctionId;

    use super::*;

    fn event() -> Event {
        Event {
            request: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            function: FunctionId { account: "111111111111".parse().unwrap(), name: "f".parse().unwrap() },
            qualifier: None,
            client_context: None,
            trace: String::new(),
            payload: Bytes::from_static(b"{\"raise_error\": 1}"),
            accepted_at: Timestamp::from_ms(0),
        }
    }

    fn record(event: &Event, condition: Option<Condition>, answered: Option<&Answered>) -> Value {
        let region = "us-east-1".parse().unwrap();
        let text = build(event, condition, 1, answered, &region, Timestamp::from_ms(1_795_426_830_045));
        serde_json::from_str(&text).unwrap()
    }

    /// As AWS's recorded messages are (`test_assess_lambda_destination_invocation`).
    #[test]
    fn records_are_as_recorded() {
        let error = Bytes::from_static(b"{\"errorType\":\"Exception\"}");
        let answered = Answered { version: Version::Latest, payload: error, is_error: true };
        assert_eq!(
            record(&event(), Some(Condition::RetriesExhausted), Some(&answered)),
            json!({
                "version": "1.0",
                "timestamp": "2026-11-23T09:40:30.045Z",
                "requestContext": {
                    "requestId": "00000000-0000-0000-0000-000000000001",
                    "functionArn": "arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST",
                    "condition": "RetriesExhausted",
                    "approximateInvokeCount": 1,
                },
                "requestPayload": { "raise_error": 1 },
                "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
                "responsePayload": { "errorType": "Exception" },
            })
        );
        let success = Answered { version: Version::Number(3), payload: "17".into(), is_error: false };
        let success = record(&Event { qualifier: Some("live".parse().unwrap()), ..event() }, None, Some(&success));
        assert_eq!(success["responseContext"], json!({ "statusCode": 200, "executedVersion": "3" }));
        assert_eq!(
            (&success["requestContext"]["condition"], &success["responsePayload"]),
            (&json!("Success"), &json!(17))
        );
        assert!(success["requestContext"]["functionArn"].as_str().unwrap().ends_with(":f:live"));
    }

    #[test]
    fn what_did_not_run_has_no_response_and_odd_answers_become_text() {
        let never = record(&event(), Some(Condition::EventAgeExceeded), None);
        assert!(never.get("responseContext").is_none() && never.get("responsePayload").is_none());
        for (payload, shown) in
            [(&b""[..], Value::Null), (&b"<p>"[..], json!("<p>")), (&b"\xff"[..], json!("\u{fffd}"))]
        {
            let answered = Answered { version: Version::Latest, payload: payload.into(), is_error: false };
            assert_eq!(record(&event(), None, Some(&answered))["responsePayload"], shown);
        }
    }
}
