//! PublishVersion, ListVersionsByFunction, and ListFunctions where it lists every version.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use updraft_node::{Catalog, versions::Publication};
use updraft_types::{Body, Function, FunctionName, Version};

use super::{
    name::{self, Pattern},
    query::{self, Query},
    read::PAGE_MAX,
    read_json, update,
    validate::Violations,
    view::{self, ArnForm, Detail},
};
use crate::{body::Held, error::Error, respond, scope::Scope};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
    publish_to: serde_json::Value,
}

/// PublishVersion. Answers 201 with the version, also where nothing had changed since the newest.
pub(super) async fn publish(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Created)?;
    let request: Request = if body.bytes.is_empty() { Request::default() } else { read_json(body).await? };
    let mut violations = Violations::default();
    if let Some(description) = &request.description {
        violations.length_max("description", description, 256);
    }
    violations.check()?;
    super::members::refuse_asking(&[("PublishTo", &request.publish_to)])?;
    let arn = resolved.arn(scope);
    let current = resolved.find(scope).ok_or_else(|| Error::function_not_found(&arn))?;
    // An empty hash asks for nothing, as AWS has it.
    let code_sha256 = request.code_sha256.filter(|sha256| !sha256.is_empty());
    let asked = Publication {
        description: request.description,
        code_sha256: code_sha256.clone(),
        revision: update::expected(request.revision_id.as_deref(), &current)?,
    };
    let published = scope.node.publish_version(&current.id, asked).await.map_err(|error| match error {
        updraft_node::control::Error::CodeMismatch { current } => {
            Error::code_mismatch(&code_sha256.unwrap_or_default(), &current)
        }
        error => Error::change(error, &resolved.name, &arn),
    })?;
    let view = view::configuration(&published, scope.node.region(), ArnForm::Version, Detail::Full);
    Ok(respond::json(StatusCode::CREATED, &view))
}

/// ListVersionsByFunction: `$LATEST`, then the published ones by number, in pages.
pub(super) fn list(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Namespaced)?;
    let count = query.page(PAGE_MAX)?;
    let after: Option<Version> = query.marker()?;
    let latest = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    let catalog = scope.node.catalog();
    let mut versions = all(&catalog, &latest).filter(|function| after.is_none_or(|after| function.version > after));
    let page: Vec<&Arc<Function>> = versions.by_ref().take(count).collect();
    let next = page.last().filter(|_| versions.next().is_some()).map(|last| query::marker_of(&last.version));
    Ok(answer(scope, "Versions", &page, next))
}

/// ListFunctions with `FunctionVersion=ALL`: every version of every function, by name and number, in pages.
pub(super) fn list_all(scope: &Scope<'_>, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let count = query.page(PAGE_MAX)?;
    let after: Option<Place> = query.marker()?;
    let catalog = scope.node.catalog();
    let at = after.as_ref().and_then(|after| catalog.get(&scope.id(after.name.clone())));
    let rest_of = at.into_iter().flat_map(|latest| all(&catalog, latest));
    let rest_of = rest_of.filter(|function| after.as_ref().is_some_and(|after| function.version > after.version));
    let others = catalog.list(scope.account(), after.as_ref().map(|after| &after.name));
    let mut versions = rest_of.chain(others.flat_map(|latest| all(&catalog, latest)));
    let page: Vec<&Arc<Function>> = versions.by_ref().take(count).collect();
    let next = page.last().filter(|_| versions.next().is_some());
    let next = next.map(|last| query::marker_of(&format_args!("{}:{}", last.id.name, last.version)));
    Ok(answer(scope, "Functions", &page, next))
}

fn all<'a>(catalog: &'a Catalog, latest: &'a Arc<Function>) -> impl Iterator<Item = &'a Arc<Function>> {
    std::iter::once(latest).chain(catalog.versions(&latest.id))
}

fn answer(scope: &Scope<'_>, member: &str, page: &[&Arc<Function>], next: Option<String>) -> Response<Body> {
    let region = scope.node.region();
    let show =
        |function: &&Arc<Function>| json!(view::configuration(function, region, ArnForm::Version, Detail::Listed));
    let mut view = json!({ member: page.iter().map(show).collect::<Vec<_>>() });
    if let Some(next) = next {
        view["NextMarker"] = next.into();
    }
    respond::json(StatusCode::OK, &view)
}

/// Where a page of all versions ended.
struct Place {
    name: FunctionName,
    version: Version,
}

impl std::str::FromStr for Place {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, version) = text.split_once(':').ok_or(())?;
        Ok(Self { name: name.parse().map_err(|_| ())?, version: version.parse().map_err(|_| ())? })
    }
}
