//! PutRuntimeManagementConfig and GetRuntimeManagementConfig.
//!
//! A function runs on an interpreter of the host, which is updated when whoever runs the host updates it: Auto,
//! FunctionUpdate and Manual come to the same. What Manual pins must be what the function runs on; a pin to anything else,
//! an AWS build among them, could not be kept and is refused.

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use updraft_types::{Body, settings::UpdateRuntimeOn};

use super::{
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
    view,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    update_runtime_on: Option<String>,
    runtime_version_arn: Option<String>,
}

impl Request {
    fn into_setting(self) -> Result<UpdateRuntimeOn, Error> {
        let mut violations = Violations::default();
        violations.required("updateRuntimeOn", self.update_runtime_on.as_ref());
        if let Some(asked) = &self.update_runtime_on {
            violations.one_of("updateRuntimeOn", asked, &["Auto", "Manual", "FunctionUpdate"]);
        }
        violations.length_max("runtimeVersionArn", self.runtime_version_arn.as_deref().unwrap_or_default(), 2_048);
        violations.check()?;
        match (self.update_runtime_on.as_deref(), self.runtime_version_arn) {
            (Some("Manual"), Some(arn)) => Ok(UpdateRuntimeOn::Manual(arn)),
            (Some("Manual"), None) => Err(Error::invalid_parameter(
                "You must specify the runtime version ARN when you set the runtime update mode to Manual.",
            )),
            (_, Some(_)) => Err(Error::invalid_parameter(
                "The runtime version ARN can be specified only when the runtime update mode is Manual.",
            )),
            (Some("FunctionUpdate"), None) => Ok(UpdateRuntimeOn::FunctionUpdate),
            (_, None) => Ok(UpdateRuntimeOn::Auto),
        }
    }
}

/// PutRuntimeManagementConfig.
pub(super) async fn put(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let (resolved, version) = version(scope, segment, query)?;
    let request: Request = read_json(body).await?;
    let setting = request.into_setting()?;
    if let UpdateRuntimeOn::Manual(arn) = &setting {
        let function =
            resolved.version(scope).ok_or_else(|| Error::function_not_found(&resolved.qualified_arn(scope)))?;
        let ours = view::runtime_version_arn(&function, scope.node.region());
        if *arn != ours {
            return Err(Error::invalid_parameter(format!(
                "There is no runtime version {arn:.200} here: the function runs on {ours}, and can be pinned to nothing else."
            )));
        }
    }
    let shown = view(scope, &resolved, &version, &setting);
    let Some(id) = resolved.id() else { return Err(Error::function_not_found(&resolved.qualified_arn(scope))) };
    let changed = scope.node.update_settings(&id, move |settings| {
        settings.runtime_management.insert(version, setting);
    });
    changed.await.map_err(|error| Error::change(error, &resolved.name, &resolved.arn(scope)))?;
    Ok(respond::json(StatusCode::OK, &shown))
}

/// GetRuntimeManagementConfig.
pub(super) fn get(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let (resolved, version) = version(scope, segment, query)?;
    let latest = resolved.find(scope);
    let setting = latest.as_ref().and_then(|latest| latest.settings.runtime_management.get(&version));
    Ok(respond::json(StatusCode::OK, &view(scope, &resolved, &version, setting.unwrap_or(&UpdateRuntimeOn::Auto))))
}

/// What a request names, and the version that is there.
fn version(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<(Resolved, String), Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    match resolved.version(scope) {
        Some(function) => Ok((resolved, function.version.to_string())),
        None => Err(Error::function_not_found(&resolved.qualified_arn(scope))),
    }
}

fn view(scope: &Scope<'_>, resolved: &Resolved, version: &str, setting: &UpdateRuntimeOn) -> Value {
    let (mode, runtime) = match setting {
        UpdateRuntimeOn::Auto => ("Auto", None),
        UpdateRuntimeOn::FunctionUpdate => ("FunctionUpdate", None),
        UpdateRuntimeOn::Manual(arn) => ("Manual", Some(arn)),
    };
    let mut view = json!({
        "UpdateRuntimeOn": mode,
        "FunctionArn": format!("{}:{version}", resolved.arn(scope)),
    });
    if let Some(runtime) = runtime {
        view["RuntimeVersionArn"] = json!(runtime);
    }
    view
}
