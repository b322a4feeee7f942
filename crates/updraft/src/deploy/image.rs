//! From a container image on disk to one that the platform holds.
//!
//! The image is read here, on the caller's side, and sent in parts; what the platform has already is not sent again, and
//! an upload that broke off goes on where it stopped.

use std::{io::Read, path::Path};

use updraft_image::archive::{self, Found};
use updraft_types::{FunctionName, function::Architecture};

use crate::{
    client::Client,
    output::Output,
    problem::{Exit, Problem},
};

/// Bytes sent in one request.
const PART_BYTES: u64 = 16 << 20;

/// The tag of an image that is pushed without one.
pub const TAG_DEFAULT: &str = "latest";

/// This machine's architecture, as functions declare it.
pub fn own_architecture() -> Architecture {
    if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::X86_64 }
}

/// Reads the image at a path; `tag` says which, where there are several.
pub fn open(path: &Path, tag: Option<&str>, architecture: Architecture) -> Result<Found, Problem> {
    archive::open(path, tag, architecture).map_err(|error| {
        Problem::new(Exit::Build, format!("{} is no image that can be pushed", path.display()))
            .because(error)
            .try_next("give a folder with an OCI layout, a tar of one, or what `docker save -o FILE` wrote")
    })
}

/// Sends an image and has it called `name:tag`. Answers its digest.
pub fn push(found: &Found, name: &str, tag: &str, client: &Client, output: &Output) -> Result<String, Problem> {
    let unreadable = |error| Problem::new(Exit::Build, "a layer of the image could not be read").because(error);
    let bar = output.upload(format!("Uploading {name}"), found.layers.iter().map(|layer| layer.size_bytes).sum());
    let mut before = 0;
    for (index, layer) in found.layers.iter().enumerate() {
        let digest = layer.digest.to_string();
        let mut progress = client.image_blob(name, &digest)?;
        let mut reader = found.open_layer(index).map_err(unreadable)?;
        if !progress.is_complete && progress.received > 0 {
            std::io::copy(&mut reader.by_ref().take(progress.received), &mut std::io::sink()).map_err(unreadable)?;
        }
        while !progress.is_complete {
            let mut part = Vec::new();
            reader.by_ref().take(PART_BYTES).read_to_end(&mut part).map_err(unreadable)?;
            let offset = progress.received;
            progress = client.upload_image_blob(name, &digest, layer.size_bytes, offset, &part)?;
            if !progress.is_complete && progress.received <= offset {
                return Err(Problem::new(Exit::Refused, "the platform does not take the layer")
                    .because(format!("it has {} of {} bytes", progress.received, layer.size_bytes)));
            }
            bar.at(before + progress.received);
        }
        before += layer.size_bytes;
        bar.at(before);
    }
    drop(bar);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let step = output.step_quietly(format!("Unpacking {name}"));
    let pushed = client.put_image(name, tag, &text(&found.manifest), &text(&found.config))?;
    drop(step);
    Ok(pushed["digest"].as_str().unwrap_or_default().to_owned())
}

/// What a function's own image is called: its name, as far as repositories may be called so.
pub fn repository(function: &FunctionName) -> String {
    let lower = function.as_str().to_ascii_lowercase();
    let name = lower.trim_matches(|edge: char| !edge.is_ascii_alphanumeric());
    if name.is_empty() { "function".to_owned() } else { name.to_owned() }
}

/// `NAME` or `NAME:TAG` as two words.
pub fn parse_name(text: &str) -> Result<(&str, &str), Problem> {
    let (name, tag) = text.split_once(':').unwrap_or((text, TAG_DEFAULT));
    if updraft_image::reference::is_name(name) && updraft_image::reference::is_tag(tag) {
        return Ok((name, tag));
    }
    Err(Problem::usage(format!("{text:?} is not what an image can be called")).because(
        "a name is of lower-case letters and digits with '.', '_', '-' and '/' between, a tag of letters and digits",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_image_is_called_like_it() {
        for (function, expected) in
            [("hello", "hello"), ("My_Function", "my_function"), ("-x-", "x"), ("_", "function")]
        {
            assert_eq!(repository(&function.parse().unwrap()), expected);
            assert!(parse_name(expected).is_ok());
        }
        assert_eq!(parse_name("team/app:v1").unwrap(), ("team/app", "v1"));
        assert_eq!(parse_name("app").unwrap(), ("app", "latest"));
        for bad in ["", "App", "app:", "localhost:5000/app", "a b", "../x"] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
