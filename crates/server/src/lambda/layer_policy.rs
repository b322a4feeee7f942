//! The policies of layer versions: AddLayerVersionPermission, GetLayerVersionPolicy, RemoveLayerVersionPermission.
//!
//! A policy belongs to its version's account alone; what it grants is `types::layer::may_use_layer`.

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use updraft_types::{Body, LayerVersionId, layer::LayerStatement};

use super::{layer_name, name::decoded, query::Query, read_json, validate::Violations};
use crate::{body::Held, error::Error, respond, scope::Scope};

/// The one action that can be granted.
const ACTION: &str = "lambda:GetLayerVersion";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    organization_id: Option<String>,
}

/// A statement as AWS words it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StatementView<'a> {
    sid: &'a str,
    effect: &'static str,
    principal: &'a str,
    action: &'static str,
    resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

fn view<'a>(statement: &'a LayerStatement, arn: &'a str) -> StatementView<'a> {
    let organization = statement.organization.as_ref();
    StatementView {
        sid: &statement.sid,
        effect: "Allow",
        principal: &statement.principal,
        action: ACTION,
        resource: arn,
        condition: organization.map(|id| json!({ "StringEquals": { "aws:PrincipalOrgID": id } })),
    }
}

/// The version that a path names, which has to be the caller's own, and its ARN.
fn own(scope: &Scope<'_>, layer: &str, version: &str, action: &str) -> Result<(LayerVersionId, String), Error> {
    let id = layer_name::version(scope, layer, version)?;
    let arn = id.arn(scope.node.region());
    if id.layer.account != *scope.account() {
        return Err(Error::layer_denied(&scope.caller.arn(), action, &arn));
    }
    Ok((id, arn))
}

fn text<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::internal(&error.to_string()))
}

/// AddLayerVersionPermission.
pub(super) async fn add(
    scope: &Scope<'_>,
    layer: &str,
    version: &str,
    query: &Query<'_>,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let (id, arn) = own(scope, layer, version, "lambda:AddLayerVersionPermission")?;
    let request: Request = read_json(body).await?;
    let mut violations = Violations::default();
    violations.required("statementId", request.statement_id.as_ref());
    violations.required("action", request.action.as_ref());
    violations.required("principal", request.principal.as_ref());
    let (sid, action) = (request.statement_id.unwrap_or_default(), request.action.unwrap_or_default());
    let principal = request.principal.unwrap_or_default();
    violations.length_max("statementId", &sid, 100);
    violations.pattern("statementId", &sid, is_sid(&sid), "([a-zA-Z0-9-_]+)");
    violations.length_max("action", &action, 22);
    violations.pattern("action", &action, action == ACTION, ACTION);
    let pattern = r"\d{12}|\*|arn:(aws[a-zA-Z-]*):iam::\d{12}:root";
    violations.pattern("principal", &principal, is_principal(&principal), pattern);
    if let Some(organization) = &request.organization_id {
        violations.pattern("organizationId", organization, is_organization(organization), "o-[a-z0-9]{10,32}");
    }
    violations.check()?;
    if request.organization_id.is_some() && principal != "*" {
        return Err(Error::invalid_parameter("An OrganizationId goes with the Principal * alone."));
    }
    let statement = LayerStatement { sid, principal, organization: request.organization_id };
    let shown = text(&view(&statement, &arn))?;
    let sid = statement.sid.clone();
    let added = scope.node.add_layer_statement(id, statement, query.get("RevisionId")).await;
    let revision = added.map_err(|error| Error::layer(error, &arn, &sid))?;
    Ok(respond::json(StatusCode::CREATED, &json!({ "Statement": shown, "RevisionId": revision })))
}

/// GetLayerVersionPolicy.
pub(super) async fn get(scope: &Scope<'_>, layer: &str, version: &str) -> Result<Response<Body>, Error> {
    let (id, arn) = own(scope, layer, version, "lambda:GetLayerVersionPolicy")?;
    let found = scope.node.layer_version(scope.account(), id).await;
    let (_, policy) = found.map_err(|error| Error::layer(error, &arn, ""))?;
    if policy.statements.is_empty() {
        return Err(Error::no_layer_policy());
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Document<'a> {
        version: &'static str,
        id: &'static str,
        statement: Vec<StatementView<'a>>,
    }
    let statement = policy.statements.iter().map(|statement| view(statement, &arn)).collect();
    let document = text(&Document { version: "2012-10-17", id: "default", statement })?;
    Ok(respond::json(StatusCode::OK, &json!({ "Policy": document, "RevisionId": policy.revision })))
}

/// RemoveLayerVersionPermission.
pub(super) async fn remove(
    scope: &Scope<'_>,
    layer: &str,
    version: &str,
    sid: &str,
    query: &Query<'_>,
) -> Result<Response<Body>, Error> {
    let (id, arn) = own(scope, layer, version, "lambda:RemoveLayerVersionPermission")?;
    let sid = decoded(sid);
    let mut violations = Violations::default();
    violations.length_max("statementId", &sid, 100);
    violations.pattern("statementId", &sid, is_sid(&sid), "([a-zA-Z0-9-_]+)");
    violations.check()?;
    let removed = scope.node.remove_layer_statement(id, sid.clone(), query.get("RevisionId")).await;
    removed.map_err(|error| Error::layer(error, &arn, &sid))?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

fn is_sid(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_principal(text: &str) -> bool {
    let is_root = || {
        let rest = text.strip_prefix("arn:")?;
        let (partition, rest) = rest.split_once(":iam::")?;
        let account = rest.strip_suffix(":root")?;
        Some(!partition.is_empty() && super::name::is_partition(partition) && is_account(account))
    };
    text == "*" || is_account(text) || is_root() == Some(true)
}

fn is_organization(text: &str) -> bool {
    text.strip_prefix("o-").is_some_and(|id| {
        (10..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_and_organizations_follow_their_patterns() {
        for good in ["*", "111111111111", "arn:aws:iam::111111111111:root", "arn:aws-cn:iam::111111111111:root"] {
            assert!(is_principal(good), "{good}");
        }
        for bad in ["", "**", "1111", "arn::iam::111111111111:root", "arn:aws:iam::111111111111:user/u", "a"] {
            assert!(!is_principal(bad), "{bad}");
        }
        assert!(is_organization("o-0123456789") && !is_organization("o-012345678") && !is_organization("x-0123456789"));
    }

    /// As recorded: test_layer_policy_lifecycle; the condition as AWS documents it.
    #[test]
    fn statements_are_worded_as_awss() {
        let statement = LayerStatement { sid: "s1".into(), principal: "*".into(), organization: None };
        let shown = text(&view(&statement, "ARN")).unwrap();
        let expected =
            r#"{"Sid":"s1","Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion","Resource":"ARN"}"#;
        assert_eq!(shown, expected);
        let statement = LayerStatement { organization: Some("o-0123456789".into()), ..statement };
        let shown = text(&view(&statement, "ARN")).unwrap();
        assert!(shown.ends_with(r#""Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-0123456789"}}}"#), "{shown}");
    }
}
