//! Managed policies: the account's own, and those that are built in.

use updraft_node::identity::{
    Draft, Members, Noun,
    managed::{self, Managed},
};
use updraft_types::{
    Timestamp,
    iam::{Grants, Policy, PolicyVersion},
};

use super::{
    Call, Told, failure,
    grants::check_arn,
    page::{self, Page},
    tags, time,
};
use crate::{
    api_error::ApiError,
    query_protocol::{Checked, Xml},
};

/// Longest name.
const NAME_CHARS_MAX: usize = 128;

pub(super) async fn create(call: &Call<'_>) -> Told {
    let mut checked = Checked::new(call.form);
    let name = checked.name("PolicyName", NAME_CHARS_MAX);
    let path = checked.path();
    let document = checked.document("PolicyDocument");
    let description = checked.optional("Description", 0, 1_000);
    let tags = tags::read(call.form, &mut checked, tags::TWICE);
    checked.done()?;
    let draft = Draft { account: call.scope.account().clone(), path, name, tags, boundary: None };
    let policy = call.scope.node.identity().create_policy(draft, document, description).await;
    let policy = policy.map_err(|error| failure::change(error, call.form))?;
    let mut xml = Xml::default();
    xml.node("Policy", |xml| Shown::own(&policy, Uses::default()).write(xml, true));
    Ok(Some(xml))
}

pub(super) fn get(call: &Call<'_>) -> Told {
    let arn = arn(call)?;
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    let count = Uses::of(members, &arn);
    let mut xml = Xml::default();
    let shown = match (managed::by_arn(&arn), members.policy(&arn)) {
        (Some(policy), _) => Shown::managed(policy, count),
        (None, Some(policy)) => Shown::own(policy, count),
        (None, None) => return Err(failure::not_found(Noun::Policy, call.form)),
    };
    xml.node("Policy", |xml| shown.write(xml, true));
    Ok(Some(xml))
}

pub(super) fn list(call: &Call<'_>) -> Told {
    let prefix = page::path_prefix(call.form)?;
    let mut checked = Checked::new(call.form);
    let scope = checked.one_of("Scope", &["All", "AWS", "Local"]).unwrap_or_else(|| "All".to_owned());
    let usage = checked.one_of("PolicyUsageFilter", &["PermissionsPolicy", "PermissionsBoundary"]);
    let only_attached = checked.one_of("OnlyAttached", &["true", "false"]).as_deref() == Some("true");
    checked.done()?;
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    let mut all: Vec<Shown<'_>> = Vec::new();
    if scope != "Local" {
        all.extend(managed::all().iter().map(|policy| Shown::managed(policy, Uses::of(members, &policy.arn()))));
    }
    if scope != "AWS" {
        all.extend(members.policies().map(|policy| Shown::own(policy, Uses::of(members, &policy.arn()))));
    }
    all.retain(|policy| policy.path.starts_with(&prefix) && (policy.uses.attachments > 0 || !only_attached));
    match usage.as_deref() {
        Some("PermissionsBoundary") => all.retain(|policy| policy.uses.boundaries > 0),
        Some(_) => all.retain(|policy| policy.uses.attachments > 0),
        None => {}
    }
    all.sort_by(|one, other| one.arn.cmp(&other.arn));
    let page = Page::of(call.form, all.iter(), |policy| policy.arn.as_str())?;
    let mut xml = Xml::default();
    xml.list("Policies", &page.items, |xml, policy| policy.write(xml, false));
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) async fn delete(call: &Call<'_>) -> Told {
    let name = own_name(call)?;
    let deleted = call.scope.node.identity().delete_policy(call.scope.account().clone(), name).await;
    deleted.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

/// ListEntitiesForPolicy: whom a policy is attached to.
pub(super) fn entities(call: &Call<'_>) -> Told {
    let arn = arn(call)?;
    let mut checked = Checked::new(call.form);
    let filters = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];
    let filter = checked.one_of("EntityFilter", &filters);
    let usage = checked.one_of("PolicyUsageFilter", &["PermissionsPolicy", "PermissionsBoundary"]);
    checked.done()?;
    let prefix = page::path_prefix(call.form)?;
    let snapshot = call.scope.node.identity().snapshot();
    let members = snapshot.members(call.scope.account());
    if managed::by_arn(&arn).is_none() && members.policy(&arn).is_none() {
        return Err(failure::not_found(Noun::Policy, call.form));
    }
    let wants = |kind: &str| filter.as_deref().is_none_or(|filter| filter == kind);
    // Users, groups and roles are one list as far as pages go.
    let uses = |grants: &Grants, boundary: &Option<String>| {
        let (is_attached, is_boundary) = (grants.attached.contains(&arn), boundary.as_ref() == Some(&arn));
        match usage.as_deref() {
            Some("PermissionsBoundary") => is_boundary,
            Some(_) => is_attached,
            None => is_attached || is_boundary,
        }
    };
    let users = members.users().filter(|user| wants("User") && uses(&user.grants, &user.boundary));
    let roles = members.roles().filter(|role| wants("Role") && uses(&role.grants, &role.boundary));
    let groups = members.groups().filter(|group| wants("Group") && uses(&group.grants, &None));
    let groups = groups.map(|group| (format!("group/{}", group.name), &group.path, &group.name, &group.id));
    let users = users.map(|user| (format!("user/{}", user.name), &user.path, &user.name, &user.id));
    let roles = roles.map(|role| (format!("role/{}", role.name), &role.path, &role.name, &role.id));
    let mut all: Vec<_> = users.chain(groups).chain(roles).filter(|(_, path, ..)| path.starts_with(&prefix)).collect();
    all.sort();
    let page = Page::of(call.form, all.iter(), |(key, ..)| key.as_str())?;
    let mut xml = Xml::default();
    for (list, kind) in [("PolicyGroups", "Group"), ("PolicyUsers", "User"), ("PolicyRoles", "Role")] {
        let of_kind = page.items.iter().filter(|(key, ..)| match kind {
            "User" => key.starts_with("user/"),
            "Role" => key.starts_with("role/"),
            _ => key.starts_with("group/"),
        });
        xml.list(list, of_kind, |xml, (_, _, name, id)| {
            xml.leaf(&format!("{kind}Name"), name);
            xml.leaf(&format!("{kind}Id"), id);
        });
    }
    page.end(&mut xml);
    Ok(Some(xml))
}

pub(super) async fn create_version(call: &Call<'_>) -> Told {
    let name = own_name(call)?;
    let mut checked = Checked::new(call.form);
    let document = checked.document("PolicyDocument");
    let is_default = checked.one_of("SetAsDefault", &["true", "false"]).as_deref() == Some("true");
    checked.done()?;
    let account = call.scope.account().clone();
    let added = call.scope.node.identity().add_policy_version(account, name, document, is_default).await;
    let (policy, number) = added.map_err(|error| failure::change(error, call.form))?;
    let mut xml = Xml::default();
    xml.node("PolicyVersion", |xml| {
        if let Some(version) = policy.versions.get(&number) {
            write_version(xml, &policy, number, version);
        }
    });
    Ok(Some(xml))
}

pub(super) fn get_version(call: &Call<'_>) -> Told {
    let arn = arn(call)?;
    let number = version(call)?;
    let snapshot = call.scope.node.identity().snapshot();
    let mut xml = Xml::default();
    if let Some(policy) = managed::by_arn(&arn).filter(|_| number == 1) {
        xml.node("PolicyVersion", |xml| {
            xml.document("Document", policy.text);
            write_version_head(xml, 1, true, managed::CREATED_AT);
        });
        return Ok(Some(xml));
    }
    let Some(policy) = snapshot.members(call.scope.account()).policy(&arn) else {
        let noun = if managed::by_arn(&arn).is_some() { Noun::PolicyVersion } else { Noun::Policy };
        return Err(failure::not_found(noun, call.form));
    };
    let version = policy.versions.get(&number);
    let version = version.ok_or_else(|| failure::not_found(Noun::PolicyVersion, call.form))?;
    xml.node("PolicyVersion", |xml| {
        xml.document("Document", &version.document);
        write_version(xml, policy, number, version);
    });
    Ok(Some(xml))
}

pub(super) fn list_versions(call: &Call<'_>) -> Told {
    let arn = arn(call)?;
    let snapshot = call.scope.node.identity().snapshot();
    let mut xml = Xml::default();
    if managed::by_arn(&arn).is_some() {
        xml.list("Versions", [()], |xml, ()| write_version_head(xml, 1, true, managed::CREATED_AT));
        xml.leaf("IsTruncated", false);
        return Ok(Some(xml));
    }
    let policy = snapshot.members(call.scope.account()).policy(&arn);
    let policy = policy.ok_or_else(|| failure::not_found(Noun::Policy, call.form))?;
    // Five at most, newest first; a page of them is what is left after the marker, so there is one page.
    xml.list("Versions", policy.versions.iter().rev(), |xml, (number, version)| {
        write_version(xml, policy, *number, version);
    });
    xml.leaf("IsTruncated", false);
    Ok(Some(xml))
}

pub(super) async fn delete_version(call: &Call<'_>) -> Told {
    let (name, number) = (own_name(call)?, version(call)?);
    let account = call.scope.account().clone();
    let deleted = call.scope.node.identity().delete_policy_version(account, name, number).await;
    deleted.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

pub(super) async fn set_default(call: &Call<'_>) -> Told {
    let (name, number) = (own_name(call)?, version(call)?);
    let account = call.scope.account().clone();
    let set = call.scope.node.identity().set_default_policy_version(account, name, number).await;
    set.map_err(|error| failure::change(error, call.form))?;
    Ok(None)
}

fn arn(call: &Call<'_>) -> Result<String, ApiError> {
    let mut checked = Checked::new(call.form);
    let arn = checked.required("PolicyArn", 20, 2_048);
    checked.done()?;
    check_arn(&arn)?;
    Ok(arn)
}

/// The name of the account's own policy that a request is about; the built-in ones cannot be changed.
pub(super) fn own_name(call: &Call<'_>) -> Result<String, ApiError> {
    let arn = arn(call)?;
    if managed::by_arn(&arn).is_some() {
        let text = format!("Policy {arn} is managed by the platform and cannot be changed.");
        return Err(ApiError::new(http::StatusCode::FORBIDDEN, "AccessDenied", text));
    }
    let snapshot = call.scope.node.identity().snapshot();
    let policy = snapshot.members(call.scope.account()).policy(&arn);
    Ok(policy.ok_or_else(|| failure::not_found(Noun::Policy, call.form))?.name.clone())
}

/// `v3`
fn version(call: &Call<'_>) -> Result<u32, ApiError> {
    let mut checked = Checked::new(call.form);
    let text = checked.required("VersionId", 1, 20);
    let number =
        text.strip_prefix('v').filter(|digits| !digits.starts_with('0')).and_then(|digits| digits.parse().ok());
    if number.is_none() && call.form.get("VersionId").is_some() {
        let pattern = r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?";
        checked.add("VersionId", &text, &format!("Member must satisfy regular expression pattern: {pattern}"));
    }
    checked.done()?;
    Ok(number.unwrap_or_default())
}

fn write_version(xml: &mut Xml, policy: &Policy, number: u32, version: &PolicyVersion) {
    write_version_head(xml, number, policy.default_version == number, version.created_at);
}

fn write_version_head(xml: &mut Xml, number: u32, is_default: bool, created_at: Timestamp) {
    xml.leaf("VersionId", format!("v{number}"));
    xml.leaf("IsDefaultVersion", is_default);
    xml.leaf("CreateDate", time(created_at));
}

/// What is told of a policy, whoever provides it.
struct Shown<'a> {
    name: &'a str,
    id: String,
    arn: String,
    path: &'a str,
    default_version: u32,
    uses: Uses,
    description: Option<&'a str>,
    created_at: Timestamp,
    updated_at: Timestamp,
    tags: Option<&'a updraft_node::identity::Tags>,
}

/// How many users, groups and roles have a policy, and as what.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    attachments: usize,
    boundaries: usize,
}

impl Uses {
    fn of(members: &Members, arn: &str) -> Self {
        Self { attachments: members.attachments(arn), boundaries: members.bounded(arn) }
    }
}

impl<'a> Shown<'a> {
    fn own(policy: &'a Policy, uses: Uses) -> Self {
        Self {
            name: &policy.name,
            id: policy.id.clone(),
            arn: policy.arn(),
            path: &policy.path,
            default_version: policy.default_version,
            uses,
            description: policy.description.as_deref(),
            created_at: policy.created_at,
            updated_at: policy.updated_at,
            tags: Some(&policy.tags).filter(|tags| !tags.is_empty()),
        }
    }

    fn managed(policy: &'a Managed, uses: Uses) -> Self {
        Self {
            name: policy.name,
            id: policy.id(),
            arn: policy.arn(),
            path: policy.path,
            default_version: 1,
            uses,
            description: Some(policy.description),
            created_at: managed::CREATED_AT,
            updated_at: managed::CREATED_AT,
            tags: None,
        }
    }

    /// Lists of policies leave descriptions and tags out.
    fn write(&self, xml: &mut Xml, is_whole: bool) {
        xml.leaf("PolicyName", self.name);
        xml.leaf("PolicyId", &self.id);
        xml.leaf("Arn", &self.arn);
        xml.leaf("Path", self.path);
        xml.leaf("DefaultVersionId", format!("v{}", self.default_version));
        xml.leaf("AttachmentCount", self.uses.attachments);
        xml.leaf("PermissionsBoundaryUsageCount", self.uses.boundaries);
        xml.leaf("IsAttachable", true);
        if is_whole {
            xml.leaf_if("Description", self.description);
        }
        xml.leaf("CreateDate", time(self.created_at));
        xml.leaf("UpdateDate", time(self.updated_at));
        if let Some(tags) = self.tags.filter(|_| is_whole) {
            tags::write(xml, tags);
        }
    }
}
