//! GetLogEvents and FilterLogEvents: pages of a group's lines, and the tokens that lead from one to the next.
//!
//! A token is a place among the group's lines. That of FilterLogEvents is there as long as something is left to be
//! looked at. GetLogEvents always answers two: from `f/PLACE` it goes on with the lines from there, from `b/PLACE` with
//! those before; at either end the token is the one it was given, which is how clients know.

use http::Response;
use serde_json::{Value, json};
use updraft_node::logs::{
    FilterPattern,
    stored::{Direction, Event, Page, Place, Query, Streams},
};
use updraft_types::{Body, Timestamp};

use super::{FILTER_PATTERN, STREAM_NAME, TIME, TOKEN, internal, invalid, named_or_identified, not_found, settled};
use crate::{
    api_error::ApiError,
    aws_json::{Input, answer},
    scope::Scope,
};

const EVENTS_MAX: i64 = 10_000;

/// `startTime`, `endTime`, `limit`: where the lines begin, the time they end with, and how many at most.
fn bounds(input: &mut Input) -> Result<(Place, Option<Timestamp>, usize), ApiError> {
    let time = |ms: i64| Timestamp::from_ms(u64::try_from(ms).unwrap_or(0));
    let from = input.number("startTime", TIME)?.map(time).unwrap_or_default();
    let until = input.number("endTime", TIME)?.map(time);
    let limit = input.number("limit", 1..=EVENTS_MAX)?.unwrap_or(EVENTS_MAX);
    // Nothing is masked here.
    input.flag("unmask")?;
    Ok((Place::before(from), until, usize::try_from(limit).unwrap_or_default()))
}

fn wrong_token() -> ApiError {
    invalid("The specified nextToken is invalid.")
}

async fn page(scope: &Scope<'_>, query: Query, pattern: &FilterPattern) -> Result<Page, ApiError> {
    let page = scope.node.logs().page(query, pattern.clone()).await.map_err(internal)?;
    page.ok_or_else(|| not_found("group"))
}

pub(super) async fn get(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named_or_identified(scope, &mut input)?;
    let stream = input.required_text("logStreamName", &STREAM_NAME)?;
    let (start, end, limit) = bounds(&mut input)?;
    let token = input.text("nextToken", &TOKEN)?;
    let is_from_head = input.flag("startFromHead")?.unwrap_or(false);
    input.finish()?;
    let end = end.map_or(Place::END, Place::before);
    let (direction, at) = match token.as_deref().map(read_token).transpose()? {
        Some((direction, at)) => (direction, Some(at)),
        None => (if is_from_head { Direction::Forward } else { Direction::Backward }, None),
    };
    let (from, until) = match (direction, at) {
        (Direction::Forward, Some(at)) => (start.max(at), end),
        (Direction::Backward, Some(at)) => (start, end.min(at)),
        (_, None) => (start, end),
    };
    let groups = scope.node.logs().groups().await;
    settled(groups.find_streams(group.clone(), vec![stream.clone()]).await.map_err(internal)?, "stream")?;
    let mut query = Query { group, streams: Streams::One(stream), from, until, direction, limit, filter: None };
    let everything = FilterPattern::default();
    // A page may be empty before the end is reached; clients would take it for the end.
    let page = loop {
        let page = page(scope, query.clone(), &everything).await?;
        match (page.next, direction) {
            (Some(next), Direction::Forward) if page.events.is_empty() => query.from = next,
            (Some(next), Direction::Backward) if page.events.is_empty() => query.until = next,
            _ => break page,
        }
    };
    let (backward, forward) = match (&page.events[..], at) {
        ([first, .., last], _) => (first.place, last.place.behind()),
        ([only], _) => (only.place, only.place.behind()),
        ([], Some(at)) => (at, at),
        ([], None) => (start, start),
    };
    let events: Vec<_> = page.events.iter().map(view).collect();
    let tokens = (format!("f/{forward}"), format!("b/{backward}"));
    Ok(answer(&json!({ "events": events, "nextForwardToken": tokens.0, "nextBackwardToken": tokens.1 })))
}

fn read_token(token: &str) -> Result<(Direction, Place), ApiError> {
    let (direction, place) = match token.split_once('/') {
        Some(("f", place)) => (Direction::Forward, place),
        Some(("b", place)) => (Direction::Backward, place),
        _ => return Err(wrong_token()),
    };
    Ok((direction, place.parse().map_err(|_| wrong_token())?))
}

pub(super) async fn filter(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named_or_identified(scope, &mut input)?;
    let names = input.texts("logStreamNames", 1..=100, &STREAM_NAME)?;
    let prefix = input.text("logStreamNamePrefix", &STREAM_NAME)?;
    let (start, end, limit) = bounds(&mut input)?;
    let pattern = input.text("filterPattern", &FILTER_PATTERN)?;
    let token = input.text("nextToken", &TOKEN)?;
    // Pages are interleaved always, as AWS's are by now.
    input.flag("interleaved")?;
    let is_from_head = input.flag("startFromHead")?.unwrap_or(true);
    input.finish()?;
    if !is_from_head {
        return Err(ApiError::not_implemented("FilterLogEvents with startFromHead false"));
    }
    let pattern = parse_pattern(pattern.as_deref().unwrap_or_default())?;
    let from = match token {
        Some(token) => start.max(token.parse().map_err(|_| wrong_token())?),
        None => start,
    };
    // Here, unlike in GetLogEvents, the end's own millisecond is included.
    let until = end.map_or(Place::END, |end| Place::before(Timestamp::from_ms(end.as_ms().saturating_add(1))));
    let streams = match (names, prefix) {
        (Some(_), Some(_)) => {
            return Err(invalid("logStreamNames and logStreamNamePrefix are mutually exclusive parameters."));
        }
        (Some(names), None) => {
            let groups = scope.node.logs().groups().await;
            settled(groups.find_streams(group.clone(), names.clone()).await.map_err(internal)?, "stream")?;
            Streams::These(names)
        }
        (None, Some(prefix)) => Streams::Prefix(prefix),
        (None, None) => Streams::All,
    };
    let query = Query { group, streams, from, until, direction: Direction::Forward, limit, filter: None };
    let page = page(scope, query, &pattern).await?;
    let events: Vec<_> = page
        .events
        .iter()
        .map(|event| {
            let mut shown = view(event);
            shown["logStreamName"] = json!(*event.stream);
            shown["eventId"] = json!(event.place.to_string());
            shown
        })
        .collect();
    let mut output = json!({ "events": events, "searchedLogStreams": [] });
    if let Some(next) = page.next {
        output["nextToken"] = json!(next.to_string());
    }
    Ok(answer(&output))
}

/// Reads a filter pattern.
pub(super) fn parse_pattern(text: &str) -> Result<FilterPattern, ApiError> {
    FilterPattern::parse(text).map_err(|error| invalid(format!("Invalid filter pattern: {error}")))
}

fn view(event: &Event) -> Value {
    json!({
        "timestamp": event.at,
        "message": String::from_utf8_lossy(&event.text),
        "ingestionTime": event.ingested_at,
    })
}
