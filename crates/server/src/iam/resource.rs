//! What an operation acts on, as policies name it. Source: IAM's service authorization reference.

use updraft_types::Principal;

use crate::{query_protocol::Form, scope::Scope};

/// The ARN that an operation's permission is asked for; `*` where there is none.
pub(super) fn of(scope: &Scope<'_>, form: &Form) -> String {
    let account = scope.account();
    let snapshot = scope.node.identity().snapshot();
    let members = snapshot.members(account);
    if form.action().starts_with("List") && !form.has("UserName") && !form.has("RoleName") && !form.has("PolicyArn") {
        return "*".to_owned();
    }
    let arn = |kind: &str, name: &str| {
        let path = form.get("Path").unwrap_or("/");
        format!("arn:aws:iam::{account}:{kind}{path}{name}")
    };
    if let Some(name) = form.get("RoleName") {
        return members.role(name).map_or_else(|| arn("role", name), |role| role.arn());
    }
    if let Some(name) = form.get("UserName") {
        return members.user(name).map_or_else(|| arn("user", name), |user| user.arn());
    }
    if let Some(policy) = form.get("PolicyArn") {
        return policy.to_owned();
    }
    if let Some(name) = form.get("PolicyName") {
        return arn("policy", name);
    }
    match &scope.caller.principal {
        Principal::User { .. } => scope.caller.arn(),
        _ => "*".to_owned(),
    }
}
