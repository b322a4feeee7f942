//! Event source mappings, of which there are none as long as there is nothing to map: no queue, no stream. So
//! CreateEventSourceMapping is not there (501), and the others answer what AWS answers in an account that has none; tools
//! that look before they act learn the truth.

use http::{Response, StatusCode};
use serde_json::json;
use updraft_types::Body;

use super::{
    name::{self, Pattern},
    query::Query,
    validate::Violations,
};
use crate::{error::Error, respond, scope::Scope};

/// Most mappings of a page (source: the service model's `MaxItems`).
const PAGE_MAX: usize = 10_000;

/// ListEventSourceMappings. A function that is asked for has to be there, as on AWS, and the caller's.
pub(super) fn list(scope: &Scope<'_>, query: &Query<'_>) -> Result<Response<Body>, Error> {
    query.page(PAGE_MAX)?;
    if let Some(function) = query.get("FunctionName") {
        let resolved = name::resolve_text(scope, &function, Pattern::Namespaced)?;
        let own = resolved.find(scope).filter(|function| function.id.account == *scope.account());
        own.ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    }
    Ok(respond::json(StatusCode::OK, &json!({ "EventSourceMappings": [] })))
}

/// What Get-, Update- and DeleteEventSourceMapping say of whichever is named.
pub(super) fn missing(segment: &str) -> Result<Response<Body>, Error> {
    let uuid = name::decoded(segment);
    let mut violations = Violations::default();
    violations.length_max("uUID", &uuid, 36);
    violations.check()?;
    Err(Error::resource_does_not_exist())
}
