//! From a folder, a zip, a component or a container image on disk to a function that answers.
//!
//! [`prepare`] reads, builds and packs without touching the platform; [`push`] makes the platform's function
//! equal to the result through Lambda's public API and waits until it is in force. When either fails, whatever
//! served before still serves.

pub mod build;
pub mod cache;
pub mod cargo;
pub mod guess;
pub mod image;
pub mod manifest;
pub mod npm;
pub mod package;
pub mod pip;
pub mod push;
pub mod tool;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use updraft_types::{Egress, FunctionName, Runtime};

use crate::{
    client::scaling::Scaling,
    output::Output,
    problem::{Exit, Problem},
};
use build::{Build, Built};
use cache::Cache;
use guess::Family;
use manifest::Manifest;
use package::Entry;
use tool::Cancel;

pub use push::{Deployed, push};

/// What is to be deployed.
pub struct Request {
    /// A folder, a zip, a component or a container image.
    pub target: PathBuf,
    /// What the flags say; goes over the manifest.
    pub flags: Manifest,
    /// Fetch dependencies anew.
    pub fresh: bool,
}

/// A package and what the function is to be. `None` leaves what the platform has (or its default).
#[derive(Debug)]
pub struct Prepared {
    /// The function.
    pub name: FunctionName,
    /// What runs it.
    pub runtime: Option<Runtime>,
    /// Its entry point.
    pub handler: Option<String>,
    /// The role whose credentials it has: a name or an ARN.
    pub role: Option<String>,
    /// Memory, MB.
    pub memory_mb: Option<u32>,
    /// Timeout, seconds.
    pub timeout_s: Option<u32>,
    /// All its environment variables.
    pub environment: Option<BTreeMap<String, String>>,
    /// Whether it shall have a public URL.
    pub url: bool,
    /// What it says about egress, which may be nothing: that is left to the platform's configuration.
    pub egress: Option<Option<Egress>>,
    /// How it scales.
    pub scaling: Option<Scaling>,
    /// What it runs.
    pub package: Package,
}

/// What a function is made of.
#[derive(Debug)]
pub enum Package {
    /// A zip.
    Zip(Vec<u8>),
    /// A container image.
    Image(Box<updraft_image::archive::Found>),
}

/// Lambda's defaults, which a folder's manifest stands for when it says nothing.
const MEMORY_MB: u32 = 128;
const TIMEOUT_S: u32 = 3;

/// Reads, builds and packs.
pub fn prepare(request: &Request, output: &Output, cancel: &Cancel) -> Result<Prepared, Problem> {
    let target = &request.target;
    let metadata = fs::metadata(target).map_err(|error| {
        Problem::usage(format!("there is no {}", target.display()))
            .because(error)
            .try_next("name a folder, a .zip or a .wasm file, or a container image")
    })?;
    if updraft_image::archive::is_image(target) {
        return prepare_image(request);
    }
    if metadata.is_dir() {
        return prepare_folder(request, output, cancel);
    }
    match target.extension().and_then(|extension| extension.to_str()) {
        Some("zip") => prepare_zip(request),
        Some("wasm") => prepare_component(request, output),
        _ => Err(Problem::usage(format!("{} cannot be deployed", target.display()))
            .because("it is neither a folder nor a .zip nor a .wasm file nor a container image")),
    }
}

fn prepare_folder(request: &Request, output: &Output, cancel: &Cancel) -> Result<Prepared, Problem> {
    let folder = request.target.as_path();
    let said = Manifest::read(folder)?.overlaid(request.flags.clone());
    let name = match said.name.clone() {
        Some(name) => name,
        None => guess::name(folder)?,
    };
    let runtime = match said.runtime {
        Some(runtime) => runtime,
        None => guess_runtime(folder, &said)?,
    };
    let cache = Cache::of_user(request.fresh);
    let built = Build { folder, runtime, manifest: &said.build, cache: &cache, output, cancel }.run()?;
    let (zip, handler) = match built {
        Built::Entries(entries) => {
            let handler = said.handler.clone().map_or_else(|| guess::handler(runtime, &entries), Ok)?;
            (pack(&entries, output)?, handler)
        }
        Built::Zip(path) => {
            let handler = said.handler.clone().map_or_else(|| guess::handler(runtime, &[]), Ok)?;
            (read_zip(&path)?, handler)
        }
    };
    Ok(Prepared {
        name,
        runtime: Some(runtime),
        handler: Some(handler),
        role: said.role,
        memory_mb: Some(said.memory_mb.unwrap_or(MEMORY_MB)),
        timeout_s: Some(said.timeout_s.unwrap_or(TIMEOUT_S)),
        environment: Some(said.environment.unwrap_or_default()),
        url: said.url.unwrap_or(true),
        egress: Some(said.egress),
        scaling: Some(said.scaling.unwrap_or_default()),
        package: Package::Zip(zip),
    })
}

/// The runtime of a folder that doesn't say: its family, in the version this host has.
fn guess_runtime(folder: &Path, said: &Manifest) -> Result<Runtime, Problem> {
    if said.build.package.as_deref().is_some_and(|package| package.ends_with(".wasm")) {
        return Ok(Runtime::Wasm);
    }
    Ok(match guess::family(folder)? {
        Family::Python => Runtime::Python { minor: tool::find_python(None)?.minor },
        Family::Nodejs => Runtime::Nodejs { major: tool::find_node()? },
        Family::Provided => Runtime::Provided { image: updraft_types::runtime::ProvidedImage::Al2023 },
        Family::Wasm => Runtime::Wasm,
    })
}

fn prepare_image(request: &Request) -> Result<Prepared, Problem> {
    let flags = &request.flags;
    if flags.runtime.is_some() || flags.handler.is_some() {
        return Err(Problem::usage("a container image brings its own runtime and says itself what it starts")
            .try_next("leave out --runtime and --handler"));
    }
    let found = image::open(&request.target, None, image::own_architecture())?;
    from_file(request, None, None, Package::Image(Box::new(found)))
}

fn prepare_zip(request: &Request) -> Result<Prepared, Problem> {
    let zip = read_zip(&request.target)?;
    from_file(request, request.flags.runtime, request.flags.handler.clone(), Package::Zip(zip))
}

fn prepare_component(request: &Request, output: &Output) -> Result<Prepared, Problem> {
    let entry = Entry::file(request.target.clone())?;
    let handler = request.flags.handler.clone().unwrap_or_else(|| entry.name.clone());
    let zip = pack(&[entry], output)?;
    from_file(request, Some(request.flags.runtime.unwrap_or(Runtime::Wasm)), Some(handler), Package::Zip(zip))
}

fn from_file(
    request: &Request,
    runtime: Option<Runtime>,
    handler: Option<String>,
    package: Package,
) -> Result<Prepared, Problem> {
    let flags = &request.flags;
    let name = match flags.name.clone() {
        Some(name) => name,
        None => guess::name(&request.target)?,
    };
    Ok(Prepared {
        name,
        runtime,
        handler,
        role: flags.role.clone(),
        memory_mb: flags.memory_mb,
        timeout_s: flags.timeout_s,
        environment: flags.environment.clone(),
        url: flags.url.unwrap_or(true),
        egress: flags.egress.clone().map(Some),
        scaling: flags.scaling,
        package,
    })
}

fn read_zip(path: &Path) -> Result<Vec<u8>, Problem> {
    let zip = fs::read(path)
        .map_err(|error| Problem::new(Exit::Build, format!("{} could not be read", path.display())).because(error))?;
    package::check_zip_size(&zip, &[])?;
    Ok(zip)
}

fn pack(entries: &[Entry], output: &Output) -> Result<Vec<u8>, Problem> {
    let step = output.upload("Packing", entries.iter().map(|entry| entry.bytes).sum());
    package::pack(entries, &|bytes| step.at(bytes))
}
