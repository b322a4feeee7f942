//! ListSecrets and ListSecretVersionIds.

use http::Response;
use serde_json::json;
use updraft_node::secrets::Secret;
use updraft_types::{Body, Timestamp};

use super::{ID, about, arn, find, internal, refuse_absent};
use crate::{
    api_error::ApiError,
    aws_json::{Input, Rule, answer},
    scope::Scope,
};

const TOKEN: Rule = Rule::length(1..=4096);

fn limit(input: &mut Input) -> Result<usize, ApiError> {
    let limit = input.number("MaxResults", 1..=100)?.unwrap_or(100);
    Ok(usize::try_from(limit).unwrap_or(1))
}

pub(super) async fn secrets(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    refuse_absent(&input, &["SortBy"])?;
    let with_deleted = input.flag("IncludePlannedDeletion")?.unwrap_or(false);
    let limit = limit(&mut input)?;
    let after = input.text("NextToken", &TOKEN)?;
    let is_descending = input.choice("SortOrder", &["asc", "desc"])?.as_deref() == Some("desc");
    let filters = input.structures("Filters", 0..=10, |filter| {
        let keys = ["description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"];
        let key = filter.choice("Key", &keys)?.unwrap_or_else(|| "all".to_owned());
        Ok((key, filter.texts("Values", 1..=10, &Rule::length(0..=512))?.unwrap_or_default()))
    })?;
    input.finish()?;
    let filters = filters.unwrap_or_default();
    let now = Timestamp::now();
    let mut listed = scope.node.secrets().list(scope.account().clone(), now).await.map_err(internal)?;
    listed.retain(|(name, secret)| {
        (with_deleted || secret.deleted.is_none())
            && filters.iter().all(|(key, values)| passes(name, secret, key, values))
    });
    if is_descending {
        listed.reverse();
    }
    let is_behind = |name: &String| match &after {
        None => true,
        Some(after) if is_descending => name < after,
        Some(after) => name > after,
    };
    let mut names = listed.into_iter().map(|(name, _)| name).filter(is_behind);
    let page: Vec<String> = names.by_ref().take(limit).collect();
    let has_more = names.next().is_some();
    let mut views = Vec::new();
    for name in &page {
        let record = scope.node.secrets().find(scope.account().clone(), name.clone(), now).await.map_err(internal)?;
        views.extend(record.map(|record| about(scope, name, &record, "SecretVersionsToStages")));
    }
    let mut output = json!({ "SecretList": views });
    if let Some(last) = page.last().filter(|_| has_more) {
        output["NextToken"] = json!(last);
    }
    Ok(answer(&output))
}

/// Whether one of a filter's values begins what it is about; with `!` before it, whether it does not.
fn passes(name: &str, secret: &Secret, key: &str, values: &[String]) -> bool {
    let description = secret.description.iter().map(String::as_str);
    let tag_keys = secret.tags.keys().map(String::as_str);
    let tag_values = secret.tags.values().map(String::as_str);
    let about: Vec<&str> = match key {
        "name" => vec![name],
        "description" => description.collect(),
        "tag-key" => tag_keys.collect(),
        "tag-value" => tag_values.collect(),
        "all" => [name].into_iter().chain(description).chain(tag_keys).chain(tag_values).collect(),
        _ => Vec::new(),
    };
    let begins = |wanted: &str| about.iter().any(|text| text.starts_with(wanted));
    values.iter().any(|value| match value.strip_prefix('!') {
        Some(unwanted) => !begins(unwanted),
        None => begins(value),
    })
}

pub(super) async fn versions(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let id = input.required_text("SecretId", &ID)?;
    let with_deprecated = input.flag("IncludeDeprecated")?.unwrap_or(false);
    let limit = limit(&mut input)?;
    let after = input.text("NextToken", &TOKEN)?.unwrap_or_default();
    input.finish()?;
    let (name, record) = find(scope, &id).await?;
    let versions = record.versions.iter().filter(|(_, version)| with_deprecated || !version.stages.is_empty());
    let mut versions = versions.filter(|(id, _)| **id > after);
    let page: Vec<_> = versions.by_ref().take(limit).collect();
    let views: Vec<_> = page
        .iter()
        .map(|(id, version)| {
            let created_at = super::seconds(version.created_at);
            json!({ "VersionId": id, "VersionStages": version.stages, "CreatedDate": created_at })
        })
        .collect();
    let mut output = json!({ "ARN": arn(scope, &name, &record.secret), "Name": name, "Versions": views });
    if let Some((last, _)) = page.last().filter(|_| versions.next().is_some()) {
        output["NextToken"] = json!(last);
    }
    Ok(answer(&output))
}
