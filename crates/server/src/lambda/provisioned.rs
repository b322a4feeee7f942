//! PutProvisionedConcurrencyConfig, GetProvisionedConcurrencyConfig, DeleteProvisionedConcurrencyConfig and
//! ListProvisionedConcurrencyConfigs. Answers, their texts and which check comes first are AWS's as recorded.

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use updraft_node::provisioned::{self, Standing, Status};
use updraft_types::{Body, FunctionId, Qualifier, Timestamp, Version, limits::UNRESERVED_CONCURRENCY_MIN};

use super::{
    name::{self, Pattern, Resolved},
    query::{self, Query},
    read::PAGE_MAX,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    provisioned_concurrent_executions: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct View {
    allocated_provisioned_concurrent_executions: u32,
    available_provisioned_concurrent_executions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_arn: Option<String>,
    last_modified: String,
    requested_provisioned_concurrent_executions: u32,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<&'static str>,
}

impl View {
    fn of(standing: Standing, function_arn: Option<String>) -> Self {
        let (status, status_reason) = match standing.status {
            Status::InProgress => ("IN_PROGRESS", None),
            Status::Ready => ("READY", None),
            Status::Failed => ("FAILED", Some("An instance could not be started: the function's log says why")),
        };
        Self {
            allocated_provisioned_concurrent_executions: standing.allocated,
            available_provisioned_concurrent_executions: standing.available,
            function_arn,
            last_modified: standing.asked.modified_at.to_lambda_text(),
            requested_provisioned_concurrent_executions: standing.asked.requested,
            status,
            status_reason,
        }
    }
}

/// The version or alias asked for; there is one.
struct Target {
    resolved: Resolved,
    id: FunctionId,
    qualifier: Qualifier,
}

/// Finds what a qualifier names. `latest` is what is said of `$LATEST`.
fn find(scope: &Scope<'_>, resolved: Resolved, latest: &str) -> Result<Target, Error> {
    let Some(asked) = &resolved.qualifier else {
        let mut violations = Violations::default();
        violations.required::<()>("qualifier", None);
        violations.check()?;
        return Err(Error::invalid_parameter(latest));
    };
    let qualifier = resolved.meaning();
    if qualifier == Some(Qualifier::Version(Version::Latest)) {
        return Err(Error::invalid_parameter(latest));
    }
    let is_number = asked.bytes().all(|byte| byte.is_ascii_digit());
    let arn = resolved.qualified_arn(scope);
    let missing = || match is_number {
        true => Error::function_not_found(&arn),
        false => Error::not_found(format!("Cannot find alias arn: {arn}")),
    };
    let (Some(qualifier), Some(id)) = (qualifier, resolved.id()) else { return Err(missing()) };
    scope.node.catalog().find(&id, &qualifier).ok_or_else(missing)?;
    Ok(Target { resolved, id, qualifier })
}

/// From memory of AWS's answer; not recorded.
const SNAP_START: &str = "Provisioned Concurrency is not supported on functions configured with SnapStart.";

const MUST_BE_PUBLISHED: &str = "The function resource provided must be an alias or a published version.";
const UNPUBLISHED: &str = "Provisioned Concurrency Configs cannot be applied to unpublished function versions.";

/// PutProvisionedConcurrencyConfig: 202; instances are started from now on.
pub(super) async fn put(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Created)?;
    let request: Request = read_json(body).await?;
    // Lambda's number has 32 bits; no account has as many.
    let asked = request.provisioned_concurrent_executions.map(|asked| asked.min(i64::from(u32::MAX)));
    let mut violations = Violations::default();
    violations.required("provisionedConcurrentExecutions", asked.as_ref());
    violations.range("provisionedConcurrentExecutions", asked.unwrap_or(1), 1..=u32::MAX);
    violations.check()?;
    let requested = u32::try_from(asked.unwrap_or(1)).unwrap_or(u32::MAX);
    let target = find(scope, resolved, UNPUBLISHED)?;
    set(scope, &target, Some(requested)).await?;
    // As AWS answers: nothing is allocated yet.
    let asked = updraft_types::version::Provisioned { requested, modified_at: Timestamp::now() };
    let standing = Standing { asked, allocated: 0, available: 0, status: Status::InProgress };
    Ok(respond::json(StatusCode::ACCEPTED, &View::of(standing, None)))
}

/// GetProvisionedConcurrencyConfig, or with `List=ALL` ListProvisionedConcurrencyConfigs.
pub(super) fn get(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Created)?;
    if query.get("List").as_deref() == Some("ALL") {
        return list(scope, &resolved, query);
    }
    let target = find(scope, resolved, MUST_BE_PUBLISHED)?;
    let standing = scope.node.provisioned(&target.id, &target.qualifier).ok_or_else(Error::not_provisioned)?;
    Ok(respond::json(StatusCode::OK, &View::of(standing, None)))
}

/// By aliases, then versions, in pages.
fn list(scope: &Scope<'_>, resolved: &Resolved, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let count = query.page(PAGE_MAX)?;
    let after: Option<String> = query.marker()?;
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    let catalog = scope.node.catalog();
    let aliases = catalog.aliases(&function.id).map(|alias| Qualifier::Alias(alias.name.clone()));
    let versions = catalog.versions(&function.id).map(|version| Qualifier::Version(version.version));
    let mut all = aliases.chain(versions).peekable();
    if let Some(after) = after {
        // One that has gone meanwhile ends the list: what follows it is not known.
        all.by_ref().find(|qualifier| qualifier.to_string() == after);
    }
    let arn = function.id.arn(scope.node.region());
    let mut shown = all.filter_map(|qualifier| {
        let standing = scope.node.provisioned(&function.id, &qualifier)?;
        Some((View::of(standing, Some(format!("{arn}:{qualifier}"))), qualifier))
    });
    let page: Vec<(View, Qualifier)> = shown.by_ref().take(count).collect();
    let next = page.last().filter(|_| shown.next().is_some()).map(|(_, last)| query::marker_of(last));
    let views: Vec<&View> = page.iter().map(|(view, _)| view).collect();
    let view = match next {
        Some(marker) => json!({ "ProvisionedConcurrencyConfigs": views, "NextMarker": marker }),
        None => json!({ "ProvisionedConcurrencyConfigs": views }),
    };
    Ok(respond::json(StatusCode::OK, &view))
}

/// DeleteProvisionedConcurrencyConfig: also where nothing is provisioned.
pub(super) async fn delete(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let target = find(scope, name::resolve(scope, segment, query, Pattern::Created)?, MUST_BE_PUBLISHED)?;
    set(scope, &target, None).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

async fn set(scope: &Scope<'_>, target: &Target, requested: Option<u32>) -> Result<(), Error> {
    let arn = target.resolved.qualified_arn(scope);
    let changed = scope.node.provision(&target.id, &target.qualifier, requested).await;
    changed.map_err(|error| match error {
        provisioned::Error::NotFound => Error::function_not_found(&arn),
        provisioned::Error::SnapStart => Error::invalid_parameter(SNAP_START),
        provisioned::Error::Unpublished => Error::invalid_parameter(UNPUBLISHED),
        provisioned::Error::VersionProvisioned => Error::conflict(
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
        ),
        provisioned::Error::AliasProvisioned => {
            Error::conflict("Version is pointed by a Provisioned Concurrency alias")
        }
        provisioned::Error::OverReserved => Error::invalid_parameter(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function",
        ),
        provisioned::Error::OverUnreserved { unreserved } => Error::bare_parameter(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency \
             [{unreserved}]."
        )),
        provisioned::Error::UnreservedTooFew => Error::bare_parameter(format!(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its \
             minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
        )),
        provisioned::Error::Change(error) => Error::change(error, &target.resolved.name, &arn),
    })
}
