//! UpdateFunctionCode and UpdateFunctionConfiguration.

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use updraft_node::{Deployed, Publish};
use updraft_types::{Body, Function, RevisionId, Version};

use super::{
    authorize,
    code::{self, PackageType},
    configuration, layers,
    members::refuse_asking,
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
    view::{self, ArnForm},
};
use crate::{body::Held, error::Error, scope::Scope};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CodeRequest {
    architectures: Option<Vec<String>>,
    dry_run: Option<bool>,
    publish: Option<bool>,
    publish_to: Value,
    revision_id: Option<String>,
    #[serde(flatten)]
    source: code::Source,
}

/// UpdateFunctionCode. The old code serves until the new is ready; a dry run changes nothing.
pub(super) async fn code(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Created)?;
    let request: CodeRequest = read_json(body).await?;
    let mut violations = Violations::default();
    let architecture = code::architecture(request.architectures.as_deref(), &mut violations);
    violations.check()?;
    refuse_asking(&[("PublishTo", &request.publish_to)])?;
    let arn = resolved.arn(scope);
    let current = resolved.find(scope).ok_or_else(|| Error::function_not_found(&arn))?;
    if architecture.is_some_and(|architecture| architecture != current.configuration.architecture) {
        return Err(Error::unsupported_member("Changing Architectures"));
    }
    let expected = expected(request.revision_id.as_deref(), &current)?;
    let source = request.source.into_source(PackageType::of(&current), "updating")?;
    let failed = |error| Error::change(error, &resolved.name, &arn);
    let deployed = if request.dry_run == Some(true) {
        let code = scope.node.check_code(&current, source).await.map_err(failed)?;
        let function = Function { code, ..Function::clone(&current) };
        Deployed { function: function.into(), warning: None }
    } else {
        let publish = if request.publish == Some(true) { Publish::Yes } else { Publish::No };
        scope.node.update_code_with(&current.id, source, expected.as_ref(), publish).await.map_err(failed)?
    };
    let is_published = deployed.function.version != Version::Latest;
    let form = if is_published { ArnForm::Version } else { ArnForm::Plain };
    Ok(view::deployed(scope, StatusCode::OK, &deployed, form))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigurationRequest {
    revision_id: Option<String>,
    #[serde(flatten)]
    members: configuration::Members,
}

/// UpdateFunctionConfiguration. What is left out stays as it is.
pub(super) async fn configuration(scope: &Scope<'_>, segment: &str, body: &Held) -> Result<Response<Body>, Error> {
    let resolved: Resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Created)?;
    let request: ConfigurationRequest = read_json(body).await?;
    let arn = resolved.arn(scope);
    let current = resolved.find(scope);
    let mut violations = Violations::default();
    request.members.violations(current.as_ref().map(|function| function.configuration.runtime), &mut violations);
    violations.check()?;
    if let Some(role) = &request.members.role {
        authorize::pass_role(scope, &resolved.account, role)?;
    }
    let arns = request.members.layers.clone();
    let mut change = request.members.into_change()?;
    let current = current.ok_or_else(|| Error::function_not_found(&arn))?;
    change.check_package(PackageType::of(&current), arns.as_deref().unwrap_or_default())?;
    change.check(&current.configuration)?;
    let expected = expected(request.revision_id.as_deref(), &current)?;
    if let Some(arns) = &arns {
        change.layers = Some(layers::resolve(scope, &resolved.account, arns).await?);
    }
    let changed = scope.node.update_configuration(&current.id, expected.as_ref(), |to| change.apply(to)).await;
    let deployed = changed.map_err(|error| Error::change(error, &resolved.name, &arn))?;
    Ok(view::deployed(scope, StatusCode::OK, &deployed, ArnForm::Plain))
}

/// The revision a change is made on. One that is no revision id cannot be the current one.
pub(super) fn expected(text: Option<&str>, current: &Function) -> Result<Option<RevisionId>, Error> {
    let Some(text) = text else { return Ok(None) };
    let revision: RevisionId = text.parse().map_err(|_| Error::revision_mismatch())?;
    if revision == current.revision { Ok(Some(revision)) } else { Err(Error::revision_mismatch()) }
}
