//! CreateAlias, GetAlias, UpdateAlias, DeleteAlias and ListAliases. Answers, their texts and which check comes first are
//! AWS's as recorded.

use std::{collections::BTreeMap, sync::Arc};

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use updraft_node::aliases::{self, Change, Draft};
use updraft_types::{Alias, AliasName, Body, Version, version::Additional};

use super::{
    name::{self, Pattern, Resolved},
    query::{self, Query},
    read::PAGE_MAX,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

const NAME: &str = "(?!^[0-9]+$)([a-zA-Z0-9-_]+)";
const VERSION: &str = r"(\$LATEST|[0-9]+)";
const WEIGHT: &str = "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must \
                      have value greater than or equal to 0.0, Member must not be null]";
const WEIGHED: &str = "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member \
                       must have length greater than or equal to 1, Member must satisfy regular expression pattern: \
                       [0-9]+]";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<Routing>,
    revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Routing {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

/// `AliasConfiguration`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct View<'a> {
    alias_arn: String,
    description: &'a str,
    function_version: Version,
    name: &'a str,
    revision_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_config: Option<RoutingView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoutingView {
    additional_version_weights: BTreeMap<String, f64>,
}

fn view<'a>(scope: &Scope<'_>, alias: &'a Alias) -> View<'a> {
    let weights = |additional: Additional| RoutingView {
        additional_version_weights: [(additional.version.to_string(), additional.weight)].into(),
    };
    View {
        alias_arn: alias.arn(scope.node.region()),
        description: &alias.description,
        function_version: alias.version,
        name: alias.name.as_str(),
        revision_id: alias.revision.as_str(),
        routing_config: alias.additional.map(weights),
    }
}

impl Request {
    fn violations(&self, violations: &mut Violations) {
        if let Some(version) = &self.function_version {
            let is_version = version == "$LATEST" || is_number(version);
            violations.length_max("functionVersion", version, 1024);
            violations.pattern("functionVersion", version, is_version, VERSION);
        }
        if let Some(description) = &self.description {
            violations.length_max("description", description, 256);
        }
        let weights = self.routing_config.as_ref().and_then(|routing| routing.additional_version_weights.as_ref());
        let Some(weights) = weights else { return };
        let shown = || {
            let entries: Vec<String> =
                weights.iter().take(10).map(|(version, weight)| format!("{version}={weight:?}")).collect();
            format!("{{{}}}", entries.join(", "))
        };
        if weights.keys().any(|version| !is_number(version) || version.len() > 1024) {
            violations.constraint("routingConfig.additionalVersionWeights", &shown(), WEIGHED);
        }
        if weights.values().any(|weight| !(0.0..=1.0).contains(weight)) {
            violations.constraint("routingConfig.additionalVersionWeights", &shown(), WEIGHT);
        }
    }

    /// The second version that is asked for; `Some(None)` where there is to be none, `None` where nothing is said.
    fn additional(&self, resolved: &Resolved, scope: &Scope<'_>) -> Result<Option<Option<Additional>>, Error> {
        let Some(routing) = &self.routing_config else { return Ok(None) };
        let weights = routing.additional_version_weights.iter().flatten();
        let mut weights = weights.map(|(version, weight)| (version, *weight));
        match (weights.next(), weights.next()) {
            (None, _) => Ok(Some(None)),
            (Some((version, weight)), None) => match version_of(version) {
                Some(Version::Number(version)) => Ok(Some(Some(Additional { version, weight }))),
                _ => Err(no_version(resolved, scope, version)),
            },
            _ => Err(Error::invalid_parameter("Number of items in AdditionalVersionWeights cannot be greater than 1")),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn version_of(text: &str) -> Option<Version> {
    text.parse().ok()
}

fn no_version(resolved: &Resolved, scope: &Scope<'_>, version: &str) -> Error {
    Error::function_not_found(&format!("{}:{version}", resolved.arn(scope)))
}

fn resolve(scope: &Scope<'_>, segment: &str) -> Result<Resolved, Error> {
    name::resolve(scope, segment, &Query::new(None), Pattern::Created)
}

/// The name of an alias in a path; not necessarily one that an alias can have.
fn named(segment: &str) -> Result<String, Error> {
    let name = name::decoded(segment);
    let mut violations = Violations::default();
    name_violations(&name, &mut violations);
    violations.check()?;
    Ok(name)
}

fn name_violations(name: &str, violations: &mut Violations) {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    violations.length_max("name", name, 128);
    violations.pattern("name", name, !name.is_empty() && !is_number(name) && name.bytes().all(is_word), NAME);
}

/// Why an alias was not changed, as AWS words it. `arn` is the alias's.
fn refused(error: aliases::Error, resolved: &Resolved, scope: &Scope<'_>, arn: &str) -> Error {
    match error {
        aliases::Error::Exists => Error::conflict(format!("Alias already exists: {arn}")),
        aliases::Error::NotFound => Error::not_found(format!("Alias not found: {arn}")),
        aliases::Error::NoVersion(version) => no_version(resolved, scope, &version.to_string()),
        aliases::Error::SameVersion(version) => Error::invalid_parameter(format!(
            "Invalid function version {version}. Function version {version} is already included in routing \
             configuration."
        )),
        aliases::Error::LatestShared => {
            Error::bare_parameter("$LATEST is not supported for an alias pointing to more than 1 version")
        }
        aliases::Error::Unprovisionable(Version::Latest) => Error::invalid_parameter(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        ),
        aliases::Error::Unprovisionable(Version::Number(_)) => Error::conflict(
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
        ),
        aliases::Error::Change(error) => Error::change(error, &resolved.name, arn),
    }
}

/// CreateAlias: 201.
pub(super) async fn create(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let request: Request = read_json(body).await?;
    let mut violations = Violations::default();
    violations.required("name", request.name.as_ref());
    violations.required("functionVersion", request.function_version.as_ref());
    if let Some(name) = &request.name {
        name_violations(name, &mut violations);
    }
    request.violations(&mut violations);
    violations.check()?;
    let additional = request.additional(&resolved, scope)?.flatten();
    let asked = request.function_version.unwrap_or_default();
    let missing = || no_version(&resolved, scope, &asked);
    let function = resolved.id().ok_or_else(missing)?;
    let version = version_of(&asked).ok_or_else(missing)?;
    let name: AliasName = request.name.unwrap_or_default().parse().map_err(|_| missing())?;
    let arn = format!("{}:{name}", resolved.arn(scope));
    let draft = Draft { function, name, version, additional, description: request.description.unwrap_or_default() };
    let created = scope.node.create_alias(draft).await;
    let alias = created.map_err(|error| refused(error, &resolved, scope, &arn))?;
    Ok(respond::json(StatusCode::CREATED, &view(scope, &alias)))
}

/// GetAlias.
pub(super) fn get(scope: &Scope<'_>, segment: &str, name: &str) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let name = named(name)?;
    let alias = find(scope, &resolved, &name)
        .ok_or_else(|| Error::not_found(format!("Cannot find alias arn: {}:{name}", resolved.arn(scope))))?;
    Ok(respond::json(StatusCode::OK, &view(scope, &alias)))
}

fn find(scope: &Scope<'_>, resolved: &Resolved, name: &str) -> Option<Arc<Alias>> {
    let name: AliasName = name.parse().ok()?;
    scope.node.catalog().alias(&resolved.id()?, &name).cloned()
}

/// UpdateAlias. What is left out stays as it is.
pub(super) async fn update(scope: &Scope<'_>, segment: &str, name: &str, body: &Held) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let name = named(name)?;
    let request: Request = read_json(body).await?;
    let mut violations = Violations::default();
    request.violations(&mut violations);
    violations.check()?;
    let additional = request.additional(&resolved, scope)?;
    let arn = format!("{}:{name}", resolved.arn(scope));
    let alias = find(scope, &resolved, &name);
    let alias = alias.ok_or_else(|| refused(aliases::Error::NotFound, &resolved, scope, &arn))?;
    let version = match &request.function_version {
        Some(text) => Some(version_of(text).ok_or_else(|| no_version(&resolved, scope, text))?),
        None => None,
    };
    let expected = request.revision_id.map(|text| text.parse().map_err(|_| Error::revision_mismatch())).transpose()?;
    let change = Change { version, additional, description: request.description };
    let updated = scope.node.update_alias(&alias.function, &alias.name, expected.as_ref(), change).await;
    let alias = updated.map_err(|error| refused(error, &resolved, scope, &arn))?;
    Ok(respond::json(StatusCode::OK, &view(scope, &alias)))
}

/// DeleteAlias: 204, also where there is none.
pub(super) async fn delete(scope: &Scope<'_>, segment: &str, name: &str) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let name = named(name)?;
    if let Some(alias) = find(scope, &resolved, &name) {
        match scope.node.delete_alias(&alias.function, &alias.name).await {
            Ok(()) | Err(aliases::Error::NotFound) => {}
            Err(error) => return Err(refused(error, &resolved, scope, &alias.arn(scope.node.region()))),
        }
    }
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// ListAliases, by name, in pages; those that point at `FunctionVersion` only, if that is given.
pub(super) fn list(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let asked = query.get("FunctionVersion").filter(|version| !version.is_empty());
    let mut violations = Violations::default();
    if let Some(version) = &asked {
        violations.pattern("functionVersion", version, version == "$LATEST" || is_number(version), VERSION);
    }
    violations.check()?;
    let count = query.page(PAGE_MAX)?;
    let after: Option<AliasName> = query.marker()?;
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    let catalog = scope.node.catalog();
    let version = asked.as_deref().map(version_of);
    let is_asked = |alias: &&Arc<Alias>| match version {
        None => true,
        Some(version) => version.is_some_and(|version| alias.names(version)),
    };
    let is_after = |alias: &&Arc<Alias>| after.as_ref().is_none_or(|after| alias.name > *after);
    let mut aliases = catalog.aliases(&function.id).filter(is_asked).filter(is_after);
    let page: Vec<&Arc<Alias>> = aliases.by_ref().take(count).collect();
    let next = page.last().filter(|_| aliases.next().is_some()).map(|last| query::marker_of(&last.name));
    let views: Vec<_> = page.iter().map(|alias| view(scope, alias)).collect();
    let view = match next {
        Some(marker) => json!({ "Aliases": views, "NextMarker": marker }),
        None => json!({ "Aliases": views }),
    };
    Ok(respond::json(StatusCode::OK, &view))
}
