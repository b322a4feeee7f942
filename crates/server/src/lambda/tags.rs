//! TagResource, UntagResource and ListTags, of functions.

use std::{collections::BTreeMap, sync::Arc};

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use updraft_types::{Body, Function, limits::TAGS_MAX};

use super::{
    name::{self, Pattern},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{
    body::Held,
    error::Error,
    respond,
    scope::Scope,
    tags::{hidden, hidden_text},
};

/// Longest key, characters.
const KEY_CHARS_MAX: usize = 128;
/// Longest value, characters.
const VALUE_CHARS_MAX: usize = 256;

const RESOURCE: &str = r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)";

/// What TagResource is given.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request {
    pub(super) tags: Option<BTreeMap<String, String>>,
}

/// The keys that UntagResource is given.
pub(super) fn keys(query: &Query<'_>) -> Vec<String> {
    query.all("tagKeys").collect()
}

/// ListTags.
pub(super) fn list(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    let function = find(scope, segment)?;
    Ok(respond::json(StatusCode::OK, &json!({ "Tags": function.tags })))
}

/// TagResource: adds tags and replaces those of the same key.
pub(super) async fn add(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    check_resource(segment)?;
    let request: Request = read_json(body).await?;
    let mut checked = Violations::default();
    checked.required("tags", request.tags.as_ref());
    let tags = request.tags.unwrap_or_default();
    violations(&tags, &mut checked);
    checked.check()?;
    if tags.is_empty() {
        return Err(Error::invalid_parameter("An error occurred and the request cannot be processed."));
    }
    let _annotating = scope.annotating.lock().await;
    let function = find(scope, segment)?;
    check(&function.tags, &tags)?;
    change(scope, &function, move |all| all.extend(tags)).await
}

/// UntagResource: keys that are not there are passed over.
pub(super) async fn remove(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    check_resource(segment)?;
    let keys = keys(query);
    let mut violations = Violations::default();
    violations.required("tagKeys", keys.first());
    violations.check()?;
    let _annotating = scope.annotating.lock().await;
    let function = find(scope, segment)?;
    change(scope, &function, move |all| all.retain(|key, _| !keys.contains(key))).await
}

async fn change(
    scope: &Scope<'_>,
    function: &Function,
    change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
) -> Result<Response<Body>, Error> {
    let arn = function.id.arn(scope.node.region());
    let changed = scope.node.update_tags(&function.id, change).await;
    changed.map_err(|error| Error::change(error, function.id.name.as_str(), &arn))?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// Adds what breaks the constraints of keys and values.
pub(super) fn violations(tags: &BTreeMap<String, String>, violations: &mut Violations) {
    for (key, value) in tags {
        violations.length_max("tags.key", key, KEY_CHARS_MAX);
        violations.length_max("tags.value", value, VALUE_CHARS_MAX);
        violations.pattern("tags.key", key, !key.is_empty() && is_tag(key), r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)");
        violations.pattern("tags.value", value, is_tag(value), r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)");
    }
}

/// Refuses tags that a function may not have beside those that it has: more than there may be, or hidden ones.
pub(super) fn check(now: &BTreeMap<String, String>, tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if let Some(key) = hidden(now, tags) {
        return Err(Error::invalid_parameter(hidden_text(key)));
    }
    if now.len() + tags.keys().filter(|key| !now.contains_key(*key)).count() > TAGS_MAX {
        return Err(Error::invalid_parameter("Number of tags exceeds resource tag limit."));
    }
    Ok(())
}

fn is_tag(text: &str) -> bool {
    text.chars()
        .all(|char| char.is_alphanumeric() || (char.is_whitespace() && !char.is_control()) || "_.:/=+-@".contains(char))
}

fn check_resource(segment: &str) -> Result<(), Error> {
    let text = name::decoded(segment);
    let mut violations = Violations::default();
    violations.pattern("resource", &text, is_resource(&text), RESOURCE);
    violations.check()
}

/// Whether text is the ARN of something that can have tags.
fn is_resource(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(7, ':').collect();
    let [_, partition, _, region, account, kind, name] = parts[..] else { return false };
    let is_arn = parts[0] == "arn"
        && !partition.is_empty()
        && name::is_partition(partition)
        && parts[2] == "lambda"
        && name::is_region(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_named = match kind {
        "function" => name::parse(text, Pattern::Created).is_some(),
        "layer" | "capacity-provider" => !name.is_empty() && name.bytes().all(name::is_word),
        // So long they are with their hyphens and without braces.
        "event-source-mapping" => name.len() == 36 && uuid::Uuid::try_parse(name).is_ok(),
        "code-signing-config" => name.strip_prefix("csc-").is_some_and(|id| {
            id.len() == 17 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        }),
        _ => false,
    };
    is_arn && is_named
}

fn find(scope: &Scope<'_>, segment: &str) -> Result<Arc<Function>, Error> {
    check_resource(segment)?;
    let text = name::decoded(segment);
    match text.split(':').nth(5) {
        Some("function") => {}
        // There are none of these, which has an answer of its own.
        Some("event-source-mapping") => {
            return Err(Error::not_found(format!("Event source mapping not found: {text}")));
        }
        Some("capacity-provider") => return Err(Error::not_found(format!("Capacity provider not found: {text}"))),
        _ => return Err(Error::not_implemented("Tags on resources other than functions")),
    }
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Created)?;
    if resolved.qualifier.is_some() {
        return Err(Error::invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_lambdas() {
        for good in [
            "arn:aws:lambda:us-east-1:111111111111:function:f",
            "arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST",
            "arn:aws:lambda:us-east-1:111111111111:layer:l",
            "arn:aws:lambda:us-east-1:111111111111:event-source-mapping:01234567-89ab-cdef-0123-456789abcdef",
            "arn:aws:lambda:us-east-1:111111111111:code-signing-config:csc-0123456789abcdefg",
        ] {
            assert!(is_resource(good), "{good}");
        }
        for bad in [
            "f",
            "arn:aws:something",
            "arn:aws:lambda:us-east-1:111111111111:foobar:x",
            "arn:aws:lambda:us-east-1:1:function:f",
            "arn:aws:lambda:us-east-1:111111111111:function:f:a:b",
            "arn:aws:lambda:us-east-1:111111111111:layer:l:1",
            "arn:aws:lambda:us-east-1:111111111111:event-source-mapping:01234567-89ab-cdef-0123-456789abcdef:alias",
            "arn:aws:lambda:us-east-1:111111111111:event-source-mapping:m",
            "arn:aws:lambda:us-east-1:111111111111:capacity-provider:c:alias",
            "arn:aws:lambda:us-east-1:111111111111:code-signing-config:csc-0123456789ABCDEFG",
        ] {
            assert!(!is_resource(bad), "{bad}");
        }
    }

    #[test]
    fn keys_and_values_are_checked() {
        let told = |key: &str, value: &str| {
            let mut told = Violations::default();
            violations(&BTreeMap::from([(key.to_owned(), value.to_owned())]), &mut told);
            told.check().is_err()
        };
        assert!(!told("Größe 1", "a/b=c+d-e@f.g:h_"));
        assert!(!told("k", ""));
        assert!(told("", "v"));
        assert!(told("k\n", "v"));
        assert!(told("k", "<v>"));
        assert!(told(&"k".repeat(129), "v") && told("k", &"v".repeat(257)));
    }

    #[test]
    fn there_are_fifty_at_most_and_none_is_hidden() {
        let tags = |range: std::ops::Range<u32>| range.map(|number| (number.to_string(), String::new())).collect();
        assert!(check(&tags(0..30), &tags(10..50)).is_ok());
        assert!(check(&tags(0..30), &tags(10..51)).is_err());
        let one = |key: &str| BTreeMap::from([(key.to_owned(), String::new())]);
        assert!(check(&one("team"), &one("Team")).is_err() && check(&one("team"), &one("team")).is_ok());
    }
}
