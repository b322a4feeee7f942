//! Inline and attached policies, of users, groups and roles alike: the operation's name says of which.

use updraft_node::identity::Noun;
use updraft_types::iam::{Grants, Holder};

use super::{
    Call, Told, failure, groups,
    page::{self, Page},
    roles,
};
use crate::{
    api_error::ApiError,
    query_protocol::{Checked, Xml},
};

/// Longest name of a policy.
const POLICY_CHARS_MAX: usize = 128;
/// Longest name of a user that is looked up.
const USER_CHARS_MAX: usize = 128;

pub(super) async fn put(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let holder = holder(call, &mut checked);
    let name = checked.name("PolicyName", POLICY_CHARS_MAX);
    let document = checked.document("PolicyDocument");
    checked.done()?;
    let account = call.scope.account().clone();
    let put = call.scope.node.identity().put_inline(account, holder, name, document).await;
    put.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) fn get(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let holder = holder(call, &mut checked);
    let name = checked.name("PolicyName", POLICY_CHARS_MAX);
    checked.done()?;
    let grants = grants_of(call, &holder)?;
    let document = grants.inline.get(&name).ok_or_else(|| failure::not_found(Noun::InlinePolicy, call.form))?;
    let mut xml = Xml::default();
    let kind = match holder {
        Holder::User(_) => "UserName",
        Holder::Group(_) => "GroupName",
        Holder::Role(_) => "RoleName",
    };
    xml.leaf(kind, holder.name());
    xml.leaf("PolicyName", &name);
    xml.document("PolicyDocument", document);
    Ok(Some(xml))
}

pub(super) fn list(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let holder = holder(call, &mut checked);
    checked.done()?;
    let grants = grants_of(call, &holder)?;
    let page = Page::of(call.form, grants.inline.keys(), |name| name.as_str())?;
    let mut xml = Xml::default();
    xml.texts("PolicyNames", &page.items);
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) async fn delete(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let holder = holder(call, &mut checked);
    let name = checked.name("PolicyName", POLICY_CHARS_MAX);
    checked.done()?;
    let deleted = call.scope.node.identity().delete_inline(call.scope.account().clone(), holder, name).await;
    deleted.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn attach(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let holder = holder(call, &mut checked);
    let arn = checked.required("PolicyArn", 20, 2_048);
    checked.done()?;
    check_arn(&arn)?;
    let attached = call.scope.node.identity().attach(call.scope.account().clone(), holder, arn).await;
    attached.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn detach(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let holder = holder(call, &mut checked);
    let arn = checked.required("PolicyArn", 20, 2_048);
    checked.done()?;
    check_arn(&arn)?;
    let detached = call.scope.node.identity().detach(call.scope.account().clone(), holder, arn).await;
    detached.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) fn list_attached(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let holder = holder(call, &mut checked);
    checked.done()?;
    let prefix = page::path_prefix(call.form)?;
    let grants = grants_of(call, &holder)?;
    let in_path = |arn: &&String| path_of(arn).starts_with(&prefix);
    let page = Page::of(call.form, grants.attached.iter().filter(in_path), |arn| arn.as_str())?;
    let mut xml = Xml::default();
    xml.list("AttachedPolicies", &page.items, |xml, arn| {
        xml.leaf("PolicyName", arn.rsplit('/').next().unwrap_or_default());
        xml.leaf("PolicyArn", arn);
    });
    page.end(&mut xml);
    Ok(Some(xml))
}

/// Refuses what is no policy's ARN.
pub(super) fn check_arn(arn: &str) -> Result<(), ApiError> {
    let is_arn = arn.strip_prefix("arn:aws:iam::").is_some_and(|rest| rest.contains(":policy/"));
    if is_arn { Ok(()) } else { Err(ApiError::bad_request("InvalidInput", format!("ARN {arn} is not valid."))) }
}

/// `/service-role/` of `arn:aws:iam::aws:policy/service-role/Name`.
fn path_of(arn: &str) -> &str {
    let path = arn.split_once(":policy").map_or("/", |(_, path)| path);
    path.rfind('/').map_or("/", |end| &path[..=end])
}

pub(super) fn holder(call: &Call<'_>, checked: &mut Checked<'_>) -> Holder {
    if call.form.action().contains("Role") {
        Holder::Role(checked.name("RoleName", roles::NAME_CHARS_MAX))
    } else if call.form.action().contains("Group") {
        Holder::Group(checked.name("GroupName", groups::NAME_CHARS_MAX))
    } else {
        Holder::User(checked.name("UserName", USER_CHARS_MAX))
    }
}

fn grants_of(call: &Call<'_>, holder: &Holder) -> Result<Grants, ApiError> {
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    let (grants, noun) = match holder {
        Holder::User(name) => (members.user(name).map(|user| &user.grants), Noun::User),
        Holder::Group(name) => (members.group(name).map(|group| &group.grants), Noun::Group),
        Holder::Role(name) => (members.role(name).map(|role| &role.grants), Noun::Role),
    };
    grants.cloned().ok_or_else(|| failure::not_found(noun, call.form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arns_path() {
        assert_eq!(path_of("arn:aws:iam::aws:policy/service-role/Name"), "/service-role/");
        assert_eq!(path_of("arn:aws:iam::111111111111:policy/Name"), "/");
        assert!(check_arn("arn:aws:iam::aws:policy/A").is_ok());
        assert!(check_arn("arn:aws:s3:::a-bucket-of-mine").is_err());
    }
}
