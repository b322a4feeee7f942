//! `updraft ls`: every function in one table.

use comfy_table::{Cell, CellAlignment};
use serde_json::Value;

use super::client;
use crate::{
    cli,
    client::lambda::Summary,
    output::{Output, size, state_cell},
    problem::Problem,
};

/// Lists.
pub fn run(arguments: &cli::Ls, output: &Output) -> anyhow::Result<()> {
    let functions = client(&arguments.endpoint)?.list_functions().map_err(Problem::from)?;
    if output.is_json() {
        return Ok(output.document(&Value::Array(functions))?);
    }
    if functions.is_empty() {
        output.note("there are no functions yet; `updraft deploy DIR` makes one");
        return Ok(());
    }
    let mut rows = Vec::with_capacity(functions.len());
    for function in &functions {
        let summary = Summary::read("ListFunctions", function).map_err(Problem::from)?;
        rows.push(row(&summary));
    }
    Ok(output.table(&["NAME", "RUNTIME", "STATE", "MEMORY", "TIMEOUT", "SIZE", "MODIFIED"], rows)?)
}

fn row(summary: &Summary) -> Vec<Cell> {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    vec![
        Cell::new(&summary.function_name),
        Cell::new(if summary.package_type == "Image" { "image" } else { &summary.runtime }),
        state_cell(state(summary)),
        right(format!("{} MB", summary.memory_size)),
        right(format!("{} s", summary.timeout)),
        right(size(summary.code_size)),
        Cell::new(summary.last_modified.split('.').next().unwrap_or_default().replace('T', " ")),
    ]
}

/// The state in one word. ListFunctions leaves it out of its answer, as AWS does; a listed function exists.
fn state(summary: &Summary) -> &str {
    match summary.state.as_str() {
        "" => "Active",
        state => state,
    }
}
