//! The environment a guest starts with, as Lambda sets it.
//!
//! Source: AWS's list of runtime environment variables. Invariant: a variable the platform reserves has the
//! platform's value, whatever the author configured; the others (PATH, LANG, TZ…) are defaults that the author
//! may replace.

use std::collections::BTreeMap;

use updraft_executor::Start;
use updraft_types::{Function, Region, Runtime, logging::LogFormat};

use crate::Credentials;

/// Where the package lies in every sandbox.
pub(crate) const TASK_ROOT: &str = "/var/task";
/// Where our own runtime files lie in every sandbox.
pub(crate) const RUNTIME_ROOT: &str = "/var/runtime";
/// Where layers lie in every sandbox.
pub(crate) const LAYERS_ROOT: &str = "/opt";
/// The Runtime API's address in every sandbox.
pub(crate) const RUNTIME_API_PORT: u16 = 9001;
/// What `$PORT` says to a `web` function.
pub(crate) const WEB_PORT: u16 = 8080;

/// Where tracing libraries send segments, by UDP. Nothing listens there; what is sent is dropped by the sandbox's own
/// loopback, so a library does not see a network that is unreachable.
const XRAY_DAEMON: &str = "127.0.0.1:2000";

const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/opt/bin";

/// The whole environment of an instance. `search_path` goes before the usual directories of `PATH`.
pub(crate) fn of(
    start: &Start,
    region: &Region,
    credentials: Option<&Credentials>,
    search_path: &[String],
) -> Vec<(String, String)> {
    let function = start.function.as_ref();
    let mut variables = match &function.code.image {
        Some(image) => of_image(&image.program.environment),
        None => defaults(function.configuration.runtime, search_path),
    };
    variables.extend(function.configuration.environment.clone());
    for name in RESERVED {
        variables.remove(*name);
    }
    variables.extend(reserved(start, region));
    // Its own before those that are everybody's.
    match (&start.credentials, credentials) {
        (Some(own), _) => variables.extend(own.variables()),
        (None, Some(credentials)) => variables.extend(credentials.variables()),
        (None, None) => {}
    }
    variables.into_iter().collect()
}

/// Adds defaults that nobody has set.
pub(crate) fn add_missing(environment: &mut Vec<(String, String)>, defaults: Vec<(String, String)>) {
    for (name, value) in defaults {
        if !environment.iter().any(|(known, _)| *known == name) {
            environment.push((name, value));
        }
    }
}

/// Names an author's variables never reach, also where the platform leaves them unset.
const RESERVED: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    AWAITS_ASSIGNMENT,
    SNAPSHOT,
];

/// Says whether an instance was initialised on its own.
pub(crate) const INITIALIZATION_TYPE: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

/// Tells our runtimes to stop for a snapshot once the function is loaded.
pub(crate) const SNAPSHOT: &str = "UPDRAFT_SNAPSHOT";

/// Gives a variable a value, whatever it had.
pub(crate) fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_owned(), value.to_owned()));
}

/// Tells our runtimes that their function is not known yet; its value is the Runtime API's address.
pub(crate) const AWAITS_ASSIGNMENT: &str = "UPDRAFT_AWAITS_ASSIGNMENT";

/// The environment of an interpreter whose function is not known yet. Every function's environment has these names.
pub(crate) fn of_nobody(runtime: Runtime) -> Vec<(String, String)> {
    let mut variables = defaults(runtime, &[]);
    variables.insert(AWAITS_ASSIGNMENT.to_owned(), format!("127.0.0.1:{RUNTIME_API_PORT}"));
    variables.into_iter().collect()
}

/// Names a program that is given the runtime's command line to start.
pub(crate) const EXEC_WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// Whether a variable takes effect when a process starts or an interpreter sets itself up, so that setting it later is
/// not the same: the dynamic linker's, the C library's, OpenSSL's, the interpreters' own, and what is to start them. `TZ` is not among them:
/// the runtimes apply it anew. `NODE_ENV` is for programs alone.
pub(crate) fn is_read_at_start(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "GCONV_PATH",
        "GETCONF_DIR",
        "HOSTALIASES",
        "LANG",
        "LANGUAGE",
        "LOCALDOMAIN",
        "LOCPATH",
        "NLSPATH",
        "RES_OPTIONS",
        "TZDIR",
    ];
    const PREFIXES: [&str; 10] =
        ["PYTHON", "NODE_", "LD_", "LC_", "MALLOC_", "GLIBC_", "OPENSSL_", "SSL_", "UV_", "ICU_"];
    name != "NODE_ENV"
        && (name == EXEC_WRAPPER || NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// What an image says, over the little that Lambda sets for one that says nothing.
fn of_image(said: &[(String, String)]) -> BTreeMap<String, String> {
    let usual = [
        ("PATH", PATH),
        ("TZ", ":UTC"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("AWS_XRAY_DAEMON_ADDRESS", XRAY_DAEMON),
    ];
    let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
    usual.into_iter().chain(said.iter().cloned()).collect()
}

fn defaults(runtime: Runtime, search_path: &[String]) -> BTreeMap<String, String> {
    let path = search_path.iter().map(String::as_str).chain([PATH]).collect::<Vec<_>>().join(":");
    let mut variables = vec![
        ("LANG", "en_US.UTF-8".to_owned()),
        ("LD_LIBRARY_PATH", format!("{TASK_ROOT}:{TASK_ROOT}/lib:{LAYERS_ROOT}/lib")),
        ("PATH", path),
        ("TZ", ":UTC".to_owned()),
    ];
    if runtime != Runtime::Web {
        variables.extend([
            ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
            ("AWS_XRAY_DAEMON_ADDRESS", XRAY_DAEMON.to_owned()),
        ]);
    }
    match runtime {
        Runtime::Nodejs { major } => variables.push((
            "NODE_PATH",
            format!(
                "{LAYERS_ROOT}/nodejs/node{major}/node_modules:{LAYERS_ROOT}/nodejs/node_modules:\
                 {RUNTIME_ROOT}/node_modules:{RUNTIME_ROOT}:{TASK_ROOT}/node_modules:{TASK_ROOT}"
            ),
        )),
        Runtime::Web => variables.push(("HOME", "/tmp".to_owned())),
        Runtime::Python { .. } | Runtime::Provided { .. } | Runtime::Wasm | Runtime::Image => {}
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn reserved(start: &Start, region: &Region) -> BTreeMap<String, String> {
    let function = start.function.as_ref();
    let configuration = &function.configuration;
    let runtime = configuration.runtime;
    let mut variables = vec![
        ("AWS_DEFAULT_REGION", region.to_string()),
        ("AWS_REGION", region.to_string()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", configuration.memory_mb.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.id.name.to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", function.version.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", start.initialization.as_str().to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", configuration.logging.format.as_str().to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", log_group(function)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", start.log_stream.clone()),
        ("LAMBDA_RUNTIME_DIR", RUNTIME_ROOT.to_owned()),
        ("LAMBDA_TASK_ROOT", TASK_ROOT.to_owned()),
    ];
    // Unset, a runtime asks for one event after the other.
    if start.concurrency > 1 && runtime != Runtime::Web {
        variables.push(("AWS_LAMBDA_MAX_CONCURRENCY", start.concurrency.to_string()));
    }
    // Unset with text, which has no levels.
    if configuration.logging.format == LogFormat::Json {
        variables.push(("AWS_LAMBDA_LOG_LEVEL", configuration.logging.application.to_string()));
    }
    // What Lambda calls an image's handler is its command.
    let command = function.code.image.as_ref().and_then(|image| image.program.arguments(&configuration.image).first());
    match runtime {
        Runtime::Web => variables.push(("PORT", WEB_PORT.to_string())),
        _ => variables.extend([
            ("_HANDLER", command.unwrap_or(&configuration.handler).clone()),
            ("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{RUNTIME_API_PORT}")),
        ]),
    }
    // Lambda leaves it unset where it brings no runtime of its own.
    if matches!(runtime, Runtime::Python { .. } | Runtime::Nodejs { .. }) {
        variables.push(("AWS_EXECUTION_ENV", format!("AWS_Lambda_{runtime}")));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn log_group(function: &Function) -> String {
    let configured = function.configuration.log_group.clone();
    configured.unwrap_or_else(|| format!("/aws/lambda/{}", function.id.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn environment(runtime: &str, configured: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut function = testing::function(runtime, "app.handler");
        function.configuration.environment =
            configured.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let start = testing::start(function, std::path::Path::new("/nowhere"), testing::Lines::new());
        of(&start, &"us-east-1".parse().unwrap(), None, &[]).into_iter().collect()
    }

    #[test]
    fn an_author_replaces_defaults_but_not_what_is_reserved() {
        let variables = environment(
            "python3.12",
            &[("TZ", "Asia/Tokyo"), ("_HANDLER", "evil.x"), ("AWS_ACCESS_KEY_ID", "mine"), ("KEY", "value")],
        );
        assert_eq!(variables["TZ"], "Asia/Tokyo");
        assert_eq!(variables["KEY"], "value");
        assert_eq!(variables["_HANDLER"], "app.handler");
        assert!(!variables.contains_key("AWS_ACCESS_KEY_ID"));
        assert_eq!(variables["AWS_EXECUTION_ENV"], "AWS_Lambda_python3.12");
        assert_eq!(variables["AWS_LAMBDA_LOG_GROUP_NAME"], "/aws/lambda/hello");
    }

    #[test]
    fn a_functions_own_credentials_are_in_its_environment_whatever_its_author_says() {
        let mut function = testing::function("python3.12", "app.handler");
        function.configuration.environment = [("AWS_SESSION_TOKEN".to_owned(), "mine".to_owned())].into();
        let mut start = testing::start(function, std::path::Path::new("/nowhere"), testing::Lines::new());
        start.credentials = Some(updraft_executor::Credentials {
            access_key_id: "ASIA1".into(),
            secret_access_key: String::from("secret").into(),
            session_token: String::from("token").into(),
            expires_at: updraft_types::Timestamp::from_ms(1),
        });
        let everybodys = Credentials { access_key_id: "x".into(), secret_access_key: "x".into(), session_token: None };
        let variables: BTreeMap<_, _> =
            of(&start, &"us-east-1".parse().unwrap(), Some(&everybodys), &[]).into_iter().collect();
        let found = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(|name| &variables[name]);
        assert_eq!(found, ["ASIA1", "secret", "token"]);
    }

    #[test]
    fn a_log_level_is_told_with_json_alone() {
        assert!(!environment("python3.12", &[]).contains_key("AWS_LAMBDA_LOG_LEVEL"));
        let mut function = testing::function("python3.12", "app.handler");
        function.configuration.logging.format = LogFormat::Json;
        let start = testing::start(function, std::path::Path::new("/nowhere"), testing::Lines::new());
        let variables: BTreeMap<_, _> = of(&start, &"us-east-1".parse().unwrap(), None, &[]).into_iter().collect();
        assert_eq!(variables["AWS_LAMBDA_LOG_FORMAT"], "JSON");
        assert_eq!(variables["AWS_LAMBDA_LOG_LEVEL"], "INFO");
    }

    #[test]
    fn an_image_says_its_own_environment_below_its_functions() {
        let mut function = testing::image(&["/entry", "app.handler"], &[]);
        let said = [("PATH", "/opt/python/bin"), ("MODE", "image"), ("AWS_REGION", "elsewhere"), ("LANG", "C")];
        let said = said.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let image = function.code.image.as_mut().unwrap();
        image.program.environment = said.into();
        image.program.command = vec!["app.handler".to_owned()];
        function.configuration.environment = [("MODE".to_owned(), "function".to_owned())].into();
        let start = testing::start(function, std::path::Path::new("/nowhere"), testing::Lines::new());
        let variables: BTreeMap<_, _> = of(&start, &"us-east-1".parse().unwrap(), None, &[]).into_iter().collect();
        let found = ["PATH", "MODE", "AWS_REGION", "LANG", "_HANDLER", "TZ"].map(|name| variables[name].as_str());
        assert_eq!(found, ["/opt/python/bin", "function", "us-east-1", "C", "app.handler", ":UTC"]);
        assert!(!variables.contains_key("LD_LIBRARY_PATH"), "the image has its own libraries");
    }

    #[test]
    fn each_runtime_is_told_where_to_serve_or_ask() {
        let web = environment("web", &[("PORT", "1")]);
        assert_eq!(web["PORT"], "8080");
        assert!(!web.contains_key("AWS_LAMBDA_RUNTIME_API"));
        let provided = environment("provided.al2023", &[("PORT", "1")]);
        assert_eq!(provided["PORT"], "1");
        assert_eq!(provided["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:9001");
        assert!(!provided.contains_key("AWS_EXECUTION_ENV"));
    }
}
