//! CreateFunction.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use serde::Deserialize;
use updraft_node::{Draft, Publish};
use updraft_types::{Body, Runtime, function::Configuration};

use super::{
    authorize,
    code::{self, PackageType},
    configuration, layers, name, read_json, tags,
    validate::Violations,
    view::{self, ArnForm},
};
use crate::{body::Held, error::Error, scope::Scope};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    function_name: Option<String>,
    code: Option<code::Source>,
    package_type: Option<String>,
    publish: Option<bool>,
    architectures: Option<Vec<String>>,
    tags: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    configuration: configuration::Members,
}

/// Answers 201 with the new function, in state Pending.
pub(super) async fn create(scope: &Scope<'_>, body: &Held) -> Result<Response<Body>, Error> {
    let request: Request = read_json(body).await?;
    let mut violations = Violations::default();
    violations.required("functionName", request.function_name.as_ref());
    violations.required("role", request.configuration.role.as_ref());
    violations.required("code", request.code.as_ref());
    request.configuration.violations(None, &mut violations);
    if let Some(package_type) = &request.package_type {
        violations.one_of("packageType", package_type, &["Image", "Zip"]);
    }
    let architecture = code::architecture(request.architectures.as_deref(), &mut violations);
    let tags = request.tags.unwrap_or_default();
    tags::violations(&tags, &mut violations);
    violations.check()?;
    let name = name::resolve_new(scope, &request.function_name.unwrap_or_default())?;
    let arns = request.configuration.layers.clone().unwrap_or_default();
    authorize::create(scope, &scope.id(name.clone()), &arns, &tags)?;
    authorize::pass_role(scope, scope.account(), request.configuration.role.as_deref().unwrap_or_default())?;
    let package = if request.package_type.as_deref() == Some("Image") { PackageType::Image } else { PackageType::Zip };
    tags::check(&BTreeMap::new(), &tags)?;
    let mut change = request.configuration.into_change()?;
    change.check_package(package, &arns)?;
    let (runtime, handler) = match (package, change.runtime, change.handler.take()) {
        (PackageType::Image, ..) => (Runtime::Image, String::new()),
        (PackageType::Zip, Some(runtime), Some(handler)) => (runtime, handler),
        (PackageType::Zip, ..) => {
            return Err(Error::invalid_parameter(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        }
    };
    change.layers = Some(layers::resolve(scope, scope.account(), &arns).await?);
    let source = request.code.unwrap_or_default().into_source(package, "creating")?;
    // The role is among what changes.
    let mut configuration = Configuration::new(runtime, handler, "");
    configuration.architecture = architecture.unwrap_or(configuration.architecture);
    change.check(&configuration)?;
    change.apply(&mut configuration);
    let draft = Draft { id: scope.id(name.clone()), configuration, tags };
    let arn = draft.id.arn(scope.node.region());
    let publish = if request.publish == Some(true) { Publish::Yes } else { Publish::No };
    let deployed = scope
        .node
        .create_with(draft, source, publish)
        .await
        .map_err(|error| Error::change(error, name.as_str(), &arn))?;
    Ok(view::deployed(scope, StatusCode::CREATED, &deployed, ArnForm::Plain))
}
