//! AddPermission, RemovePermission and GetPolicy: the resource policy of a function, one for each qualifier.
//!
//! Statements are kept as the JSON that GetPolicy shows, which is also what is evaluated. Texts of errors are AWS's
//! recorded ones.

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use updraft_node::identity::document::{Document, Error as Unreadable, Kind, bytes_max, is_principal};
use updraft_types::{
    Body,
    function::{PolicyStatement, ResourcePolicy},
};

use super::{
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

const SID_PATTERN: &str = "([a-zA-Z0-9-_]+)";
const ACTION_PATTERN: &str = r"(lambda:[*]|lambda:[a-zA-Z]+|[*])";
const SOURCE_ARN_PATTERN: &str =
    r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
const SOURCE_ARN_CHARS_MAX: usize = 10_000;
const TOKEN_PATTERN: &str = r"[a-zA-Z0-9._\-]+";
const ORGANIZATION_PATTERN: &str = "o-[a-z0-9]{10,32}";

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
            violations.pattern("sourceAccount", account, is_account(account), r"\d{12}");
        }
        if let Some(arn) = &self.source_arn {
            violations.length_max("sourceArn", arn, SOURCE_ARN_CHARS_MAX);
            violations.pattern("sourceArn", arn, is_arn(arn), SOURCE_ARN_PATTERN);
        }
        if let Some(auth) = &self.function_url_auth_type {
            violations.one_of("functionUrlAuthType", auth, &["NONE", "AWS_IAM"]);
        }
        if let Some(token) = &self.event_source_token {
            let is_token = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            violations.length_max("eventSourceToken", token, 256);
            violations.pattern("eventSourceToken", token, !token.is_empty() && is_token(token), TOKEN_PATTERN);
        }
        if let Some(organization) = &self.principal_org_id {
            violations.pattern("principalOrgID", organization, is_organization(organization), ORGANIZATION_PATTERN);
        }
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
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, rest] = parts[..] else { return false };
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    partition.strip_prefix("aws").is_some_and(is_word)
        && !service.is_empty()
        && is_word(service)
        && (region.is_empty() || name::is_region(region))
        && (account.is_empty() || is_account(account))
        && !rest.contains(['\n', '\r'])
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_organization(text: &str) -> bool {
    let is_id = |id: &str| id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.strip_prefix("o-").is_some_and(|id| (10..=32).contains(&id.len()) && is_id(id))
}

/// A principal as a policy has it: anyone, an account, the ARN of a root user, a user, a role or a session, or an AWS service.
pub(super) fn principal(text: &str) -> Option<Value> {
    if text == "*" {
        return Some(Value::from("*"));
    }
    if is_account(text) {
        return Some(json!({ "AWS": format!("arn:aws:iam::{text}:root") }));
    }
    if text.starts_with("arn:") {
        return is_principal("AWS", text).then(|| json!({ "AWS": text }));
    }
    let name = text.strip_suffix(".amazonaws.com")?;
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_label)).then(|| json!({ "Service": text }))
}

/// Refuses a policy that could not be evaluated, or is too long: what is stored is always read.
pub(super) fn check_policy(policy: &ResourcePolicy) -> Result<Document, Error> {
    Document::parse(&policy.document(), Kind::Resource, bytes_max::RESOURCE).map_err(|error| unreadable(&error))
}

/// Why a text is no policy of a function.
pub(super) fn unreadable(error: &Unreadable) -> Error {
    match (error, error.detail()) {
        (Unreadable::Size { max }, _) => Error::policy_too_long(*max),
        (_, detail) if detail.is_empty() => Error::invalid_parameter(error.to_string()),
        (_, detail) => Error::invalid_parameter(format!("{error} ({detail})")),
    }
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
    if current.is_some_and(|policy| policy.statements.iter().any(|statement| statement.sid == sid)) {
        return Err(Error::statement_exists(&sid));
    }
    let mut added = PolicyStatement { sid: sid.clone(), text: text.clone(), principals: None };
    let mut whole = current.cloned().unwrap_or_default();
    whole.statements.push(added.clone());
    added.principals = scope.node.identity().snapshot().ids_in(&check_policy(&whole)?).pop();
    let changed = scope
        .node
        .set_policy(&function.id, qualifier(&resolved), request.revision_id.as_deref(), |policy| {
            // Others may have come in meanwhile, one of the same name, or as many as there may be: the first stay.
            policy.statements.push(added);
            if check_policy(policy).is_err() {
                policy.statements.pop();
            }
        })
        .await
        .map_err(|error| Error::policy_change(error, &resolved.name, &resolved.arn(scope)))?;
    let found = changed.iter().flat_map(|policy| &policy.statements).find(|statement| statement.sid == sid);
    match found {
        Some(found) if found.text == text => {}
        Some(_) => return Err(Error::statement_exists(&sid)),
        None => return Err(Error::policy_too_long(bytes_max::RESOURCE)),
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
            ("arn:aws:iam::111111111111:root", Some(json!({ "AWS": "arn:aws:iam::111111111111:root" }))),
            ("arn:aws:iam::111111111111:user/ada", Some(json!({ "AWS": "arn:aws:iam::111111111111:user/ada" }))),
            ("arn:aws:iam::1:user/ada", None),
            ("arn:aws:iam::111111111111:user/*", None),
            ("arn:aws:iam::111111111111:user/", None),
            ("arn:aws:iam::111111111111:group/all", None),
            ("arn:aws:iam::111111111111:policy/p", None),
            ("arn:aws:sts::111111111111:assumed-role/r", None),
            ("arn:aws:sts::111111111111:federated-user/f", None),
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
        let with = |change: fn(&mut AddRequest)| {
            let mut request = request("s", "*");
            change(&mut request);
            request.check()
        };
        for bad in [
            (|request| request.event_source_token = Some("${aws".into())) as fn(&mut AddRequest),
            |request| request.event_source_token = Some(String::new()),
            |request| request.principal_org_id = Some("o-${aws:a}".into()),
            |request| request.principal_org_id = Some("o-123456789".into()),
            |request| request.source_arn = Some("arn:aws:s3".into()),
            |request| request.source_arn = Some("arn:aws:s3:nowhere::bucket".into()),
            |request| request.source_arn = Some(format!("arn:aws:s3:::{}", "b".repeat(SOURCE_ARN_CHARS_MAX))),
        ] {
            assert!(with(bad).is_err());
        }
        for good in [
            (|request| request.event_source_token = Some("amzn1.ask-skill_x".into())) as fn(&mut AddRequest),
            |request| request.principal_org_id = Some("o-1234567890".into()),
            |request| request.source_arn = Some("arn:aws:events:us-east-1:111111111111:rule/a*".into()),
        ] {
            with(good).unwrap();
        }
        assert!(AddRequest::default().check().is_err());
    }

    /// A variable without an end would make the whole policy one that nobody can read.
    #[test]
    fn what_could_not_be_evaluated_is_not_kept() {
        let policy = |arns: &[&str]| {
            let statement = |(at, arn): (usize, &&str)| {
                let request = AddRequest {
                    statement_id: Some(format!("s{at}")),
                    action: Some("lambda:InvokeFunction".into()),
                    principal: Some("s3.amazonaws.com".into()),
                    source_arn: Some((*arn).to_owned()),
                    ..AddRequest::default()
                };
                request.check().unwrap();
                let text = request.statement("arn:aws:lambda:us-east-1:111111111111:function:f").unwrap().to_string();
                PolicyStatement { sid: format!("s{at}"), text, principals: None }
            };
            let statements = arns.iter().enumerate().map(statement).collect();
            check_policy(&ResourcePolicy { statements, ..ResourcePolicy::default() })
        };
        policy(&["arn:aws:s3:::a", "arn:aws:s3:::${aws:username}"]).unwrap();
        assert!(policy(&["arn:aws:s3:::${aws"]).is_err());
        let long = format!("arn:aws:s3:::{}", "b".repeat(9_900));
        policy(&[&long]).unwrap();
        let told = policy(&[&long, &long, &long]).unwrap_err();
        assert!(format!("{told:?}").contains("PolicyLengthExceeded"), "{told:?}");
    }
}
