//! StartLiveTail: the lines of up to ten groups as they come, once a second, as an event stream.
//!
//! What a session can show is bounded: more than [`EVENTS_MAX`] lines in a second, or [`UPDATE_BYTES_MAX`] of them, and
//! it shows the first and says that it is sampled. It ends when its reader leaves, when the platform stops, or after
//! three hours, as AWS's do.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use updraft_node::logs::{FilterPattern, Line};
use updraft_types::{Body, BoxError, LogGroupId, RequestId, Timestamp};

use super::{FILTER_PATTERN, GROUP_IDENTIFIER, STREAM_NAME, events::parse_pattern, identified, internal, not_found};
use crate::{api_error::ApiError, aws_json::Input, event_stream, scope::Scope};

/// Lines of one update, at most (as AWS has it),
const EVENTS_MAX: usize = 500;
/// and the bytes of their texts.
const UPDATE_BYTES_MAX: usize = 1 << 20;
/// Time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// Longest session.
const SESSION_MAX: Duration = Duration::from_secs(3 * 3600);

pub(super) async fn start(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let identifiers = input.texts("logGroupIdentifiers", 1..=10, &GROUP_IDENTIFIER)?;
    let names = input.texts("logStreamNames", 1..=100, &STREAM_NAME)?;
    let prefixes = input.texts("logStreamNamePrefixes", 1..=100, &STREAM_NAME)?;
    let pattern = input.text("logEventFilterPattern", &FILTER_PATTERN)?.unwrap_or_default();
    if identifiers.is_none() {
        input.missing("logGroupIdentifiers");
    }
    input.finish()?;
    let identifiers = identifiers.unwrap_or_default();
    if (names.is_some() || prefixes.is_some()) && identifiers.len() > 1 {
        return Err(super::invalid("Log streams can be named only when there is one log group identifier."));
    }
    if names.is_some() && prefixes.is_some() {
        return Err(super::invalid("logStreamNames and logStreamNamePrefixes are mutually exclusive parameters."));
    }
    let wanted = Wanted { names, prefixes, pattern: parse_pattern(&pattern)? };
    let store = scope.node.logs().groups().await;
    let mut groups = Vec::new();
    for identifier in &identifiers {
        let group = identified(scope, identifier).ok_or_else(|| not_found("group"))?;
        store.group(group.clone()).await.map_err(internal)?.ok_or_else(|| not_found("group"))?;
        // It may be named twice, by its name and by its ARN; its lines are told once.
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let started = json!({
        "requestId": RequestId::random().to_string(),
        "sessionId": RequestId::random().to_string(),
        "logGroupIdentifiers": identifiers,
        "logStreamNames": wanted.names.as_deref().unwrap_or_default(),
        "logStreamNamePrefixes": wanted.prefixes.as_deref().unwrap_or_default(),
        "logEventFilterPattern": pattern,
    });
    let following = groups.into_iter().map(|group| {
        let lines = scope.node.logs().follow(group.clone());
        lines.map(move |line| (group.clone(), line)).boxed()
    });
    let updates = updates(stream::select_all(following), wanted, scope.account().as_str().to_owned());
    let mut stopping = scope.stopping.clone();
    let stopped = async move {
        // An error means that the server itself is gone.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let beginning = [
        event_stream::event("initial-response", "application/x-amz-json-1.1", b"{}"),
        message("sessionStart", &started),
    ];
    let timeout = event_stream::exception("SessionTimeoutException", br#"{"message":"The session has timed out."}"#);
    let messages = stream::iter(beginning)
        .chain(updates.take_until(tokio::time::sleep(SESSION_MAX)).chain(stream::iter([timeout])))
        .take_until(Box::pin(stopped));
    let frames = messages.map(|message| Ok::<_, BoxError>(Frame::data(message)));
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    let content_type = HeaderValue::from_static(event_stream::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// Which lines a session shows.
struct Wanted {
    names: Option<Vec<String>>,
    prefixes: Option<Vec<String>>,
    pattern: FilterPattern,
}

impl Wanted {
    fn has(&self, line: &Line) -> bool {
        let is_named = self.names.as_ref().is_none_or(|names| names.iter().any(|name| **name == *line.stream));
        let is_prefixed =
            self.prefixes.as_ref().is_none_or(|all| all.iter().any(|prefix| line.stream.starts_with(&prefix[..])));
        is_named && is_prefixed && self.pattern.matches(&String::from_utf8_lossy(&line.text))
    }
}

/// An update a second, whether or not there is anything to tell.
fn updates(
    lines: impl Stream<Item = (LogGroupId, Line)> + Send + Unpin + 'static,
    wanted: Wanted,
    account: String,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let mut ticks = interval_at(Instant::now() + UPDATE_INTERVAL, UPDATE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((lines.fuse(), ticks, wanted, account), |(mut lines, mut ticks, wanted, account)| async move {
        let mut update = Update::default();
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => break,
                Some((group, line)) = lines.next() => {
                    if wanted.has(&line) {
                        update.add(&account, &group, &line);
                    }
                }
            }
        }
        Some((update.message(), (lines, ticks, wanted, account)))
    })
}

#[derive(Default)]
struct Update {
    events: Vec<Value>,
    size_bytes: usize,
    is_sampled: bool,
}

impl Update {
    fn add(&mut self, account: &str, group: &LogGroupId, line: &Line) {
        if self.events.len() == EVENTS_MAX || self.size_bytes + line.text.len() > UPDATE_BYTES_MAX {
            self.is_sampled = true;
            return;
        }
        self.size_bytes += line.text.len();
        self.events.push(json!({
            "timestamp": line.at,
            "ingestionTime": Timestamp::now(),
            "message": String::from_utf8_lossy(&line.text),
            "logStreamName": *line.stream,
            "logGroupIdentifier": format!("{account}:{}", group.name),
        }));
    }

    fn message(self) -> Bytes {
        let metadata = json!({ "sampled": self.is_sampled });
        message("sessionUpdate", &json!({ "sessionMetadata": metadata, "sessionResults": self.events }))
    }
}

fn message(event_type: &str, payload: &Value) -> Bytes {
    event_stream::event(event_type, "application/json", payload.to_string().as_bytes())
}
