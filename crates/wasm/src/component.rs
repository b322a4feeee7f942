//! From the bytes an author deployed to a component that can start, or the reason it cannot.
//!
//! The bytes are untrusted: their size is bounded before they are read, and everything they claim is
//! validated by the compiler. What is wrong is said in the author's words, with what to do about it.

use std::{
    fs::File,
    io::Read,
    path::{Component as PathPart, Path, PathBuf},
};

use updraft_executor::Rejected;
use wasmtime::{
    Engine,
    component::{Component, Type, types::ComponentItem},
};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::{engine::Platform, host::Host};

/// The interface a component must export, whatever its patch version.
const EXPORT: &str = "wasi:http/incoming-handler@0.2";
/// First bytes of a core module and of a component (WebAssembly specification, binary format: preamble; and
/// the component model's Binary.md).
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The file a handler names, as a path below the package.
pub(crate) fn file_name(handler: &str) -> Result<PathBuf, Rejected> {
    let path = Path::new(handler);
    let below = path.components().all(|part| matches!(part, PathPart::Normal(_)));
    if handler.is_empty() || !below || handler.contains('\0') {
        return Err(Rejected(format!(
            "Handler {handler:?} does not name a file in the package: expected a name such as hello.wasm"
        )));
    }
    Ok(path.to_owned())
}

/// Reads the component that `handler` names from the unpacked `package`.
pub(crate) fn read(package: &Path, handler: &str, bytes_max: u64) -> Result<Vec<u8>, Rejected> {
    let name = file_name(handler)?;
    let missing = || Rejected(missing_file(package, handler));
    let path = package.join(name).canonicalize().map_err(|_| missing())?;
    let root = package.canonicalize().map_err(|_| missing())?;
    if !path.starts_with(&root) || !path.is_file() {
        return Err(missing());
    }
    let unreadable = |error: std::io::Error| Rejected(format!("{handler} could not be read: {error}"));
    let mut bytes = Vec::new();
    File::open(&path).map_err(unreadable)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Rejected(format!("{handler} is larger than the {} MiB a component may have", bytes_max >> 20)));
    }
    Ok(bytes)
}

fn missing_file(package: &Path, handler: &str) -> String {
    let mut found: Vec<String> = std::fs::read_dir(package)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".wasm"))
        .take(5)
        .collect();
    found.sort();
    let hint = if found.is_empty() { "no .wasm file at its top".into() } else { found.join(", ") };
    format!("the package has no file {handler}, which Handler names; it has {hint}")
}

/// Compiles `bytes` and checks that the result can start here. Takes seconds for large components.
pub(crate) fn compile(platform: &Platform, name: &str, bytes: &[u8]) -> Result<ProxyPre<Host>, Rejected> {
    recognise(name, bytes)?;
    let component = Component::from_binary(&platform.engine, bytes)
        .map_err(|error| Rejected(format!("{name} is not a valid component: {error:#}")))?;
    link(platform, name, &component)
}

fn recognise(name: &str, bytes: &[u8]) -> Result<(), Rejected> {
    let problem = if bytes.starts_with(COMPONENT) {
        return Ok(());
    } else if bytes.starts_with(CORE_MODULE) {
        "is a core WebAssembly module, not a component: build it for wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    } else if bytes.starts_with(b"\0asm") {
        "is WebAssembly of a version that is not known here"
    } else if bytes.is_empty() {
        "is empty"
    } else if bytes.trim_ascii_start().starts_with(b"(") {
        "is WebAssembly text; turn it into a binary component with `wasm-tools parse`"
    } else {
        "is not WebAssembly"
    };
    Err(Rejected(format!("{name} {problem}")))
}

/// Checks a compiled component's imports and exports against what the host offers and needs.
pub(crate) fn link(platform: &Platform, name: &str, component: &Component) -> Result<ProxyPre<Host>, Rejected> {
    let linked = platform
        .linker
        .instantiate_pre(component)
        .map_err(|error| Rejected(format!("{name} imports what is not provided here: {error:#}")))?;
    check_export(&platform.engine, name, component)?;
    ProxyPre::new(linked).map_err(|error| Rejected(format!("{name} cannot handle HTTP requests: {error:#}")))
}

/// wasmtime looks at a function's type only once it is instantiated; an author wants to know at deploy.
fn check_export(engine: &Engine, name: &str, component: &Component) -> Result<(), Rejected> {
    let exported = component.component_type();
    let mut exports = exported.exports(engine);
    let handler = exports.find(|(export, _)| export.starts_with(EXPORT)).map(|(_, export)| export.ty);
    let Some(handler) = handler else {
        let others: Vec<&str> = exported.exports(engine).map(|(export, _)| export).take(8).collect();
        let others = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
        return Err(Rejected(format!(
            "{name} does not export {EXPORT}.x, the interface of an HTTP handler; it exports {others}"
        )));
    };
    let takes_both = match handler {
        ComponentItem::ComponentInstance(instance) => {
            instance.get_export(engine, "handle").is_some_and(|function| match function.ty {
                ComponentItem::ComponentFunc(function) => {
                    let takes: Vec<Type> = function.params().map(|(_, taken)| taken).collect();
                    matches!(takes[..], [Type::Own(_), Type::Own(_)]) && function.results().len() == 0
                }
                _ => false,
            })
        }
        _ => false,
    };
    match takes_both {
        true => Ok(()),
        false => Err(Rejected(format!(
            "{name} exports an HTTP handler of the wrong shape: `handle` takes an incoming-request and a \
             response-outparam, and returns nothing"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_stays_inside_its_package() {
        assert_eq!(file_name("build/hello.wasm"), Ok(PathBuf::from("build/hello.wasm")));
        for outside in ["", "/etc/passwd", "../other.wasm", "a/../../b.wasm", "./a.wasm", "a\0b"] {
            assert!(file_name(outside).is_err(), "{outside:?}");
        }
    }

    #[test]
    fn a_link_out_of_the_package_reads_as_missing() {
        let package = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", package.path().join("hello.wasm")).unwrap();
        std::fs::write(package.path().join("other.wasm"), "x").unwrap();
        let Err(Rejected(reason)) = read(package.path(), "hello.wasm", 100) else { panic!("read a foreign file") };
        assert!(reason.contains("no file hello.wasm") && reason.contains("other.wasm"), "{reason}");
    }
}
