//! The programs in `/opt/extensions` that run beside a runtime, and the environment they get.
//!
//! Lambda starts every file there, before the runtime; a directory is passed over. They share the sandbox with the
//! function, and with it all limits.

use std::{io, path::Path};

use updraft_sandbox::Companions;
use updraft_types::{ExtensionFailure, Fault};

use crate::{environment::LAYERS_ROOT, runtime_api::EXTENSIONS_MAX};

/// Variables of the function that extensions do not get (source: AWS's page of the Extensions API).
const WITHHELD: [&str; 11] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_LOG_LEVEL",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// The extensions of a sandbox whose `/opt` is this directory of the host.
pub(crate) fn of(layers: &Path, environment: &[(String, String)]) -> Result<Companions, Fault> {
    let names = names(&layers.join("extensions"))
        .map_err(|error| Fault::Platform { reason: format!("cannot look for extensions: {error}") })?;
    if names.len() > EXTENSIONS_MAX {
        let reason = format!("there are {} extensions; the limit is {EXTENSIONS_MAX}", names.len());
        return Err(Fault::Extension { failure: ExtensionFailure::Launch, reason });
    }
    let kept = environment.iter().filter(|(name, _)| !WITHHELD.contains(&name.as_str()));
    Ok(Companions {
        programs: names.iter().map(|name| format!("{LAYERS_ROOT}/extensions/{name}")).collect(),
        environment: if names.is_empty() { Vec::new() } else { kept.cloned().collect() },
    })
}

/// What an extension is called, by its path.
pub(crate) fn name_of(program: &str) -> String {
    program.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The names of the files in a directory, in order. At most one more than there may be, so that a package with very
/// many does not cost more.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A link is followed inside the sandbox, not here.
        if entry.file_type()?.is_dir() {
            continue;
        }
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
        if names.len() > EXTENSIONS_MAX {
            break;
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_extensions_and_get_most_of_the_environment() {
        let opt = tempfile::tempdir().unwrap();
        let variables = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let whole = variables(&[("AWS_REGION", "r"), ("_HANDLER", "h"), ("KEY", "v"), ("LAMBDA_TASK_ROOT", "/")]);
        assert_eq!(of(opt.path(), &whole).unwrap(), Companions::default());
        std::fs::create_dir_all(opt.path().join("extensions/lib")).unwrap();
        for name in ["b", "a"] {
            std::fs::write(opt.path().join("extensions").join(name), "").unwrap();
        }
        let found = of(opt.path(), &whole).unwrap();
        assert_eq!(found.programs, ["/opt/extensions/a", "/opt/extensions/b"]);
        assert_eq!(found.environment, variables(&[("AWS_REGION", "r"), ("KEY", "v")]));
        assert_eq!(name_of(&found.programs[0]), "a");
        for number in 0..EXTENSIONS_MAX {
            std::fs::write(opt.path().join(format!("extensions/{number}")), "").unwrap();
        }
        let fault = of(opt.path(), &whole).unwrap_err();
        assert!(matches!(fault, Fault::Extension { failure: ExtensionFailure::Launch, .. }), "{fault}");
    }
}
