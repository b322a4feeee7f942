//! The configuration members of CreateFunction and UpdateFunctionConfiguration: read, checked, applied.
//!
//! Bounds are `types::limits`; messages are AWS's as recorded, except where a limit or a runtime is ours.

use std::collections::BTreeMap;

use serde::Deserialize;
use updraft_types::{
    Runtime,
    function::{Configuration, SnapStart, TracingMode},
    image::Overrides,
    layer::LayerUse,
    limits::{ENVIRONMENT_BYTES_MAX, EPHEMERAL_STORAGE_MB, MEMORY_MB, TIMEOUT_S},
    logging::{ApplicationLevel, LogFormat, Logging as LoggingOf, SystemLevel},
};

use super::{code::PackageType, members::Unsupported, validate::Violations};
use crate::error::Error;

/// Most words of an image's entry point, and of its command.
const IMAGE_WORDS_MAX: usize = 1_500;
/// Most bytes of both and of the working directory. Ours: one message to the sandbox has to hold them.
const IMAGE_WORDS_BYTES_MAX: usize = 32 << 10;

/// Variables that the platform sets and authors may not.
const RESERVED: [&str; 18] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
];

/// The members as they come; absent and null are the same.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Members {
    pub(super) runtime: Option<String>,
    pub(super) role: Option<String>,
    pub(super) handler: Option<String>,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    environment: Option<Environment>,
    tracing_config: Option<Tracing>,
    ephemeral_storage: Option<EphemeralStorage>,
    logging_config: Option<Logging>,
    image_config: Option<ImageConfig>,
    snap_start: Option<SnapStartMember>,
    /// ARNs of layer versions; resolved by [`super::layers`].
    pub(super) layers: Option<Vec<String>>,
    #[serde(flatten)]
    unsupported: Unsupported,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Environment {
    variables: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ImageConfig {
    entry_point: Option<Vec<String>>,
    command: Option<Vec<String>>,
    working_directory: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tracing {
    mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EphemeralStorage {
    size: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SnapStartMember {
    apply_on: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Logging {
    log_format: Option<String>,
    application_log_level: Option<String>,
    system_log_level: Option<String>,
    log_group: Option<String>,
}

/// A checked change; what is `None` stays as it is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) runtime: Option<Runtime>,
    role: Option<String>,
    pub(super) handler: Option<String>,
    description: Option<String>,
    timeout_s: Option<u32>,
    memory_mb: Option<u32>,
    environment: Option<BTreeMap<String, String>>,
    tracing: Option<TracingMode>,
    ephemeral_storage_mb: Option<u32>,
    log_group: Option<String>,
    pub(super) layers: Option<Vec<LayerUse>>,
    log_format: Option<LogFormat>,
    application_level: Option<ApplicationLevel>,
    system_level: Option<SystemLevel>,
    /// All of it at once: what an ImageConfig leaves out, the image says again.
    image: Option<Overrides>,
    snap_start: Option<SnapStart>,
}

/// The first `python3.N` with SnapStart on Lambda (source: AWS's page on SnapStart).
const SNAP_START_PYTHON_MINOR: u8 = 12;

impl Change {
    /// Refuses what a function of this package type does not have. `layers` are those asked for. The text about images is
    /// AWS's (from memory), the other made like it.
    pub(super) fn check_package(&self, package: PackageType, layers: &[String]) -> Result<(), Error> {
        let has_image_config = self.image.as_ref().is_some_and(|image| !image.is_empty());
        match package {
            PackageType::Image if self.runtime.is_some() || self.handler.is_some() || !layers.is_empty() => {
                Err(Error::invalid_parameter(
                    "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.",
                ))
            }
            PackageType::Zip if has_image_config => Err(Error::invalid_parameter(
                "Please don't provide ImageConfig when the intended function PackageType is Zip.",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses what makes no sense for a function as it is.
    pub(super) fn check(&self, current: &Configuration) -> Result<(), Error> {
        let format = self.log_format.unwrap_or(current.logging.format);
        if format == LogFormat::Text && (self.application_level.is_some() || self.system_level.is_some()) {
            return Err(Error::invalid_parameter(
                "ApplicationLogLevel and SystemLogLevel can only be set when LogFormat is JSON.",
            ));
        }
        let runtime = self.runtime.unwrap_or(current.runtime);
        let has_snapshots = matches!(runtime, Runtime::Python { minor } if minor >= SNAP_START_PYTHON_MINOR);
        if self.snap_start.unwrap_or(current.snap_start) != SnapStart::None && !has_snapshots {
            let text = format!("{runtime} is not supported for SnapStart enabled functions.");
            return Err(Error::invalid_parameter(text));
        }
        Ok(())
    }

    /// Makes the change.
    pub(super) fn apply(self, to: &mut Configuration) {
        fn set<T>(to: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *to = value;
            }
        }
        set(&mut to.runtime, self.runtime);
        set(&mut to.role, self.role);
        set(&mut to.handler, self.handler);
        set(&mut to.description, self.description);
        set(&mut to.timeout_s, self.timeout_s);
        set(&mut to.memory_mb, self.memory_mb);
        set(&mut to.environment, self.environment);
        set(&mut to.tracing, self.tracing);
        set(&mut to.ephemeral_storage_mb, self.ephemeral_storage_mb);
        set(&mut to.layers, self.layers);
        set(&mut to.image, self.image);
        set(&mut to.snap_start, self.snap_start);
        set(&mut to.logging.format, self.log_format);
        if to.logging.format == LogFormat::Text {
            to.logging = LoggingOf::default();
        }
        set(&mut to.logging.application, self.application_level);
        set(&mut to.logging.system, self.system_level);
        if self.log_group.is_some() {
            to.log_group = self.log_group;
        }
    }
}

impl Members {
    /// Adds what breaks the service model's constraints. `current` is the runtime of the function being changed.
    pub(super) fn violations(&self, current: Option<Runtime>, violations: &mut Violations) {
        if let Some(role) = &self.role {
            violations.role(role);
        }
        if let Some(handler) = &self.handler {
            violations.length_max("handler", handler, 128);
            // A web function's handler is its start command, which has words.
            let is_web = match &self.runtime {
                Some(runtime) => runtime == "web",
                None => current == Some(Runtime::Web),
            };
            let is_word = !handler.is_empty() && !handler.contains(char::is_whitespace);
            let is_command = !handler.trim().is_empty() && !handler.contains(char::is_control);
            violations.pattern("handler", handler, if is_web { is_command } else { is_word }, r"[^\s]+");
        }
        if let Some(description) = &self.description {
            violations.length_max("description", description, 256);
        }
        if let Some(timeout) = self.timeout {
            violations.range("timeout", timeout, TIMEOUT_S);
        }
        if let Some(memory) = self.memory_size {
            violations.range("memorySize", memory, MEMORY_MB);
        }
        if let Some(storage) = &self.ephemeral_storage {
            violations.required("ephemeralStorage.size", storage.size.as_ref());
            if let Some(size) = storage.size {
                violations.range("ephemeralStorage.size", size, EPHEMERAL_STORAGE_MB);
            }
        }
        if let Some(mode) = self.tracing_config.as_ref().and_then(|tracing| tracing.mode.as_ref()) {
            violations.one_of("tracingConfig.mode", mode, &["Active", "PassThrough"]);
        }
        if let Some(logging) = &self.logging_config {
            logging.violations(violations);
        }
        if let Some(arns) = &self.layers {
            super::layers::violations(arns, violations);
        }
        if let Some(image) = &self.image_config {
            image.violations(violations);
        }
        if let Some(apply_on) = self.snap_start.as_ref().and_then(|snap_start| snap_start.apply_on.as_ref()) {
            violations.one_of("snapStart.applyOn", apply_on, &["PublishedVersions", "None"]);
        }
    }

    /// The change these members ask for, but for the layers. Constraints of the service model have been checked before.
    pub(super) fn into_change(self) -> Result<Change, Error> {
        self.unsupported.refuse()?;
        let runtime = self.runtime.as_deref().map(runtime_of).transpose()?;
        let environment = self.environment.and_then(|environment| environment.variables);
        if let Some(variables) = &environment {
            check_environment(variables)?;
        }
        let logging = self.logging_config.unwrap_or_default();
        let whole = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Ok(Change {
            runtime,
            role: self.role,
            handler: self.handler,
            description: self.description,
            timeout_s: whole(self.timeout),
            memory_mb: whole(self.memory_size),
            environment,
            tracing: self.tracing_config.and_then(|tracing| tracing.mode).map(|mode| match mode.as_str() {
                "Active" => TracingMode::Active,
                _ => TracingMode::PassThrough,
            }),
            ephemeral_storage_mb: whole(self.ephemeral_storage.and_then(|storage| storage.size)),
            log_format: logging.log_format.as_deref().map(|format| match format {
                "JSON" => LogFormat::Json,
                _ => LogFormat::Text,
            }),
            application_level: logging.application_log_level.as_deref().map(application_level),
            system_level: logging.system_log_level.as_deref().map(|level| match level {
                "DEBUG" => SystemLevel::Debug,
                "WARN" => SystemLevel::Warn,
                _ => SystemLevel::Info,
            }),
            log_group: logging.log_group,
            snap_start: self.snap_start.and_then(|snap_start| snap_start.apply_on).map(|apply_on| {
                match apply_on.as_str() {
                    "PublishedVersions" => SnapStart::PublishedVersions,
                    _ => SnapStart::None,
                }
            }),
            layers: None,
            image: self.image_config.map(ImageConfig::into_overrides).transpose()?,
        })
    }
}

impl ImageConfig {
    fn violations(&self, violations: &mut Violations) {
        for (name, words) in [("entryPoint", &self.entry_point), ("command", &self.command)] {
            if let Some(words) = words {
                violations.entries_max(&format!("imageConfig.{name}"), words, IMAGE_WORDS_MAX);
            }
        }
        if let Some(directory) = &self.working_directory {
            violations.length_max("imageConfig.workingDirectory", directory, 1_000);
        }
    }

    fn into_overrides(self) -> Result<Overrides, Error> {
        let image = Overrides {
            entry_point: self.entry_point.unwrap_or_default(),
            command: self.command.unwrap_or_default(),
            working_directory: self.working_directory.unwrap_or_default(),
        };
        let words = || image.entry_point.iter().chain(&image.command).chain([&image.working_directory]);
        if words().any(|word| word.contains('\0')) {
            return Err(Error::invalid_parameter("A word of ImageConfig must not hold a NUL character."));
        }
        if words().map(|word| word.len() + 1).sum::<usize>() > IMAGE_WORDS_BYTES_MAX {
            return Err(Error::invalid_parameter(format!(
                "EntryPoint, Command and WorkingDirectory of ImageConfig together must be smaller than \
                 {IMAGE_WORDS_BYTES_MAX} bytes."
            )));
        }
        if !image.working_directory.is_empty() && !image.working_directory.starts_with('/') {
            return Err(Error::invalid_parameter("WorkingDirectory of ImageConfig must be an absolute path."));
        }
        Ok(image)
    }
}

impl Logging {
    fn violations(&self, violations: &mut Violations) {
        if let Some(format) = &self.log_format {
            violations.one_of("loggingConfig.logFormat", format, &["JSON", "Text"]);
        }
        if let Some(level) = &self.application_log_level {
            let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
            violations.one_of("loggingConfig.applicationLogLevel", level, &levels);
        }
        if let Some(level) = &self.system_log_level {
            violations.one_of("loggingConfig.systemLogLevel", level, &["DEBUG", "INFO", "WARN"]);
        }
        if let Some(group) = &self.log_group {
            violations.length_max("loggingConfig.logGroup", group, 512);
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte);
            let is_valid = !group.is_empty() && group.bytes().all(is_allowed);
            violations.pattern("loggingConfig.logGroup", group, is_valid, r"[\.\-_/#A-Za-z0-9]+");
        }
    }
}

/// A level that has been checked.
fn application_level(level: &str) -> ApplicationLevel {
    match level {
        "TRACE" => ApplicationLevel::Trace,
        "DEBUG" => ApplicationLevel::Debug,
        "WARN" => ApplicationLevel::Warn,
        "ERROR" => ApplicationLevel::Error,
        "FATAL" => ApplicationLevel::Fatal,
        _ => ApplicationLevel::Info,
    }
}

fn runtime_of(text: &str) -> Result<Runtime, Error> {
    // What images run has a runtime of its own here, which nobody asks for by name.
    text.parse::<Runtime>().ok().filter(|runtime| *runtime != Runtime::Image).ok_or_else(|| {
        let text = super::validate::shortened(text);
        Error::invalid_parameter(format!(
            "Value {text} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [python3.N, \
             nodejsN.x, provided.al2023, provided.al2, wasm, web]"
        ))
    })
}

fn check_environment(variables: &BTreeMap<String, String>) -> Result<(), Error> {
    let reserved: Vec<&str> = variables.keys().map(String::as_str).filter(|name| RESERVED.contains(name)).collect();
    if !reserved.is_empty() {
        return Err(Error::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {}",
            reserved.join(", ")
        )));
    }
    let is_name = |name: &str| {
        name.len() >= 2
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if let Some(name) = variables.keys().find(|name| !is_name(name)) {
        let mut violations = Violations::default();
        violations.pattern("environment.variables", name, false, "[a-zA-Z]([a-zA-Z0-9_])+");
        return violations.check();
    }
    if variables.values().any(|value| value.contains('\0')) {
        return Err(Error::invalid_parameter("An environment variable's value must not hold a NUL character."));
    }
    let measured = serde_json::to_string(variables).map_err(|error| Error::internal(&error.to_string()))?;
    if measured.len() > ENVIRONMENT_BYTES_MAX {
        let measured = measured.get(..2 * ENVIRONMENT_BYTES_MAX).unwrap_or(&measured);
        return Err(Error::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {measured}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Change, Error> {
        let members: Members = serde_json::from_str(text).map_err(|error| Error::unreadable(&error))?;
        let mut violations = Violations::default();
        members.violations(None, &mut violations);
        violations.check()?;
        members.into_change()
    }

    #[test]
    fn members_become_a_change() {
        let change = read(
            r#"{"Runtime":"python3.12","Handler":"a.b","Timeout":5,"MemorySize":256,"Description":null,
            "Environment":{"Variables":{"ENV_A":"a"}},"TracingConfig":{"Mode":"Active"},
            "EphemeralStorage":{"Size":1024},"LoggingConfig":{"LogFormat":"Text","LogGroup":"/g"}}"#,
        )
        .unwrap();
        assert_eq!((change.timeout_s, change.memory_mb, change.description), (Some(5), Some(256), None));
        assert_eq!(change.tracing, Some(TracingMode::Active));
        assert_eq!(change.log_group.as_deref(), Some("/g"));
        assert_eq!(read("{}"), Ok(Change::default()));
        assert!(read(r#"{"Runtime":"web","Handler":"node server.js"}"#).is_ok());
        assert!(read(r#"{"Runtime":"python3.12","Handler":"a b"}"#).is_err());
    }

    #[test]
    fn images_and_zips_each_have_their_own_members() {
        let check = |text: &str, package, layers: &[String]| read(text).unwrap().check_package(package, layers);
        let image = r#"{"ImageConfig":{"EntryPoint":["sh"],"Command":["-c","x"],"WorkingDirectory":"/app"}}"#;
        assert!(check(image, PackageType::Image, &[]).is_ok());
        assert!(check(image, PackageType::Zip, &[]).is_err());
        assert!(check(r#"{"ImageConfig":{}}"#, PackageType::Zip, &[]).is_ok());
        for text in [r#"{"Runtime":"python3.12"}"#, r#"{"Handler":"a.b"}"#] {
            assert!(check(text, PackageType::Image, &[]).is_err(), "{text}");
        }
        assert!(check("{}", PackageType::Image, &["arn".to_owned()]).is_err());
        let words = |count: usize, word: &str| serde_json::json!({ "ImageConfig": { "Command": vec![word; count] } });
        assert!(read(&words(IMAGE_WORDS_MAX, "x").to_string()).is_ok());
        for bad in [
            words(IMAGE_WORDS_MAX + 1, "x").to_string(),
            words(1_000, &"x".repeat(40)).to_string(),
            words(1, "\0").to_string(),
            r#"{"ImageConfig":{"WorkingDirectory":"app"}}"#.to_owned(),
            r#"{"Runtime":"image"}"#.to_owned(),
        ] {
            assert!(read(&bad).is_err(), "{bad:.80}");
        }
    }

    /// As in AWS's recorded test_advanced_logging_configuration_format_switch and its partial updates.
    #[test]
    fn log_formats_and_levels_change_as_recorded() {
        let mut current = crate::lambda::view::tests::function().configuration;
        let mut change = |text: &str| {
            let change = read(&format!(r#"{{"LoggingConfig":{text}}}"#))?;
            change.check(&current)?;
            change.apply(&mut current);
            Ok::<_, Error>((current.logging, current.log_group.clone()))
        };
        let json = LoggingOf { format: LogFormat::Json, ..LoggingOf::default() };
        assert!(change(r#"{"ApplicationLogLevel":"DEBUG"}"#).is_err(), "in text there are no levels");
        assert_eq!(change(r#"{"LogFormat":"JSON"}"#), Ok((json, None)));
        let debug = LoggingOf { application: ApplicationLevel::Debug, ..json };
        assert_eq!(change(r#"{"ApplicationLogLevel":"DEBUG"}"#), Ok((debug, None)));
        let quiet = LoggingOf { system: SystemLevel::Warn, ..debug };
        assert_eq!(change(r#"{"SystemLogLevel":"WARN","LogGroup":"/g"}"#), Ok((quiet, Some("/g".into()))));
        assert!(change(r#"{"LogFormat":"Text","SystemLogLevel":"WARN"}"#).is_err());
        assert_eq!(change(r#"{"LogFormat":"Text"}"#), Ok((LoggingOf::default(), Some("/g".into()))));
        for bad in [r#"{"LogFormat":"json"}"#, r#"{"ApplicationLogLevel":"ALL"}"#, r#"{"SystemLogLevel":"TRACE"}"#] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn snapshots_are_for_runtimes_that_have_them() {
        let mut current = crate::lambda::view::tests::function().configuration;
        let asked = read(r#"{"SnapStart":{"ApplyOn":"PublishedVersions"}}"#).unwrap();
        assert_eq!(asked.check(&current), Ok(()));
        asked.clone().apply(&mut current);
        assert_eq!(current.snap_start, SnapStart::PublishedVersions);
        assert!(read(r#"{"SnapStart":{"ApplyOn":"Always"}}"#).is_err());
        for runtime in ["nodejs22.x", "python3.11", "provided.al2023", "wasm"] {
            let text = format!("{runtime} is not supported for SnapStart enabled functions.");
            let refused = Err(Error::invalid_parameter(text));
            let moved = read(&format!(r#"{{"Runtime":"{runtime}"}}"#)).unwrap();
            assert_eq!(moved.check(&current), refused, "a function that has them is not moved there");
            current.runtime = runtime.parse().unwrap();
            assert_eq!(asked.check(&current), refused);
            current.runtime = Runtime::Python { minor: 13 };
        }
        read(r#"{"SnapStart":{"ApplyOn":"None"}}"#).unwrap().apply(&mut current);
        assert_eq!(current.snap_start, SnapStart::None);
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let error = read(r#"{"Timeout":0,"MemorySize":-1,"EphemeralStorage":{"Size":99999}}"#).unwrap_err();
        let expected = Error::validation(&[
            "Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1".into(),
            "Value '-1' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128".into(),
            "Value '99999' at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value less than or equal to 10240".into(),
        ]);
        assert_eq!(error, expected);
    }

    #[test]
    fn wrong_types_are_serialization_errors() {
        for text in [r#"{"Timeout":"5"}"#, r#"{"Timeout":1.5}"#, r#"{"Environment":{"Variables":{"AB":1}}}"#, "[]"] {
            let error = serde_json::from_str::<Members>(text).unwrap_err();
            assert!(error.is_data(), "{text}: {error}");
        }
    }

    #[test]
    fn environments_are_bounded() {
        let environment = |name: &str, value: String| {
            read(&serde_json::json!({ "Environment": { "Variables": { name: value } } }).to_string())
        };
        // Measured as JSON: {"LARGE_VAR":"…"} adds 16 characters.
        assert!(environment("LARGE_VAR", "x".repeat(4_096 - 16)).is_ok());
        assert!(environment("LARGE_VAR", "x".repeat(4_096 - 15)).is_err());
        for (name, value) in [("AWS_REGION", "x"), ("1A", "x"), ("A", "x"), ("A-B", "x"), ("AB", "\0")] {
            assert!(environment(name, value.into()).is_err(), "{name}");
        }
        assert!(environment("PATH", "x".into()).is_ok());
    }
}
