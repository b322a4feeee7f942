//! A function as the API shows it. Fields, their order and their texts are those of AWS's recorded responses.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use serde::Serialize;
use updraft_node::Deployed;
use updraft_types::{
    Body, Function, Region, Version,
    function::{Architecture, LastUpdate, SnapStart, State, TracingMode},
    logging::{ApplicationLevel, LogFormat, SystemLevel},
};

use crate::{respond, scope::Scope};

/// AWS's text for a function or a change that is not ready yet.
const CREATING: &str = "The function is being created.";

/// Which ARN a function is shown with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArnForm<'a> {
    /// Without a qualifier.
    Plain,
    /// With the version.
    Version,
    /// With the qualifier that was asked for.
    Qualified(&'a str),
}

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Everything.
    Full,
    /// As lists show it: without states and runtime version.
    Listed,
}

/// `FunctionConfiguration`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConfigurationView<'a> {
    architectures: [Architecture; 1],
    code_sha256: &'a str,
    code_size: u64,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<EnvironmentView<'a>>,
    ephemeral_storage: EphemeralStorageView,
    function_arn: String,
    function_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_config_response: Option<ImageConfigResponse<'a>>,
    last_modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_update_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_update_status_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_update_status_reason_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<LayerView>,
    logging_config: LoggingView,
    memory_size: u32,
    package_type: &'static str,
    revision_id: &'a str,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_version_config: Option<RuntimeVersionView>,
    snap_start: SnapStartView,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_reason_code: Option<&'static str>,
    timeout: u32,
    tracing_config: TracingView,
    version: Version,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnvironmentView<'a> {
    variables: &'a BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EphemeralStorageView {
    size: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LayerView {
    arn: String,
    code_size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LoggingView {
    #[serde(skip_serializing_if = "Option::is_none")]
    application_log_level: Option<ApplicationLevel>,
    log_format: LogFormat,
    log_group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_log_level: Option<SystemLevel>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RuntimeVersionView {
    runtime_version_arn: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SnapStartView {
    apply_on: &'static str,
    optimization_status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfigResponse<'a> {
    image_config: ImageConfigView<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfigView<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    command: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entry_point: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    working_directory: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TracingView {
    mode: TracingMode,
}

/// A status, its reason, and the reason's code.
type Status<'a> = (Option<&'static str>, Option<&'a str>, Option<&'static str>);

/// A function's configuration.
pub(super) fn configuration<'a>(
    function: &'a Function,
    region: &Region,
    arn: ArnForm<'_>,
    detail: Detail,
) -> ConfigurationView<'a> {
    let configuration = &function.configuration;
    let plain = function.id.arn(region);
    let name = function.id.name.as_str();
    let nothing = (None, None, None);
    let (state, state_reason, state_reason_code) = match detail {
        Detail::Full => state_of(function),
        Detail::Listed => nothing,
    };
    let (last_update_status, last_update_status_reason, last_update_status_reason_code) = match detail {
        Detail::Full => last_update_of(function),
        Detail::Listed => nothing,
    };
    let variables = &configuration.environment;
    let logging = configuration.logging;
    let is_json = logging.format == LogFormat::Json;
    let is_image = function.code.image.is_some();
    ConfigurationView {
        architectures: [configuration.architecture],
        code_sha256: &function.code.sha256,
        code_size: function.code.size_bytes,
        description: &configuration.description,
        environment: (!variables.is_empty()).then_some(EnvironmentView { variables }),
        ephemeral_storage: EphemeralStorageView { size: configuration.ephemeral_storage_mb },
        function_arn: match arn {
            ArnForm::Plain => plain,
            ArnForm::Version => format!("{plain}:{}", function.version),
            ArnForm::Qualified(qualifier) => format!("{plain}:{qualifier}"),
        },
        function_name: name,
        handler: (!is_image).then_some(&*configuration.handler),
        image_config_response: (!configuration.image.is_empty()).then(|| ImageConfigResponse {
            image_config: ImageConfigView {
                command: &configuration.image.command,
                entry_point: &configuration.image.entry_point,
                working_directory: &configuration.image.working_directory,
            },
        }),
        last_modified: function.modified_at.to_lambda_text(),
        last_update_status,
        last_update_status_reason,
        last_update_status_reason_code,
        layers: configuration
            .layers
            .iter()
            .map(|layer| LayerView { arn: layer.id.arn(region), code_size: layer.code.size_bytes })
            .collect(),
        logging_config: LoggingView {
            application_log_level: is_json.then_some(logging.application),
            log_format: logging.format,
            log_group: configuration.log_group.clone().unwrap_or_else(|| format!("/aws/lambda/{name}")),
            system_log_level: is_json.then_some(logging.system),
        },
        memory_size: configuration.memory_mb,
        package_type: if is_image { "Image" } else { "Zip" },
        revision_id: function.revision.as_str(),
        role: &configuration.role,
        runtime: (!is_image).then(|| configuration.runtime.to_string()),
        runtime_version_config: (detail == Detail::Full && !is_image)
            .then(|| RuntimeVersionView { runtime_version_arn: runtime_version_arn(function, region) }),
        snap_start: snap_start_of(function),
        state,
        state_reason,
        state_reason_code,
        timeout: configuration.timeout_s,
        tracing_config: TracingView { mode: configuration.tracing },
        version: function.version,
    }
}

fn snap_start_of(function: &Function) -> SnapStartView {
    let apply_on = match function.configuration.snap_start {
        SnapStart::None => "None",
        SnapStart::PublishedVersions => "PublishedVersions",
    };
    let is_on = function.is_snapshotted() && function.settings.snap_start_off.is_none();
    SnapStartView { apply_on, optimization_status: if is_on { "On" } else { "Off" } }
}

fn state_of(function: &Function) -> Status<'_> {
    match &function.state {
        State::Pending => (Some("Pending"), Some(CREATING), Some("Creating")),
        State::Active => (Some("Active"), None, None),
        State::Failed { reason } => (Some("Failed"), Some(reason), Some("FunctionError")),
    }
}

fn last_update_of(function: &Function) -> Status<'_> {
    match &function.last_update {
        None => (None, None, None),
        Some(LastUpdate::Successful) => (Some("Successful"), None, None),
        Some(LastUpdate::InProgress) => (Some("InProgress"), Some(CREATING), Some("Creating")),
        Some(LastUpdate::Failed { reason }) => (Some("Failed"), Some(reason), Some("FunctionError")),
    }
}

/// The answer to a change: the function as it is now, and the warning for its author.
pub(super) fn deployed(scope: &Scope<'_>, status: StatusCode, deployed: &Deployed, arn: ArnForm<'_>) -> Response<Body> {
    let view = configuration(&deployed.function, scope.node.region(), arn, Detail::Full);
    let mut response = respond::json(status, &view);
    if let Some(warning) = &deployed.warning {
        response.headers_mut().insert(respond::WARNING, respond::header_text(warning));
    }
    response
}

/// What a function runs on, as `RuntimeVersionConfig` names it: its runtime. AWS names a build of one by its hash.
pub(super) fn runtime_version_arn(function: &Function, region: &Region) -> String {
    format!("arn:aws:lambda:{region}::runtime:{}", function.configuration.runtime)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};
    use updraft_types::{
        FunctionId, Runtime, Timestamp,
        function::{Code, Configuration},
    };

    use super::*;

    /// A function in state Pending, as one is right after its creation.
    pub(in crate::lambda) fn function() -> Function {
        Function {
            id: FunctionId { account: "111111111111".parse().unwrap(), name: "f".parse().unwrap() },
            version: Default::default(),
            revision: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            modified_at: Timestamp::from_ms(1_795_429_230_045),
            configuration: Configuration {
                timeout_s: 5,
                memory_mb: 256,
                ..Configuration::new(
                    Runtime::Python { minor: 12 },
                    "handler.handler",
                    "arn:aws:iam::111111111111:role/r",
                )
            },
            code: Code { sha256: "c2hh".into(), size_bytes: 9, image: None },
            state: State::Pending,
            last_update: None,
            tags: BTreeMap::new(),
            url: None,
            scaling: Default::default(),
            policies: Default::default(),
            settings: Default::default(),
        }
    }

    fn shown(function: &Function, detail: Detail) -> Value {
        let region = "us-east-1".parse().unwrap();
        serde_json::to_value(configuration(function, &region, ArnForm::Plain, detail)).unwrap()
    }

    /// The fields of AWS's recorded test_function_lifecycle, create_response.
    #[test]
    fn a_new_function() {
        let expected = json!({
            "Architectures": ["x86_64"],
            "CodeSha256": "c2hh",
            "CodeSize": 9,
            "Description": "",
            "EphemeralStorage": { "Size": 512 },
            "FunctionArn": "arn:aws:lambda:us-east-1:111111111111:function:f",
            "FunctionName": "f",
            "Handler": "handler.handler",
            "LastModified": "2026-11-23T10:20:30.045+0000",
            "LoggingConfig": { "LogFormat": "Text", "LogGroup": "/aws/lambda/f" },
            "MemorySize": 256,
            "PackageType": "Zip",
            "RevisionId": "00000000-0000-0000-0000-000000000001",
            "Role": "arn:aws:iam::111111111111:role/r",
            "Runtime": "python3.12",
            "RuntimeVersionConfig": { "RuntimeVersionArn": "arn:aws:lambda:us-east-1::runtime:python3.12" },
            "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
            "State": "Pending",
            "StateReason": "The function is being created.",
            "StateReasonCode": "Creating",
            "Timeout": 5,
            "TracingConfig": { "Mode": "PassThrough" },
            "Version": "$LATEST",
        });
        assert_eq!(shown(&function(), Detail::Full), expected);
    }

    /// The fields of AWS's recorded test_lambda_image_and_image_config_crud.
    #[test]
    fn an_image_has_no_runtime_and_no_handler() {
        let mut changed = function();
        changed.configuration.runtime = updraft_types::Runtime::Image;
        changed.configuration.image.command = vec!["-c".into(), "echo test".into()];
        changed.configuration.image.working_directory = "/app1".into();
        let (account, program) = (changed.id.account.clone(), Default::default());
        let image =
            updraft_types::image::Image { account, uri: "r:latest".into(), resolved: "r@sha256:0".into(), program };
        changed.code = Code { sha256: "0".repeat(64), size_bytes: 0, image: Some(image) };
        let view = shown(&changed, Detail::Full);
        for absent in ["Runtime", "Handler", "RuntimeVersionConfig", "Layers"] {
            assert!(view.get(absent).is_none(), "{absent}");
        }
        assert_eq!((&view["PackageType"], &view["CodeSize"]), (&json!("Image"), &json!(0)));
        let expected = json!({ "ImageConfig": { "Command": ["-c", "echo test"], "WorkingDirectory": "/app1" } });
        assert_eq!(view["ImageConfigResponse"], expected);
        changed.configuration.image = Default::default();
        assert!(shown(&changed, Detail::Full).get("ImageConfigResponse").is_none());
    }

    /// The fields of AWS's recorded test_function_advanced_logging_configuration.
    #[test]
    fn levels_are_shown_with_json_alone() {
        let mut changed = function();
        changed.configuration.logging.format = LogFormat::Json;
        changed.configuration.log_group = Some("cool_lambda".into());
        let expected = json!({
            "ApplicationLogLevel": "INFO", "LogFormat": "JSON", "LogGroup": "cool_lambda", "SystemLogLevel": "INFO",
        });
        assert_eq!(shown(&changed, Detail::Full)["LoggingConfig"], expected);
    }

    #[test]
    fn states_and_updates_read_as_waiters_expect() {
        let mut changed = function();
        changed.state = State::Active;
        changed.last_update = Some(LastUpdate::InProgress);
        let view = shown(&changed, Detail::Full);
        assert_eq!(view["State"], "Active");
        assert!(view.get("StateReason").is_none());
        assert_eq!(view["LastUpdateStatus"], "InProgress");
        assert_eq!(view["LastUpdateStatusReason"], "The function is being created.");
        assert_eq!(view["LastUpdateStatusReasonCode"], "Creating");
        changed.last_update = Some(LastUpdate::Failed { reason: "bad".into() });
        assert_eq!(shown(&changed, Detail::Full)["LastUpdateStatusReason"], "bad");
        let listed = shown(&changed, Detail::Listed);
        for absent in ["State", "LastUpdateStatus", "RuntimeVersionConfig"] {
            assert!(listed.get(absent).is_none(), "{absent}");
        }
    }
}
