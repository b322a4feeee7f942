//! `updraft rm`: delete functions. Every name is tried; the first failure decides the exit code.

use serde_json::json;

use super::client;
use crate::{cli, output::Output, problem::Problem, problem::report};

/// Deletes.
pub fn run(arguments: &cli::Rm, output: &Output) -> anyhow::Result<()> {
    let client = client(&arguments.endpoint)?;
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for name in &arguments.names {
        match client.delete_function(name) {
            Ok(()) => {
                output.note(format!("deleted {name}"));
                deleted.push(name);
            }
            Err(error) => failures.push(anyhow::Error::new(Problem::from(error))),
        }
    }
    if output.is_json() {
        output.document(&json!({ "Deleted": deleted }))?;
    }
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    failures.for_each(|failure| report(&failure));
    Err(first)
}
