//! PutLogEvents.

use http::Response;
use serde_json::json;
use updraft_node::logs::stored::{Entry, Lines};
use updraft_types::{Body, Timestamp};

use super::{STREAM_NAME, TIME, internal, invalid, named, not_found, settled};
use crate::{
    api_error::ApiError,
    aws_json::{Input, Rule, answer},
    scope::Scope,
};

/// What AWS counts of one batch, bytes at most,
const BATCH_BYTES_MAX: usize = 1_048_576;
/// and for an event beside its message.
const EVENT_BYTES: usize = 26;
const EVENTS_MAX: usize = 10_000;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Events older than this are not taken.
const AGE_MAX_MS: u64 = 14 * DAY_MS;
/// Events later than this are not taken.
const AHEAD_MAX_MS: u64 = 2 * 3600 * 1000;

/// Sequence tokens are not looked at any more, as with AWS; clients of earlier days still want one.
pub(super) const SEQUENCE_TOKEN: &str = "49039859627329834729834729837429837429837492837492837498";

pub(super) async fn put(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named(scope, &mut input)?;
    let stream = input.required_text("logStreamName", &STREAM_NAME)?;
    let events = input.structures("logEvents", 1..=EVENTS_MAX, |event| {
        let at = event.number("timestamp", TIME)?;
        if at.is_none() {
            event.missing("timestamp");
        }
        let at = Timestamp::from_ms(at.and_then(|at| u64::try_from(at).ok()).unwrap_or_default());
        Ok((at, event.required_text("message", &Rule::length(1..=usize::MAX))?))
    })?;
    let events = events.unwrap_or_else(|| {
        input.missing("logEvents");
        Vec::new()
    });
    input.finish()?;
    check_batch(&events)?;

    let groups = scope.node.logs().groups().await;
    let found = groups.group(group.clone()).await.map_err(internal)?.ok_or_else(|| not_found("group"))?;
    let now = Timestamp::now();
    let kept_ms = found.retention_days.map_or(u64::MAX, |days| u64::from(days) * DAY_MS);
    let later_than = |age_ms: u64| events.partition_point(|(at, _)| at.as_ms() < now.as_ms().saturating_sub(age_ms));
    let (too_old, expired) = (later_than(AGE_MAX_MS), later_than(kept_ms));
    let too_new = events.partition_point(|(at, _)| at.as_ms() <= now.as_ms().saturating_add(AHEAD_MAX_MS));
    let taken = too_old.max(expired)..too_new;

    let lines: Lines = events.get(taken).unwrap_or_default().iter().map(|(at, text)| (*at, text)).collect();
    let entry = Entry { group, stream: stream.into(), ingested_at: now, lines };
    settled(scope.node.logs().put(entry).await.map_err(internal)?, "stream")?;

    let mut output = json!({ "nextSequenceToken": SEQUENCE_TOKEN });
    for (is_so, name, index) in [
        (too_new < events.len(), "tooNewLogEventStartIndex", too_new),
        (too_old > 0, "tooOldLogEventEndIndex", too_old),
        (expired > too_old, "expiredLogEventEndIndex", expired),
    ] {
        if is_so {
            output["rejectedLogEventsInfo"][name] = json!(index);
        }
    }
    Ok(answer(&output))
}

fn check_batch(events: &[(Timestamp, String)]) -> Result<(), ApiError> {
    let size_bytes: usize = events.iter().map(|(_, text)| text.len() + EVENT_BYTES).sum();
    if size_bytes > BATCH_BYTES_MAX {
        return Err(invalid(format!("Upload too large: {size_bytes} bytes exceeds limit of {BATCH_BYTES_MAX}")));
    }
    if !events.is_sorted_by_key(|(at, _)| *at) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let span_ms = match events {
        [(first, _), .., (last, _)] => last.as_ms() - first.as_ms(),
        _ => 0,
    };
    if span_ms > DAY_MS {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    Ok(())
}
