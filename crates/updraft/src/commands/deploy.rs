//! `updraft deploy`: build, pack, push, say where it answers.

use super::client;
use crate::{
    cli,
    deploy::{self, Request, tool::Cancel},
    output::Output,
};

/// Deploys.
pub fn run(arguments: cli::Deploy, output: &Output) -> anyhow::Result<()> {
    let client = client(&arguments.endpoint)?;
    let request = Request { target: arguments.target, flags: arguments.function.into(), fresh: arguments.fresh };
    let prepared = deploy::prepare(&request, output, &Cancel::default())?;
    let deployed = deploy::push(&prepared, &client, output)?;
    if output.is_json() {
        return Ok(output.document(&deployed.to_json())?);
    }
    Ok(output.line(deployed.lines().join("\n"))?)
}
