//! IAM, STS and the accounts door over real connections, in front of a real node. Requests are the root user's.

use serde_json::json;

use crate::platform::{Answer, Platform};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}]}"#;
const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

async fn ask(platform: &Platform, service: &str, action: &str, parameters: &[(&str, &str)]) -> Answer {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action).append_pair("Version", "2010-05-08").extend_pairs(parameters);
    let scope =
        format!("AWS4-HMAC-SHA256 Credential=test/20261127/us-east-1/{service}/aws4_request, SignedHeaders=host");
    let headers = [("authorization", scope.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    platform.send("POST", "/", &headers, &form.finish()).await
}

async fn iam(platform: &Platform, action: &str, parameters: &[(&str, &str)]) -> Answer {
    ask(platform, "iam", action, parameters).await
}

/// The answer's text, of an operation that succeeded.
#[track_caller]
fn text(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{text}");
    assert_eq!(answer.header("content-type"), "text/xml");
    assert!(text.contains(&format!("<RequestId>{}</RequestId>", answer.header("x-amzn-requestid"))), "{text}");
    text
}

/// What stands between `<name>` and `</name>`, every time.
fn all(text: &str, name: &str) -> Vec<String> {
    let open = format!("<{name}>");
    let end = format!("</{name}>");
    text.split(&open).skip(1).map(|rest| rest.split_once(&end).map_or("", |(value, _)| value).to_owned()).collect()
}

fn one(text: &str, name: &str) -> String {
    let mut found = all(text, name);
    assert_eq!(found.len(), 1, "{name} in {text}");
    found.remove(0)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, message: &str) {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, answer.code()), (status, code), "{text}");
    assert_eq!(one(&text, "Code"), code);
    assert_eq!(one(&text, "Message").replace("&quot;", "\""), message);
}

#[tokio::test]
async fn a_role_lives_from_create_to_delete() {
    let platform = Platform::start().await;
    let parameters = [
        ("RoleName", "runner"),
        ("Path", "/service-role/"),
        ("AssumeRolePolicyDocument", TRUST),
        ("Description", "runs <things>"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "core"),
    ];
    let created = text(&iam(&platform, "CreateRole", &parameters).await);
    assert!(
        created
            .starts_with("<CreateRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><CreateRoleResult>")
    );
    assert_eq!(one(&created, "Arn"), "arn:aws:iam::000000000000:role/service-role/runner");
    assert_eq!((one(&created, "RoleId").len(), one(&created, "MaxSessionDuration")), (21, "3600".to_owned()));
    assert_eq!(one(&created, "Description"), "runs &lt;things&gt;");
    assert!(one(&created, "AssumeRolePolicyDocument").starts_with("%7B%22Version%22%3A%222012-10-17%22"));
    assert_eq!((one(&created, "Key"), one(&created, "Value")), ("team".into(), "core".into()));
    let twice = iam(&platform, "CreateRole", &[("RoleName", "Runner"), ("AssumeRolePolicyDocument", TRUST)]).await;
    refused(&twice, 409, "EntityAlreadyExists", "Role with name Runner already exists.");

    let name = ("RoleName", "runner");
    text(&iam(&platform, "UpdateRole", &[name, ("MaxSessionDuration", "7200")]).await);
    let got = text(&iam(&platform, "GetRole", &[name]).await);
    assert_eq!(
        (one(&got, "MaxSessionDuration"), one(&got, "Description")),
        ("7200".into(), "runs &lt;things&gt;".into())
    );
    assert_eq!(one(&got, "RoleId"), one(&created, "RoleId"));

    let basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
    text(&iam(&platform, "AttachRolePolicy", &[name, ("PolicyArn", basic)]).await);
    let attached = text(&iam(&platform, "ListAttachedRolePolicies", &[name]).await);
    assert_eq!(
        (one(&attached, "PolicyName"), one(&attached, "PolicyArn")),
        ("AWSLambdaBasicExecutionRole".into(), basic.into())
    );
    assert_eq!(one(&attached, "IsTruncated"), "false");
    text(&iam(&platform, "PutRolePolicy", &[name, ("PolicyName", "own"), ("PolicyDocument", ALLOW)]).await);
    assert_eq!(all(&text(&iam(&platform, "ListRolePolicies", &[name]).await), "member"), ["own"]);
    let own = text(&iam(&platform, "GetRolePolicy", &[name, ("PolicyName", "own")]).await);
    let document = one(&own, "PolicyDocument");
    assert_eq!(percent_encoding::percent_decode_str(&document).decode_utf8().unwrap(), ALLOW);

    let delete = iam(&platform, "DeleteRole", &[name]).await;
    refused(&delete, 409, "DeleteConflict", "Cannot delete entity, must detach all policies first.");
    text(&iam(&platform, "DetachRolePolicy", &[name, ("PolicyArn", basic)]).await);
    let again = iam(&platform, "DetachRolePolicy", &[name, ("PolicyArn", basic)]).await;
    refused(&again, 404, "NoSuchEntity", &format!("Policy {basic} was not found."));
    let delete = iam(&platform, "DeleteRole", &[name]).await;
    refused(&delete, 409, "DeleteConflict", "Cannot delete entity, must delete policies first.");
    text(&iam(&platform, "DeleteRolePolicy", &[name, ("PolicyName", "own")]).await);
    assert!(!text(&iam(&platform, "DeleteRole", &[name]).await).contains("Result"));
    let gone = iam(&platform, "GetRole", &[name]).await;
    refused(&gone, 404, "NoSuchEntity", "The role with name runner cannot be found.");
    platform.stop().await;
}

#[tokio::test]
async fn a_user_and_its_keys() {
    let platform = Platform::start().await;
    let name = ("UserName", "ada");
    text(&iam(&platform, "CreateUser", &[name]).await);
    let key = text(&iam(&platform, "CreateAccessKey", &[name]).await);
    let id = one(&key, "AccessKeyId");
    assert_eq!((id.len(), one(&key, "SecretAccessKey").len(), one(&key, "UserName")), (20, 40, "ada".into()));
    text(&iam(&platform, "CreateAccessKey", &[name]).await);
    let third = iam(&platform, "CreateAccessKey", &[name]).await;
    refused(&third, 409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2");
    text(&iam(&platform, "UpdateAccessKey", &[name, ("AccessKeyId", &id), ("Status", "Inactive")]).await);
    let listed = text(&iam(&platform, "ListAccessKeys", &[name]).await);
    assert!(!listed.contains("Secret") && all(&listed, "Status").contains(&"Inactive".to_owned()), "{listed}");
    let info = text(&ask(&platform, "sts", "GetAccessKeyInfo", &[("AccessKeyId", &id)]).await);
    assert_eq!(one(&info, "Account"), "000000000000");

    let delete = iam(&platform, "DeleteUser", &[name]).await;
    refused(&delete, 409, "DeleteConflict", "Cannot delete entity, must delete access keys first.");
    for id in all(&listed, "AccessKeyId") {
        text(&iam(&platform, "DeleteAccessKey", &[name, ("AccessKeyId", &id)]).await);
    }
    let gone = iam(&platform, "DeleteAccessKey", &[name, ("AccessKeyId", &id)]).await;
    refused(&gone, 404, "NoSuchEntity", &format!("The Access Key with id {id} cannot be found."));
    text(&iam(&platform, "UpdateUser", &[name, ("NewUserName", "lovelace"), ("NewPath", "/team/")]).await);
    let got = text(&iam(&platform, "GetUser", &[("UserName", "lovelace")]).await);
    assert_eq!(one(&got, "Arn"), "arn:aws:iam::000000000000:user/team/lovelace");
    text(&iam(&platform, "DeleteUser", &[("UserName", "lovelace")]).await);
    let gone = iam(&platform, "GetUser", &[("UserName", "lovelace")]).await;
    refused(&gone, 404, "NoSuchEntity", "The user with name lovelace cannot be found.");
    // Without a name it is who asks.
    assert_eq!(one(&text(&iam(&platform, "GetUser", &[]).await), "Arn"), "arn:aws:iam::000000000000:root");
    platform.stop().await;
}

#[tokio::test]
async fn a_managed_policy_and_its_versions() {
    let platform = Platform::start().await;
    let arn = ("PolicyArn", "arn:aws:iam::000000000000:policy/reads");
    let missing = iam(&platform, "GetPolicy", &[arn]).await;
    refused(&missing, 404, "NoSuchEntity", &format!("Policy {} was not found.", arn.1));
    let create = [("PolicyName", "reads"), ("PolicyDocument", ALLOW), ("Description", "d")];
    let created = text(&iam(&platform, "CreatePolicy", &create).await);
    assert_eq!((one(&created, "Arn"), one(&created, "DefaultVersionId")), (arn.1.to_owned(), "v1".to_owned()));
    let twice = iam(&platform, "CreatePolicy", &create).await;
    let message = "A policy called reads already exists. Duplicate names are not allowed.";
    refused(&twice, 409, "EntityAlreadyExists", message);

    let two = [arn, ("PolicyDocument", ALLOW), ("SetAsDefault", "true")];
    let two = text(&iam(&platform, "CreatePolicyVersion", &two).await);
    assert_eq!((one(&two, "VersionId"), one(&two, "IsDefaultVersion")), ("v2".into(), "true".into()));
    let listed = text(&iam(&platform, "ListPolicyVersions", &[arn]).await);
    assert_eq!(all(&listed, "VersionId"), ["v2", "v1"]);
    let default = iam(&platform, "DeletePolicyVersion", &[arn, ("VersionId", "v2")]).await;
    refused(&default, 409, "DeleteConflict", "Cannot delete the default version of a policy.");
    text(&iam(&platform, "SetDefaultPolicyVersion", &[arn, ("VersionId", "v1")]).await);
    text(&iam(&platform, "DeletePolicyVersion", &[arn, ("VersionId", "v2")]).await);
    let gone = iam(&platform, "GetPolicyVersion", &[arn, ("VersionId", "v2")]).await;
    let message = format!("Policy {} version v2 does not exist or is not attachable.", arn.1);
    refused(&gone, 404, "NoSuchEntity", &message);

    text(&iam(&platform, "CreateUser", &[("UserName", "ada")]).await);
    text(&iam(&platform, "AttachUserPolicy", &[("UserName", "ada"), arn]).await);
    assert_eq!(one(&text(&iam(&platform, "GetPolicy", &[arn]).await), "AttachmentCount"), "1");
    let entities = text(&iam(&platform, "ListEntitiesForPolicy", &[arn]).await);
    assert_eq!((one(&entities, "UserName"), one(&entities, "PolicyRoles")), ("ada".into(), String::new()));
    let attached = iam(&platform, "DeletePolicy", &[arn]).await;
    refused(&attached, 409, "DeleteConflict", "Cannot delete a policy attached to entities.");
    text(&iam(&platform, "DetachUserPolicy", &[("UserName", "ada"), arn]).await);
    text(&iam(&platform, "DeletePolicy", &[arn]).await);

    let admin = ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess");
    let version = text(&iam(&platform, "GetPolicyVersion", &[admin, ("VersionId", "v1")]).await);
    assert!(one(&version, "Document").contains("Allow"));
    let unknown = [("UserName", "ada"), ("PolicyArn", "arn:aws:iam::aws:policy/NoSuchPolicy")];
    let message = format!("Policy {} does not exist or is not attachable.", unknown[1].1);
    refused(&iam(&platform, "AttachUserPolicy", &unknown).await, 404, "NoSuchEntity", &message);
    assert_eq!(iam(&platform, "DeletePolicy", &[admin]).await.status, 403);
    platform.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let platform = Platform::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        let path = if name == "e" { "/other/" } else { "/" };
        text(&iam(&platform, "CreateUser", &[("UserName", name), ("Path", path)]).await);
    }
    let (mut names, mut marker) = (Vec::new(), None::<String>);
    loop {
        let mut parameters = vec![("MaxItems", "2")];
        parameters.extend(marker.as_deref().map(|marker| ("Marker", marker)));
        let page = text(&iam(&platform, "ListUsers", &parameters).await);
        names.extend(all(&page, "UserName"));
        if one(&page, "IsTruncated") == "false" {
            assert!(!page.contains("<Marker>"));
            break;
        }
        marker = Some(one(&page, "Marker"));
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let other = text(&iam(&platform, "ListUsers", &[("PathPrefix", "/other/")]).await);
    assert_eq!(all(&other, "UserName"), ["e"]);
    assert_eq!(iam(&platform, "ListUsers", &[("Marker", "%%%")]).await.code(), "ValidationError");
    assert_eq!(iam(&platform, "ListUsers", &[("MaxItems", "1001")]).await.code(), "ValidationError");
    let policies = text(&iam(&platform, "ListPolicies", &[("Scope", "AWS"), ("PathPrefix", "/service-role/")]).await);
    assert!(all(&policies, "PolicyName").contains(&"AWSLambdaBasicExecutionRole".to_owned()));
    platform.stop().await;
}

#[tokio::test]
async fn tags_are_added_listed_and_removed() {
    let platform = Platform::start().await;
    let name = ("UserName", "ada");
    text(&iam(&platform, "CreateUser", &[name]).await);
    let add = [name, ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "1"), ("Tags.member.2.Key", "b")];
    text(&iam(&platform, "TagUser", &add).await);
    let listed = text(&iam(&platform, "ListUserTags", &[name]).await);
    assert_eq!(
        (all(&listed, "Key"), all(&listed, "Value")),
        (vec!["a".into(), "b".into()], vec!["1".into(), String::new()])
    );
    text(&iam(&platform, "UntagUser", &[name, ("TagKeys.member.1", "a")]).await);
    assert_eq!(all(&text(&iam(&platform, "ListUserTags", &[name]).await), "Key"), ["b"]);
    let wrong = iam(&platform, "TagUser", &[name, ("Tags.member.1.Key", "<")]).await;
    assert_eq!((wrong.status, wrong.code()), (400, "ValidationError"));
    platform.stop().await;
}

#[tokio::test]
async fn sessions_are_given_to_whom_the_role_trusts() {
    let platform = Platform::start().await;
    let identity = text(&ask(&platform, "sts", "GetCallerIdentity", &[]).await);
    assert!(identity.contains("xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\""));
    assert_eq!(
        (one(&identity, "Account"), one(&identity, "Arn")),
        ("000000000000".into(), "arn:aws:iam::000000000000:root".into())
    );
    text(&iam(&platform, "CreateRole", &[("RoleName", "open"), ("AssumeRolePolicyDocument", TRUST)]).await);
    let lambda = TRUST.replace("\"AWS\":\"000000000000\"", "\"Service\":\"lambda.amazonaws.com\"");
    text(&iam(&platform, "CreateRole", &[("RoleName", "shut"), ("AssumeRolePolicyDocument", &lambda)]).await);

    let role = ("RoleArn", "arn:aws:iam::000000000000:role/open");
    let session = ("RoleSessionName", "s1");
    let assumed = text(&ask(&platform, "sts", "AssumeRole", &[role, session, ("DurationSeconds", "900")]).await);
    assert_eq!(one(&assumed, "Arn"), "arn:aws:sts::000000000000:assumed-role/open/s1");
    let (id, token) = (one(&assumed, "AccessKeyId"), one(&assumed, "SessionToken"));
    assert!(id.starts_with("ASIA"));
    let now = updraft_types::Timestamp::now();
    let held = platform.node.identity().credential(&id, Some(&token), now).unwrap();
    assert_eq!(held.secret.expose(), one(&assumed, "SecretAccessKey"));
    assert_eq!(held.caller.arn(), one(&assumed, "Arn"));

    for name in ["shut", "none"] {
        let arn = format!("arn:aws:iam::000000000000:role/{name}");
        let message = format!(
            "User: arn:aws:iam::000000000000:root is not authorized to perform: sts:AssumeRole on resource: {arn}"
        );
        refused(
            &ask(&platform, "sts", "AssumeRole", &[("RoleArn", &arn), session]).await,
            403,
            "AccessDenied",
            &message,
        );
    }
    let long = ask(&platform, "sts", "AssumeRole", &[role, session, ("DurationSeconds", "3601")]).await;
    let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    refused(&long, 400, "ValidationError", message);
    // The trust policy speaks of sts:AssumeRole alone.
    let more = [("Tags.member.1.Key", "a"), ("SourceIdentity", "ada")];
    for (parameter, action) in more.into_iter().zip(["sts:TagSession", "sts:SetSourceIdentity"]) {
        let answer = ask(&platform, "sts", "AssumeRole", &[role, session, parameter]).await;
        let message = format!(
            "User: arn:aws:iam::000000000000:root is not authorized to perform: {action} on resource: {}",
            role.1
        );
        refused(&answer, 403, "AccessDenied", &message);
    }
    let mfa = ask(&platform, "sts", "AssumeRole", &[role, session, ("TokenCode", "123456")]).await;
    assert_eq!((mfa.status, mfa.code()), (501, "NotImplementedException"));
    let policy = ask(&platform, "sts", "AssumeRole", &[role, session, ("Policy", "{}")]).await;
    refused(&policy, 400, "MalformedPolicyDocument", "Policy document must be version 2012-10-17 or greater.");
    let own = text(&ask(&platform, "sts", "GetSessionToken", &[]).await);
    let held = platform.node.identity().credential(&one(&own, "AccessKeyId"), Some(&one(&own, "SessionToken")), now);
    assert_eq!(held.unwrap().caller.arn(), "arn:aws:iam::000000000000:root");
    platform.stop().await;
}

#[tokio::test]
async fn a_boundary_is_kept_and_shown_and_keeps_its_policy() {
    let platform = Platform::start().await;
    let policy = [("PolicyName", "edge"), ("PolicyDocument", ALLOW)];
    let arn = one(&text(&iam(&platform, "CreatePolicy", &policy).await), "Arn");
    let boundary = ("PermissionsBoundary", arn.as_str());
    let made = text(&iam(&platform, "CreateUser", &[("UserName", "ada"), boundary]).await);
    assert_eq!(one(&made, "PermissionsBoundaryArn"), arn);
    let role = [("RoleName", "runner"), ("AssumeRolePolicyDocument", TRUST)];
    assert!(!text(&iam(&platform, "CreateRole", &role).await).contains("PermissionsBoundary"));
    text(&iam(&platform, "PutRolePermissionsBoundary", &[("RoleName", "runner"), boundary]).await);
    let shown = text(&iam(&platform, "GetRole", &[("RoleName", "runner")]).await);
    assert_eq!(
        (one(&shown, "PermissionsBoundaryType"), one(&shown, "PermissionsBoundaryArn")),
        ("Policy".into(), arn.clone())
    );
    let shown = text(&iam(&platform, "GetPolicy", &[("PolicyArn", &arn)]).await);
    assert_eq!(
        (one(&shown, "AttachmentCount"), one(&shown, "PermissionsBoundaryUsageCount")),
        ("0".into(), "2".into())
    );
    let usage = ("PolicyUsageFilter", "PermissionsBoundary");
    let entities = text(&iam(&platform, "ListEntitiesForPolicy", &[("PolicyArn", &arn), usage]).await);
    assert_eq!((one(&entities, "UserName"), one(&entities, "RoleName")), ("ada".into(), "runner".into()));
    assert_eq!(all(&text(&iam(&platform, "ListPolicies", &[usage]).await), "PolicyName"), ["edge"]);

    let delete = iam(&platform, "DeletePolicy", &[("PolicyArn", &arn)]).await;
    refused(&delete, 409, "DeleteConflict", "Cannot delete a policy attached to entities.");
    text(&iam(&platform, "DeleteRolePermissionsBoundary", &[("RoleName", "runner")]).await);
    text(&iam(&platform, "DeleteUserPermissionsBoundary", &[("UserName", "ada")]).await);
    assert!(!text(&iam(&platform, "GetUser", &[("UserName", "ada")]).await).contains("PermissionsBoundary"));
    text(&iam(&platform, "DeletePolicy", &[("PolicyArn", &arn)]).await);
    let gone = iam(&platform, "PutUserPermissionsBoundary", &[("UserName", "ada"), boundary]).await;
    refused(&gone, 404, "NoSuchEntity", &format!("Scope ARN: {arn} does not exist or is not attachable."));
    platform.stop().await;
}

#[tokio::test]
async fn a_session_carries_its_terms() {
    let platform = Platform::start().await;
    let trust = TRUST.replace("\"sts:AssumeRole\"", r#"["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]"#);
    text(&iam(&platform, "CreateRole", &[("RoleName", "open"), ("AssumeRolePolicyDocument", &trust)]).await);
    let policy = [("PolicyName", "edge"), ("PolicyDocument", ALLOW)];
    let arn = one(&text(&iam(&platform, "CreatePolicy", &policy).await), "Arn");
    let role = [("RoleArn", "arn:aws:iam::000000000000:role/open"), ("RoleSessionName", "s1")];
    let spaced = ALLOW.replace(',', &format!(",{}", " ".repeat(20_000)));
    let asked = [
        ("Policy", spaced.as_str()),
        ("PolicyArns.member.1.arn", arn.as_str()),
        ("Tags.member.1.Key", "Team"),
        ("Tags.member.1.Value", "cloud"),
        ("Tags.member.2.Key", "Stage"),
        ("TransitiveTagKeys.member.1", "Team"),
        ("SourceIdentity", "ada"),
    ];
    let parameters: Vec<(&str, &str)> = role.into_iter().chain(asked).collect();
    let assumed = text(&ask(&platform, "sts", "AssumeRole", &parameters).await);
    assert_eq!(one(&assumed, "SourceIdentity"), "ada");
    assert!((1..=100).contains(&one(&assumed, "PackedPolicySize").parse::<u32>().unwrap()));
    let (id, token) = (one(&assumed, "AccessKeyId"), one(&assumed, "SessionToken"));
    let held = || platform.node.identity().credential(&id, Some(&token), updraft_types::Timestamp::now()).unwrap();
    let session = held().session.unwrap();
    assert_eq!((session.policies.len(), session.terms.tags["Team"].as_str()), (2, "cloud"));
    assert_eq!((session.terms.transitive.len(), session.terms.source_identity.as_deref()), (1, Some("ada")));
    // A policy that is deleted allows nothing from then on.
    text(&iam(&platform, "DeletePolicy", &[("PolicyArn", &arn)]).await);
    assert_eq!(held().session.unwrap().policies.len(), 2);

    let refusal = async |more: &[(&str, &str)]| {
        let parameters: Vec<(&str, &str)> = role.into_iter().chain(more.iter().copied()).collect();
        let answer = ask(&platform, "sts", "AssumeRole", &parameters).await;
        (answer.status, answer.code().to_owned())
    };
    assert_eq!(refusal(&[("PolicyArns.member.1.arn", &arn)]).await, (400, "MalformedPolicyDocument".into()));
    assert_eq!(refusal(&[("TransitiveTagKeys.member.1", "Team")]).await, (400, "InvalidParameterValue".into()));
    assert_eq!(refusal(&[("Tags.member.1.Key", "<")]).await, (400, "ValidationError".into()));
    // As many and as long tags as there may be do not fit a token.
    let tags: Vec<(String, String)> = (1..=50)
        .flat_map(|number| {
            let member = format!("Tags.member.{number}");
            [(format!("{member}.Key"), format!("{number:0>128}")), (format!("{member}.Value"), "x".repeat(256))]
        })
        .collect();
    let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(refusal(&tags).await, (400, "PackedPolicyTooLarge".into()));
    platform.stop().await;
}

#[tokio::test]
async fn a_group_lives_from_create_to_delete() {
    let platform = Platform::start().await;
    let (group, user) = (("GroupName", "makers"), ("UserName", "ada"));
    let made = text(&iam(&platform, "CreateGroup", &[group, ("Path", "/team/")]).await);
    assert_eq!(one(&made, "Arn"), "arn:aws:iam::000000000000:group/team/makers");
    assert!(one(&made, "GroupId").starts_with("AGPA"));
    let twice = iam(&platform, "CreateGroup", &[("GroupName", "MAKERS")]).await;
    refused(&twice, 409, "EntityAlreadyExists", "Group with name MAKERS already exists.");
    let absent = iam(&platform, "AddUserToGroup", &[group, user]).await;
    refused(&absent, 404, "NoSuchEntity", "The user with name ada cannot be found.");
    text(&iam(&platform, "CreateUser", &[user]).await);
    text(&iam(&platform, "AddUserToGroup", &[group, user]).await);
    text(&iam(&platform, "AddUserToGroup", &[group, user]).await);
    // Who gets another name stays in its groups.
    text(&iam(&platform, "UpdateUser", &[user, ("NewUserName", "eve")]).await);
    let user = ("UserName", "eve");
    assert_eq!(one(&text(&iam(&platform, "GetGroup", &[group]).await), "UserName"), "eve");
    assert_eq!(one(&text(&iam(&platform, "ListGroupsForUser", &[user]).await), "GroupName"), "makers");

    let inline = [group, ("PolicyName", "p"), ("PolicyDocument", ALLOW)];
    text(&iam(&platform, "PutGroupPolicy", &inline).await);
    let policy = ("PolicyArn", "arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess");
    text(&iam(&platform, "AttachGroupPolicy", &[group, policy]).await);
    let snapshot = platform.node.identity().snapshot();
    let account: updraft_types::AccountId = "000000000000".parse().unwrap();
    let id = snapshot.members(&account).user("eve").unwrap().id.clone();
    let principal = updraft_types::Principal::User { path: "/".into(), name: "eve".into(), id };
    let caller = updraft_types::Caller { account, principal };
    let names: Vec<String> = snapshot.policies_of(&caller).unwrap().into_iter().map(|named| named.name).collect();
    assert_eq!(names, ["p", policy.1]);

    text(&iam(&platform, "UpdateGroup", &[group, ("NewGroupName", "builders"), ("NewPath", "/")]).await);
    let group = ("GroupName", "builders");
    assert_eq!(
        one(&text(&iam(&platform, "GetGroupPolicy", &[group, ("PolicyName", "p")]).await), "GroupName"),
        "builders"
    );
    assert_eq!(one(&text(&iam(&platform, "ListAttachedGroupPolicies", &[group]).await), "PolicyArn"), policy.1);
    assert_eq!(one(&text(&iam(&platform, "ListEntitiesForPolicy", &[policy]).await), "GroupName"), "builders");
    assert_eq!(one(&text(&iam(&platform, "ListGroups", &[]).await), "Path"), "/");

    let conflict = "Cannot delete entity, must remove users from group first.";
    refused(&iam(&platform, "DeleteUser", &[user]).await, 409, "DeleteConflict", conflict);
    refused(&iam(&platform, "DeleteGroup", &[group]).await, 409, "DeleteConflict", conflict);
    text(&iam(&platform, "RemoveUserFromGroup", &[group, user]).await);
    assert_eq!(iam(&platform, "RemoveUserFromGroup", &[group, user]).await.code(), "NoSuchEntity");
    let detach = "Cannot delete entity, must detach all policies first.";
    refused(&iam(&platform, "DeleteGroup", &[group]).await, 409, "DeleteConflict", detach);
    text(&iam(&platform, "DetachGroupPolicy", &[group, policy]).await);
    text(&iam(&platform, "DeleteGroupPolicy", &[group, ("PolicyName", "p")]).await);
    text(&iam(&platform, "DeleteGroup", &[group]).await);
    text(&iam(&platform, "DeleteUser", &[user]).await);
    let gone = iam(&platform, "GetGroup", &[group]).await;
    refused(&gone, 404, "NoSuchEntity", "The group with name builders cannot be found.");
    platform.stop().await;
}

#[tokio::test]
async fn there_is_none_of_what_cannot_be_made() {
    let platform = Platform::start().await;
    text(&iam(&platform, "CreateUser", &[("UserName", "ada")]).await);
    for (action, list) in [("ListMFADevices", "MFADevices"), ("ListInstanceProfiles", "InstanceProfiles")] {
        let answer = text(&iam(&platform, action, &[("UserName", "ada")]).await);
        assert_eq!((one(&answer, list), one(&answer, "IsTruncated")), (String::new(), "false".into()), "{action}");
    }
    let absent = iam(&platform, "ListMFADevices", &[("UserName", "bob")]).await;
    refused(&absent, 404, "NoSuchEntity", "The user with name bob cannot be found.");
    assert_eq!(iam(&platform, "ListInstanceProfilesForRole", &[]).await.code(), "ValidationError");
    let profile = iam(&platform, "GetLoginProfile", &[("UserName", "ada")]).await;
    refused(&profile, 404, "NoSuchEntity", "Login Profile for User ada cannot be found.");
    platform.stop().await;
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_and_changes_nothing() {
    let platform = Platform::start().await;
    for (service, action) in
        [("iam", "CreateInstanceProfile"), ("iam", "CreateLoginProfile"), ("sts", "AssumeRoleWithSAML")]
    {
        let answer = ask(&platform, service, action, &[]).await;
        assert_eq!((answer.status, answer.code()), (501, "NotImplementedException"), "{action}");
        assert!(String::from_utf8_lossy(&answer.body).contains(action));
    }
    let boundary = [("UserName", "ada"), ("PermissionsBoundary", "arn:aws:iam::aws:policy/NoSuchAccess")];
    let message = "Scope ARN: arn:aws:iam::aws:policy/NoSuchAccess does not exist or is not attachable.";
    refused(&iam(&platform, "CreateUser", &boundary).await, 404, "NoSuchEntity", message);
    let null =
        "1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null";
    refused(&iam(&platform, "CreateUser", &[]).await, 400, "ValidationError", null);
    let chars = "The specified value for userName is invalid. It must contain only alphanumeric characters and/or the \
                 following: +=,.@_-";
    refused(&iam(&platform, "CreateUser", &[("UserName", "a b")]).await, 400, "ValidationError", chars);
    let path = iam(&platform, "CreateUser", &[("UserName", "ada"), ("Path", "x")]).await;
    assert_eq!(path.code(), "ValidationError");
    let role = iam(&platform, "CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", ALLOW)]).await;
    let words = "AssumeRole policy may only specify STS AssumeRole actions.";
    refused(&role, 400, "MalformedPolicyDocument", words);
    text(&iam(&platform, "CreateUser", &[("UserName", "ada")]).await);
    let put = [("UserName", "ada"), ("PolicyName", "p"), ("PolicyDocument", TRUST)];
    let put = iam(&platform, "PutUserPolicy", &put).await;
    refused(&put, 400, "MalformedPolicyDocument", "Policy document should not specify a principal.");
    let long = format!("{}{}", ALLOW.replace("s3:*", &"x".repeat(2_048)), "");
    let put = [("UserName", "ada"), ("PolicyName", "p"), ("PolicyDocument", long.as_str())];
    assert_eq!(iam(&platform, "PutUserPolicy", &put).await.code(), "LimitExceeded");
    assert_eq!(all(&text(&iam(&platform, "ListUserPolicies", &[("UserName", "ada")]).await), "member"), [""; 0]);
    assert_eq!(all(&text(&iam(&platform, "ListRoles", &[]).await), "RoleName"), [""; 0]);
    platform.stop().await;
}

#[tokio::test]
async fn any_bytes_are_an_error_of_the_clients() {
    let platform = Platform::start().await;
    let scope = |service: &str| format!("AWS4-HMAC-SHA256 Credential=t/1/r/{service}/aws4_request, SignedHeaders=host");
    let bodies =
        ["", "Action", "Action=%", "Action=CreateUser&UserName=%FF%00", "\u{0}", "Action=ListUsers&MaxItems=-"];
    for service in ["iam", "sts"] {
        for method in ["POST", "GET", "PUT", "DELETE"] {
            for body in bodies {
                let answer = platform.send(method, "/?a=%", &[("authorization", &scope(service))], body).await;
                // 501: CreateUser is no operation of STS.
                let is_theirs = (400..500).contains(&answer.status) || (answer.status == 501 && service == "sts");
                assert!(is_theirs, "{service} {method} {body}: {}", answer.status);
            }
        }
    }
    platform.stop().await;
}

#[tokio::test]
async fn accounts_are_made_and_removed_by_the_platforms_root() {
    let platform = Platform::start().await;
    let door = "/_updraft/v1/accounts";
    let created = platform.send("POST", door, &[], &json!({ "name": "Tenant" }).to_string()).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    let (account, id) = (created["account"].as_str().unwrap(), created["key"]["access_key_id"].as_str().unwrap());
    let secret = created["key"]["secret_access_key"].as_str().unwrap();
    let now = updraft_types::Timestamp::now();
    let held = platform.node.identity().credential(id, None, now).unwrap();
    assert_eq!((held.secret.expose(), held.caller.arn()), (secret, format!("arn:aws:iam::{account}:root")));

    let listed = platform.get(door).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(secret));
    let ids: Vec<_> = listed.json().as_array().unwrap().iter().map(|one| one["account"].clone()).collect();
    assert_eq!(ids, [json!("000000000000"), json!(account)]);
    let keys = format!("{door}/{account}/keys");
    let second = platform.send("POST", &keys, &[], "").await;
    assert_eq!(second.status, 201);
    assert_eq!(platform.send("POST", &keys, &[], "").await.status, 409);
    let first = format!("{keys}/{id}");
    assert_eq!(platform.send("PUT", &first, &[], r#"{"status":"Inactive"}"#).await.status, 204);
    assert!(platform.node.identity().credential(id, None, now).is_err());
    assert_eq!(platform.get(&keys).await.json()[0]["status"], "Inactive");
    assert_eq!(platform.send("DELETE", &first, &[], "").await.status, 204);
    assert_eq!(platform.send("DELETE", &first, &[], "").await.status, 404);

    let taken = json!({ "name": "Other", "account": account }).to_string();
    assert_eq!(platform.send("POST", door, &[], &taken).await.status, 409);
    let own = json!({ "name": "Other", "account": "000000000000" }).to_string();
    assert_eq!(platform.send("POST", door, &[], &own).await.status, 409);
    for bad in ["{}", r#"{"name":""}"#, r#"{"name":"a","account":"1"}"#, r#"{"name":"a","x":1}"#, "["] {
        assert_eq!(platform.send("POST", door, &[], bad).await.status, 400, "{bad}");
    }
    assert_eq!(platform.send("DELETE", &format!("{door}/000000000000"), &[], "").await.status, 400);
    assert_eq!(platform.send("DELETE", &format!("{door}/{account}"), &[], "").await.status, 204);
    for gone in [format!("{door}/{account}/keys"), format!("{door}/nonsense/keys"), format!("{door}/{account}/x")] {
        assert_eq!(platform.get(&gone).await.status, 404, "{gone}");
    }
    platform.stop().await;
}

#[tokio::test]
async fn guests_find_the_signed_services_alone() {
    let platform = Platform::start_with(|config| config.has_guest_door = true).await;
    platform.create("hello", "python3.12", json!({})).await;
    platform.settled("hello").await;
    let url = platform.create_url("hello", json!({ "AuthType": "NONE" })).await;
    let door = platform.guests.expect("it was asked for");
    let open =
        [("/healthz", ""), ("/metrics", ""), ("/fn/hello/", ""), ("/", url.as_str()), ("/_updraft/v1/accounts", "")];
    for (path, host) in open {
        let headers = if host.is_empty() { vec![] } else { vec![("host", host)] };
        assert_eq!(platform.send("GET", path, &headers, "").await.status, 200, "{path} {host} at the main door");
        let shut = platform.send_to(door, "GET", path, &headers, "").await;
        assert_eq!(shut.status, 404, "{path} {host}");
        assert!(!String::from_utf8_lossy(&shut.body).contains("hello"));
    }
    let scope = "AWS4-HMAC-SHA256 Credential=test/20261127/us-east-1/sts/aws4_request, SignedHeaders=host";
    let headers = [("authorization", scope), ("host", "127.1.0.1:3129")];
    let who = platform.send_to(door, "POST", "/", &headers, "Action=GetCallerIdentity").await;
    assert_eq!(one(&text(&who), "Account"), "000000000000");
    platform.stop().await;
}
