//! `updraft config show|check`: what the platform would run with, where each value comes from, and whether it
//! is acceptable. Secrets are never printed.

use comfy_table::Cell;
use serde_json::{Map, Value, json};

use super::load;
use crate::{
    cli::{ConfigArguments, ConfigCommand, ModeArgument},
    config::{
        Mode,
        layers::{self, Merged},
        settings::Kind,
    },
    output::Output,
    problem::Problem,
};

/// Shows or checks.
pub fn run(command: ConfigCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Show(arguments) => show(&load_for(&arguments, output)?, output),
        ConfigCommand::Check(arguments) => check(&load_for(&arguments, output)?, output),
    }
}

fn load_for(arguments: &ConfigArguments, output: &Output) -> Result<Merged, Problem> {
    let mode = match arguments.mode {
        ModeArgument::Serve => Mode::Serve,
        ModeArgument::Dev => Mode::Dev,
    };
    load(mode, &arguments.platform, output).map(|(_, merged)| merged)
}

fn show(merged: &Merged, output: &Output) -> anyhow::Result<()> {
    let shown = |value: &layers::Value| match (value.setting.kind, value.text.as_str()) {
        (_, "") => None,
        (Kind::Secret, _) => Some("(hidden)".to_owned()),
        (_, text) => Some(text.to_owned()),
    };
    if output.is_json() {
        let entry = |value: &layers::Value| {
            (value.setting.key.to_owned(), json!({ "value": shown(value), "from": value.origin.to_string() }))
        };
        let all: Map<String, Value> = merged.values.iter().map(entry).collect();
        return Ok(output.document(&Value::Object(all))?);
    }
    let row = |value: &layers::Value| {
        vec![
            Cell::new(value.setting.key),
            Cell::new(shown(value).unwrap_or_else(|| "(not set)".to_owned())),
            Cell::new(value.origin.to_string()),
        ]
    };
    Ok(output.table(&["SETTING", "VALUE", "FROM"], merged.values.iter().map(row).collect())?)
}

fn check(merged: &Merged, output: &Output) -> anyhow::Result<()> {
    let file = merged.file.as_ref().map(|path| path.display().to_string());
    if output.is_json() {
        return Ok(output.document(&json!({ "ok": true, "file": file, "warnings": merged.warnings }))?);
    }
    let read = file.map_or("no configuration file".to_owned(), |file| format!("{file} was read"));
    Ok(output.line(format!("the settings are acceptable ({read})"))?)
}
