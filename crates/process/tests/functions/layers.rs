//! Layers at `/opt`, cold and prewarmed.

use updraft_executor::Executor;
use updraft_types::{
    Fault, LayerId, LayerVersionId,
    function::{Code, Function},
    layer::LayerUse,
};

use crate::{
    host::{Host, readable},
    nodejs,
};

crate::tests! {
    a_python_function_imports_from_its_layers
    a_nodejs_function_requires_from_its_layers
    layers_are_read_only_and_of_the_path
    a_provided_runtime_starts_from_a_layer
    layers_are_compiled_ahead
    layers_of_nodejs_are_compiled_ahead
}

/// As a function with layers is configured; which ones does not matter here.
fn has_layers(function: &mut Function) {
    let layer = LayerId { account: "000000000000".parse().unwrap(), name: "tools".parse().unwrap() };
    let code = Code { sha256: String::new(), size_bytes: 0, image: None };
    function.configuration.layers =
        vec![LayerUse { id: LayerVersionId { layer, version: 1 }, code, unzipped_bytes: 0 }];
}

const IMPORTING: &str = "
import sys
import shared, versioned, both
def handler(event, context):
    return [shared.NAME, versioned.NAME, both.NAME, shared.__file__, sys.path[:3]]
";

async fn a_python_function_imports_from_its_layers(host: Host) {
    let python = host.python();
    let site = format!("python/lib/{python}/site-packages");
    let versioned = (format!("{site}/versioned.py"), format!("{site}/both.py"));
    let files = [("app.py", IMPORTING)];
    let deployed = host.deploy(&python, "app.handler", &files).with(has_layers).with_layers(&[
        ("python/shared.py", "NAME = 'shared'\n"),
        ("python/both.py", "NAME = 'of the package directory'\n"),
        (&versioned.0, "NAME = 'versioned'\n"),
        (&versioned.1, "NAME = 'of site-packages'\n"),
    ]);
    let running = deployed.start().await;
    let expected = format!(
        r#"["shared", "versioned", "of site-packages", "/opt/python/shared.py", ["/var/task", "/opt/{site}", "/opt/python"]]"#
    );
    assert_eq!(running.answer("null").await, expected);
}

async fn a_nodejs_function_requires_from_its_layers(host: Host) {
    let nodejs = host.nodejs();
    let major = nodejs.trim_start_matches("nodejs").trim_end_matches(".x");
    let of_major = format!("nodejs/node{major}/node_modules/both/index.js");
    let code = "
        const plain = require('plain');
        const both = require('both');
        exports.handler = async () => [plain, both];
    ";
    let deployed = host.deploy(&nodejs, "app.handler", &[("app.js", code)]).with(has_layers).with_layers(&[
        ("nodejs/node_modules/plain/index.js", "module.exports = 'plain';"),
        ("nodejs/node_modules/both/index.js", "module.exports = 'of any version';"),
        (&of_major, "module.exports = 'of this version';"),
    ]);
    assert_eq!(deployed.start().await.answer("null").await, r#"["plain","of this version"]"#);
}

const LOOK: &str = r#"
import os, subprocess
def refusal(action):
    try:
        action()
    except OSError as error:
        return error.strerror
def handler(event, context):
    return {
        "write": refusal(lambda: open("/opt/python/new.py", "w")),
        "change": refusal(lambda: open("/opt/data", "a")),
        "remove": refusal(lambda: os.remove("/opt/data")),
        "mode": refusal(lambda: os.chmod("/opt/data", 0o777)),
        "data": open("/opt/data").read(),
        "tool": subprocess.run(["tool"], stdout=subprocess.PIPE, text=True).stdout,
        "libraries": "/opt/lib" in os.environ["LD_LIBRARY_PATH"].split(":"),
    }
"#;

async fn layers_are_read_only_and_of_the_path(host: Host) {
    let files = [("app.py", LOOK)];
    let deployed = host.deploy(&host.python(), "app.handler", &files).with(has_layers).with_layers(&[
        ("data", "kept"),
        ("python/x.py", ""),
        ("bin/tool-wrapper", "#!/bin/sh\necho from the layer\n"),
    ]);
    let layers = deployed.layers().unwrap();
    std::os::unix::fs::symlink("tool-wrapper", layers.join("bin/tool")).unwrap();
    readable(&layers.join("data"), 0o666);
    let answer = deployed.start().await.answer("null").await;
    for expected in [
        r#""write": "Read-only file system""#,
        r#""change": "Read-only file system""#,
        r#""remove": "Read-only file system""#,
        r#""mode": "Read-only file system""#,
        r#""data": "kept""#,
        r#""tool": "from the layer\n""#,
        r#""libraries": true"#,
    ] {
        assert!(answer.contains(expected), "{expected} is not in {answer}");
    }
    assert_eq!(std::fs::read_to_string(layers.join("data")).unwrap(), "kept");
}

const BOOTSTRAP: &str = r#"#!/bin/sh
echo "started as $0"
exit 7
"#;

async fn a_provided_runtime_starts_from_a_layer(host: Host) {
    let deployed = host.deploy("provided.al2023", "x", &[("data", "")]).with(has_layers);
    let layered = deployed.with_layers(&[("bootstrap", BOOTSTRAP)]);
    let (package, layers) = (layered.package.path().to_owned(), layered.layers().unwrap());
    let executor = &host.executor;
    executor.prepare_layers(&layered.function, &package, &layers).await.unwrap();
    let without = executor.prepare_layers(&layered.function, &package, &package).await.unwrap_err();
    assert!(without.0.contains("neither the package nor a layer holds a file named bootstrap"), "{without}");
    let (started, output) = layered.try_start().await;
    assert!(matches!(started.err(), Some(Fault::Exit(_))));
    assert!(output.text().contains("started as /opt/bootstrap"), "{}", output.text());
}

async fn layers_are_compiled_ahead(host: Host) {
    let files =
        [("app.py", "import shared\ndef handler(event, context):\n    return [shared.__cached__, shared.where()]\n")];
    let deployed = host.deploy(&host.python(), "app.handler", &files).with(has_layers);
    let module = "def where():\n    return where.__code__.co_filename\n";
    let deployed = deployed.with_layers(&[("python/shared.py", module)]);
    let layers = deployed.layers().unwrap();
    host.executor.prepare_layers(&deployed.function, deployed.package.path(), &layers).await.unwrap();
    let compiled: Vec<_> = std::fs::read_dir(layers.join("python/__pycache__")).unwrap().collect();
    assert_eq!(compiled.len(), 1, "{compiled:?}");
    let answer = deployed.start().await.answer("null").await;
    assert!(
        answer.contains("/opt/python/__pycache__/shared.") && answer.ends_with("\"/opt/python/shared.py\"]"),
        "{answer}"
    );
}

async fn layers_of_nodejs_are_compiled_ahead(host: Host) {
    let files =
        [("app.js", "const shared = require('shared'); exports.handler = async () => [shared.is, shared.where()];")];
    let deployed = host.deploy(&host.nodejs(), "app.handler", &files).with(has_layers);
    let code = format!(
        "exports.is = {}; exports.where = () => new Error().stack.split('\\n')[1].trim();",
        nodejs::IS_COMPILED
    );
    let deployed = deployed.with_layers(&[("nodejs/node_modules/shared/index.js", &nodejs::module(&code))]);
    let layers = deployed.layers().unwrap();
    host.executor.prepare_layers(&deployed.function, deployed.package.path(), &layers).await.unwrap();
    assert!(nodejs::compiled(&layers).join("nodejs%2Fnode_modules%2Fshared%2Findex.js.code").is_file());
    let answer = deployed.start().await.answer("null").await;
    let expected = r#"[true,"at exports.where (/opt/nodejs/node_modules/shared/index.js:3:"#;
    assert!(answer.starts_with(expected), "{answer}");
}
