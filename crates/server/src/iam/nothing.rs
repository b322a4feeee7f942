//! Lists of what there is not: whoever asks for them learns that there is none, which is so. Terraform and others ask before they
//! change or delete a user or a role. What would make such a thing is answered 501.

use updraft_node::identity::Noun;

use super::{Call, Told, failure, roles};
use crate::{
    api_error::ApiError,
    query_protocol::{Checked, Xml},
};

/// Longest name of a user that is looked up.
const USER_CHARS_MAX: usize = 128;

/// Operations, and what their lists are called.
const LISTS: [(&str, &str); 11] = [
    ("ListAccountAliases", "AccountAliases"),
    ("ListInstanceProfiles", "InstanceProfiles"),
    ("ListInstanceProfilesForRole", "InstanceProfiles"),
    ("ListMFADevices", "MFADevices"),
    ("ListOpenIDConnectProviders", "OpenIDConnectProviderList"),
    ("ListSAMLProviders", "SAMLProviderList"),
    ("ListSSHPublicKeys", "SSHPublicKeys"),
    ("ListServerCertificates", "ServerCertificateMetadataList"),
    ("ListServiceSpecificCredentials", "ServiceSpecificCredentials"),
    ("ListSigningCertificates", "Certificates"),
    ("ListVirtualMFADevices", "VirtualMFADevices"),
];

pub(super) fn is_list(action: &str) -> bool {
    LISTS.iter().any(|(name, _)| *name == action)
}

/// An empty list, of a user or role that is there if one is named.
pub(super) fn list(call: &Call<'_>) -> Told {
    let action = call.form.action();
    check_named(call, action == "ListInstanceProfilesForRole")?;
    let (_, list) = LISTS.iter().find(|(name, _)| *name == action).expect("the caller has asked `is_list`");
    let mut xml = Xml::default();
    xml.texts(list, [""; 0]);
    xml.leaf("IsTruncated", false);
    Ok(Some(xml))
}

/// Nobody signs in with a password.
pub(super) fn login_profile(call: &Call<'_>) -> Told {
    check_named(call, false)?;
    let name: String = call.form.get("UserName").unwrap_or_default().chars().take(USER_CHARS_MAX).collect();
    Err(failure::no_such(format!("Login Profile for User {name} cannot be found.")))
}

fn check_named(call: &Call<'_>, needs_role: bool) -> Result<(), ApiError> {
    let mut checked = Checked::new(call.form);
    let user = checked.name_if("UserName", USER_CHARS_MAX);
    let role = match needs_role {
        true => Some(checked.name("RoleName", roles::NAME_CHARS_MAX)),
        false => checked.name_if("RoleName", roles::NAME_CHARS_MAX),
    };
    checked.done()?;
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    if user.is_some_and(|name| members.user(&name).is_none()) {
        return Err(failure::not_found(Noun::User, call.form));
    }
    if role.is_some_and(|name| members.role(&name).is_none()) {
        return Err(failure::not_found(Noun::Role, call.form));
    }
    Ok(())
}
