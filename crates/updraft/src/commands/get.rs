//! `updraft get`: everything about one function.

use comfy_table::Cell;
use serde::Deserialize;
use serde_json::Value;
use updraft_types::function::Reuse;

use super::client;
use crate::{
    cli,
    client::{
        lambda::Summary,
        scaling::{Phases, Shown},
    },
    output::{Output, size, state_cell},
    problem::Problem,
};

/// Shows it.
pub fn run(arguments: &cli::Get, output: &Output) -> anyhow::Result<()> {
    let client = client(&arguments.endpoint)?;
    let mut document = client.get_function(&arguments.name).map_err(Problem::from)?;
    let url = client.function_url(&arguments.name).map_err(Problem::from)?.map(|url| url.url);
    let egress = client.egress(&arguments.name).map_err(Problem::from)?;
    let scaling = client.scaling(&arguments.name).map_err(Problem::from)?;
    if output.is_json() {
        document["FunctionUrl"] = url.into();
        document["Egress"] = serde_json::to_value(&egress)?;
        document["Updraft"] = scaling.into();
        return Ok(output.document(&document)?);
    }
    let summary = Summary::read("GetFunction", &document["Configuration"]).map_err(Problem::from)?;
    let mut rows = vec![line("name", Cell::new(&summary.function_name)), line("arn", Cell::new(&summary.function_arn))];
    if let Value::String(image) = &document["Code"]["ResolvedImageUri"] {
        rows.push(line("image", Cell::new(image)));
    } else {
        rows.push(line("runtime", Cell::new(&summary.runtime)));
        rows.push(line("handler", Cell::new(&summary.handler)));
    }
    rows.push(line("state", state_cell(&summary.state)));
    rows.extend(summary.state_reason.iter().map(|reason| line("", Cell::new(reason))));
    if let Some(status) = &summary.last_update_status {
        rows.push(line("last update", state_cell(status)));
        rows.extend(summary.last_update_status_reason.iter().map(|reason| line("", Cell::new(reason))));
    }
    rows.extend([
        line("memory", Cell::new(format!("{} MB", summary.memory_size))),
        line("timeout", Cell::new(format!("{} s", summary.timeout))),
        line("modified", Cell::new(&summary.last_modified)),
    ]);
    if document["Code"]["ResolvedImageUri"].is_null() {
        rows.push(line("code", Cell::new(format!("{}, sha256 {}", size(summary.code_size), summary.code_sha256))));
    }
    let snap_start = &document["Configuration"]["SnapStart"];
    if let Some(apply_on) = snap_start["ApplyOn"].as_str().filter(|apply_on| *apply_on != "None") {
        let status = snap_start["OptimizationStatus"].as_str().unwrap_or_default();
        rows.push(line("snapstart", Cell::new(format!("{apply_on}, {}", status.to_lowercase()))));
    }
    if let Some(reserved) = document["Concurrency"]["ReservedConcurrentExecutions"].as_u64() {
        rows.push(line("reserved", Cell::new(format!("{reserved} calls at once"))));
    }
    if let Some(shown) = scaling.and_then(|scaling| Shown::deserialize(scaling).ok()) {
        rows.extend(scaling_rows(&shown));
    }
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

/// Instances now, the bounds they have, and what cold starts took by phase.
fn scaling_rows(shown: &Shown) -> Vec<Vec<Cell>> {
    let Shown { scaling, in_force, instances, events, cold_starts } = shown;
    let now = format!(
        "{} running, {} of them idle, {} starting, at most {}; {} at once in each",
        instances.running, instances.idle, instances.starting, in_force.instances_max, in_force.instance_concurrency
    );
    let mut rows = vec![line("instances", Cell::new(now))];
    if scaling.instances_min > 0 {
        rows.push(line("", Cell::new(format!("{} are always there", scaling.instances_min))));
    }
    if scaling.instances == Reuse::Fresh {
        rows.push(line("", Cell::new("fresh for every call")));
    }
    if events.pending > 0 || events.accepted > 0 {
        let now = format!(
            "{} pending ({}), {} of them at work; {} accepted, {} given up",
            events.pending,
            size(events.pending_bytes),
            events.in_flight,
            events.accepted,
            events.given_up
        );
        rows.push(line("async events", Cell::new(now)));
    }
    if events.dead_letters > 0 {
        let left = format!("{} dead letters: `updraft dead-letters NAME` shows them", events.dead_letters);
        rows.push(line("", Cell::new(left)));
    }
    rows.push(line("cold starts", Cell::new(cold_starts.count)));
    for (what, times) in [("mean", cold_starts.mean_ms), ("last", cold_starts.last_ms)] {
        rows.extend(times.map(|times| line("", Cell::new(format!("{what} {}", phases(times))))));
    }
    rows
}

/// The whole time, then each phase of it.
fn phases(times: Phases) -> String {
    let Phases { place, package, sandbox, runtime, init } = times;
    let sum = place + package + sandbox + runtime + init;
    format!(
        "{sum:.2} ms: place {place:.2}, package {package:.2}, sandbox {sandbox:.2}, runtime {runtime:.2}, init {init:.2}"
    )
}

fn line(title: &str, value: Cell) -> Vec<Cell> {
    vec![Cell::new(title).add_attribute(comfy_table::Attribute::Dim), value]
}
