//! Access keys: of the user named, or of who asks.

use updraft_node::identity::Noun;
use updraft_types::iam::{AccessKey, KeyStatus};

use super::{Call, Told, failure, page::Page, time, users::named};
use crate::query_protocol::{Checked, Xml};

pub(super) async fn create(call: &Call<'_>) -> Told {
    let user = named(call)?;
    let created = call.scope.node.identity().create_key(call.scope.account().clone(), user).await;
    let (key, secret) = created.map_err(|error| failure::change(error, call.form))?;
    let mut xml = Xml::default();
    xml.node("AccessKey", |xml| {
        write(xml, &key);
        xml.leaf("SecretAccessKey", secret.expose());
    });
    Ok(Some(xml))
}

pub(super) fn list(call: &Call<'_>) -> Told {
    let user = named(call)?;
    let snapshot = call.scope.node.identity().snapshot();
    let account = call.scope.account();
    if let Some(name) = &user {
        let found = snapshot.members(account).user(name);
        found.ok_or_else(|| failure::not_found(Noun::User, call.form))?;
    }
    let mut keys = snapshot.keys_of(account, user.as_deref());
    keys.sort_by(|one, other| one.id.cmp(&other.id));
    let page = Page::of(call.form, keys.iter(), |key| key.id.as_str())?;
    let mut xml = Xml::default();
    xml.list("AccessKeyMetadata", &page.items, |xml, key| write(xml, key));
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call<'_>) -> Told {
    let user = named(call)?;
    let mut checked = Checked::new(call.form);
    let id = checked.required("AccessKeyId", 16, 128);
    checked.required("Status", 1, 20);
    let status = checked.one_of("Status", &["Active", "Inactive"]);
    checked.done()?;
    let status = if status.as_deref() == Some("Active") { KeyStatus::Active } else { KeyStatus::Inactive };
    let account = call.scope.account().clone();
    let updated = call.scope.node.identity().set_key_status(account, user, id, status).await;
    updated.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn delete(call: &Call<'_>) -> Told {
    let user = named(call)?;
    let mut checked = Checked::new(call.form);
    let id = checked.required("AccessKeyId", 16, 128);
    checked.done()?;
    let deleted = call.scope.node.identity().delete_key(call.scope.account().clone(), user, id).await;
    deleted.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

fn write(xml: &mut Xml, key: &AccessKey) {
    xml.leaf_if("UserName", key.user.as_ref());
    xml.leaf("AccessKeyId", &key.id);
    xml.leaf("Status", key.status.as_str());
    xml.leaf("CreateDate", time(key.created_at));
}
