//! PutFunctionRecursionConfig and GetFunctionRecursionConfig: whether a chain of events that leads to a function again and
//! again is ended. Who follows the chain is `engine::events::recursion`.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use updraft_types::{Body, Function, settings::RecursiveLoop};

use super::{
    name::{self, Pattern},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    recursive_loop: Option<String>,
}

/// PutFunctionRecursionConfig.
pub(super) async fn put(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    let request: Request = read_json(body).await?;
    let mut violations = Violations::default();
    violations.required("recursiveLoop", request.recursive_loop.as_ref());
    if let Some(asked) = &request.recursive_loop {
        violations.one_of("recursiveLoop", asked, &["Terminate", "Allow"]);
    }
    violations.check()?;
    let function = find(scope, segment)?;
    let asked = match request.recursive_loop.as_deref() {
        Some("Allow") => RecursiveLoop::Allow,
        _ => RecursiveLoop::Terminate,
    };
    let changed = scope.node.update_settings(&function.id, move |settings| settings.recursion = Some(asked)).await;
    let arn = function.id.arn(scope.node.region());
    changed.map_err(|error| Error::change(error, function.id.name.as_str(), &arn))?;
    Ok(view(asked))
}

/// GetFunctionRecursionConfig.
pub(super) fn get(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    Ok(view(find(scope, segment)?.settings.recursion.unwrap_or(RecursiveLoop::Terminate)))
}

fn view(recursion: RecursiveLoop) -> Response<Body> {
    respond::json(StatusCode::OK, &json!({ "RecursiveLoop": recursion }))
}

fn find(scope: &Scope<'_>, segment: &str) -> Result<Arc<Function>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Created)?;
    resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))
}
