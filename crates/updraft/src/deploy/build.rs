//! Turns a folder into the files of a package: fetches what it declares, compiles what needs compiling.
//!
//! Which tool runs follows from the runtime and the files that are there; `[build] command` replaces it. The
//! tools write into the cache or into their own folders, never among the sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use updraft_types::Runtime;

use super::{
    cache::Cache,
    cargo, manifest, npm,
    package::{Entry, Filter, merge},
    pip,
    tool::{self, Cancel, Stdout},
};
use crate::{
    output::Output,
    problem::{Exit, Problem},
};

/// What a build works with.
pub struct Build<'a> {
    /// The folder with the sources.
    pub folder: &'a Path,
    /// What the result has to run on.
    pub runtime: Runtime,
    /// The manifest's `[build]`.
    pub manifest: &'a manifest::Build,
    /// Fetched dependencies.
    pub cache: &'a Cache,
    /// Where progress is shown.
    pub output: &'a Output,
    /// Ends running tools.
    pub cancel: &'a Cancel,
}

/// What comes of it.
#[derive(Debug)]
pub enum Built {
    /// The files of a package that is still to be packed.
    Entries(Vec<Entry>),
    /// A zip the build made itself.
    Zip(PathBuf),
}

impl Build<'_> {
    /// Runs the tools.
    pub fn run(&self) -> Result<Built, Problem> {
        if let Some(command) = &self.manifest.command {
            self.run_command(command)?;
            return self.collect(&[]);
        }
        let has = |name: &str| self.folder.join(name).is_file();
        let is_any = |wanted: &[bool]| wanted.contains(&true);
        let (is_python, is_node) =
            (matches!(self.runtime, Runtime::Python { .. }), matches!(self.runtime, Runtime::Nodejs { .. }));
        let is_web = self.runtime == Runtime::Web;
        let is_provided = matches!(self.runtime, Runtime::Provided { .. });
        let is_wasm = self.runtime == Runtime::Wasm;
        if self.manifest.package.is_none() && has("Cargo.toml") && is_any(&[is_provided, is_wasm, is_web]) {
            return cargo::build(self).map(|entry| Built::Entries(vec![entry]));
        }
        let mut fetched = Vec::new();
        if has("requirements.txt") && is_any(&[is_python, is_web]) {
            fetched.extend(pip::fetch(self)?);
        }
        if has("package.json") && is_any(&[is_node, is_web]) {
            let installed = npm::install(self)?;
            if installed.replaces_sources && self.manifest.package.is_none() {
                return Ok(Built::Entries(merge(vec![installed.entries, fetched])));
            }
            fetched.extend(installed.entries);
            return self.collect_with(&["/node_modules"], fetched);
        }
        self.collect_with(&[], fetched)
    }

    fn run_command(&self, command: &str) -> Result<(), Problem> {
        let step = self.output.step(format!("Running {command}"));
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.folder);
        tool::run(&mut shell, "the build command", Stdout::Text, &step, self.cancel)?;
        step.done(format!("Ran {command}"));
        Ok(())
    }

    fn collect(&self, leave_out: &[&str]) -> Result<Built, Problem> {
        self.collect_with(leave_out, Vec::new())
    }

    /// The folder's files (or what `package` names) with what was fetched beneath them.
    fn collect_with(&self, leave_out: &[&str], fetched: Vec<Entry>) -> Result<Built, Problem> {
        let Some(package) = &self.manifest.package else {
            let own = Filter::new(self.folder, leave_out)?.entries()?;
            return Ok(Built::Entries(merge(vec![own, fetched])));
        };
        let place = self.folder.join(package);
        let missing = |error| {
            Problem::new(Exit::Build, format!("there is no {} to package", place.display()))
                .because(error)
                .try_next("check `package` and `command` under [build] in function.toml")
        };
        let metadata = fs::metadata(&place).map_err(missing)?;
        if metadata.is_dir() {
            let own = Filter::new(&place, &[])?.entries()?;
            return Ok(Built::Entries(merge(vec![own, fetched])));
        }
        if place.extension().is_some_and(|extension| extension == "zip") {
            return Ok(Built::Zip(place));
        }
        Ok(Built::Entries(merge(vec![vec![Entry::file(place)?], fetched])))
    }
}
