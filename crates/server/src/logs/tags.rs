//! Tags of log groups, by their ARN and, for clients of earlier days, by their name.

use std::collections::BTreeMap;

use http::Response;
use serde_json::json;
use updraft_node::logs::stored;
use updraft_types::{Body, LogGroupId};

use super::{GROUP_IDENTIFIER, group_arn, identified, internal, invalid, named, not_found, or_complained, settled};
use crate::{
    api_error::ApiError,
    aws_json::{Input, Rule, answer, nothing},
    scope::Scope,
    tags::{Keys, brought, hidden, hidden_text, taken_away},
};

/// Most tags of a group.
const TAGS_MAX: usize = 50;
const KEY: Rule = Rule::length(1..=128);
const VALUE: Rule = Rule::length(0..=256);

/// The tags in a request.
pub(super) fn given(input: &mut Input) -> Result<Option<BTreeMap<String, String>>, ApiError> {
    input.map("tags", 1..=TAGS_MAX, &KEY, &VALUE)
}

/// What conditions are told of the tags that a request brings or takes away, by the members that the operation reads.
pub(super) fn keys(operation: &str, input: &Input) -> Keys {
    match operation {
        "CreateLogGroup" | "TagResource" | "TagLogGroup" => brought(input.peek_map("tags")),
        "UntagResource" => taken_away(input.peek_all("tagKeys")),
        "UntagLogGroup" => taken_away(input.peek_all("tags")),
        _ => Keys::new(),
    }
}

/// The tags of a group of the caller's, by its ARN or that of one of its streams.
pub(super) async fn of(scope: &Scope<'_>, arn: &str) -> Result<Option<BTreeMap<String, String>>, stored::Error> {
    let name = arn.strip_prefix(&group_arn(scope, "")).and_then(|rest| rest.split(':').next());
    match name.and_then(|name| identified(scope, name)) {
        Some(group) => scope.node.logs().tags(group).await,
        None => Ok(None),
    }
}

/// Refuses those of which one would hide another.
pub(super) fn check(now: &BTreeMap<String, String>, tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    hidden(now, tags).map_or(Ok(()), |key| Err(invalid(hidden_text(key))))
}

/// How an operation names the group, and so which of a request's members count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// TagResource and those beside it: by `resourceArn`.
    Arn,
    /// TagLogGroup and those beside it, of earlier days: by `logGroupName`.
    Name,
}

/// The group whose tags a request is about.
fn group(scope: &Scope<'_>, input: &mut Input, by: By) -> Result<LogGroupId, ApiError> {
    if by == By::Name {
        return named(scope, input);
    }
    let arn = input.required_text("resourceArn", &GROUP_IDENTIFIER)?;
    or_complained(scope, input, identified(scope, &arn).filter(|_| arn.starts_with("arn:")))
}

async fn present(scope: &Scope<'_>, group: &LogGroupId) -> Result<BTreeMap<String, String>, ApiError> {
    let found = scope.node.logs().groups().await.group(group.clone()).await.map_err(internal)?;
    found.map(|group| group.tags).ok_or_else(|| not_found("group"))
}

pub(super) async fn tag(scope: &Scope<'_>, mut input: Input, by: By) -> Result<Response<Body>, ApiError> {
    let group = group(scope, &mut input, by)?;
    let added = given(&mut input)?;
    if added.is_none() {
        input.missing("tags");
    }
    input.finish()?;
    let _annotating = scope.annotating.lock().await;
    let (mut tags, added) = (present(scope, &group).await?, added.unwrap_or_default());
    check(&tags, &added)?;
    tags.extend(added);
    if tags.len() > TAGS_MAX {
        let text = format!("Too many tags for {}: {TAGS_MAX} at most", group_arn(scope, group.name.as_str()));
        return Err(ApiError::bad_request("TooManyTagsException", text));
    }
    settled(scope.node.logs().groups().await.set_tags(group, tags).await.map_err(internal)?, "group")?;
    Ok(nothing())
}

pub(super) async fn untag(scope: &Scope<'_>, mut input: Input, by: By) -> Result<Response<Body>, ApiError> {
    let group = group(scope, &mut input, by)?;
    let name = if by == By::Name { "tags" } else { "tagKeys" };
    let removed = input.texts(name, 0..=TAGS_MAX, &KEY)?;
    if removed.is_none() {
        input.missing(name);
    }
    input.finish()?;
    let _annotating = scope.annotating.lock().await;
    let mut tags = present(scope, &group).await?;
    removed.iter().flatten().for_each(|key| drop(tags.remove(key)));
    settled(scope.node.logs().groups().await.set_tags(group, tags).await.map_err(internal)?, "group")?;
    Ok(nothing())
}

pub(super) async fn list(scope: &Scope<'_>, mut input: Input, by: By) -> Result<Response<Body>, ApiError> {
    let group = group(scope, &mut input, by)?;
    input.finish()?;
    Ok(answer(&json!({ "tags": present(scope, &group).await? })))
}
