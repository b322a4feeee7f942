//! DeleteFunction.

use http::{Response, StatusCode};
use updraft_node::control;
use updraft_types::{Body, Qualifier, Version};

use super::{
    name::{self, Pattern},
    query::Query,
};
use crate::{error::Error, respond, scope::Scope};

/// Answers 204, as AWS was recorded to. Deleting a numbered version that is not there succeeds.
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
    let deleted = match resolved.meaning() {
        _ if resolved.qualifier.is_none() => scope.node.delete(&function.id).await,
        Some(Qualifier::Version(Version::Number(number))) => {
            match scope.node.delete_version(&function.id, number).await {
                Err(control::Error::NotFound) => Ok(()),
                other => other,
            }
        }
        _ => Ok(()),
    };
    deleted.map_err(|error| Error::change(error, &resolved.name, &resolved.qualified_arn(scope)))?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
