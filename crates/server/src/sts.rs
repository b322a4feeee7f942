//! STS (AWS Query, 2011-06-15; service model of botocore 1.44.5): who one is, and credentials for a while.
//!
//! AssumeRole asks the role's trust policy, and the caller's own where that names the caller's account only, for each of its
//! actions: `sts:AssumeRole`, `sts:TagSession` for tags, `sts:SetSourceIdentity` for a source identity. The others need no
//! permission. Credentials of GetSessionToken may assume roles and ask whose they are, no more (source: the service model's
//! documentation of GetSessionToken). MFA is not there and is answered 501, for a session without it would be another than was
//! asked for.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode, request::Parts};
use updraft_node::identity::{
    RoleEntry, account_of,
    document::{Document, Kind},
    managed,
    sessions::{Issued, Terms},
};
use updraft_types::{Body, Principal, Timestamp};

use crate::{
    api_error::ApiError,
    body::Held,
    iam::{self, time},
    query_protocol::{self, Checked, Form, Xml},
    scope::Scope,
    tags,
};

/// The service's XML namespace.
pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Characters of a session policy, white space not counted.
const POLICY_CHARS_MAX: usize = 2_048;
/// About as many characters of policies and tags fit a token.
const PACKED_CHARS_MAX: usize = 10_000;
/// Longest session that a session of a role gets of another role, seconds.
const CHAINED_S_MAX: u32 = 3_600;
/// Longest session of a root user, seconds.
const ROOT_S_MAX: u32 = 3_600;

/// Managed policies that bound one session.
const POLICY_ARNS_MAX: usize = 10;
/// Parameters that change what a session is, and that are not there.
const UNSUPPORTED: [&str; 4] = ["SerialNumber", "TokenCode", "ProvidedContexts", "MinimumSessionTokenSize"];

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
        _ if scope.is_token_session() => return Err(ApiError::invalid_token()),
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
    let tags = iam::read_tags(form, &mut checked, "InvalidParameterValue");
    let source_identity = checked.name_if("SourceIdentity", 64);
    checked.done()?;
    let mut terms = Terms { tags, source_identity, ..terms(form, policy.as_deref())? };
    inherit(scope, &mut terms)?;
    let snapshot = scope.node.identity().snapshot();
    // Whoever may not assume a role does not learn whether there is one.
    let role = may_assume(scope, &arn, &session, external_id.as_deref(), &terms)?;
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
    // Those of managed policies are looked at when they count.
    let is_there =
        |arn: &&String| managed::by_arn(arn).is_some() || snapshot.members(&role.account).policy(arn).is_some();
    if let Some(missing) = terms.policy_arns.iter().find(|arn| !is_there(arn)) {
        let text = format!("Policy {missing} does not exist or is not of the role's account.");
        return Err(ApiError::bad_request("MalformedPolicyDocument", text));
    }
    let packed = packed(&terms);
    let source_identity = terms.source_identity.clone();
    let lifetime = Duration::from_secs(u64::from(duration_s));
    let issued = scope.node.identity().issue_for_role(&role, &session, terms, now, lifetime).ok_or_else(|| {
        let text = "Packed size of session policies and tags exceeds the limit of what a session token holds.";
        ApiError::bad_request("PackedPolicyTooLarge", text)
    })?;
    let mut xml = Xml::default();
    write(&mut xml, &issued);
    xml.node("AssumedRoleUser", |xml| {
        xml.leaf("AssumedRoleId", issued.caller.user_id());
        xml.leaf("Arn", issued.caller.arn());
    });
    xml.leaf_if("PackedPolicySize", packed);
    xml.leaf_if("SourceIdentity", source_identity);
    Ok(xml)
}

/// What a session is asked to be made with.
fn terms(form: &Form, policy: Option<&str>) -> Result<Terms, ApiError> {
    let policy = match policy {
        None => None,
        Some(policy) => {
            let read = Document::parse(policy, Kind::Identity, POLICY_CHARS_MAX);
            // Without its white space, which counts for nothing and would have to be carried along.
            Some(read.map_err(|error| iam::document_error(&error))?.to_json())
        }
    };
    let numbered = (1..=POLICY_ARNS_MAX + 1).map_while(|number| form.get(&format!("PolicyArns.member.{number}.arn")));
    let policy_arns: Vec<String> = numbered.map(str::to_owned).collect();
    if policy_arns.len() > POLICY_ARNS_MAX {
        let text = format!("A session has at most {POLICY_ARNS_MAX} managed policies");
        return Err(ApiError::bad_request("ValidationError", text));
    }
    let transitive = form.list("TransitiveTagKeys").into_iter().map(str::to_owned).collect();
    Ok(Terms { policy, policy_arns, transitive, ..Terms::default() })
}

/// Adds what the caller's own session passes on: its transitive tags and its source identity, neither of which can be changed.
fn inherit(scope: &Scope<'_>, terms: &mut Terms) -> Result<(), ApiError> {
    if let Some(stray) = terms.transitive.iter().find(|key| !terms.tags.contains_key(*key)) {
        let text = format!("The specified transitive tag key {stray:.128} must be included in the requested tags.");
        return Err(ApiError::bad_request("InvalidParameterValue", text));
    }
    let Some(own) = scope.terms() else { return Ok(()) };
    let is_same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    for key in &own.transitive {
        if terms.tags.keys().any(|asked| is_same(asked, key)) {
            let text = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from \
                        the calling session.";
            return Err(ApiError::bad_request("InvalidParameterValue", text));
        }
    }
    let passed = own.tags.iter().filter(|(key, _)| own.transitive.contains(*key));
    terms.tags.extend(passed.map(|(key, value)| (key.clone(), value.clone())));
    terms.transitive.extend(own.transitive.iter().cloned());
    match (&own.source_identity, &terms.source_identity) {
        (Some(own), Some(asked)) if own != asked => {
            let text = "The source identity of a session cannot be changed by assuming another role.";
            Err(ApiError::new(StatusCode::FORBIDDEN, "AccessDenied", text))
        }
        (Some(own), _) => {
            terms.source_identity = Some(own.clone());
            Ok(())
        }
        (None, _) => Ok(()),
    }
}

/// The role, if the caller may have a session of it on these terms.
fn may_assume(
    scope: &Scope<'_>,
    arn: &str,
    session: &str,
    external_id: Option<&str>,
    terms: &Terms,
) -> Result<Arc<RoleEntry>, ApiError> {
    let tags = tags::brought(terms.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut keys = tags::borrowed(&tags);
    keys.push(("sts:RoleSessionName", session));
    keys.extend(external_id.map(|id| ("sts:ExternalId", id)));
    keys.extend(terms.source_identity.as_deref().map(|identity| ("sts:SourceIdentity", identity)));
    let actions = [
        Some("sts:AssumeRole"),
        (!terms.tags.is_empty()).then_some("sts:TagSession"),
        terms.source_identity.as_ref().map(|_| "sts:SetSourceIdentity"),
    ];
    let snapshot = scope.node.identity().snapshot();
    let role = snapshot.role_by_arn(arn);
    let refused =
        actions.into_iter().flatten().find(|action| role.is_none_or(|role| !scope.may_assume(role, action, &keys)));
    match (role, refused) {
        (Some(role), None) => Ok(role.clone()),
        (_, refused) => {
            let action = refused.unwrap_or("sts:AssumeRole");
            let text =
                format!("User: {} is not authorized to perform: {action} on resource: {arn}", scope.caller.arn());
            Err(ApiError::new(StatusCode::FORBIDDEN, "AccessDenied", text))
        }
    }
}

/// How much of what a session may be made with is used, percent; `None` for one made with nothing.
fn packed(terms: &Terms) -> Option<usize> {
    let tags = terms.tags.iter().flat_map(|(key, value)| [key, value]);
    let chars: usize = terms.policy.iter().chain(&terms.policy_arns).chain(tags).map(|text| text.chars().count()).sum();
    (chars > 0).then(|| (chars * 100 / PACKED_CHARS_MAX).clamp(1, 100))
}

fn session_token(scope: &Scope<'_>, form: &Form, now: Timestamp) -> Result<Xml, ApiError> {
    let refused = || {
        let text = "Cannot call GetSessionToken with session credentials";
        ApiError::new(StatusCode::FORBIDDEN, "AccessDenied", text)
    };
    // Or it would renew itself for ever.
    if scope.terms().is_some() {
        return Err(refused());
    }
    let mut checked = Checked::new(form);
    let duration_s = checked.number("DurationSeconds", 900, 129_600);
    checked.done()?;
    let duration_s = match &scope.caller.principal {
        Principal::Root => duration_s.unwrap_or(ROOT_S_MAX).min(ROOT_S_MAX),
        _ => duration_s.unwrap_or(43_200),
    };
    let lifetime = Duration::from_secs(u64::from(duration_s));
    let issued = scope.node.identity().issue_for_caller(&scope.caller, now, lifetime).ok_or_else(refused)?;
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
