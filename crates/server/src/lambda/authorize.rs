//! Whether a caller may do what it asks of Lambda's API: one question, before the operation looks at anything.
//!
//! A function of another account is reached by its ARN, if that account's resource policy and the caller's own policies
//! both allow it. Whether it exists has no part in the answer to whoever may not use it.

use std::{collections::BTreeMap, sync::Arc};

use http::request::Parts;
use updraft_node::{Context, identity::document::Document};
use updraft_types::{AccountId, Function, FunctionId};

use super::{
    condition_keys,
    layer_name::{self, VersionArn},
    name::{self, Pattern},
    operations::{On, Operation},
    query::Query,
};
use crate::{
    body::Held,
    doors::Doors,
    error::Error,
    logs::{self, Unauthorized},
    scope::{Act, Scope},
    tags::borrowed,
};

/// What a call of a function's URL needs, the first since there are URLs, the second since October 2025 (source: Lambda
/// developer guide, «Control access to Lambda function URLs»).
const URL_ACTIONS: [&str; 2] = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"];
/// The condition key that tells a call of a function's URL from one of Invoke.
const VIA_URL: &str = "lambda:InvokedViaFunctionUrl";

/// What an account's root user may do to a function of its own whatever the function's policy says, or a policy that denies it
/// would be there for good.
const NEVER_LOCKED: [&str; 3] = ["lambda:DeleteResourcePolicy", "lambda:PutResourcePolicy", "lambda:RemovePermission"];

/// Asks for one operation. Operations on what their body names ask themselves, with [`create`].
pub(super) async fn check(
    scope: &Scope<'_>,
    operation: &Operation,
    parameters: &[&str],
    query: &Query<'_>,
    body: &Held,
) -> Result<(), Error> {
    let action = operation.action();
    let name = parameters.first().copied().unwrap_or_default();
    // What the operation does not read must not decide what it is asked for.
    let target = match operation.on {
        On::Body => return Ok(()),
        On::Account => return Ok(scope.authorize(&action, "*")?),
        On::Layer => return on_layer(scope, &action, &layer(scope, operation, parameters, query)),
        On::Function => target(scope, name, query).map(|target| Target { qualifier: None, ..target }),
        On::Version => target(scope, name, query),
        On::Arn => target(scope, name, &Query::new(None)),
    };
    // What names no function of ours is refused by the operation, to whoever may do it at all.
    let Some(target) = target else { return Ok(scope.authorize(&action, "*")?) };
    if action == "lambda:InvokeFunction" {
        return target.check(scope, &action, &[(VIA_URL, "false")]);
    }
    // Nobody learns of another account's functions by conditions in policies of its own.
    let id = target.id.as_ref().filter(|id| id.account == *scope.account());
    let function = id.and_then(|id| scope.node.catalog().get(id).cloned());
    let named = condition_keys::Named { function: function.as_deref(), qualifier: target.qualifier.as_deref() };
    let request = condition_keys::Request { operation: operation.name, parameters, query, body };
    let keys = condition_keys::of(scope, &named, &request).await?;
    target.check(scope, &action, &borrowed(&keys))
}

/// Asks for the creation of a function with these layers and tags.
pub(super) fn create(
    scope: &Scope<'_>,
    id: &FunctionId,
    layers: &[String],
    tags: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let (action, resource) = ("lambda:CreateFunction", &id.arn(scope.node.region()));
    let mut keys = condition_keys::layers(scope, layers);
    keys.extend(condition_keys::tagged(tags));
    let keys = &borrowed(&keys);
    Ok(scope.authorize_act(&Act { action, resource, owner: scope.account(), policy: None, tags: None, keys })?)
}

/// Asks whether the caller may give a function of account `owner` this role, and whether Lambda could do anything with it. The
/// role has to be of the function's account, and is passed by nobody from another.
pub(super) fn pass_role(scope: &Scope<'_>, owner: &AccountId, role: &str) -> Result<(), Error> {
    if role.split(':').nth(4) != Some(owner.as_str()) || owner != scope.account() {
        return Err(Error::cross_account_role());
    }
    let keys = &[("iam:PassedToService", "lambda.amazonaws.com")];
    let snapshot = scope.node.identity().snapshot();
    let tags = snapshot.role_by_arn(role).map(|role| &role.tags);
    scope.authorize_act(&Act { action: "iam:PassRole", resource: role, owner, policy: None, tags, keys })?;
    match !scope.has_real_roles || snapshot.lambda_may_assume(role) {
        true => Ok(()),
        false => Err(Error::invalid_parameter("The role defined for the function cannot be assumed by Lambda.")),
    }
}

/// Asks for a call of a function's URL of AuthType AWS_IAM.
pub(crate) fn call_url(scope: &Scope<'_>, id: &FunctionId, qualifier: Option<&str>) -> Result<(), Error> {
    let target = Target { id: Some(id.clone()), account: id.account.clone(), name: id.name.to_string(), qualifier };
    let keys = &[("lambda:FunctionUrlAuthType", "AWS_IAM"), (VIA_URL, "true")];
    URL_ACTIONS.iter().try_for_each(|action| target.check(scope, action, keys))
}

/// Whether a function's URL of AuthType NONE takes a request, by whoever it is: the function's policy has to allow everybody.
/// What it says to every request is decided once; only one with conditions of its own is asked at each.
pub(crate) fn may_call_open_url<'a>(
    doors: &Doors,
    function: &Function,
    qualifier: Option<&str>,
    scope: impl FnOnce() -> Scope<'a>,
) -> bool {
    let catalog = doors.node.catalog();
    let Some(policy) = catalog.policy(&function.id, qualifier.unwrap_or_default()) else { return false };
    let resource = || {
        let plain = function.id.arn(doors.node.region());
        qualifier.map_or(plain.clone(), |qualifier| format!("{plain}:{qualifier}"))
    };
    let keys = &[("lambda:FunctionUrlAuthType", "NONE"), (VIA_URL, "true")];
    let is_open = policy.opens_url(|document| {
        let known = keys.iter().fold(Context::new(), |known, (key, value)| known.with(key, *value));
        let resource = resource();
        URL_ACTIONS.iter().all(|action| document.is_open(action, &resource, &known))
    });
    is_open || {
        let resource = resource();
        let policy = Some(policy.document.as_ref());
        // A version has none of its own.
        let tags = catalog.get(&function.id).map(|latest| &latest.tags);
        let owner = &function.id.account;
        let act = Act { action: URL_ACTIONS[0], resource: &resource, owner, policy, tags, keys };
        scope().authorize_each(&act, &URL_ACTIONS).is_ok()
    }
}

/// A function as a request names it; nothing is known to exist.
struct Target<Q> {
    id: Option<FunctionId>,
    account: AccountId,
    name: String,
    qualifier: Option<Q>,
}

fn target(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Option<Target<String>> {
    let text = name::decoded(segment);
    let parsed = name::parse(&text, Pattern::Namespaced)?;
    let account = match parsed.account {
        Some(account) => account.parse().ok()?,
        None => scope.account().clone(),
    };
    let name = parsed.name.to_owned();
    let id = name.parse().ok().map(|name| FunctionId { account: account.clone(), name });
    let qualifier = parsed.qualifier.map(str::to_owned).or_else(|| query.get("Qualifier"));
    Some(Target { id, account, name, qualifier })
}

impl<Q: AsRef<str>> Target<Q> {
    fn check(&self, scope: &Scope<'_>, action: &str, keys: &[(&str, &str)]) -> Result<(), Error> {
        let plain = format!("arn:aws:lambda:{}:{}:function:{}", scope.node.region(), self.account, self.name);
        let qualifier = self.qualifier.as_ref().map(Q::as_ref);
        let resource = match qualifier {
            Some(qualifier) => format!("{plain}:{qualifier}"),
            None => plain.clone(),
        };
        let catalog = scope.node.catalog();
        let is_spared = scope.is_root_of(&self.account) && NEVER_LOCKED.contains(&action);
        let policy = |qualifier: &str| {
            let policy = catalog.policy(self.id.as_ref()?, qualifier).filter(|_| !is_spared)?;
            Some(policy.document.as_ref())
        };
        let policy_of_this = policy(qualifier.unwrap_or_default());
        let function = self.id.as_ref().and_then(|id| catalog.get(id));
        let tags = function.map(|function| &function.tags);
        let act = Act { action, resource: &resource, owner: &self.account, policy: policy_of_this, tags, keys };
        // That is the function as it is now, and has no policy of its own: what the function's denies, under either name, is not
        // to be had by saying so. What it allows is for those who do not.
        if qualifier == Some("$LATEST") {
            for resource in [&resource, &plain] {
                scope.check_denials(&Act { resource, policy: policy(""), ..act })?;
            }
        }
        let told = scope.authorize_act(&act);
        // Whoever is not let in whatever another account's function is tagged with does not learn that by conditions of its own.
        if told.is_err() && self.account != *scope.account() {
            scope.authorize_act(&Act { tags: None, ..act })?;
        }
        Ok(told?)
    }
}

/// The function of the caller's account that an ARN names, and the ARN's qualifier.
fn own_by_arn<'a>(scope: &Scope<'_>, arn: &'a str) -> Option<(FunctionId, Option<&'a str>)> {
    let named = name::parse(arn, Pattern::Namespaced).filter(|_| arn.starts_with("arn:"))?;
    let is_own = named.account == Some(scope.account().as_str());
    is_own.then_some((scope.id(named.name.parse().ok()?), named.qualifier))
}

/// The policy of a function of the caller's account that an ARN names.
pub(crate) fn policy_of(scope: &Scope<'_>, arn: &str) -> Option<Arc<Document>> {
    let (id, qualifier) = own_by_arn(scope, arn)?;
    scope.node.catalog().policy(&id, qualifier.unwrap_or_default()).map(|policy| policy.document.clone())
}

/// The tags of a function of the caller's account that an ARN names.
pub(crate) fn tags_of(scope: &Scope<'_>, arn: &str) -> Option<BTreeMap<String, String>> {
    let (id, _) = own_by_arn(scope, arn)?;
    scope.node.catalog().get(&id).map(|function| function.tags.clone())
}

/// The ARN of the layer or layer version that an operation acts on, made of what the operation itself will read of the
/// request; `*` for what is no layer's name, and will be refused.
fn layer(scope: &Scope<'_>, operation: &Operation, parameters: &[&str], query: &Query<'_>) -> String {
    let region = scope.node.region();
    if operation.name == "GetLayerVersionByArn" {
        return query.get("Arn").and_then(|arn| layer_version(scope, &arn)).unwrap_or_else(|| "*".to_owned());
    }
    let parameter = |at: usize| parameters.get(at).copied().unwrap_or_default();
    let found = match parameter(1) {
        "" => layer_name::layer(scope, parameter(0)).map(|layer| layer.arn(region)),
        version => layer_name::version(scope, parameter(0), version).map(|version| version.arn(region)),
    };
    found.unwrap_or_else(|_| "*".to_owned())
}

/// The one way to write a layer version's ARN, of any.
pub(super) fn layer_version(scope: &Scope<'_>, arn: &str) -> Option<String> {
    match layer_name::version_arn(arn)? {
        VersionArn::Published { id, .. } => Some(id.arn(scope.node.region())),
        VersionArn::Nobodys => None,
    }
}

/// Asks whether the caller may read a layer version, named by its ARN. One of another account is for that account's policy
/// to give, too, which `layers` asks.
pub(crate) fn read_layer(scope: &Scope<'_>, arn: &str) -> Result<(), Error> {
    let arn = layer_version(scope, arn).unwrap_or_else(|| "*".to_owned());
    on_layer(scope, "lambda:GetLayerVersion", &arn)
}

/// Asks the caller's own policies about a layer, of whatever account: what that account's say, `layers` asks. Whose it is,
/// conditions are told all the same.
fn on_layer(scope: &Scope<'_>, action: &str, arn: &str) -> Result<(), Error> {
    let owner = arn.split(':').nth(4).unwrap_or(scope.account().as_str());
    let keys = &[("aws:ResourceAccount", owner)];
    Ok(scope.authorize_act(&Act { action, resource: arn, owner: scope.account(), policy: None, tags: None, keys })?)
}

/// What the admin door's requests about a function are asked for as.
pub(crate) fn check_named(scope: &Scope<'_>, action: &str, segment: &str) -> Result<(), Error> {
    match target(scope, segment, &Query::new(None)) {
        Some(target) => target.check(scope, action, &[]),
        None => Ok(scope.authorize(action, "*")?),
    }
}

/// Asks whether the caller may read the log of a function of its account: `logs:FilterLogEvents` of the function's group. To
/// whoever may not, a function that is not there has the same group as one whose author chose none.
pub(crate) async fn read_logs(scope: &Scope<'_>, segment: &str) -> Result<(), Error> {
    let text = name::decoded(segment);
    let usual = format!("/aws/lambda/{text}");
    let found = text.parse().ok().and_then(|name| scope.node.catalog().get(&scope.id(name)).cloned());
    let chosen = found.and_then(|function| function.configuration.log_group.clone());
    let Some(chosen) = chosen else { return Ok(may_filter(scope, &usual).await?) };
    match may_filter(scope, &chosen).await {
        Ok(()) => Ok(()),
        Err(denied) => Err(may_filter(scope, &usual).await.err().unwrap_or(denied).into()),
    }
}

async fn may_filter(scope: &Scope<'_>, group: &str) -> Result<(), Unauthorized> {
    let group = format!("arn:aws:logs:{}:{}:log-group:{group}", scope.node.region(), scope.account());
    logs::authorize(scope, "FilterLogEvents", &[group], &[]).await
}

/// The action that a request to the admin door about a function is.
pub(crate) fn admin_action(head: &Parts) -> &'static str {
    if head.method == http::Method::GET { "lambda:GetFunction" } else { "lambda:UpdateFunctionConfiguration" }
}
