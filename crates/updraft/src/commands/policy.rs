//! `updraft policy check`: why somebody may do something, or may not.

use serde_json::{Map, Value, json};

use super::client;
use crate::{cli::PolicyCommand, output::Output, problem::Problem};

/// Does what is asked.
pub fn run(command: &PolicyCommand, output: &Output) -> anyhow::Result<()> {
    let PolicyCommand::Check { action, resource, principal, context, endpoint } = command;
    let mut keys = Map::new();
    for pair in context {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Problem::usage(format!("{pair:?} is no condition key with a value"))
                .try_next("write it as KEY=VALUE, such as aws:SourceIp=192.0.2.7")
        })?;
        keys.insert(key.to_owned(), Value::from(value));
    }
    let question = json!({ "principal": principal, "action": action, "resource": resource, "context": keys });
    let answer = client(endpoint)?.check_policy(&question)?;
    if output.is_json() {
        return Ok(output.document(&answer)?);
    }
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let verdict = if answer["allowed"] == true { "allowed" } else { "denied" };
    output.line(format!("{verdict}: {action} on {resource} for {}", text("principal")))?;
    output.line(format!("  {}", text("because")))?;
    for miss in answer["near_misses"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output.line(format!("  near: {miss}"))?;
    }
    Ok(())
}
