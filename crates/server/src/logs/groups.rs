//! Log groups.

use std::collections::BTreeMap;

use http::Response;
use serde_json::{Value, json};
use updraft_node::logs::stored::{Group, Pattern};
use updraft_types::{Body, Timestamp};

use super::{
    GROUP_IDENTIFIER, GROUP_NAME, TOKEN, group_arn, identified, internal, invalid, named, not_found, settled, tags,
};
use crate::{
    api_error::ApiError,
    aws_json::{Input, Rule, answer, nothing},
    scope::Scope,
};

/// What a retention may be, days.
const RETENTIONS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(super) async fn create(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named(scope, &mut input)?;
    let tags = tags::given(&mut input)?.unwrap_or_default();
    let class = input.choice("logGroupClass", &["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"])?;
    let is_protected = input.flag("deletionProtectionEnabled")?;
    for (is_asked, what) in [
        (input.has("kmsKeyId"), "a log group's kmsKeyId"),
        (class.is_some_and(|class| class != "STANDARD"), "a logGroupClass other than STANDARD"),
        (is_protected == Some(true), "deletionProtectionEnabled"),
    ] {
        if is_asked {
            return Err(ApiError::not_implemented(what));
        }
    }
    input.finish()?;
    tags::check(&BTreeMap::new(), &tags)?;
    let groups = scope.node.logs().groups().await;
    settled(groups.create_group(group, tags, Timestamp::now()).await.map_err(internal)?, "group")?;
    Ok(nothing())
}

pub(super) async fn delete(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named(scope, &mut input)?;
    input.finish()?;
    match scope.node.logs().groups().await.delete(group).await.map_err(internal)? {
        true => Ok(nothing()),
        false => Err(not_found("group")),
    }
}

pub(super) async fn describe(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let prefix = input.text("logGroupNamePrefix", &GROUP_NAME)?;
    let part = input.text("logGroupNamePattern", &Rule { length: 0..=512, ..GROUP_NAME })?;
    let identifiers = input.texts("logGroupIdentifiers", 1..=50, &GROUP_IDENTIFIER)?;
    let after = input.text("nextToken", &TOKEN)?;
    let limit = input.number("limit", 1..=50)?.unwrap_or(50);
    // Of linked accounts there are none.
    input.flag("includeLinkedAccounts")?;
    input.finish()?;
    let limit = usize::try_from(limit).unwrap_or(50);
    let groups = scope.node.logs().groups().await;
    if let Some(identifiers) = identifiers {
        let mut found = Vec::new();
        for group in identifiers.iter().filter_map(|text| identified(scope, text)) {
            found.extend(groups.group(group).await.map_err(internal)?);
        }
        let found: Vec<_> = found.iter().map(|group| view(scope, group)).collect();
        return Ok(answer(&json!({ "logGroups": found })));
    }
    let pattern = match (prefix, part) {
        (Some(_), Some(_)) => {
            return Err(invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."));
        }
        (None, Some(part)) => Pattern::Part(part),
        (prefix, None) => Pattern::Prefix(prefix.unwrap_or_default()),
    };
    let mut found = groups.groups(scope.account().clone(), pattern, after, limit + 1).await.map_err(internal)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let mut output = json!({ "logGroups": found.iter().map(|group| view(scope, group)).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| has_more) {
        output["nextToken"] = json!(last.name);
    }
    Ok(answer(&output))
}

fn view(scope: &Scope<'_>, group: &Group) -> Value {
    let arn = group_arn(scope, &group.name);
    let mut view = json!({
        "logGroupName": group.name,
        "creationTime": group.created_at,
        "metricFilterCount": 0,
        "arn": format!("{arn}:*"),
        "logGroupArn": arn,
        "storedBytes": group.size_bytes,
        "logGroupClass": "STANDARD",
        "deletionProtectionEnabled": false,
    });
    if let Some(days) = group.retention_days {
        view["retentionInDays"] = json!(days);
    }
    view
}

pub(super) async fn put_retention(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named(scope, &mut input)?;
    let days = input.number("retentionInDays", i64::MIN..=i64::MAX)?;
    match days {
        None => input.missing("retentionInDays"),
        Some(days) if !RETENTIONS.contains(&days) => {
            let set = RETENTIONS.map(|days| days.to_string()).join(", ");
            let constraint = format!("Member must satisfy enum value set: [{set}]");
            input.complain("retentionInDays", &days.to_string(), &constraint);
        }
        Some(_) => {}
    }
    input.finish()?;
    let days = days.and_then(|days| u32::try_from(days).ok());
    settled(scope.node.logs().groups().await.set_retention(group, days).await.map_err(internal)?, "group")?;
    Ok(nothing())
}

pub(super) async fn delete_retention(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let group = named(scope, &mut input)?;
    input.finish()?;
    settled(scope.node.logs().groups().await.set_retention(group, None).await.map_err(internal)?, "group")?;
    Ok(nothing())
}
