//! `updraft account`: accounts, and the access keys of their root users. For the platform's own root user.

use comfy_table::Cell;
use serde_json::{Value, json};

use super::client;
use crate::{
    cli::{AccountCommand, KeyCommand},
    client::Error,
    output::{Output, state_cell},
    problem::{Exit, Problem},
};

/// Does what is asked.
pub fn run(command: &AccountCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        AccountCommand::Create { name, id, endpoint } => {
            let made = client(endpoint)?.create_account(name, id.as_ref().map(|id| id.as_str())).map_err(problem)?;
            if output.is_json() {
                return Ok(output.document(&made)?);
            }
            output.note(format!("made account {}", text(&made, "account")));
            show_key(&made["key"], output)
        }
        AccountCommand::Ls { endpoint } => list(&client(endpoint)?.accounts().map_err(problem)?, output),
        AccountCommand::Rm { account, endpoint } => {
            client(endpoint)?.delete_account(account.as_str()).map_err(problem)?;
            done(output, format!("deleted account {account}"), &json!({ "Deleted": account.as_str() }))
        }
        AccountCommand::Key(command) => key(command, output),
    }
}

fn key(command: &KeyCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create { account, endpoint } => {
            let made = client(endpoint)?.create_account_key(account.as_str()).map_err(problem)?;
            if output.is_json() {
                return Ok(output.document(&made)?);
            }
            show_key(&made, output)
        }
        KeyCommand::Ls { account, endpoint } => {
            let keys = client(endpoint)?.account_keys(account.as_str()).map_err(problem)?;
            if output.is_json() {
                return Ok(output.document(&keys)?);
            }
            let row = |key: &Value| {
                vec![Cell::new(text(key, "access_key_id")), state_cell(text(key, "status")), Cell::new(made_at(key))]
            };
            let rows = keys.as_array().into_iter().flatten().map(row).collect();
            Ok(output.table(&["ACCESS KEY", "STATUS", "MADE"], rows)?)
        }
        KeyCommand::Rotate { account, key, endpoint } => {
            // The new one first: whoever is stopped between the two has both.
            let client = client(endpoint)?;
            let made = client.create_account_key(account.as_str()).map_err(problem)?;
            let disabled = client.set_account_key(account.as_str(), key, false);
            if output.is_json() {
                output.document(&made)?;
            } else {
                show_key(&made, output)?;
            }
            disabled.map_err(problem)?;
            output.note(format!("disabled {key}; remove it when nothing uses it any more"));
            Ok(())
        }
        KeyCommand::Disable { account, key, endpoint } => {
            client(endpoint)?.set_account_key(account.as_str(), key, false).map_err(problem)?;
            done(output, format!("disabled {key}"), &json!({ "Disabled": key }))
        }
        KeyCommand::Enable { account, key, endpoint } => {
            client(endpoint)?.set_account_key(account.as_str(), key, true).map_err(problem)?;
            done(output, format!("enabled {key}"), &json!({ "Enabled": key }))
        }
        KeyCommand::Rm { account, key, endpoint } => {
            client(endpoint)?.delete_account_key(account.as_str(), key).map_err(problem)?;
            done(output, format!("deleted {key}"), &json!({ "Deleted": key }))
        }
    }
}

fn list(accounts: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(output.document(accounts)?);
    }
    let row = |account: &Value| {
        let functions = account["functions"].as_u64().unwrap_or_default();
        let (id, name) = (text(account, "account"), text(account, "name"));
        vec![Cell::new(id), Cell::new(name), Cell::new(functions), Cell::new(made_at(account))]
    };
    let rows = accounts.as_array().into_iter().flatten().map(row).collect();
    Ok(output.table(&["ACCOUNT", "NAME", "FUNCTIONS", "MADE"], rows)?)
}

/// A new key, as a shell takes it; the secret is told nowhere else.
fn show_key(key: &Value, output: &Output) -> anyhow::Result<()> {
    output.line(format!("export AWS_ACCESS_KEY_ID={}", text(key, "access_key_id")))?;
    output.line(format!("export AWS_SECRET_ACCESS_KEY={}", text(key, "secret_access_key")))?;
    output.note("keep the secret: it is not shown again");
    Ok(())
}

fn done(output: &Output, note: String, document: &Value) -> anyhow::Result<()> {
    output.note(note);
    if output.is_json() {
        output.document(document)?;
    }
    Ok(())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn made_at(value: &Value) -> String {
    let at = value["created_at_ms"].as_u64().map(updraft_types::Timestamp::from_ms);
    at.map(|at| at.to_rfc3339().split('.').next().unwrap_or_default().replace('T', " ")).unwrap_or_default()
}

/// What went wrong, with what to try about accounts rather than functions.
fn problem(error: Error) -> Problem {
    match error {
        Error::Refused { operation, status, code, message } => {
            let problem =
                Problem::new(Exit::Refused, message).because(format!("{code} (HTTP {status}) from {operation}"));
            match status {
                403 => problem.try_next("use the root credentials that the platform's configuration names"),
                404 => problem.try_next("`updraft account ls` shows the accounts, `updraft account key ls` their keys"),
                _ => problem,
            }
        }
        other => other.into(),
    }
}
