//! Makes the platform's function equal to what was prepared, by creating it or changing only what differs,
//! and waits until that is in force.

use std::{
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use updraft_image::archive::Found;

use super::{Package, Prepared, image};
use crate::{
    client::{
        Client, Error,
        lambda::{Summary, Warning},
        scaling::Shown,
        segment,
    },
    output::{Output, size},
    problem::{Exit, Problem},
};

/// How often the function's state is looked at while it is being prepared.
const POLL: Duration = Duration::from_millis(100);

/// How long a preparation is waited for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A function in force.
pub struct Deployed {
    /// Its configuration.
    pub summary: Summary,
    /// What was done to it.
    pub action: Action,
    /// Its URL by host name, if it has one.
    pub url: Option<String>,
    /// Its URL by path, if it has one; works without resolving a host name.
    pub path_url: Option<String>,
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Created,
    /// Code or configuration changed.
    Updated,
    /// It was already so.
    Unchanged,
}

impl Action {
    /// As shown to people and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Unchanged => "unchanged",
        }
    }
}

/// Creates or updates the function and its URL.
pub fn push(prepared: &Prepared, client: &Client, output: &Output) -> Result<Deployed, Problem> {
    let name = prepared.name.as_str();
    let mut action = match client.configuration(name) {
        Ok(current) => update(prepared, client, output, &current)?,
        Err(error) if error.is_not_found() => {
            create(prepared, client, output)?;
            Action::Created
        }
        Err(error) => return Err(error.into()),
    };
    let mut summary = settle(client, name, output)?;
    check(&summary, action)?;
    if let Some(egress) = &prepared.egress
        && client.egress(name)? != *egress
    {
        client.set_egress(name, egress.as_ref())?;
        summary = settle(client, name, output)?;
        action = if action == Action::Created { Action::Created } else { Action::Updated };
        check(&summary, action)?;
    }
    let url = match (client.function_url(name)?, prepared.url) {
        (Some(url), true) => Some(url),
        (None, true) => Some(client.create_function_url(name)?),
        (Some(_), false) => {
            client.delete_function_url(name)?;
            None
        }
        (None, false) => None,
    };
    // One that asks for signatures was made so by its author, and stays so.
    if url.as_ref().is_some_and(|url| url.is_public) {
        client.allow_everybody(name)?;
    }
    let url = url.map(|url| url.url);
    scale(prepared, client)?;
    let path_url = url.as_ref().map(|_| format!("{}/fn/{}/", client.url(), segment(name)));
    Ok(Deployed { summary, action, url, path_url })
}

/// Has the function scale as its manifest says. A platform that knows nothing of it is asked only for what is not usual.
fn scale(prepared: &Prepared, client: &Client) -> Result<(), Problem> {
    let name = prepared.name.as_str();
    let Some(wanted) = prepared.scaling else { return Ok(()) };
    let shown = client.scaling(name)?.and_then(|shown| Shown::deserialize(shown).ok());
    if shown.unwrap_or_default().scaling != wanted {
        client.set_scaling(name, &wanted)?;
    }
    Ok(())
}

fn create(prepared: &Prepared, client: &Client, output: &Output) -> Result<(), Problem> {
    let zip = match &prepared.package {
        Package::Zip(zip) => zip,
        Package::Image(found) => return create_of_image(prepared, found, client, output),
    };
    let (Some(runtime), Some(handler)) = (prepared.runtime, &prepared.handler) else {
        return Err(Problem::usage(format!(
            "there is no function {} yet, and a zip does not say how to run it",
            prepared.name
        ))
        .try_next("give --runtime and --handler"));
    };
    let mut parameters = json!({
        "FunctionName": prepared.name.as_str(),
        "Runtime": runtime.to_string(),
        "Handler": handler,
        "Role": role(prepared, client)?,
        "Code": { "ZipFile": BASE64.encode(zip) },
    });
    for (key, value) in differences(prepared, &Summary::default()) {
        parameters[key] = value;
    }
    let bar = output.upload(format!("Uploading {}", prepared.name), zip.len() as u64 * 4 / 3);
    pass_on(client.create_function(&parameters, &|bytes| bar.at(bytes))?, output);
    Ok(())
}

fn create_of_image(prepared: &Prepared, found: &Found, client: &Client, output: &Output) -> Result<(), Problem> {
    let uri = push_image(prepared, found, client, output)?;
    let mut parameters = json!({
        "FunctionName": prepared.name.as_str(),
        "PackageType": "Image",
        "Role": role(prepared, client)?,
        "Architectures": [image::own_architecture()],
        "Code": { "ImageUri": uri },
    });
    for (key, value) in differences(prepared, &Summary::default()) {
        parameters[key] = value;
    }
    let step = output.step_quietly(format!("Creating {}", prepared.name));
    pass_on(client.create_function(&parameters, &|_| ())?, output);
    drop(step);
    Ok(())
}

/// Has the platform hold the function's image, and says what to call it.
fn push_image(prepared: &Prepared, found: &Found, client: &Client, output: &Output) -> Result<String, Problem> {
    let name = image::repository(&prepared.name);
    image::push(found, &name, image::TAG_DEFAULT, client, output)?;
    Ok(format!("{name}:{}", image::TAG_DEFAULT))
}

/// The role that a new function gets.
fn role(prepared: &Prepared, client: &Client) -> Result<String, Problem> {
    let found = client.role(prepared.role.as_deref());
    found.map_err(|error| match (&error, &prepared.role) {
        (Error::Refused { .. }, None) => {
            Problem::new(Exit::Refused, "a function needs a role, and you may not make one")
                .because(error)
                .try_next("name one that you may pass, with --role or as `role` in function.toml")
        }
        (Error::Refused { .. }, Some(role)) => {
            Problem::new(Exit::Refused, format!("the role {role} cannot be used")).because(error)
        }
        _ => error.into(),
    })
}

/// Changes what differs. Configuration goes first; if that leaves the old code unfit, the new code decides.
fn update(prepared: &Prepared, client: &Client, output: &Output, current: &Summary) -> Result<Action, Problem> {
    let name = prepared.name.as_str();
    let (wanted, sha256) = match &prepared.package {
        Package::Zip(zip) => ("Zip", BASE64.encode(Sha256::digest(zip))),
        Package::Image(found) => ("Image", found.digest().hex()),
    };
    if current.package_type != wanted {
        return Err(Problem::new(
            Exit::Refused,
            format!("{name} is a function of package type {}", current.package_type),
        )
        .because(format!("what is to be deployed is of type {wanted}, and a function keeps its type for life"))
        .try_next(format!("remove it first with `updraft rm {name}`, or give another --name")));
    }
    let code_differs = sha256 != current.code_sha256;
    let failed_before = current.state == "Failed" || current.last_update_status.as_deref() == Some("Failed");
    let mut configuration = differences(prepared, current);
    if let Some(role) = &prepared.role {
        let role = client.role(Some(role))?;
        if role != current.role {
            configuration.insert("Role".to_owned(), json!(role));
        }
    }
    if !configuration.is_empty() {
        wait_for_calm(client, name)?;
        let parameters = Value::Object(configuration.clone());
        pass_on(client.update_configuration(name, &parameters)?, output);
    }
    if code_differs || failed_before {
        wait_for_calm(client, name)?;
        match &prepared.package {
            Package::Zip(zip) => {
                let bar = output.upload(format!("Uploading {name}"), zip.len() as u64 * 4 / 3);
                pass_on(client.update_code(name, zip, &|bytes| bar.at(bytes))?, output);
            }
            Package::Image(found) => {
                let uri = push_image(prepared, found, client, output)?;
                pass_on(client.update_image(name, &uri)?, output);
            }
        }
        return Ok(Action::Updated);
    }
    Ok(if configuration.is_empty() { Action::Unchanged } else { Action::Updated })
}

/// The parameters of UpdateFunctionConfiguration that differ from `current`.
fn differences(prepared: &Prepared, current: &Summary) -> Map<String, Value> {
    let mut differences = Map::new();
    let mut set = |key: &str, differs: bool, value: Value| {
        if differs {
            differences.insert(key.to_owned(), value);
        }
    };
    if let Some(runtime) = prepared.runtime.map(|runtime| runtime.to_string()) {
        set("Runtime", runtime != current.runtime, json!(runtime));
    }
    if let Some(handler) = &prepared.handler {
        set("Handler", *handler != current.handler, json!(handler));
    }
    if let Some(memory) = prepared.memory_mb {
        set("MemorySize", memory != current.memory_size, json!(memory));
    }
    if let Some(timeout) = prepared.timeout_s {
        set("Timeout", timeout != current.timeout, json!(timeout));
    }
    if let Some(variables) = &prepared.environment {
        set("Environment", *variables != current.environment.variables, json!({ "Variables": variables }));
    }
    differences
}

fn pass_on(warning: Warning, output: &Output) {
    if let Some(warning) = warning {
        output.warn(warning);
    }
}

/// Waits, with a sign of life, until nothing about the function is in progress.
fn settle(client: &Client, name: &str, output: &Output) -> Result<Summary, Problem> {
    let step = output.step_quietly(format!("Preparing {name}"));
    let summary = wait_for_calm(client, name)?;
    drop(step);
    Ok(summary)
}

fn wait_for_calm(client: &Client, name: &str) -> Result<Summary, Problem> {
    let begun = Instant::now();
    loop {
        let summary = client.configuration(name).map_err(|error: Error| Problem::from(error))?;
        if summary.state != "Pending" && summary.last_update_status.as_deref() != Some("InProgress") {
            return Ok(summary);
        }
        if begun.elapsed() > WAIT_MAX {
            return Err(Problem::new(Exit::Deploy, format!("{name} is still being prepared"))
                .because(format!("waited {} seconds", WAIT_MAX.as_secs()))
                .try_next("look at the platform's own log"));
        }
        thread::sleep(POLL);
    }
}

/// Says why the platform could not prepare what it accepted.
fn check(summary: &Summary, action: Action) -> Result<(), Problem> {
    let name = &summary.function_name;
    if summary.state == "Failed" {
        return Err(Problem::new(Exit::Deploy, format!("{name} could not be prepared"))
            .because(summary.state_reason.as_deref().unwrap_or("the platform gave no reason"))
            .try_next("mend it and deploy again"));
    }
    if summary.last_update_status.as_deref() == Some("Failed") && action != Action::Created {
        return Err(Problem::new(Exit::Deploy, format!("the new {name} could not be prepared"))
            .because(summary.last_update_status_reason.as_deref().unwrap_or("the platform gave no reason"))
            .try_next("mend it and deploy again; the version before still serves"));
    }
    Ok(())
}

impl Deployed {
    /// A few lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let Summary { function_name, runtime, handler, memory_size, timeout, code_size, .. } = &self.summary;
        let is_image = self.summary.package_type == "Image";
        let what = if is_image { "a container image".to_owned() } else { format!("{handler} on {runtime}") };
        let package = if is_image { format!("sha256:{}", self.summary.code_sha256) } else { size(*code_size) };
        let mut lines = vec![
            format!("{function_name} {}", self.action.as_str()),
            format!("  runs     {what}, {memory_size} MB, {timeout} s"),
            format!("  package  {package}"),
        ];
        lines.extend(self.path_url.iter().map(|url| format!("  url      {url}")));
        lines.extend(self.url.iter().map(|url| format!("           {url}")));
        lines
    }

    /// The same for a script.
    pub fn to_json(&self) -> Value {
        json!({
            "FunctionName": self.summary.function_name,
            "FunctionArn": self.summary.function_arn,
            "Action": self.action.as_str(),
            "Runtime": self.summary.runtime,
            "Handler": self.summary.handler,
            "CodeSize": self.summary.code_size,
            "CodeSha256": self.summary.code_sha256,
            "FunctionUrl": self.url,
            "PathUrl": self.path_url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared() -> Prepared {
        Prepared {
            name: "hello".parse().unwrap(),
            runtime: Some("python3.11".parse().unwrap()),
            handler: Some("app.handler".into()),
            role: None,
            memory_mb: Some(128),
            timeout_s: None,
            environment: Some([("A".to_owned(), "1".to_owned())].into()),
            url: true,
            egress: None,
            scaling: None,
            package: Package::Zip(Vec::new()),
        }
    }

    #[test]
    fn only_what_differs_is_sent() {
        let mut current = Summary {
            runtime: "python3.11".into(),
            handler: "app.handler".into(),
            memory_size: 128,
            timeout: 60,
            ..Summary::default()
        };
        current.environment.variables = prepared().environment.unwrap();
        assert!(differences(&prepared(), &current).is_empty());
        current.memory_size = 256;
        current.environment.variables.insert("B".into(), "2".into());
        let found = differences(&prepared(), &current);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["Environment", "MemorySize"]);
        assert_eq!(found["Environment"], json!({ "Variables": { "A": "1" } }));
    }

    #[test]
    fn a_failed_preparation_is_exit_code_six() {
        let failed = Summary { state: "Failed".into(), state_reason: Some("no".into()), ..Summary::default() };
        assert_eq!(check(&failed, Action::Created).unwrap_err().exit(), Exit::Deploy);
        let update =
            Summary { state: "Active".into(), last_update_status: Some("Failed".into()), ..Summary::default() };
        assert_eq!(check(&update, Action::Updated).unwrap_err().exit(), Exit::Deploy);
        let fine = Summary { state: "Active".into(), ..Summary::default() };
        assert!(check(&fine, Action::Updated).is_ok());
    }
}
