//! Groups of users.

use updraft_node::identity::Noun;
use updraft_types::iam::Group;

use super::{
    Call, Told, failure,
    page::{self, Page},
    time, users,
};
use crate::query_protocol::{Checked, Xml};

/// Longest name.
pub(super) const NAME_CHARS_MAX: usize = 128;

pub(super) async fn create(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("GroupName", NAME_CHARS_MAX);
    let path = checked.path();
    checked.done()?;
    let group = call.scope.node.identity().create_group(call.scope.account().clone(), path, name).await;
    let group = group.map_err(|error| failure::change(error, call.form))?;
    let mut xml = Xml::default();
    xml.node("Group", |xml| write(xml, &group));
    Ok(Some(xml))
}

/// A group with its users.
pub(super) fn get(call: &Call<'_>) -> Told {
    let name = named(call)?;
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    let group = members.group(&name).ok_or_else(|| failure::not_found(Noun::Group, call.form))?;
    let of_group = members.users().filter(|user| group.members.contains(&user.id));
    let page = Page::of(call.form, of_group, |user| user.name.as_str())?;
    let mut xml = Xml::default();
    xml.node("Group", |xml| write(xml, group));
    xml.list("Users", &page.items, |xml, user| users::write(xml, user, false));
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) fn list(call: &Call<'_>) -> Told {
    let prefix = page::path_prefix(call.form)?;
    let snapshot = call.scope.node.identity().snapshot();
    let groups = snapshot.members(call.scope.account()).groups().filter(|group| group.path.starts_with(&prefix));
    let page = Page::of(call.form, groups, |group| group.name.as_str())?;
    let mut xml = Xml::default();
    xml.list("Groups", &page.items, |xml, group| write(xml, group));
    page.end(&mut xml);
    Ok(Some(xml))
}

/// ListGroupsForUser.
pub(super) fn of_user(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("UserName", users::LOOKUP_CHARS_MAX);
    checked.done()?;
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    let user = members.user(&name).ok_or_else(|| failure::not_found(Noun::User, call.form))?;
    let page = Page::of(call.form, members.groups_of(&user.id), |group| group.name.as_str())?;
    let mut xml = Xml::default();
    xml.list("Groups", &page.items, |xml, group| write(xml, group));
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("GroupName", NAME_CHARS_MAX);
    let new = checked.name_if("NewGroupName", NAME_CHARS_MAX);
    let path = checked.path_if("NewPath");
    checked.done()?;
    let updated = call.scope.node.identity().update_group(call.scope.account().clone(), name, path, new).await;
    updated.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn delete(call: &Call<'_>) -> Told {
    let name = named(call)?;
    let deleted = call.scope.node.identity().delete_group(call.scope.account().clone(), name).await;
    deleted.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn join(call: &Call<'_>) -> Told {
    let (group, user) = member(call)?;
    let joined = call.scope.node.identity().join_group(call.scope.account().clone(), group, user).await;
    joined.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn leave(call: &Call<'_>) -> Told {
    let (group, user) = member(call)?;
    let left = call.scope.node.identity().leave_group(call.scope.account().clone(), group, user).await;
    left.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

fn named(call: &Call<'_>) -> Result<String, crate::api_error::ApiError> {
    let mut checked = Checked::new(call.form);
    let name = checked.name("GroupName", NAME_CHARS_MAX);
    checked.done()?;
    Ok(name)
}

fn member(call: &Call<'_>) -> Result<(String, String), crate::api_error::ApiError> {
    let mut checked = Checked::new(call.form);
    let group = checked.name("GroupName", NAME_CHARS_MAX);
    let user = checked.name("UserName", users::LOOKUP_CHARS_MAX);
    checked.done()?;
    Ok((group, user))
}

fn write(xml: &mut Xml, group: &Group) {
    xml.leaf("Path", &group.path);
    xml.leaf("GroupName", &group.name);
    xml.leaf("GroupId", &group.id);
    xml.leaf("Arn", group.arn());
    xml.leaf("CreateDate", time(group.created_at));
}
