//! Log streams.

use http::Response;
use serde_json::{Value, json};
use updraft_node::logs::stored::{Order, Stream, StreamCursor};
use updraft_types::{Body, LogGroupId, Timestamp};

use super::{STREAM_NAME, TOKEN, group_arn, internal, invalid, named, named_or_identified, not_found, settled};
use crate::{
    api_error::ApiError,
    aws_json::{Input, answer, nothing},
    scope::Scope,
};

pub(super) async fn create(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named(scope, &mut input)?;
    let name = input.required_text("logStreamName", &STREAM_NAME)?;
    input.finish()?;
    let groups = scope.node.logs().groups().await;
    settled(groups.create_stream(group, name, Timestamp::now()).await.map_err(internal)?, "stream")?;
    Ok(nothing())
}

pub(super) async fn describe(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named_or_identified(scope, &mut input)?;
    let prefix = input.text("logStreamNamePrefix", &STREAM_NAME)?;
    let by = input.choice("orderBy", &["LogStreamName", "LastEventTime"])?;
    let descending = input.flag("descending")?.unwrap_or(false);
    let token = input.text("nextToken", &TOKEN)?;
    let limit = input.number("limit", 1..=50)?.unwrap_or(50);
    input.finish()?;
    let by_last_line = by.as_deref() == Some("LastEventTime");
    if by_last_line && prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let after = token.as_deref().map(read_token).transpose()?;
    let limit = usize::try_from(limit).unwrap_or(50);
    let order = Order { by_last_line, descending };
    let groups = scope.node.logs().groups().await;
    let found = groups.streams(group.clone(), prefix.unwrap_or_default(), order, after, limit + 1).await;
    let mut found = found.map_err(internal)?.ok_or_else(|| not_found("group"))?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let views: Vec<_> = found.iter().map(|stream| view(scope, &group, stream)).collect();
    let mut output = json!({ "logStreams": views });
    if let Some(last) = found.last().filter(|_| has_more) {
        let StreamCursor { last_at, name } = last.cursor();
        output["nextToken"] = json!(format!("{}@{name}", last_at.as_ms()));
    }
    Ok(answer(&output))
}

/// Of `LAST_AT@NAME`.
fn read_token(token: &str) -> Result<StreamCursor, ApiError> {
    let parts = token.split_once('@').and_then(|(last_at, name)| Some((last_at.parse().ok()?, name)));
    let (last_at, name) = parts.ok_or_else(|| invalid("The specified nextToken is invalid."))?;
    Ok(StreamCursor { last_at: Timestamp::from_ms(last_at), name: name.to_owned() })
}

fn view(scope: &Scope<'_>, group: &LogGroupId, stream: &Stream) -> Value {
    let arn = format!("{}:log-stream:{}", group_arn(scope, group.name.as_str()), stream.name);
    // AWS has not counted a stream's bytes since 2019.
    let mut view = json!({
        "logStreamName": stream.name,
        "creationTime": stream.created_at,
        "arn": arn,
        "storedBytes": 0,
        "uploadSequenceToken": super::put::SEQUENCE_TOKEN,
    });
    if let Some([first_at, last_at, ingested_at]) = stream.lines {
        view["firstEventTimestamp"] = json!(first_at);
        view["lastEventTimestamp"] = json!(last_at);
        view["lastIngestionTime"] = json!(ingested_at);
    }
    view
}
