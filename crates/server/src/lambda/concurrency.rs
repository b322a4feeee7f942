//! PutFunctionConcurrency, GetFunctionConcurrency and DeleteFunctionConcurrency: reserved concurrency. Answers and the
//! order of checks (the function before the number) are AWS's as recorded.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use updraft_types::{Body, Function};

use super::{
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    reserved_concurrent_executions: Option<i64>,
}

/// `Concurrency`, as these operations and GetFunction show it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConcurrencyView {
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_concurrent_executions: Option<u32>,
}

impl ConcurrencyView {
    fn of(function: &Function) -> Self {
        Self { reserved_concurrent_executions: function.scaling.reserved_concurrency }
    }
}

/// What GetFunction shows: nothing where nothing is reserved.
pub(super) fn view(function: &Function) -> Option<ConcurrencyView> {
    function.scaling.reserved_concurrency.map(|_| ConcurrencyView::of(function))
}

/// PutFunctionConcurrency.
pub(super) async fn put(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    let resolved = resolve(scope, segment)?;
    let request: Request = read_json(body).await?;
    if resolved.qualifier.is_some() {
        return Err(Error::invalid_parameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this \
             operation. Please specify either a function name or an unqualified function ARN.",
        ));
    }
    let missing = || Error::function_not_found(&format!("{}:$LATEST", resolved.arn(scope)));
    let function = resolved.find(scope).ok_or_else(missing)?;
    // Lambda's number has 32 bits; no account has as many.
    let asked = request.reserved_concurrent_executions.map(|asked| asked.min(i64::from(u32::MAX)));
    let mut violations = Violations::default();
    violations.required("reservedConcurrentExecutions", asked.as_ref());
    violations.range("reservedConcurrentExecutions", asked.unwrap_or_default(), 0..=u32::MAX);
    violations.check()?;
    let asked = u32::try_from(asked.unwrap_or_default()).unwrap_or(u32::MAX);
    let changed = reserve(scope, &function, Some(asked)).await?;
    Ok(respond::json(StatusCode::OK, &ConcurrencyView::of(&changed)))
}

/// GetFunctionConcurrency: an empty object where nothing is reserved.
pub(super) fn get(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    let function = find(scope, segment)?;
    Ok(respond::json(StatusCode::OK, &ConcurrencyView::of(&function)))
}

/// DeleteFunctionConcurrency: also where nothing is reserved.
pub(super) async fn delete(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    let function = find(scope, segment)?;
    reserve(scope, &function, None).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

async fn reserve(scope: &Scope<'_>, function: &Function, asked: Option<u32>) -> Result<Arc<Function>, Error> {
    let changed = scope.node.reserve_concurrency(&function.id, asked).await;
    let arn = function.id.arn(scope.node.region());
    changed.map_err(|error| Error::change(error, function.id.name.as_str(), &arn))
}

fn resolve(scope: &Scope<'_>, segment: &str) -> Result<Resolved, Error> {
    name::resolve(scope, segment, &Query::new(None), Pattern::Created)
}

fn find(scope: &Scope<'_>, segment: &str) -> Result<Arc<Function>, Error> {
    let resolved = resolve(scope, segment)?;
    resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))
}
