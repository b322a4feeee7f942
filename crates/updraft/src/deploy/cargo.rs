//! Compiles a folder with a `Cargo.toml`: to an executable that becomes `bootstrap`, or to a component.
//!
//! Cargo keeps its own cache in `target`, so nothing is cached here.

use std::{path::PathBuf, process::Command};

use serde_json::Value;
use updraft_types::Runtime;

use super::{build::Build, package::Entry, tool};
use crate::problem::{Exit, Problem};

/// Rust's target for components.
const WASM_TARGET: &str = "wasm32-wasip2";

/// What cargo reports to have made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Artifact {
    name: String,
    file: PathBuf,
}

/// The one file the package needs.
pub fn build(build: &Build<'_>) -> Result<Entry, Problem> {
    let is_wasm = build.runtime == Runtime::Wasm;
    let step = build.output.step("Compiling with cargo");
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--message-format=json-render-diagnostics"]).current_dir(build.folder);
    if is_wasm {
        command.args(["--target", WASM_TARGET]);
    }
    let printed = tool::run(&mut command, "cargo build", tool::Stdout::Data, &step, build.cancel)?;
    let manifest = build.folder.join("Cargo.toml").canonicalize();
    let manifest = manifest.map_err(|error| Problem::new(Exit::Build, "Cargo.toml is gone").because(error))?;
    let made = artifacts(&String::from_utf8_lossy(&printed), &manifest.to_string_lossy(), is_wasm);
    let artifact = choose(made)?;
    step.done(format!("Compiled {}", artifact.name));
    let name = if is_wasm { format!("{}.wasm", artifact.name) } else { "bootstrap".to_owned() };
    Entry::named(name, artifact.file)
}

/// Reads cargo's messages: executables (or components) of the package whose manifest this is.
fn artifacts(messages: &str, manifest: &str, is_wasm: bool) -> Vec<Artifact> {
    let is_component = |file: &&str| file.ends_with(".wasm");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["manifest_path"] == manifest)
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            let executable = message["executable"].as_str();
            let file = if is_wasm {
                let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
                executable.filter(is_component).or_else(|| files.into_iter().find(is_component))?.to_owned()
            } else {
                executable?.to_owned()
            };
            Some(Artifact { name, file: file.into() })
        })
        .collect()
}

/// The artifact to deploy: the only one, or the one named `bootstrap`.
fn choose(mut made: Vec<Artifact>) -> Result<Artifact, Problem> {
    if let Some(at) = made.iter().position(|artifact| artifact.name == "bootstrap") {
        return Ok(made.swap_remove(at));
    }
    if made.len() == 1 {
        return Ok(made.swap_remove(0));
    }
    let problem = Problem::new(Exit::Build, "it is not clear which program to deploy");
    if made.is_empty() {
        return Err(problem
            .because("cargo built no executable of this package")
            .try_next("add src/main.rs, or say how to build it with [build] in function.toml"));
    }
    let names: Vec<&str> = made.iter().map(|artifact| artifact.name.as_str()).collect();
    Err(problem
        .because(format!("cargo built {}", names.join(", ")))
        .try_next("name one of them `bootstrap` in Cargo.toml, or say how to build it with [build] in function.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(manifest: &str, name: &str, executable: &str, file: &str) -> String {
        let executable = if executable.is_empty() { Value::Null } else { executable.into() };
        serde_json::json!({
            "reason": "compiler-artifact", "manifest_path": manifest, "target": { "name": name },
            "executable": executable, "filenames": [file],
        })
        .to_string()
    }

    #[test]
    fn only_the_packages_own_programs_count() {
        let messages = [
            message("/dep/Cargo.toml", "dep", "", "/t/libdep.rlib"),
            message("/app/Cargo.toml", "app", "", "/t/libapp.rlib"),
            message("/app/Cargo.toml", "words", "/t/words", "/t/words"),
            "not json".to_owned(),
        ]
        .join("\n");
        let made = artifacts(&messages, "/app/Cargo.toml", false);
        assert_eq!(choose(made).unwrap().file, PathBuf::from("/t/words"));
        assert!(choose(artifacts(&messages, "/app/Cargo.toml", true)).is_err());
        let library = message("/app/Cargo.toml", "edge", "", "/t/edge.wasm");
        assert_eq!(choose(artifacts(&library, "/app/Cargo.toml", true)).unwrap().name, "edge");
    }

    #[test]
    fn several_programs_are_asked_about() {
        let artifact = |name: &str| Artifact { name: name.into(), file: name.into() };
        assert_eq!(choose(vec![artifact("a"), artifact("bootstrap")]).unwrap().name, "bootstrap");
        let problem = choose(vec![artifact("a"), artifact("b")]).unwrap_err();
        assert!(format!("{problem:?}").contains("cargo built a, b"));
    }
}
