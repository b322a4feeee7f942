//! Roles.

use updraft_node::identity::{Draft, Noun, RoleChange};
use updraft_types::iam::Role;

use super::{
    Call, Told, boundaries, failure,
    page::{self, Page},
    tags, time,
};
use crate::query_protocol::{Checked, Xml};

/// Longest name.
pub(super) const NAME_CHARS_MAX: usize = 64;
/// Seconds a session may last unless the role says otherwise.
const SESSION_S_DEFAULT: u32 = 3_600;
const SESSION_S_MIN: u32 = 3_600;
const SESSION_S_MAX: u32 = 43_200;

pub(super) async fn create(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("RoleName", NAME_CHARS_MAX);
    let path = checked.path();
    let trust = checked.document("AssumeRolePolicyDocument");
    let description = checked.optional("Description", 0, 1_000);
    let max_session_s = checked.number("MaxSessionDuration", SESSION_S_MIN, SESSION_S_MAX);
    let tags = tags::read(call.form, &mut checked, tags::TWICE);
    let boundary = checked.optional("PermissionsBoundary", 20, 2_048);
    checked.done()?;
    let draft = Draft { account: call.scope.account().clone(), path, name, tags, boundary };
    let max_session_s = max_session_s.unwrap_or(SESSION_S_DEFAULT);
    let role = call.scope.node.identity().create_role(draft, trust, description, max_session_s).await;
    let role = role.map_err(|error| failure::change(error, call.form))?;
    Ok(Some(whole(&role)))
}

pub(super) fn get(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("RoleName", NAME_CHARS_MAX);
    checked.done()?;
    let snapshot = call.scope.node.identity().snapshot();
    let role = snapshot.members(call.scope.account()).role(&name);
    let role = role.ok_or_else(|| failure::not_found(Noun::Role, call.form))?;
    Ok(Some(whole(role)))
}

pub(super) fn list(call: &Call<'_>) -> Told {
    let prefix = page::path_prefix(call.form)?;
    let snapshot = call.scope.node.identity().snapshot();
    let roles = snapshot.members(call.scope.account()).roles().filter(|role| role.path.starts_with(&prefix));
    let page = Page::of(call.form, roles, |role| role.name.as_str())?;
    let mut xml = Xml::default();
    xml.list("Roles", &page.items, |xml, role| write(xml, role, false));
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("RoleName", NAME_CHARS_MAX);
    let description = checked.optional("Description", 0, 1_000);
    let max_session_s = checked.number("MaxSessionDuration", SESSION_S_MIN, SESSION_S_MAX);
    checked.done()?;
    change(call, name, RoleChange { description, max_session_s, trust: None }).await?;
    Ok(Some(Xml::default()))
}

pub(super) async fn describe(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("RoleName", NAME_CHARS_MAX);
    let description = checked.required("Description", 0, 1_000);
    checked.done()?;
    let change = change(call, name, RoleChange { description: Some(description), ..RoleChange::default() });
    Ok(Some(whole(&change.await?)))
}

pub(super) async fn trust(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("RoleName", NAME_CHARS_MAX);
    let trust = checked.document("PolicyDocument");
    checked.done()?;
    change(call, name, RoleChange { trust: Some(trust), ..RoleChange::default() }).await?;
    Ok(None)
}

async fn change(call: &Call<'_>, name: String, change: RoleChange) -> Result<Role, crate::api_error::ApiError> {
    let changed = call.scope.node.identity().update_role(call.scope.account().clone(), name, change).await;
    changed.map_err(|error| failure::change(error, call.form))
}

pub(super) async fn delete(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("RoleName", NAME_CHARS_MAX);
    checked.done()?;
    let deleted = call.scope.node.identity().delete_role(call.scope.account().clone(), name).await;
    deleted.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

fn whole(role: &Role) -> Xml {
    let mut xml = Xml::default();
    xml.node("Role", |xml| write(xml, role, true));
    xml
}

/// A role; lists of roles leave tags out.
fn write(xml: &mut Xml, role: &Role, is_whole: bool) {
    xml.leaf("Path", &role.path);
    xml.leaf("RoleName", &role.name);
    xml.leaf("RoleId", &role.id);
    xml.leaf("Arn", role.arn());
    xml.leaf("CreateDate", time(role.created_at));
    xml.document("AssumeRolePolicyDocument", &role.trust);
    xml.leaf_if("Description", role.description.as_ref());
    xml.leaf("MaxSessionDuration", role.max_session_s);
    if is_whole && !role.tags.is_empty() {
        tags::write(xml, &role.tags);
    }
    if is_whole {
        boundaries::write(xml, role.boundary.as_deref());
    }
}
