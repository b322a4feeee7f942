//! What only reads: GetFunction, GetFunctionConfiguration, ListFunctions, ListVersionsByFunction, GetPolicy,
//! GetAccountSettings, GetFunctionCodeSigningConfig.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Response, StatusCode, request::Parts, uri::Authority};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::json;
use updraft_types::{
    Body, Function, FunctionName,
    limits::{UNZIPPED_BYTES_MAX, ZIP_BYTES_MAX},
};

use super::{
    concurrency::{self, ConcurrencyView},
    name::{self, Pattern, Resolved},
    query::Query,
    validate::Violations,
    view::{self, ArnForm, ConfigurationView, Detail},
};
use crate::{error::Error, respond, scope::Scope};

/// Functions on one page of ListFunctions, as Lambda serves them.
const PAGE_MAX: usize = 50;
/// What Lambda grants an account for all its code, bytes.
const TOTAL_CODE_BYTES_MAX: u64 = 80_530_636_800;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionView<'a> {
    code: CodeView,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<ConcurrencyView>,
    configuration: ConfigurationView<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CodeView {
    location: String,
    repository_type: &'static str,
}

fn version_of(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<(Resolved, Arc<Function>), Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    match resolved.version(scope) {
        Some(function) => Ok((resolved, function)),
        None => Err(Error::function_not_found(&resolved.qualified_arn(scope))),
    }
}

fn arn_form(resolved: &Resolved) -> ArnForm {
    if resolved.qualifier.is_some() { ArnForm::Latest } else { ArnForm::Plain }
}

/// GetFunction. `Code.Location` is on our own admin door, under the host that the client reached us by.
pub(super) fn get(scope: &Scope<'_>, segment: &str, query: &Query<'_>, head: &Parts) -> Result<Response<Body>, Error> {
    let (resolved, function) = version_of(scope, segment, query)?;
    let sha256 = utf8_percent_encode(&function.code.sha256, NON_ALPHANUMERIC);
    let host = host(scope, head);
    let view = FunctionView {
        code: CodeView {
            location: format!("http://{host}/_updraft/v1/code/{}?sha256={sha256}", function.id.name),
            repository_type: "S3",
        },
        concurrency: concurrency::view(&function),
        configuration: view::configuration(&function, scope.node.region(), arn_form(&resolved), Detail::Full),
        tags: &function.tags,
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

/// ListFunctions, by name, in pages. `FunctionVersion=ALL` shows `$LATEST`, the only version there is.
pub(super) fn list(scope: &Scope<'_>, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let form = match query.get("FunctionVersion") {
        None => ArnForm::Plain,
        Some(version) => {
            let mut violations = Violations::default();
            violations.one_of("functionVersion", &version, &["ALL"]);
            violations.check()?;
            ArnForm::Latest
        }
    };
    let count = query.page(PAGE_MAX)?;
    let after = query.get("Marker").filter(|marker| !marker.is_empty()).map(|marker| name_of(&marker)).transpose()?;
    let catalog = scope.node.catalog();
    let mut functions = catalog.list(scope.account(), after.as_ref());
    let page: Vec<&Arc<Function>> = functions.by_ref().take(count).collect();
    let next = match (page.last(), functions.next()) {
        (Some(last), Some(_)) => Some(URL_SAFE_NO_PAD.encode(last.id.name.as_str())),
        _ => None,
    };
    let region = scope.node.region();
    let views: Vec<_> =
        page.iter().map(|function| view::configuration(function, region, form, Detail::Listed)).collect();
    let view = match next {
        Some(marker) => json!({ "Functions": views, "NextMarker": marker }),
        None => json!({ "Functions": views }),
    };
    Ok(respond::json(StatusCode::OK, &view))
}

/// The name in a marker that we made.
fn name_of(marker: &str) -> Result<FunctionName, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|name| name.parse().ok());
    name.ok_or_else(|| Error::invalid_parameter("The Marker is not one that a list has returned."))
}

/// ListVersionsByFunction: `$LATEST` and nothing else yet.
pub(super) fn list_versions(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Namespaced)?;
    query.page(PAGE_MAX)?;
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    let view = view::configuration(&function, scope.node.region(), ArnForm::Latest, Detail::Listed);
    Ok(respond::json(StatusCode::OK, &json!({ "Versions": [view] })))
}

/// GetPolicy: there are no policies yet, and AWS answers 404 where there is none.
pub(super) fn get_policy(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    version_of(scope, segment, query)?;
    Err(Error::resource_does_not_exist())
}

/// GetAccountSettings.
pub(super) fn account_settings(scope: &Scope<'_>) -> Response<Body> {
    let catalog = scope.node.catalog();
    let (count, bytes) = catalog
        .list(scope.account(), None)
        .fold((0_u64, 0_u64), |(count, bytes), function| (count + 1, bytes + function.code.size_bytes));
    let concurrency = scope.node.admission_limits().in_flight_max;
    let unreserved = concurrency.saturating_sub(catalog.reserved(scope.account()));
    let view = json!({
        "AccountLimit": {
            "CodeSizeUnzipped": UNZIPPED_BYTES_MAX,
            "CodeSizeZipped": ZIP_BYTES_MAX,
            "ConcurrentExecutions": concurrency,
            "TotalCodeSize": TOTAL_CODE_BYTES_MAX,
            "UnreservedConcurrentExecutions": unreserved,
        },
        "AccountUsage": { "FunctionCount": count, "TotalCodeSize": bytes },
    });
    respond::json(StatusCode::OK, &view)
}

/// GetFunctionCodeSigningConfig: none, which AWS answers with 200. Terraform asks after every create.
pub(super) fn code_signing(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Created)?;
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    Ok(respond::json(StatusCode::OK, &json!({ "FunctionName": function.id.name })))
}
