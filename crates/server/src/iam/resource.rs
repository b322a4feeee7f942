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
    let group = |name: &str| members.group(name).map_or_else(|| arn("group", name), |group| group.arn());
    let user = |name: &str| members.user(name).map_or_else(|| arn("user", name), |user| user.arn());
    let everything = || "*".to_owned();
    if matches!(action, "ListRoles" | "ListUsers" | "ListPolicies" | "ListGroups") {
        return vec![everything()];
    }
    // Who puts users into groups is asked about the group.
    if action.contains("Group") && action != "ListGroupsForUser" {
        let named = form.get("GroupName").map_or_else(everything, group);
        let renamed = form.get("NewGroupName").filter(|_| action == "UpdateGroup").map(group);
        return [named].into_iter().chain(renamed).collect();
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

/// The condition keys of an operation: the permissions boundary that a user or role is to have, or has, and the policy that is
/// attached or detached.
pub(super) fn keys(scope: &Scope<'_>, form: &Form) -> Vec<(&'static str, String)> {
    let action = form.action();
    let snapshot = scope.node.identity().snapshot();
    let members = snapshot.members(scope.account());
    let has = || {
        if action.contains("Role") {
            members.role(form.get("RoleName")?)?.boundary.clone()
        } else if action.contains("User") {
            members.user(form.get("UserName")?)?.boundary.clone()
        } else {
            None
        }
    };
    let boundary = form.get("PermissionsBoundary").map(str::to_owned).or_else(has);
    let policy = form.get("PolicyArn").filter(|_| action.starts_with("Attach") || action.starts_with("Detach"));
    let policy = policy.map(|arn| ("iam:PolicyARN", arn.to_owned()));
    boundary.map(|arn| ("iam:PermissionsBoundary", arn)).into_iter().chain(policy).collect()
}
