//! `POST policy/check`: whether a principal of the caller's account may do something, and which statement says so.
//!
//! The body is `{"principal"?, "action", "resource", "context"?}`: the ARN of the root user, a user or a role, the caller
//! itself where there is none; an action such as `lambda:InvokeFunction`; an ARN or `*`; condition keys with a value each. The
//! answer is `{"principal", "allowed", "because", "near_misses"}`. It is asked for as `iam:SimulatePrincipalPolicy`.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use updraft_types::{AccountId, Body, Caller, Principal};

use crate::{
    body::Held,
    error::Error,
    lambda::{authorize, read_json},
    respond,
    scope::{Act, Scope},
};

/// Most condition keys of a question.
const KEYS_MAX: usize = 50;
/// Most characters of each text in it.
const TEXT_CHARS_MAX: usize = 2_048;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    principal: Option<String>,
    action: String,
    resource: String,
    #[serde(default)]
    context: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Answer {
    principal: String,
    allowed: bool,
    because: String,
    near_misses: Vec<String>,
}

/// Answers one question.
pub(super) async fn check(scope: &Scope<'_>, body: &Held) -> Result<Response<Body>, Error> {
    let question: Question = read_json(body).await?;
    let texts = [&question.action, &question.resource].into_iter().chain(&question.principal);
    let texts = texts.chain(question.context.iter().flat_map(|(key, value)| [key, value]));
    if question.context.len() > KEYS_MAX || texts.into_iter().any(|text| text.chars().count() > TEXT_CHARS_MAX) {
        return Err(Error::invalid_parameter("The question is too long"));
    }
    let asked = question.principal.clone().unwrap_or_else(|| scope.caller.arn());
    scope.authorize("iam:SimulatePrincipalPolicy", &asked)?;
    let caller = match &question.principal {
        None => scope.caller.clone(),
        Some(arn) => principal(scope, arn).ok_or_else(|| {
            Error::invalid_parameter("The principal is not the ARN of a root user, user or role of this account")
        })?,
    };
    let owner: Option<AccountId> = question.resource.split(':').nth(4).and_then(|account| account.parse().ok());
    let policy = authorize::policy_of(scope, &question.resource);
    let tags = authorize::tags_of(scope, &question.resource);
    let keys: Vec<(&str, &str)> = question.context.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let act = Act {
        action: &question.action,
        resource: &question.resource,
        owner: owner.as_ref().unwrap_or(scope.account()),
        policy: policy.as_deref(),
        tags: tags.as_ref(),
        keys: &keys,
    };
    // Of $LATEST the function's own policy is asked for what it denies, under either name.
    let denied = question.resource.strip_suffix(":$LATEST").and_then(|plain| {
        let policy = authorize::policy_of(scope, plain)?;
        let denied = |resource| scope.explain_denials(&caller, &Act { resource, policy: Some(&policy), ..act });
        denied(act.resource).or_else(|| denied(plain))
    });
    let explained = denied.unwrap_or_else(|| scope.explain(&caller, &act));
    let answer = Answer {
        principal: caller.arn(),
        allowed: explained.is_allowed,
        because: explained.because,
        near_misses: explained.near_misses,
    };
    Ok(respond::json(StatusCode::OK, &answer))
}

/// The principal of an ARN, as it would sign; of a role, a session.
fn principal(scope: &Scope<'_>, arn: &str) -> Option<Caller> {
    let account = scope.account();
    let kind = arn.strip_prefix(&format!("arn:aws:iam::{account}:"))?;
    let snapshot = scope.node.identity().snapshot();
    let principal = if kind == "root" {
        Principal::Root
    } else if let Some(path) = kind.strip_prefix("user/") {
        let user = snapshot.members(account).user(path.rsplit('/').next()?).filter(|user| user.arn() == arn)?;
        Principal::User { path: user.path.clone(), name: user.name.clone(), id: user.id.clone() }
    } else {
        let role = snapshot.role_by_arn(arn)?;
        Principal::Session {
            role_path: role.path.clone(),
            role: role.name.clone(),
            role_id: role.id.clone(),
            session: "check".to_owned(),
        }
    };
    Some(Caller { account: account.clone(), principal })
}
