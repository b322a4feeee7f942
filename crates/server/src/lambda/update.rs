//! UpdateFunctionCode and UpdateFunctionConfiguration.

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use updraft_node::Deployed;
use updraft_types::{Body, Function, RevisionId};

use super::{
    code, configuration,
    members::refuse_asking,
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
    view::{self, ArnForm},
};
use crate::{doors::Doors, error::Error};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CodeRequest {
    architectures: Option<Vec<String>>,
    dry_run: Option<bool>,
    publish: Value,
    publish_to: Value,
    revision_id: Option<String>,
    #[serde(flatten)]
    source: code::Source,
}

/// UpdateFunctionCode. The old code serves until the new is ready; a dry run changes nothing.
pub(super) async fn code(doors: &Doors, segment: &str, body: Incoming) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(doors, segment, &Query::new(None), Pattern::Created)?;
    let request: CodeRequest = read_json(doors, body, "UpdateFunctionCode").await?;
    let mut violations = Violations::default();
    let architecture = code::architecture(request.architectures.as_deref(), &mut violations);
    violations.check()?;
    refuse_asking(&[("Publish", &request.publish), ("PublishTo", &request.publish_to)])?;
    let arn = resolved.arn(doors);
    let current = resolved.find(doors).ok_or_else(|| Error::function_not_found(&arn))?;
    if architecture.is_some_and(|architecture| architecture != current.configuration.architecture) {
        return Err(Error::unsupported_member("Changing Architectures"));
    }
    let expected = expected(request.revision_id.as_deref(), &current)?;
    let zip = request.source.into_zip()?;
    let failed = |error| Error::change(error, &resolved.name, &arn);
    let deployed = if request.dry_run == Some(true) {
        let code = doors.node.check_code(zip).await.map_err(failed)?;
        let function = Function { code, ..Function::clone(&current) };
        Deployed { function: function.into(), warning: None }
    } else {
        doors.node.update_code(&current.id, zip, expected.as_ref()).await.map_err(failed)?
    };
    Ok(view::deployed(doors, StatusCode::OK, &deployed, ArnForm::Plain))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigurationRequest {
    revision_id: Option<String>,
    #[serde(flatten)]
    members: configuration::Members,
}

/// UpdateFunctionConfiguration. What is left out stays as it is.
pub(super) async fn configuration(doors: &Doors, segment: &str, body: Incoming) -> Result<Response<Body>, Error> {
    let resolved: Resolved = name::resolve(doors, segment, &Query::new(None), Pattern::Created)?;
    let request: ConfigurationRequest = read_json(doors, body, "UpdateFunctionConfiguration").await?;
    let arn = resolved.arn(doors);
    let current = resolved.find(doors);
    let mut violations = Violations::default();
    request.members.violations(current.as_ref().map(|function| function.configuration.runtime), &mut violations);
    violations.check()?;
    let change = request.members.into_change()?;
    let current = current.ok_or_else(|| Error::function_not_found(&arn))?;
    change.check(&current.configuration)?;
    let expected = expected(request.revision_id.as_deref(), &current)?;
    let changed = doors.node.update_configuration(&current.id, expected.as_ref(), |to| change.apply(to)).await;
    let deployed = changed.map_err(|error| Error::change(error, &resolved.name, &arn))?;
    Ok(view::deployed(doors, StatusCode::OK, &deployed, ArnForm::Plain))
}

/// The revision a change is made on. One that is no revision id cannot be the current one.
fn expected(text: Option<&str>, current: &Function) -> Result<Option<RevisionId>, Error> {
    let Some(text) = text else { return Ok(None) };
    let revision: RevisionId = text.parse().map_err(|_| Error::revision_mismatch())?;
    if revision == current.revision { Ok(Some(revision)) } else { Err(Error::revision_mismatch()) }
}
