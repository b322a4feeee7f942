//! `updraft image`: container images that the platform holds, for functions to name in their ImageUri.

use comfy_table::Cell;
use serde_json::{Value, json};

use super::client;
use crate::{
    cli::ImageCommand,
    client::Error,
    deploy::image,
    output::{Output, size},
    problem::{Exit, Problem},
};

/// Does what is asked.
pub fn run(command: &ImageCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        ImageCommand::Push { name, path, from, architecture, endpoint } => {
            let (name, tag) = image::parse_name(name)?;
            let architecture = architecture.unwrap_or_else(image::own_architecture);
            let found = image::open(path, from.as_deref(), architecture)?;
            let digest = image::push(&found, name, tag, &client(endpoint)?, output)?;
            if output.is_json() {
                return Ok(output.document(&json!({ "ImageUri": format!("{name}:{tag}"), "Digest": digest }))?);
            }
            Ok(output.line(format!("pushed {name}:{tag}\n  {digest}"))?)
        }
        ImageCommand::Ls { endpoint } => list(&client(endpoint)?.images()?, output),
        ImageCommand::Rm { names, endpoint } => {
            let client = client(endpoint)?;
            for text in names {
                let (name, tag) = image::parse_name(text)?;
                client.delete_image(name, tag).map_err(|error| problem(error, text))?;
                output.note(format!("removed {name}:{tag}"));
            }
            if output.is_json() {
                output.document(&json!({ "Removed": names }))?;
            }
            Ok(())
        }
    }
}

fn list(images: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(output.document(images)?);
    }
    let row = |image: &Value| -> Vec<Cell> {
        let text = |name: &str| image[name].as_str().unwrap_or_default().to_owned();
        let at = image["pushed_at_ms"].as_u64().map(updraft_types::Timestamp::from_ms);
        let at = at.map(|at| at.to_rfc3339().split('.').next().unwrap_or_default().replace('T', " "));
        let digest: String = text("digest").trim_start_matches("sha256:").chars().take(12).collect();
        let bytes = image["size_bytes"].as_u64().unwrap_or_default();
        let cells = [format!("{}:{}", text("name"), text("tag")), digest, text("architecture"), size(bytes)];
        cells.into_iter().chain(at).map(Cell::new).collect()
    };
    let rows = images.as_array().into_iter().flatten().map(row).collect();
    Ok(output.table(&["IMAGE", "DIGEST", "ARCHITECTURE", "SIZE", "PUSHED"], rows)?)
}

/// What went wrong, with what to try about images rather than functions.
fn problem(error: Error, name: &str) -> Problem {
    match error {
        Error::Refused { status: 404, .. } => Problem::new(Exit::Refused, format!("there is no image {name}"))
            .try_next("`updraft image ls` shows the images that there are"),
        other => other.into(),
    }
}
