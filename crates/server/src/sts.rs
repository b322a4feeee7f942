//! STS (AWS Query, 2011-06-15; service model of botocore 1.44.5): who one is, and credentials for a while.
//!
//! AssumeRole asks the role's trust policy, and the caller's own where that names the caller's account only; the others
//! need no permission. Session tags, MFA and source identities are not there and are answered 501, for a session without
//! them would be another than was asked for.

use std::time::Duration;

use http::{Response, StatusCode, request::Parts};
use updraft_node::identity::{
    account_of,
    document::{Document, Kind},
    sessions::Issued,
};
use updraft_types::{Body, Principal, Timestamp};

use crate::{
    api_error::ApiError,
    body::Held,
    iam::{self, time},
    query_protocol::{self, Checked, Form, Xml},
    scope::Scope,
};

/// The service's XML namespace.
pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Characters of a session policy, white space not counted.
const POLICY_CHARS_MAX: usize = 2_048;
/// Longest session that a session of a role gets of another role, seconds.
const CHAINED_S_MAX: u32 = 3_600;
/// Longest session of a root user, seconds.
const ROOT_S_MAX: u32 = 3_600;

/// Parameters that change what a session is, and that are not there.
const UNSUPPORTED: [&str; 8] = [
    "PolicyArns",
    "Tags",
    "TransitiveTagKeys",
    "SerialNumber",
    "TokenCode",
    "SourceIdentity",
    "ProvidedContexts",
    "MinimumSessionTokenSize",
];

/// Answers one request.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, ApiError> {
    let form = Form::read(head, &body.bytes)?;
    if let Some(name) = UNSUPPORTED.iter().find(|name| form.has(name)) {
        return Err(ApiError::not_implemented(&format!("{} with {name}", form.action())));
    }
    let now = Timestamp::now();
    let told = match form.action() {
        "GetCallerIdentity" => identity(scope),
        "AssumeRole" => assume_role(scope, &form, now)?,
        "GetSessionToken" => session_token(scope, &form, now)?,
        "GetAccessKeyInfo" => key_info(&form)?,
        other => return Err(ApiError::not_implemented(&format!("STS's operation {other}"))),
    };
    Ok(query_protocol::answer(form.action(), NAMESPACE, Some(told)))
}

fn identity(scope: &Scope<'_>) -> Xml {
    let mut xml = Xml::default();
    xml.leaf("UserId", scope.caller.user_id());
    xml.leaf("Account", scope.account());
    xml.leaf("Arn", scope.caller.arn());
    xml
}

fn assume_role(scope: &Scope<'_>, form: &Form, now: Timestamp) -> Result<Xml, ApiError> {
    let mut checked = Checked::new(form);
    let arn = checked.required("RoleArn", 20, 2_048);
    checked.required("RoleSessionName", 2, 64);
    let session = checked.name("RoleSessionName", 64);
    let duration_s = checked.number("DurationSeconds", 900, 43_200);
    let external_id = checked.optional("ExternalId", 2, 1_224);
    let policy = checked.optional("Policy", 1, 131_072);
    checked.done()?;
    if let Some(policy) = &policy {
        let read = Document::parse(policy, Kind::Identity, POLICY_CHARS_MAX);
        read.map_err(|error| iam::document_error(&error))?;
    }
    let snapshot = scope.node.identity().snapshot();
    // Whoever may not assume a role does not learn whether there is one.
    let external_id = external_id.as_deref().map(|id| ("sts:ExternalId", id));
    let keys: Vec<(&str, &str)> = external_id.into_iter().chain([("sts:RoleSessionName", session.as_str())]).collect();
    let role = snapshot.role_by_arn(&arn).filter(|role| scope.may_assume(role, &keys));
    let role = role.ok_or_else(|| {
        let text =
            format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}", scope.caller.arn());
        ApiError::new(StatusCode::FORBIDDEN, "AccessDenied", text)
    })?;
    let duration_s = duration_s.unwrap_or(3_600);
    let too_long = |text: &str| Err(ApiError::bad_request("ValidationError", text));
    if duration_s > role.max_session_s {
        return too_long("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.");
    }
    if matches!(scope.caller.principal, Principal::Session { .. }) && duration_s > CHAINED_S_MAX {
        return too_long(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        );
    }
    let packed = policy.as_ref().map(|policy| policy.chars().count() * 100 / POLICY_CHARS_MAX);
    let expires_at = now.plus(Duration::from_secs(u64::from(duration_s)));
    let issued = scope.node.identity().issue_for_role(role, &session, policy, expires_at);
    let mut xml = Xml::default();
    write(&mut xml, &issued);
    xml.node("AssumedRoleUser", |xml| {
        xml.leaf("AssumedRoleId", issued.caller.user_id());
        xml.leaf("Arn", issued.caller.arn());
    });
    xml.leaf_if("PackedPolicySize", packed.map(|percent| percent.min(100)));
    Ok(xml)
}

fn session_token(scope: &Scope<'_>, form: &Form, now: Timestamp) -> Result<Xml, ApiError> {
    let mut checked = Checked::new(form);
    let duration_s = checked.number("DurationSeconds", 900, 129_600);
    checked.done()?;
    let duration_s = match &scope.caller.principal {
        Principal::Root => duration_s.unwrap_or(ROOT_S_MAX).min(ROOT_S_MAX),
        _ => duration_s.unwrap_or(43_200),
    };
    let expires_at = now.plus(Duration::from_secs(u64::from(duration_s)));
    let issued = scope.node.identity().issue_for_caller(&scope.caller, expires_at).ok_or_else(|| {
        let text = "Cannot call GetSessionToken with session credentials";
        ApiError::new(StatusCode::FORBIDDEN, "AccessDenied", text)
    })?;
    let mut xml = Xml::default();
    write(&mut xml, &issued);
    Ok(xml)
}

fn key_info(form: &Form) -> Result<Xml, ApiError> {
    let mut checked = Checked::new(form);
    let id = checked.required("AccessKeyId", 16, 128);
    checked.done()?;
    let account = account_of(&id)
        .ok_or_else(|| ApiError::bad_request("ValidationError", format!("Invalid value for AccessKeyId: {id}")))?;
    let mut xml = Xml::default();
    xml.leaf("Account", account);
    Ok(xml)
}

fn write(xml: &mut Xml, issued: &Issued) {
    xml.node("Credentials", |xml| {
        xml.leaf("AccessKeyId", &issued.access_key_id);
        xml.leaf("SecretAccessKey", issued.secret.expose());
        xml.leaf("SessionToken", &issued.token);
        xml.leaf("Expiration", time(issued.expires_at));
    });
}
