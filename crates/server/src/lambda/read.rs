//! What only reads: GetFunction, GetFunctionConfiguration, ListFunctions, GetAccountSettings.

use std::{collections::BTreeMap, sync::Arc};

use http::{Response, StatusCode, request::Parts, uri::Authority};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::json;
use updraft_types::{
    Body, Function, FunctionName, Timestamp,
    limits::{UNZIPPED_BYTES_MAX, ZIP_BYTES_MAX},
};

use super::{
    concurrency::{self, ConcurrencyView},
    name::{self, Pattern, Resolved},
    query::{self, Query},
    validate::Violations,
    versions,
    view::{self, ArnForm, ConfigurationView, Detail},
};
use crate::{error::Error, respond, scope::Scope};

/// Functions on one page of ListFunctions, as Lambda serves them.
pub(super) const PAGE_MAX: usize = 50;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionView<'a> {
    code: CodeView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<ConcurrencyView>,
    configuration: ConfigurationView<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "PascalCase")]
enum CodeView<'a> {
    Zip { location: String, repository_type: &'static str },
    Image { image_uri: &'a str, repository_type: &'static str, resolved_image_uri: &'a str },
}

fn version_of(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<(Resolved, Arc<Function>), Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    match resolved.version(scope) {
        Some(function) => Ok((resolved, function)),
        None => Err(Error::function_not_found(&resolved.qualified_arn(scope))),
    }
}

fn arn_form(resolved: &Resolved) -> ArnForm<'_> {
    resolved.qualifier.as_deref().map_or(ArnForm::Plain, ArnForm::Qualified)
}

/// GetFunction. A zip's `Code.Location` is on our own admin door, under the host that the client reached us by.
pub(super) fn get(scope: &Scope<'_>, segment: &str, query: &Query<'_>, head: &Parts) -> Result<Response<Body>, Error> {
    let (resolved, function) = version_of(scope, segment, query)?;
    // Tags and the reservation are the function's as a whole.
    let whole = resolved.find(scope).unwrap_or_else(|| function.clone());
    let code = match &function.code.image {
        Some(image) => {
            CodeView::Image { image_uri: &image.uri, repository_type: "ECR", resolved_image_uri: &image.resolved }
        }
        None => {
            let sha256 = utf8_percent_encode(&function.code.sha256, NON_ALPHANUMERIC);
            let target = format!("/_updraft/v1/code/{}?sha256={sha256}", function.id.name);
            let link = scope.links.make(&function.id.account, &target, Timestamp::now());
            CodeView::Zip { location: format!("{}://{}{link}", scope.scheme, host(scope, head)), repository_type: "S3" }
        }
    };
    let view = FunctionView {
        code,
        concurrency: concurrency::view(&whole),
        configuration: view::configuration(&function, scope.node.region(), arn_form(&resolved), Detail::Full),
        tags: &whole.tags,
    };
    Ok(respond::json(StatusCode::OK, &view))
}

pub(super) fn host(scope: &Scope<'_>, head: &Parts) -> String {
    let named = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| head.uri.authority().map(Authority::as_str));
    match named.and_then(|host| host.parse::<Authority>().ok()).filter(|host| !host.as_str().contains('@')) {
        Some(host) => host.to_string(),
        None => scope.address.to_string(),
    }
}

/// GetFunctionConfiguration.
pub(super) fn get_configuration(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let (resolved, function) = version_of(scope, segment, query)?;
    let view = view::configuration(&function, scope.node.region(), arn_form(&resolved), Detail::Full);
    Ok(respond::json(StatusCode::OK, &view))
}

/// ListFunctions, by name, in pages. `FunctionVersion=ALL` shows every version of each.
pub(super) fn list(scope: &Scope<'_>, query: &Query<'_>) -> Result<Response<Body>, Error> {
    // No function is a copy of another region's.
    if query.get("MasterRegion").is_some_and(|region| !region.is_empty()) {
        return Err(Error::unsupported_member("MasterRegion"));
    }
    if let Some(version) = query.get("FunctionVersion") {
        let mut violations = Violations::default();
        violations.one_of("functionVersion", &version, &["ALL"]);
        violations.check()?;
        return versions::list_all(scope, query);
    }
    let count = query.page(PAGE_MAX)?;
    let after: Option<FunctionName> = query.marker()?;
    let catalog = scope.node.catalog();
    let mut functions = catalog.list(scope.account(), after.as_ref());
    let page: Vec<&Arc<Function>> = functions.by_ref().take(count).collect();
    let next = match (page.last(), functions.next()) {
        (Some(last), Some(_)) => Some(query::marker_of(&last.id.name)),
        _ => None,
    };
    let region = scope.node.region();
    let views: Vec<_> =
        page.iter().map(|function| view::configuration(function, region, ArnForm::Plain, Detail::Listed)).collect();
    let view = match next {
        Some(marker) => json!({ "Functions": views, "NextMarker": marker }),
        None => json!({ "Functions": views }),
    };
    Ok(respond::json(StatusCode::OK, &view))
}

/// GetAccountSettings.
pub(super) async fn account_settings(scope: &Scope<'_>) -> Result<Response<Body>, Error> {
    let used = scope.node.code_usage(scope.account()).await.map_err(|error| Error::change(error, "", ""))?;
    let limits = scope.node.admission_limits();
    let unreserved = limits.in_flight_max.saturating_sub(scope.node.catalog().committed(scope.account()));
    let view = json!({
        "AccountLimit": {
            "CodeSizeUnzipped": UNZIPPED_BYTES_MAX,
            "CodeSizeZipped": ZIP_BYTES_MAX,
            "ConcurrentExecutions": limits.in_flight_max,
            "TotalCodeSize": limits.code_bytes_max,
            "UnreservedConcurrentExecutions": unreserved,
        },
        "AccountUsage": { "FunctionCount": used.functions, "TotalCodeSize": used.bytes },
    });
    Ok(respond::json(StatusCode::OK, &view))
}
