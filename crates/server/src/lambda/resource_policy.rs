//! PutResourcePolicy, GetResourcePolicy and DeleteResourcePolicy: the same policy that AddPermission adds to, as a whole.
//!
//! Each statement is kept as the JSON it came in. One without a Sid is one that RemovePermission cannot name.

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use updraft_node::identity::document::{Document, Kind, bytes_max};
use updraft_types::{
    Body,
    function::{PolicyStatement, ResourcePolicy},
};

use super::{
    name::{self, Pattern, Resolved},
    permissions::{check_policy, check_qualifier, qualifier, unreadable},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

const ARN_PATTERN: &str = r"arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_])+)?|runtime/[a-zA-Z0-9-_./]+)";
const REVISION_PATTERN: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
/// The one version of the language that is taken.
const VERSION: &str = "2012-10-17";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PutRequest {
    policy: Option<String>,
    revision_id: Option<String>,
}

/// A policy document as far as it is taken apart.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parts<'a> {
    version: Option<String>,
    id: Option<String>,
    #[serde(borrow)]
    statement: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    #[serde(default)]
    sid: String,
}

/// PutResourcePolicy.
pub(super) async fn put(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let request: PutRequest = read_json(body).await?;
    let mut violations = Violations::default();
    violations.required("policy", request.policy.as_ref());
    check_revision(&mut violations, request.revision_id.as_deref());
    violations.check()?;
    let (id, statements) = read(request.policy.as_deref().unwrap_or_default())?;
    // As it will be written down, which may be longer by a few bytes.
    let mut whole = ResourcePolicy { id, statements, ..ResourcePolicy::default() };
    let ids = scope.node.identity().snapshot().ids_in(&check_policy(&whole)?);
    for (statement, ids) in whole.statements.iter_mut().zip(ids) {
        statement.principals = Some(ids);
    }
    if resolved.qualifier.as_deref() == Some("$LATEST") {
        return Err(Error::invalid_parameter("We currently do not support adding policies for $LATEST."));
    }
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    check_qualifier(scope, &resolved)?;
    let changed = scope
        .node
        .set_policy(&function.id, qualifier(&resolved), request.revision_id.as_deref(), move |policy| {
            policy.id = whole.id;
            policy.statements = whole.statements;
        })
        .await
        .map_err(|error| Error::policy_change(error, &resolved.name, &resolved.arn(scope)))?
        .ok_or_else(|| Error::internal("a policy with statements is kept"))?;
    Ok(respond::json(StatusCode::OK, &json!({ "Policy": changed.document(), "RevisionId": changed.revision.as_str() })))
}

/// GetResourcePolicy.
pub(super) fn get(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let function = resolved.find(scope).ok_or_else(Error::resource_does_not_exist)?;
    let policy = function.policies.get(qualifier(&resolved)).ok_or_else(Error::resource_does_not_exist)?;
    Ok(respond::json(StatusCode::OK, &json!({ "Policy": policy.document(), "RevisionId": policy.revision.as_str() })))
}

/// DeleteResourcePolicy.
pub(super) async fn delete(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let expected = query.get("RevisionId");
    let mut violations = Violations::default();
    check_revision(&mut violations, expected.as_deref());
    violations.check()?;
    let function = resolved.find(scope).ok_or_else(Error::resource_does_not_exist)?;
    if !function.policies.contains_key(qualifier(&resolved)) {
        return Err(Error::resource_does_not_exist());
    }
    scope
        .node
        .set_policy(&function.id, qualifier(&resolved), expected.as_deref(), |policy| policy.statements.clear())
        .await
        .map_err(|error| Error::policy_change(error, &resolved.name, &resolved.arn(scope)))?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// The function, version or alias that the path names by its ARN. Runtimes have no policies here.
fn resolve(scope: &Scope<'_>, segment: &str) -> Result<Resolved, Error> {
    let arn = name::decoded(segment);
    let is_function = arn.starts_with("arn:") && name::parse(&arn, Pattern::Namespaced).is_some();
    let mut violations = Violations::default();
    violations.length_max("resourceArn", &arn, 512);
    violations.pattern("resourceArn", &arn, is_function, ARN_PATTERN);
    violations.check()?;
    name::resolve_text(scope, &arn, Pattern::Namespaced)
}

fn check_revision(violations: &mut Violations, revision: Option<&str>) {
    let Some(revision) = revision else { return };
    let parts: Vec<&str> = revision.split('-').collect();
    let is_hex = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let is_uuid = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(is_hex);
    violations.pattern("revisionId", revision, is_uuid, REVISION_PATTERN);
}

/// Checks a policy and takes it apart: its Id, and its statements as they are written.
fn read(text: &str) -> Result<(Option<String>, Vec<PolicyStatement>), Error> {
    let refused = |what: &str| Error::invalid_parameter(what.to_owned());
    Document::parse(text, Kind::Resource, bytes_max::RESOURCE).map_err(|error| unreadable(&error))?;
    let parts: Parts<'_> = serde_json::from_str(text).map_err(|error| refused(&error.to_string()))?;
    if parts.version.as_deref() != Some(VERSION) {
        return Err(refused(&format!("The policy must be of Version {VERSION}.")));
    }
    let raw = parts.statement.get();
    let statements: Vec<&RawValue> = match raw.starts_with('[') {
        true => serde_json::from_str(raw),
        false => serde_json::from_str(raw).map(|one| vec![one]),
    }
    .map_err(|error| refused(&error.to_string()))?;
    let named = |statement: &&RawValue| {
        let Named { sid } = serde_json::from_str(statement.get())?;
        Ok(PolicyStatement { sid, text: statement.get().to_owned(), principals: None })
    };
    let statements = statements.iter().map(named).collect::<Result<_, serde_json::Error>>();
    Ok((parts.id, statements.map_err(|error| refused(&error.to_string()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_taken_apart_as_it_is_written() {
        let one = r#"{ "Sid" : "a", "Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunction","Resource":"*"}"#;
        let two = r#"{"Effect":"Deny","Principal":{"AWS":"111122223333"},"Action":"*","Resource":"*"}"#;
        let texts = |text: &str| {
            let (id, statements) = read(text).unwrap();
            (id, statements.into_iter().map(|statement| (statement.sid, statement.text)).collect::<Vec<_>>())
        };
        let (a, none) = ("a".to_owned(), String::new());
        assert_eq!(
            texts(&format!(r#"{{"Version":"2012-10-17","Id":"x","Statement": [{one}, {two}]}}"#)),
            (Some("x".into()), vec![(a.clone(), one.to_owned()), (none, two.to_owned())])
        );
        let single = format!(r#"{{"Statement":{one},"Version":"2012-10-17"}}"#);
        assert_eq!(texts(&single), (None, vec![(a, one.to_owned())]));
    }

    #[test]
    fn what_is_no_policy_of_a_resource_is_refused() {
        let statement = r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}"#;
        for bad in [
            String::new(),
            "{".into(),
            "[]".into(),
            format!(r#"{{"Statement":[{statement}]}}"#),
            format!(r#"{{"Version":"2008-10-17","Statement":[{statement}]}}"#),
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#.into(),
            r#"{"Version":"2012-10-17","Statement":[]}"#.into(),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
