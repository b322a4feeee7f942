//! CreateFunction.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use updraft_node::Draft;
use updraft_types::{
    Body,
    function::{Architecture, Configuration, TracingMode},
};

use super::{
    code, configuration, name, read_json, tags,
    validate::Violations,
    view::{self, ArnForm},
};
use crate::{doors::Doors, error::Error};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    function_name: Option<String>,
    code: Option<code::Source>,
    package_type: Option<String>,
    architectures: Option<Vec<String>>,
    tags: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    configuration: configuration::Members,
}

/// Answers 201 with the new function, in state Pending.
pub(super) async fn create(doors: &Doors, body: Incoming) -> Result<Response<Body>, Error> {
    let request: Request = read_json(doors, body, "CreateFunction").await?;
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
    let name = name::resolve_new(doors, &request.function_name.unwrap_or_default())?;
    if request.package_type.as_deref() == Some("Image") {
        return Err(Error::unsupported_member("PackageType Image"));
    }
    tags::check_count(tags.len())?;
    let mut change = request.configuration.into_change()?;
    let (Some(runtime), Some(handler)) = (change.runtime, change.handler.take()) else {
        return Err(Error::invalid_parameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    };
    let zip = request.code.unwrap_or_default().into_zip()?;
    let mut configuration = Configuration {
        runtime,
        handler,
        role: String::new(),
        description: String::new(),
        timeout_s: 3,
        memory_mb: 128,
        ephemeral_storage_mb: 512,
        environment: BTreeMap::new(),
        architecture: architecture.unwrap_or(Architecture::X86_64),
        tracing: TracingMode::PassThrough,
        log_group: None,
        logging: Default::default(),
        egress: None,
    };
    change.check(&configuration)?;
    change.apply(&mut configuration);
    let draft = Draft { id: doors.id(name.clone()), configuration, tags };
    let arn = draft.id.arn(doors.node.region());
    let deployed = doors.node.create(draft, zip).await.map_err(|error| Error::change(error, name.as_str(), &arn))?;
    Ok(view::deployed(doors, StatusCode::CREATED, &deployed, ArnForm::Plain))
}
