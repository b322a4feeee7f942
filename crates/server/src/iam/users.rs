//! Users.

use updraft_node::identity::{Draft, Noun};
use updraft_types::{Principal, iam::User};

use super::{
    Call, Told, boundaries, failure,
    page::{self, Page},
    tags, time,
};
use crate::{
    api_error::ApiError,
    query_protocol::{Checked, Xml},
};

/// Longest name of a new user.
const NAME_CHARS_MAX: usize = 64;
/// Longest name that is looked up.
pub(super) const LOOKUP_CHARS_MAX: usize = 128;

pub(super) async fn create(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("UserName", NAME_CHARS_MAX);
    let path = checked.path();
    let tags = tags::read(call.form, &mut checked, tags::TWICE);
    let boundary = checked.optional("PermissionsBoundary", 20, 2_048);
    checked.done()?;
    let draft = Draft { account: call.scope.account().clone(), path, name, tags, boundary };
    let user = call.scope.node.identity().create_user(draft).await;
    let user = user.map_err(|error| failure::change(error, call.form))?;
    let mut xml = Xml::default();
    xml.node("User", |xml| write(xml, &user, true));
    Ok(Some(xml))
}

pub(super) fn get(call: &Call<'_>) -> Told {
    let mut xml = Xml::default();
    let Some(name) = named(call)? else {
        // The root user has no name.
        let account = call.scope.account();
        let snapshot = call.scope.node.identity().snapshot();
        xml.node("User", |xml| {
            xml.leaf("UserId", account);
            xml.leaf("Arn", call.scope.caller.arn());
            xml.leaf_if("CreateDate", snapshot.account(account).map(|account| time(account.created_at)));
        });
        return Ok(Some(xml));
    };
    let snapshot = call.scope.node.identity().snapshot();
    let user = snapshot.members(call.scope.account()).user(&name);
    let user = user.ok_or_else(|| failure::not_found(Noun::User, call.form))?;
    xml.node("User", |xml| write(xml, user, true));
    Ok(Some(xml))
}

pub(super) fn list(call: &Call<'_>) -> Told {
    let prefix = page::path_prefix(call.form)?;
    let snapshot = call.scope.node.identity().snapshot();
    let users = snapshot.members(call.scope.account()).users().filter(|user| user.path.starts_with(&prefix));
    let page = Page::of(call.form, users, |user| user.name.as_str())?;
    let mut xml = Xml::default();
    xml.list("Users", &page.items, |xml, user| write(xml, user, false));
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("UserName", LOOKUP_CHARS_MAX);
    let new = checked.name_if("NewUserName", NAME_CHARS_MAX);
    let path = checked.path_if("NewPath");
    checked.done()?;
    let account = call.scope.account().clone();
    let updated = call.scope.node.identity().update_user(account, name, path, new).await;
    updated.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn delete(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("UserName", LOOKUP_CHARS_MAX);
    checked.done()?;
    let deleted = call.scope.node.identity().delete_user(call.scope.account().clone(), name).await;
    deleted.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

/// The user that a request names, or else who makes it; `None` for the root user.
pub(super) fn named(call: &Call<'_>) -> Result<Option<String>, ApiError> {
    let mut checked = Checked::new(call.form);
    let name = checked.name_if("UserName", LOOKUP_CHARS_MAX);
    checked.done()?;
    match (name, &call.scope.caller.principal) {
        (Some(name), _) => Ok(Some(name)),
        (None, Principal::Root) => Ok(None),
        (None, Principal::User { name, .. }) => Ok(Some(name.clone())),
        (None, Principal::Session { .. } | Principal::Anonymous) => Err(ApiError::bad_request(
            "ValidationError",
            "Must specify userName when calling with non-User credentials",
        )),
    }
}

/// A user; lists of users leave tags out.
pub(super) fn write(xml: &mut Xml, user: &User, is_whole: bool) {
    xml.leaf("Path", &user.path);
    xml.leaf("UserName", &user.name);
    xml.leaf("UserId", &user.id);
    xml.leaf("Arn", user.arn());
    xml.leaf("CreateDate", time(user.created_at));
    if is_whole && !user.tags.is_empty() {
        tags::write(xml, &user.tags);
    }
    if is_whole {
        boundaries::write(xml, user.boundary.as_deref());
    }
}
