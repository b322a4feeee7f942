//! AddPermission, RemovePermission and GetPolicy: the resource policy of a function, one for each qualifier.
//!
//! Statements are kept as the JSON that GetPolicy shows, which is also what is evaluated. Texts of errors are AWS's
//! recorded ones.

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use updraft_types::{Body, function::PolicyStatement};

use super::{
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

/// Largest policy of one qualifier, bytes (source: Lambda's quotas).
const POLICY_BYTES_MAX: usize = 20_480;
const SID_PATTERN: &str = "([a-zA-Z0-9-_]+)";
const ACTION_PATTERN: &str = r"(lambda:[*]|lambda:[a-zA-Z]+|[*])";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AddRequest {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    revision_id: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
}

impl AddRequest {
    fn check(&self) -> Result<(), Error> {
        let mut violations = Violations::default();
        for (member, value, chars_max) in [
            ("statementId", &self.statement_id, 100),
            ("action", &self.action, 256),
            ("principal", &self.principal, 256),
        ] {
            violations.required(member, value.as_ref());
            violations.length_max(member, value.as_deref().unwrap_or_default(), chars_max);
        }
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if let Some(sid) = &self.statement_id {
            violations.pattern("statementId", sid, !sid.is_empty() && is_word(sid), SID_PATTERN);
        }
        if let Some(action) = &self.action {
            let of_lambda = action.strip_prefix("lambda:").unwrap_or_default();
            let is_name = !of_lambda.is_empty() && of_lambda.bytes().all(|byte| byte.is_ascii_alphabetic());
            violations.pattern("action", action, action == "*" || of_lambda == "*" || is_name, ACTION_PATTERN);
        }
        if let Some(account) = &self.source_account {
            let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
            violations.pattern("sourceAccount", account, is_account, r"\d{12}");
        }
        if let Some(arn) = &self.source_arn {
            violations.pattern("sourceArn", arn, is_arn(arn), r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:.*");
        }
        if let Some(auth) = &self.function_url_auth_type {
            violations.one_of("functionUrlAuthType", auth, &["NONE", "AWS_IAM"]);
        }
        violations.length_max("eventSourceToken", self.event_source_token.as_deref().unwrap_or_default(), 256);
        violations.length_max("principalOrgID", self.principal_org_id.as_deref().unwrap_or_default(), 34);
        violations.check()
    }

    /// The statement, as GetPolicy shows it.
    fn statement(&self, resource: &str) -> Result<Value, Error> {
        let principal = self.principal.as_deref().and_then(principal).ok_or_else(|| {
            Error::invalid_parameter("The provided principal was invalid. Please check the principal and try again.")
        })?;
        let mut statement = json!({
            "Sid": self.statement_id,
            "Effect": "Allow",
            "Principal": principal,
            "Action": self.action,
            "Resource": resource,
        });
        let mut equals = Map::new();
        for (key, value) in [
            ("AWS:SourceAccount", &self.source_account),
            ("lambda:EventSourceToken", &self.event_source_token),
            ("lambda:FunctionUrlAuthType", &self.function_url_auth_type),
            ("aws:PrincipalOrgID", &self.principal_org_id),
        ] {
            if let Some(value) = value {
                equals.insert(key.to_owned(), Value::from(value.as_str()));
            }
        }
        let mut condition = Map::new();
        if !equals.is_empty() {
            condition.insert("StringEquals".to_owned(), Value::Object(equals));
        }
        if let Some(arn) = &self.source_arn {
            condition.insert("ArnLike".to_owned(), json!({ "AWS:SourceArn": arn }));
        }
        if let Some(via) = self.invoked_via_function_url {
            condition.insert("Bool".to_owned(), json!({ "lambda:InvokedViaFunctionUrl": via.to_string() }));
        }
        if !condition.is_empty() {
            statement["Condition"] = Value::Object(condition);
        }
        Ok(statement)
    }
}

fn is_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    matches!(parts[..], ["arn", partition, service, _]
        if super::name::is_partition(partition) && !partition.is_empty()
            && !service.is_empty() && service.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}

/// A principal as a policy has it: anyone, an account, an ARN of IAM or STS, or an AWS service.
fn principal(text: &str) -> Option<Value> {
    if text == "*" {
        return Some(Value::from("*"));
    }
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(json!({ "AWS": format!("arn:aws:iam::{text}:root") }));
    }
    if is_arn(text) && matches!(text.split(':').nth(2), Some("iam" | "sts")) {
        return Some(json!({ "AWS": text }));
    }
    let name = text.strip_suffix(".amazonaws.com")?;
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_label)).then(|| json!({ "Service": text }))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyView<'a> {
    policy: &'a str,
    revision_id: &'a str,
}

/// AddPermission.
pub(super) async fn add(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let request: AddRequest = read_json(body).await?;
    request.check()?;
    if resolved.qualifier.as_deref() == Some("$LATEST") {
        return Err(Error::invalid_parameter("We currently do not support adding policies for $LATEST."));
    }
    let statement = request.statement(&resolved.qualified_arn(scope))?;
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    check_qualifier(scope, &resolved)?;
    let (sid, text) = (request.statement_id.unwrap_or_default(), statement.to_string());
    let current = function.policies.get(qualifier(&resolved));
    if let Some(current) = current {
        if current.statements.iter().any(|statement| statement.sid == sid) {
            return Err(Error::statement_exists(&sid));
        }
        if current.document().len() + text.len() > POLICY_BYTES_MAX {
            return Err(Error::policy_too_long(POLICY_BYTES_MAX));
        }
    }
    let added = PolicyStatement { sid: sid.clone(), text: text.clone() };
    let changed = scope
        .node
        .set_policy(&function.id, qualifier(&resolved), request.revision_id.as_deref(), |policy| {
            // One of the same name may have come in meanwhile: the first stays.
            if !policy.statements.iter().any(|statement| statement.sid == added.sid) {
                policy.statements.push(added);
            }
        })
        .await
        .map_err(|error| Error::policy_change(error, &resolved.name, &resolved.arn(scope)))?;
    let is_ours = |statement: &PolicyStatement| statement.sid == sid && statement.text == text;
    if !changed.is_some_and(|policy| policy.statements.iter().any(is_ours)) {
        return Err(Error::statement_exists(&sid));
    }
    Ok(respond::json(StatusCode::CREATED, &json!({ "Statement": text })))
}

/// RemovePermission.
pub(super) async fn remove(
    scope: &Scope<'_>,
    segment: &str,
    sid: &str,
    query: &Query<'_>,
) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let sid = name::decoded(sid);
    let Some(function) = resolved.find(scope) else { return Err(Error::no_policy_for(&resolved.arn(scope))) };
    check_qualifier(scope, &resolved)?;
    let policy = function.policies.get(qualifier(&resolved)).ok_or_else(Error::no_policy)?;
    if !policy.statements.iter().any(|statement| statement.sid == sid) {
        return Err(Error::no_statement(&sid));
    }
    let expected = query.get("RevisionId");
    scope
        .node
        .set_policy(&function.id, qualifier(&resolved), expected.as_deref(), move |policy| {
            policy.statements.retain(|statement| statement.sid != sid);
        })
        .await
        .map_err(|error| Error::policy_change(error, &resolved.name, &resolved.arn(scope)))?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// GetPolicy; 404 where there is none, as AWS has it.
pub(super) fn get(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let function = resolved.find(scope).ok_or_else(Error::resource_does_not_exist)?;
    let policy = function.policies.get(qualifier(&resolved)).ok_or_else(Error::resource_does_not_exist)?;
    let view = PolicyView { policy: &policy.document(), revision_id: policy.revision.as_str() };
    Ok(respond::json(StatusCode::OK, &view))
}

/// What a policy is kept under.
pub(super) fn qualifier(resolved: &Resolved) -> &str {
    resolved.qualifier.as_deref().unwrap_or_default()
}

/// A policy is for a version or an alias that is there.
pub(super) fn check_qualifier(scope: &Scope<'_>, resolved: &Resolved) -> Result<(), Error> {
    let Some(qualifier) = &resolved.qualifier else { return Ok(()) };
    if resolved.version(scope).is_some() {
        return Ok(());
    }
    let arn = resolved.qualified_arn(scope);
    let is_alias = !qualifier.contains('$') && !qualifier.bytes().all(|byte| byte.is_ascii_digit());
    Err(if is_alias { Error::alias_arn_not_found(&arn) } else { Error::function_not_found(&arn) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_what_policies_name() {
        for (text, expected) in [
            ("*", Some(json!("*"))),
            ("111111111111", Some(json!({ "AWS": "arn:aws:iam::111111111111:root" }))),
            ("arn:aws:iam::1:user/ada", Some(json!({ "AWS": "arn:aws:iam::1:user/ada" }))),
            ("s3.amazonaws.com", Some(json!({ "Service": "s3.amazonaws.com" }))),
            ("invalid.nonaws.com", None),
            (".amazonaws.com", None),
            ("arn:aws:s3:::bucket", None),
            ("", None),
        ] {
            assert_eq!(principal(text), expected, "{text}");
        }
    }

    #[test]
    fn a_statement_is_worded_as_aws_does() {
        let request = AddRequest {
            statement_id: Some("s".into()),
            action: Some("lambda:InvokeFunction".into()),
            principal: Some("s3.amazonaws.com".into()),
            source_arn: Some("arn:aws:s3:::bucket".into()),
            source_account: Some("111111111111".into()),
            ..AddRequest::default()
        };
        request.check().unwrap();
        let expected = json!({
            "Sid": "s",
            "Effect": "Allow",
            "Principal": { "Service": "s3.amazonaws.com" },
            "Action": "lambda:InvokeFunction",
            "Resource": "arn",
            "Condition": {
                "StringEquals": { "AWS:SourceAccount": "111111111111" },
                "ArnLike": { "AWS:SourceArn": "arn:aws:s3:::bucket" },
            },
        });
        assert_eq!(request.statement("arn").unwrap(), expected);
    }

    #[test]
    fn what_the_model_forbids_is_refused() {
        let request = |sid: &str, action: &str| AddRequest {
            statement_id: Some(sid.into()),
            action: Some(action.into()),
            principal: Some("*".into()),
            ..AddRequest::default()
        };
        for action in ["*", "lambda:*", "lambda:InvokeFunction"] {
            request("s", action).check().unwrap();
        }
        for (sid, action) in [("a.b", "*"), ("", "*"), ("s", "s3:Get"), ("s", "lambda:"), ("s", "lambda:Invoke*")] {
            assert!(request(sid, action).check().is_err(), "{sid} {action}");
        }
        assert!(AddRequest::default().check().is_err());
    }
}
