//! PutFunctionConcurrency, GetFunctionConcurrency and DeleteFunctionConcurrency: reserved concurrency. Answers and the
//! order of checks (the function before the number) are AWS's as recorded.

use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use updraft_types::{Body, Function};

use super::{
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{doors::Doors, error::Error, respond};

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
pub(super) async fn put(doors: &Doors, segment: &str, body: Incoming) -> Result<Response<Body>, Error> {
    let resolved = resolve(doors, segment)?;
    let request: Request = read_json(doors, body, "PutFunctionConcurrency").await?;
    if resolved.qualifier.is_some() {
        return Err(Error::invalid_parameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this \
             operation. Please specify either a function name or an unqualified function ARN.",
        ));
    }
    let missing = || Error::function_not_found(&format!("{}:$LATEST", resolved.arn(doors)));
    let function = resolved.find(doors).ok_or_else(missing)?;
    // Lambda's number has 32 bits; no account has as many.
    let asked = request.reserved_concurrent_executions.map(|asked| asked.min(i64::from(u32::MAX)));
    let mut violations = Violations::default();
    violations.required("reservedConcurrentExecutions", asked.as_ref());
    violations.range("reservedConcurrentExecutions", asked.unwrap_or_default(), 0..=u32::MAX);
    violations.check()?;
    let asked = u32::try_from(asked.unwrap_or_default()).unwrap_or(u32::MAX);
    let changed = reserve(doors, &function, Some(asked)).await?;
    Ok(respond::json(StatusCode::OK, &ConcurrencyView::of(&changed)))
}

/// GetFunctionConcurrency: an empty object where nothing is reserved.
pub(super) fn get(doors: &Doors, segment: &str) -> Result<Response<Body>, Error> {
    let function = find(doors, segment)?;
    Ok(respond::json(StatusCode::OK, &ConcurrencyView::of(&function)))
}

/// DeleteFunctionConcurrency: also where nothing is reserved.
pub(super) async fn delete(doors: &Doors, segment: &str) -> Result<Response<Body>, Error> {
    let function = find(doors, segment)?;
    reserve(doors, &function, None).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

async fn reserve(doors: &Doors, function: &Function, asked: Option<u32>) -> Result<Arc<Function>, Error> {
    let changed = doors.node.reserve_concurrency(&function.id, asked).await;
    let arn = function.id.arn(doors.node.region());
    changed.map_err(|error| Error::change(error, function.id.name.as_str(), &arn))
}

fn resolve(doors: &Doors, segment: &str) -> Result<Resolved, Error> {
    name::resolve(doors, segment, &Query::new(None), Pattern::Created)
}

fn find(doors: &Doors, segment: &str) -> Result<Arc<Function>, Error> {
    let resolved = resolve(doors, segment)?;
    resolved.find(doors).ok_or_else(|| Error::function_not_found(&resolved.arn(doors)))
}
