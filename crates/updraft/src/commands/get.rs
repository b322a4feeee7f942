//! `updraft get`: everything about one function.

use comfy_table::Cell;
use serde_json::Value;

use super::client;
use crate::{
    cli,
    client::lambda::Summary,
    output::{Output, size, state_cell},
    problem::Problem,
};

/// Shows it.
pub fn run(arguments: &cli::Get, output: &Output) -> anyhow::Result<()> {
    let client = client(&arguments.endpoint)?;
    let mut document = client.get_function(&arguments.name).map_err(Problem::from)?;
    let url = client.function_url(&arguments.name).map_err(Problem::from)?;
    let egress = client.egress(&arguments.name).map_err(Problem::from)?;
    if output.is_json() {
        document["FunctionUrl"] = url.into();
        document["Egress"] = serde_json::to_value(&egress)?;
        return Ok(output.document(&document)?);
    }
    let summary = Summary::read("GetFunction", &document["Configuration"]).map_err(Problem::from)?;
    let mut rows = vec![
        line("name", Cell::new(&summary.function_name)),
        line("arn", Cell::new(&summary.function_arn)),
        line("runtime", Cell::new(&summary.runtime)),
        line("handler", Cell::new(&summary.handler)),
        line("state", state_cell(&summary.state)),
    ];
    rows.extend(summary.state_reason.iter().map(|reason| line("", Cell::new(reason))));
    if let Some(status) = &summary.last_update_status {
        rows.push(line("last update", state_cell(status)));
        rows.extend(summary.last_update_status_reason.iter().map(|reason| line("", Cell::new(reason))));
    }
    rows.extend([
        line("memory", Cell::new(format!("{} MB", summary.memory_size))),
        line("timeout", Cell::new(format!("{} s", summary.timeout))),
        line("code", Cell::new(format!("{}, sha256 {}", size(summary.code_size), summary.code_sha256))),
        line("modified", Cell::new(&summary.last_modified)),
    ]);
    rows.extend(url.map(|url| line("url", Cell::new(url))));
    let egress = egress.map_or("as the platform is configured".to_owned(), |egress| egress.to_string());
    rows.push(line("egress", Cell::new(egress)));
    for (name, value) in &summary.environment.variables {
        rows.push(line("environment", Cell::new(format!("{name}={value}"))));
    }
    for (name, value) in document["Tags"].as_object().into_iter().flatten() {
        rows.push(line("tag", Cell::new(format!("{name}={}", value.as_str().unwrap_or_default()))));
    }
    if let Value::String(location) = &document["Code"]["Location"] {
        rows.push(line("download", Cell::new(location)));
    }
    Ok(output.table(&[], rows)?)
}

fn line(title: &str, value: Cell) -> Vec<Cell> {
    vec![Cell::new(title).add_attribute(comfy_table::Attribute::Dim), value]
}
