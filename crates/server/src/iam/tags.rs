//! Tags, of users, roles and policies alike: the operation's name says of which.
//!
//! Keys are kept as they are written and have no case: nothing has two that differ in that alone, for conditions could not tell
//! them apart (source: IAM user guide, «Tags for IAM resources»).

use updraft_node::identity::{Noun, Tagged, Tags};
use updraft_types::iam::TAGS_MAX;

use super::{Call, Told, failure, page::Page, policies, roles};
use crate::{
    api_error::ApiError,
    query_protocol::{Checked, Form, Xml},
    tags::twice,
};

/// Longest key, characters.
const KEY_CHARS_MAX: usize = 128;
/// Longest value, characters.
const VALUE_CHARS_MAX: usize = 256;
/// What a key that is there twice is to IAM.
pub(super) const TWICE: &str = "InvalidInput";

pub(super) async fn add(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let tags = read(call.form, &mut checked, TWICE);
    checked.done()?;
    change(call, tags, Vec::new()).await
}

pub(super) async fn remove(call: &Call<'_>) -> Told {
    let keys = call.form.list("TagKeys").into_iter().map(str::to_owned).collect();
    change(call, Tags::new(), keys).await
}

async fn change(call: &Call<'_>, tags: Tags, gone: Vec<String>) -> Told {
    let what = named(call)?;
    let changed = call.scope.node.identity().tag(call.scope.account().clone(), what, tags, gone).await;
    changed.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) fn list(call: &Call<'_>) -> Told {
    let what = named(call)?;
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    let arn = call.form.get("PolicyArn").unwrap_or_default();
    let (tags, noun) = match &what {
        Tagged::User(name) => (members.user(name).map(|user| &user.tags), Noun::User),
        Tagged::Role(name) => (members.role(name).map(|role| &role.tags), Noun::Role),
        Tagged::Policy(_) => (members.policy(arn).map(|policy| &policy.tags), Noun::Policy),
    };
    let tags = tags.ok_or_else(|| failure::not_found(noun, call.form))?;
    let page = Page::of(call.form, tags.iter(), |(key, _)| key.as_str())?;
    let mut xml = Xml::default();
    xml.list("Tags", &page.items, |xml, (key, value)| pair(xml, key, value));
    page.end(&mut xml);
    Ok(Some(xml))
}

fn named(call: &Call<'_>) -> Result<Tagged, ApiError> {
    let action = call.form.action();
    if action.contains("Policy") {
        return Ok(Tagged::Policy(policies::own_name(call)?));
    }
    let mut checked = Checked::new(call.form);
    let what = if action.contains("Role") {
        Tagged::Role(checked.name("RoleName", roles::NAME_CHARS_MAX))
    } else {
        Tagged::User(checked.name("UserName", 128))
    };
    checked.done()?;
    Ok(what)
}

/// The tags of a request. A key that is there twice is refused, with the service's code for that.
pub(crate) fn read(form: &Form, checked: &mut Checked<'_>, code_of_twice: &'static str) -> Tags {
    let pairs = form.pairs("Tags");
    if twice(pairs.iter().map(|(key, _)| *key)).is_some() {
        let text = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
        checked.refuse(ApiError::bad_request(code_of_twice, text));
    }
    if pairs.len() > TAGS_MAX {
        let text = format!("[{} tags]", pairs.len());
        checked.add("Tags", &text, &format!("Member must have length less than or equal to {TAGS_MAX}"));
    }
    let allowed = |char: char| char.is_alphanumeric() || char.is_whitespace() || "_.:/=+-@".contains(char);
    for (number, (key, value)) in (1..).zip(&pairs) {
        let (key_name, value_name) = (format!("tags.{number}.member.key"), format!("tags.{number}.member.value"));
        let length = key.chars().count();
        if length == 0 {
            checked.add(&key_name, key, "Member must have length greater than or equal to 1");
        } else if length > KEY_CHARS_MAX {
            checked.add(&key_name, key, &format!("Member must have length less than or equal to {KEY_CHARS_MAX}"));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            let constraint = format!("Member must have length less than or equal to {VALUE_CHARS_MAX}");
            checked.add(&value_name, value, &constraint);
        }
        if !key.chars().all(allowed) {
            let pattern = r"Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+";
            checked.add(&key_name, key, pattern);
        }
        if !value.chars().all(allowed) {
            let pattern = r"Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*";
            checked.add(&value_name, value, pattern);
        }
    }
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// `Tags`, as records hold them.
pub(super) fn write(xml: &mut Xml, tags: &Tags) {
    xml.list("Tags", tags, |xml, (key, value)| pair(xml, key, value));
}

fn pair(xml: &mut Xml, key: &str, value: &str) {
    xml.leaf("Key", key);
    xml.leaf("Value", value);
}
