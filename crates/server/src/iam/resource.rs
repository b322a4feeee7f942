//! What an operation acts on, as policies name it. Source: IAM's service authorization reference.
//!
//! The operation's name says which parameter names its resource; every other parameter is left aside, so that none can
//! pass for it.

use updraft_types::Principal;

use crate::{query_protocol::Form, scope::Scope};

/// The ARNs that an operation's permission is asked for, each of them; `*` where there is none.
pub(super) fn of(scope: &Scope<'_>, form: &Form) -> Vec<String> {
    let action = form.action();
    let account = scope.account();
    let snapshot = scope.node.identity().snapshot();
    let members = snapshot.members(account);
    let arn = |kind: &str, name: &str| {
        let path = form.get("Path").unwrap_or("/");
        format!("arn:aws:iam::{account}:{kind}{path}{name}")
    };
    let role = |name: &str| members.role(name).map_or_else(|| arn("role", name), |role| role.arn());
    let user = |name: &str| members.user(name).map_or_else(|| arn("user", name), |user| user.arn());
    let everything = || "*".to_owned();
    if matches!(action, "ListRoles" | "ListUsers" | "ListPolicies") {
        return vec![everything()];
    }
    if action.contains("Role") {
        return vec![form.get("RoleName").map_or_else(everything, role)];
    }
    if action.contains("User") || action.contains("AccessKey") {
        let own = || match &scope.caller.principal {
            Principal::User { .. } => scope.caller.arn(),
            _ => everything(),
        };
        let named = form.get("UserName").map_or_else(own, user);
        // A user that is renamed is asked for under both names.
        let renamed = form.get("NewUserName").filter(|_| action == "UpdateUser").map(user);
        return [named].into_iter().chain(renamed).collect();
    }
    let policy = match action {
        "CreatePolicy" => form.get("PolicyName").map(|name| arn("policy", name)),
        _ => form.get("PolicyArn").map(str::to_owned),
    };
    vec![policy.unwrap_or_else(everything)]
}
