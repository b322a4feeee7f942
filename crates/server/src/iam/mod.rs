//! IAM (AWS Query, 2010-05-08; service model of botocore 1.44.5): users, groups, roles, managed policies, access keys.
//!
//! What an operation acts on is known before it runs ([`resource`]). What there is not here (instance profiles, login
//! profiles, MFA devices, …) cannot be made: those operations are answered 501 by name. Lists of such things are empty, for
//! there are none ([`nothing`]). Credentials of GetSessionToken are not taken: nothing that expires makes what does not.

mod boundaries;
mod failure;
mod grants;
mod groups;
mod keys;
mod nothing;
mod page;
mod policies;
mod resource;
mod roles;
mod tags;
mod users;

pub(crate) use failure::document as document_error;
use http::{Response, request::Parts};
pub(crate) use tags::read as read_tags;
use updraft_types::{Body, Timestamp};

use crate::{
    api_error::{ApiError, Protocol},
    body::Held,
    query_protocol::{self, Form, Xml},
    scope::{Act, Scope},
    tags::borrowed,
};

/// The service's XML namespace.
pub(crate) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// Parameters that would change what an operation means, and that are not looked at here.
const UNSUPPORTED: [&str; 2] = ["MaxSigninSessionDuration", "ResetMaxSigninSessionDuration"];

/// What an operation tells, if anything.
type Told = Result<Option<Xml>, ApiError>;

/// One request to an operation.
struct Call<'a> {
    scope: &'a Scope<'a>,
    form: &'a Form,
}

/// Answers one request.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, ApiError> {
    let form = Form::read(head, &body.bytes)?;
    if scope.is_token_session() {
        return Err(ApiError::invalid_token());
    }
    let action = format!("iam:{}", form.action());
    let (tags, keys) = (resource::tags(scope, &form), resource::keys(scope, &form));
    let (tags, keys) = (tags.as_ref(), &borrowed(&keys));
    for resource in resource::of(scope, &form) {
        let act = Act { action: &action, resource: &resource, owner: scope.account(), policy: None, tags, keys };
        let allowed = scope.authorize_act(&act);
        allowed.map_err(|denied| ApiError::denied(&denied, Protocol::Query { namespace: NAMESPACE }))?;
    }
    if let Some(name) = UNSUPPORTED.iter().find(|name| form.has(name)) {
        return Err(ApiError::not_implemented(&format!("{} with {name}", form.action())));
    }
    let call = Call { scope, form: &form };
    let told = Box::pin(perform(&call)).await?;
    Ok(query_protocol::answer(form.action(), NAMESPACE, told))
}

async fn perform(call: &Call<'_>) -> Told {
    match call.form.action() {
        "CreateUser" => users::create(call).await,
        "GetUser" => users::get(call),
        "ListUsers" => users::list(call),
        "UpdateUser" => users::update(call).await,
        "DeleteUser" => users::delete(call).await,

        "CreateGroup" => groups::create(call).await,
        "GetGroup" => groups::get(call),
        "ListGroups" => groups::list(call),
        "ListGroupsForUser" => groups::of_user(call),
        "UpdateGroup" => groups::update(call).await,
        "DeleteGroup" => groups::delete(call).await,
        "AddUserToGroup" => groups::join(call).await,
        "RemoveUserFromGroup" => groups::leave(call).await,

        "CreateAccessKey" => keys::create(call).await,
        "ListAccessKeys" => keys::list(call),
        "UpdateAccessKey" => keys::update(call).await,
        "DeleteAccessKey" => keys::delete(call).await,

        "CreateRole" => roles::create(call).await,
        "GetRole" => roles::get(call),
        "ListRoles" => roles::list(call),
        "UpdateRole" => roles::update(call).await,
        "UpdateRoleDescription" => roles::describe(call).await,
        "UpdateAssumeRolePolicy" => roles::trust(call).await,
        "DeleteRole" => roles::delete(call).await,

        "PutUserPolicy" | "PutGroupPolicy" | "PutRolePolicy" => grants::put(call).await,
        "GetUserPolicy" | "GetGroupPolicy" | "GetRolePolicy" => grants::get(call),
        "ListUserPolicies" | "ListGroupPolicies" | "ListRolePolicies" => grants::list(call),
        "DeleteUserPolicy" | "DeleteGroupPolicy" | "DeleteRolePolicy" => grants::delete(call).await,
        "AttachUserPolicy" | "AttachGroupPolicy" | "AttachRolePolicy" => grants::attach(call).await,
        "DetachUserPolicy" | "DetachGroupPolicy" | "DetachRolePolicy" => grants::detach(call).await,
        "ListAttachedUserPolicies" | "ListAttachedGroupPolicies" | "ListAttachedRolePolicies" => {
            grants::list_attached(call)
        }

        "PutUserPermissionsBoundary" | "PutRolePermissionsBoundary" => boundaries::put(call).await,
        "DeleteUserPermissionsBoundary" | "DeleteRolePermissionsBoundary" => boundaries::delete(call).await,

        "CreatePolicy" => policies::create(call).await,
        "GetPolicy" => policies::get(call),
        "ListPolicies" => policies::list(call),
        "DeletePolicy" => policies::delete(call).await,
        "ListEntitiesForPolicy" => policies::entities(call),
        "CreatePolicyVersion" => policies::create_version(call).await,
        "GetPolicyVersion" => policies::get_version(call),
        "ListPolicyVersions" => policies::list_versions(call),
        "DeletePolicyVersion" => policies::delete_version(call).await,
        "SetDefaultPolicyVersion" => policies::set_default(call).await,

        "TagUser" | "TagRole" | "TagPolicy" => tags::add(call).await,
        "UntagUser" | "UntagRole" | "UntagPolicy" => tags::remove(call).await,
        "ListUserTags" | "ListRoleTags" | "ListPolicyTags" => tags::list(call),

        "GetLoginProfile" => nothing::login_profile(call),
        other if nothing::is_list(other) => nothing::list(call),

        other => Err(ApiError::not_implemented(&format!("IAM's operation {other}"))),
    }
}

/// A time as IAM writes it: `2026-11-27T01:46:51Z`.
pub(crate) fn time(at: Timestamp) -> String {
    Timestamp::from_ms(at.as_ms() / 1_000 * 1_000).to_rfc3339().replace(".000Z", "Z")
}
