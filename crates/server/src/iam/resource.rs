//! What an operation acts on, as policies name it. Source: IAM's service authorization reference.
//!
//! The operation's name says which parameter names its resource; every other parameter is left aside, so that none can
//! pass for it.

use std::collections::BTreeMap;

use updraft_types::Principal;

use crate::{
    query_protocol::Form,
    scope::Scope,
    tags::{Keys, brought, taken_away},
};

/// The ARNs that an operation's permission is asked for, each of them; `*` where there is none.
pub(super) fn of(scope: &Scope<'_>, form: &Form) -> Vec<String> {
    let action = form.action();
    let account = scope.account();
    let snapshot = scope.node.identity().snapshot();
    let members = snapshot.members(account);
    // What is to be made has the path that is asked for, all else the one that it has.
    let path = |kind: &str, name: &str| {
        let path = match kind {
            _ if is_new(action) => form.get("Path").map(str::to_owned),
            "user" => members.user(name).map(|user| user.path.clone()),
            "group" => members.group(name).map(|group| group.path.clone()),
            _ => members.role(name).map(|role| role.path.clone()),
        };
        path.unwrap_or_else(|| "/".to_owned())
    };
    let at = |kind: &str, path: &str, name: &str| format!("arn:aws:iam::{account}:{kind}{path}{name}");
    let arn = |kind: &str, name: &str| at(kind, &path(kind, name), name);
    // What is renamed or moved is asked for under what it is to be called, too.
    let moved = |kind: &str, name: Option<&str>, new: &str| {
        let (name, new_name, new_path) = (name?, form.get(new), form.get("NewPath"));
        let new_path = match (new_path, new_name) {
            (None, None) => return None,
            (Some(new_path), _) => new_path.to_owned(),
            (None, Some(_)) => path(kind, name),
        };
        Some(at(kind, &new_path, new_name.unwrap_or(name)))
    };
    let everything = || "*".to_owned();
    if matches!(action, "ListRoles" | "ListUsers" | "ListPolicies" | "ListGroups") {
        return vec![everything()];
    }
    if is_of_group(action) {
        let name = form.get("GroupName");
        let named = name.map_or_else(everything, |name| arn("group", name));
        let moved = moved("group", name.filter(|_| action == "UpdateGroup"), "NewGroupName");
        return [named].into_iter().chain(moved).collect();
    }
    if action.contains("Role") {
        return vec![form.get("RoleName").map_or_else(everything, |name| arn("role", name))];
    }
    if action.contains("User") || action.contains("AccessKey") {
        let own = || match &scope.caller.principal {
            Principal::User { .. } => scope.caller.arn(),
            _ => everything(),
        };
        let name = form.get("UserName");
        let named = name.map_or_else(own, |name| arn("user", name));
        let moved = moved("user", name.filter(|_| action == "UpdateUser"), "NewUserName");
        return [named].into_iter().chain(moved).collect();
    }
    let policy = match action {
        "CreatePolicy" => form.get("PolicyName").map(|name| arn("policy", name)),
        _ => form.get("PolicyArn").map(str::to_owned),
    };
    vec![policy.unwrap_or_else(everything)]
}

/// The tags of the user, role or policy that an operation acts on; groups have none, nor has what is to be made.
pub(super) fn tags(scope: &Scope<'_>, form: &Form) -> Option<BTreeMap<String, String>> {
    let action = form.action();
    let snapshot = scope.node.identity().snapshot();
    let members = snapshot.members(scope.account());
    if is_new(action) || is_of_group(action) {
        None
    } else if action.contains("Role") {
        members.role(form.get("RoleName")?).map(|role| role.tags.clone())
    } else if action.contains("User") || action.contains("AccessKey") {
        let own = match &scope.caller.principal {
            Principal::User { name, .. } => Some(name.as_str()),
            _ => None,
        };
        members.user(form.get("UserName").or(own)?).map(|user| user.tags.clone())
    } else {
        members.policy(form.get("PolicyArn")?).map(|policy| policy.tags.clone())
    }
}

/// The condition keys of an operation: the permissions boundary that a user or role is to have, where the operation sets it, or
/// else has; the policy that is attached or detached; and the tags that it brings or takes away.
pub(super) fn keys(scope: &Scope<'_>, form: &Form) -> Keys {
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
    let boundary = match action {
        "CreateUser" | "CreateRole" | "PutUserPermissionsBoundary" | "PutRolePermissionsBoundary" => {
            form.get("PermissionsBoundary").map(str::to_owned)
        }
        _ => has(),
    };
    let policy = form.get("PolicyArn").filter(|_| action.starts_with("Attach") || action.starts_with("Detach"));
    let policy = policy.map(|arn| ("iam:PolicyARN".to_owned(), arn.to_owned()));
    let tags = match action {
        "CreateUser" | "CreateRole" | "CreatePolicy" | "TagUser" | "TagRole" | "TagPolicy" => {
            brought(form.pairs("Tags"))
        }
        "UntagUser" | "UntagRole" | "UntagPolicy" => taken_away(form.list("TagKeys")),
        _ => Keys::new(),
    };
    boundary.map(|arn| ("iam:PermissionsBoundary".to_owned(), arn)).into_iter().chain(policy).chain(tags).collect()
}

/// Whether an operation makes what it acts on.
fn is_new(action: &str) -> bool {
    matches!(action, "CreateUser" | "CreateGroup" | "CreateRole" | "CreatePolicy")
}

/// Whether an operation acts on a group. Who puts users into groups is asked about the group.
fn is_of_group(action: &str) -> bool {
    action.contains("Group") && action != "ListGroupsForUser"
}
