//! `updraft dead-letters`: what was given up of a function's asynchronous events, newest first.

use comfy_table::Cell;
use serde::Deserialize;
use updraft_types::Timestamp;

use super::client;
use crate::{
    cli,
    client::{Error, dead_letters::DeadLetter},
    output::Output,
    problem::Problem,
};

/// Characters of a payload that a table shows.
const PAYLOAD_CHARS: usize = 60;

/// Shows them; as JSON, with the whole record of each.
pub fn run(arguments: &cli::DeadLetters, output: &Output) -> anyhow::Result<()> {
    let found = client(&arguments.endpoint)?.dead_letters(&arguments.name, arguments.limit).map_err(Problem::from)?;
    if output.is_json() {
        return Ok(output.document(&found)?);
    }
    let letters = Vec::<DeadLetter>::deserialize(found).map_err(|error| {
        Problem::from(Error::Malformed { operation: "reading dead letters", why: error.to_string() })
    })?;
    if letters.is_empty() {
        output.note("there are no dead letters");
        return Ok(());
    }
    Ok(output.table(&["WHEN", "REQUEST", "WHY", "EVENT"], letters.iter().map(row).collect())?)
}

fn row(letter: &DeadLetter) -> Vec<Cell> {
    let at = Timestamp::from_ms(letter.at_ms).to_rfc3339();
    let payload = letter.record["requestPayload"].to_string();
    let mut shown: String = payload.chars().take(PAYLOAD_CHARS).collect();
    if shown.len() < payload.len() {
        shown.push('…');
    }
    vec![
        Cell::new(at.split('.').next().unwrap_or_default().replace('T', " ")),
        Cell::new(&letter.request_id),
        Cell::new(&letter.reason),
        Cell::new(shown),
    ]
}
