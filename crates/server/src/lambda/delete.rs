//! DeleteFunction.

use http::{Response, StatusCode};
use updraft_types::Body;

use super::{
    name::{self, Pattern},
    query::Query,
};
use crate::{error::Error, respond, scope::Scope};

/// Answers 204, as AWS was recorded to. A numbered version is never there, and deleting one that is not there
/// succeeds.
pub(super) async fn delete(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let arn = resolved.arn(scope);
    match resolved.qualifier.as_deref() {
        Some("$LATEST") => {
            return Err(Error::invalid_parameter("$LATEST version cannot be deleted without deleting the function."));
        }
        Some(qualifier) if qualifier.contains('$') => return Err(Error::function_not_found(&arn)),
        Some(qualifier) if !qualifier.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(Error::invalid_parameter("Deletion of aliases is not currently supported."));
        }
        _ => {}
    }
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&arn))?;
    if resolved.qualifier.is_none() {
        let deleted = scope.node.delete(&function.id).await;
        deleted.map_err(|error| Error::change(error, &resolved.name, &arn))?;
    }
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
