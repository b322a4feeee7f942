//! `updraft runtimes`: what a function's Runtime may be, and what runs it on this host.

use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use updraft_process::discover::{Interpreter, Search, discover};
use updraft_types::Runtime;

use crate::output::Output;

/// Runtimes that need nothing of the host, and what a function for them is.
const BUILT_IN: &[(&str, &str)] = &[
    ("provided.al2023", "an executable named bootstrap"),
    ("wasm", "a wasi:http 0.2 component; Handler names the file"),
    ("web", "any HTTP server that listens on $PORT; Handler starts it"),
];

/// One runtime and what runs it; nothing where it cannot run.
struct Row {
    runtime: String,
    runs_on: Option<String>,
    note: String,
}

/// Lists them.
pub fn run(output: &Output) -> anyhow::Result<()> {
    let rows = rows(&discover(&Search::of_host(Vec::new())));
    if output.is_json() {
        let entry = |row: &Row| json!({ "Runtime": row.runtime, "RunsOn": row.runs_on, "Note": row.note });
        return Ok(output.document(&Value::Array(rows.iter().map(entry).collect()))?);
    }
    let cells = |row: Row| {
        let place =
            row.runs_on.map_or(Cell::new("not here").fg(Color::Yellow), |place| Cell::new(place).fg(Color::Green));
        vec![Cell::new(row.runtime), place, Cell::new(row.note)]
    };
    Ok(output.table(&["RUNTIME", "RUNS ON", ""], rows.into_iter().map(cells).collect())?)
}

/// The interpreters by runtime, of each the one that functions get; a language without any is listed too.
fn rows(interpreters: &[Interpreter]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for Interpreter { runtime, version, path, .. } in interpreters {
        let runtime = runtime.to_string();
        if rows.iter().all(|row| row.runtime != runtime) {
            rows.push(Row { runtime, runs_on: Some(path.display().to_string()), note: version.clone() });
        }
    }
    let is_here = |language: fn(&Runtime) -> bool| interpreters.iter().any(|found| language(&found.runtime));
    let mut missing = |runtime: &str, name: &str| {
        rows.push(Row { runtime: runtime.to_owned(), runs_on: None, note: format!("install {name}") });
    };
    if !is_here(|runtime| matches!(runtime, Runtime::Python { .. })) {
        missing("python3.N", "Python 3");
    }
    if !is_here(|runtime| matches!(runtime, Runtime::Nodejs { .. })) {
        missing("nodejsN.x", "Node.js");
    }
    rows.extend(BUILT_IN.iter().map(|(runtime, note)| Row {
        runtime: (*runtime).to_owned(),
        runs_on: Some("built in".to_owned()),
        note: (*note).to_owned(),
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_without_an_interpreter_is_listed_as_missing() {
        let missing: Vec<String> =
            rows(&[]).into_iter().filter(|row| row.runs_on.is_none()).map(|row| row.runtime).collect();
        assert_eq!(missing, ["python3.N", "nodejsN.x"]);
    }
}
