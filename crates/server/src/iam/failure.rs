//! What IAM says when it refuses, in its words, with the names that the request gave.

use http::StatusCode;
use updraft_node::identity::{ChangeError, Error, Noun, Quota, Refusal, document};
use updraft_types::iam::{
    ACCESS_KEYS_MAX, ATTACHED_MAX, GROUP_INLINE_CHARS_MAX, GROUPS_MAX, GROUPS_PER_USER_MAX, POLICIES_MAX,
    POLICY_VERSIONS_MAX, ROLE_INLINE_CHARS_MAX, ROLES_MAX, USER_INLINE_CHARS_MAX, USERS_MAX,
};

use crate::{api_error::ApiError, query_protocol::Form};

/// `NoSuchEntity`.
pub(super) fn no_such(text: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NoSuchEntity", text)
}

/// What was not found, by the names in the request.
pub(super) fn not_found(noun: Noun, form: &Form) -> ApiError {
    let named = |name: &str| form.get(name).unwrap_or_default().chars().take(2_048).collect::<String>();
    let kind = holder(form).to_lowercase();
    no_such(match noun {
        Noun::User => format!("The user with name {} cannot be found.", named("UserName")),
        Noun::Group => format!("The group with name {} cannot be found.", named("GroupName")),
        Noun::Membership => {
            format!("User {} is not in group {}.", named("UserName"), named("GroupName"))
        }
        Noun::Role => format!("The role with name {} cannot be found.", named("RoleName")),
        Noun::Policy if form.has("PermissionsBoundary") => {
            format!("Scope ARN: {} does not exist or is not attachable.", named("PermissionsBoundary"))
        }
        Noun::Policy if form.action().starts_with("Attach") => {
            format!("Policy {} does not exist or is not attachable.", named("PolicyArn"))
        }
        Noun::Policy | Noun::Attachment => format!("Policy {} was not found.", named("PolicyArn")),
        Noun::PolicyVersion => {
            format!("Policy {} version {} does not exist or is not attachable.", named("PolicyArn"), named("VersionId"))
        }
        Noun::InlinePolicy => format!("The {kind} policy with name {} cannot be found.", named("PolicyName")),
        Noun::AccessKey => format!("The Access Key with id {} cannot be found.", named("AccessKeyId")),
        Noun::Account | Noun::Function => "The account cannot be found.".to_owned(),
    })
}

/// Why a change was not made.
pub(super) fn change(error: Error, form: &Form) -> ApiError {
    match error {
        Error::Change(ChangeError::Refused(refusal)) => refused(refusal, form),
        Error::Change(ChangeError::Full) => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceFailure",
            "There is no room left on the platform's disk",
        ),
        Error::Change(ChangeError::Internal(text)) | Error::Internal(text) => ApiError::internal(&text),
        Error::Document(error) => document(&error),
        Error::HasFunctions => ApiError::new(StatusCode::CONFLICT, "DeleteConflict", error.to_string()),
    }
}

/// A text that is no policy.
pub(crate) fn document(error: &document::Error) -> ApiError {
    let (status, code) = match error {
        document::Error::Size { .. } => (StatusCode::CONFLICT, "LimitExceeded"),
        document::Error::Malformed { .. } => (StatusCode::BAD_REQUEST, "MalformedPolicyDocument"),
    };
    ApiError::new(status, code, error.to_string())
}

fn refused(refusal: Refusal, form: &Form) -> ApiError {
    let conflict = |text: &str| ApiError::new(StatusCode::CONFLICT, "DeleteConflict", text);
    match refusal {
        Refusal::NotFound(noun) => not_found(noun, form),
        Refusal::Exists => exists(form),
        Refusal::IsDefault => conflict("Cannot delete the default version of a policy."),
        Refusal::InUse(Noun::Membership) => conflict("Cannot delete entity, must remove users from group first."),
        Refusal::InUse(Noun::AccessKey) => conflict("Cannot delete entity, must delete access keys first."),
        Refusal::InUse(Noun::Attachment) if form.action() == "DeletePolicy" => {
            conflict("Cannot delete a policy attached to entities.")
        }
        Refusal::InUse(Noun::Attachment) => conflict("Cannot delete entity, must detach all policies first."),
        Refusal::InUse(Noun::PolicyVersion) => conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The \
             default version is deleted with the policy.",
        ),
        Refusal::InUse(_) => conflict("Cannot delete entity, must delete policies first."),
        Refusal::Quota(quota) => exceeded(quota, form),
    }
}

/// Whose policies an operation is about: `Role`, `Group` or `User`.
fn holder(form: &Form) -> &'static str {
    match () {
        () if form.get("RoleName").is_some() => "Role",
        () if form.get("GroupName").is_some() => "Group",
        () => "User",
    }
}

fn exists(form: &Form) -> ApiError {
    let named = |name: &str| form.get(name).unwrap_or_default();
    let text = match form.action() {
        "CreateRole" => format!("Role with name {} already exists.", named("RoleName")),
        "CreateGroup" => format!("Group with name {} already exists.", named("GroupName")),
        "UpdateGroup" => format!("Group with name {} already exists.", named("NewGroupName")),
        "CreatePolicy" => {
            format!("A policy called {} already exists. Duplicate names are not allowed.", named("PolicyName"))
        }
        "UpdateUser" => format!("User with name {} already exists.", named("NewUserName")),
        _ => format!("User with name {} already exists.", named("UserName")),
    };
    ApiError::new(StatusCode::CONFLICT, "EntityAlreadyExists", text)
}

fn exceeded(quota: Quota, form: &Form) -> ApiError {
    let holder = holder(form);
    let text = match quota {
        Quota::Accounts => "Cannot exceed quota for accounts".to_owned(),
        Quota::Users => format!("Cannot exceed quota for UsersPerAccount: {USERS_MAX}"),
        Quota::Groups => format!("Cannot exceed quota for GroupsPerAccount: {GROUPS_MAX}"),
        Quota::GroupsOfUser => format!("Cannot exceed quota for GroupsPerUser: {GROUPS_PER_USER_MAX}"),
        Quota::Roles => format!("Cannot exceed quota for RolesPerAccount: {ROLES_MAX}"),
        Quota::Policies => format!("Cannot exceed quota for PoliciesPerAccount: {POLICIES_MAX}"),
        Quota::PolicyVersions => format!(
            "A managed policy can have up to {POLICY_VERSIONS_MAX} versions. Before you create a new version, you must \
             delete an existing version."
        ),
        Quota::Attached => format!("Cannot exceed quota for PoliciesPer{holder}: {ATTACHED_MAX}"),
        Quota::AccessKeys => format!("Cannot exceed quota for AccessKeysPerUser: {ACCESS_KEYS_MAX}"),
        Quota::InlineChars => {
            let max = match holder {
                "Role" => ROLE_INLINE_CHARS_MAX,
                "Group" => GROUP_INLINE_CHARS_MAX,
                _ => USER_INLINE_CHARS_MAX,
            };
            let name = form.get(&format!("{holder}Name")).unwrap_or_default();
            let holder = holder.to_lowercase();
            format!("Maximum policy size of {max} bytes exceeded for {holder} {name}")
        }
        Quota::Tags => "The number of tags has reached the maximum limit.".to_owned(),
    };
    ApiError::new(StatusCode::CONFLICT, "LimitExceeded", text)
}
