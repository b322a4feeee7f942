//! The bench itself, run for real against the one server that needs nothing but the bench.

use std::{fs, process::Command};

use serde_json::Value;

fn bench(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_updraft-bench")).args(arguments).output().expect("the bench was built")
}

#[test]
fn a_short_run_against_bare_hyper_yields_figures_and_judges_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("results.json");
    let output = bench(&["--quick", "--only", "hyper", "--rounds", "1", "--json", json.to_str().unwrap()]);
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}{errors}");
    assert!(printed.contains("| bare hyper |") && printed.contains("not measured"), "{printed}");
    assert!(errors.contains("not recorded"), "{errors}");
    let results: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let round = &results["warm"][0]["rounds"][0];
    assert!(round["rate"].as_f64().unwrap() > 0.0, "{results}");
    assert!(round["single"]["p99_us"].as_f64() >= round["single"]["p50_us"].as_f64(), "{results}");
    assert_eq!(results["errors"], Value::Array(Vec::new()));
}

#[test]
fn a_name_that_is_not_known_is_answered_with_those_that_are() {
    let output = bench(&["--only", "hipper"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("hyper, updraft-wasm"), "{errors}");
}
