//! Fetches what `package.json` declares, with npm, and runs its build script if it has one.
//!
//! Without scripts only the declaring files decide the result, so they alone name the cache entry. A package
//! with a build or install script is built in a copy of the folder, named by everything in it.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{
    build::Build,
    cache::Key,
    package::{Entry, Filter},
    tool,
};
use crate::{
    output::Step,
    problem::{Exit, Problem},
};

const DECLARING: &[&str] = &["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"];

/// Scripts npm runs by itself on install, which may read anything in the folder.
const INSTALL_SCRIPTS: &[&str] = &["preinstall", "install", "postinstall", "prepare"];

/// What npm made.
pub struct Installed {
    /// `node_modules`, and with a build script everything else too.
    pub entries: Vec<Entry>,
    /// Whether these are all files of the package, rather than the dependencies beneath the sources.
    pub replaces_sources: bool,
}

/// What `package.json` asks for.
struct Wanted {
    dependencies: bool,
    build: bool,
    whole_folder: bool,
}

/// The files npm installs.
pub fn install(build: &Build<'_>) -> Result<Installed, Problem> {
    let wanted = Wanted::read(build.folder)?;
    if !wanted.dependencies && !wanted.build {
        return Ok(Installed { entries: Vec::new(), replaces_sources: false });
    }
    let sources = if wanted.whole_folder {
        Filter::new(build.folder, &["/node_modules"])?.entries()?
    } else {
        let present = DECLARING.iter().map(|name| build.folder.join(name)).filter(|path| path.is_file());
        present.map(Entry::file).collect::<Result<_, _>>()?
    };
    let node = tool::find_node()?;
    let mut key = Key::new("npm").with([node]);
    for entry in &sources {
        key = key.with(&entry.name).with(fs::read(&entry.source).unwrap_or_default());
    }
    let place = build.cache.get(key, |place| {
        let step = build.output.step("Fetching Node.js packages");
        copy(&sources, place)?;
        let locked = ["package-lock.json", "npm-shrinkwrap.json"].iter().any(|name| place.join(name).is_file());
        let install = if locked { "ci" } else { "install" };
        let production: &[&str] = if wanted.build { &[] } else { &["--omit=dev"] };
        npm(build, place, &step, &[&[install, "--no-audit", "--no-fund"], production].concat())?;
        if wanted.build {
            npm(build, place, &step, &["run", "build"])?;
            npm(build, place, &step, &["prune", "--omit=dev", "--no-audit", "--no-fund"])?;
        }
        step.done(if wanted.build { "Built with npm" } else { "Fetched Node.js packages" });
        Ok(())
    })?;
    Ok(Installed { entries: result(&place, wanted.build)?, replaces_sources: wanted.build })
}

/// What goes into the package of what npm left: everything after a build, else the dependencies alone.
fn result(place: &Path, built: bool) -> Result<Vec<Entry>, Problem> {
    let mut entries = Filter::new(place, &[])?.entries()?;
    entries.retain(|entry| built || entry.name.starts_with("node_modules/"));
    Ok(entries)
}

fn npm(build: &Build<'_>, place: &Path, step: &Step, arguments: &[&str]) -> Result<(), Problem> {
    let mut command = Command::new("npm");
    command.args(arguments).arg("--no-update-notifier").current_dir(place);
    let name = format!(
        "npm {}",
        arguments.iter().take_while(|word| !word.starts_with('-')).cloned().collect::<Vec<_>>().join(" ")
    );
    tool::run(&mut command, &name, tool::Stdout::Text, step, build.cancel).map(drop)
}

fn copy(entries: &[Entry], place: &Path) -> Result<(), Problem> {
    for entry in entries {
        let target = place.join(&entry.name);
        let copied = match target.parent() {
            Some(parent) => fs::create_dir_all(parent).and_then(|()| fs::copy(&entry.source, &target)),
            None => fs::copy(&entry.source, &target),
        };
        copied.map_err(|error| {
            Problem::new(Exit::Build, format!("{} could not be copied", entry.source.display())).because(error)
        })?;
    }
    Ok(())
}

impl Wanted {
    fn read(folder: &Path) -> Result<Wanted, Problem> {
        let path = folder.join("package.json");
        let wrong = |why: String| Problem::new(Exit::Build, format!("{} is not valid", path.display())).because(why);
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let document: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let filled = |key: &str| document[key].as_object().is_some_and(|object| !object.is_empty());
        let script = |name: &str| document["scripts"][name].is_string();
        let by_path = document["dependencies"].as_object().is_some_and(|object| {
            object
                .values()
                .filter_map(Value::as_str)
                .any(|version| version.starts_with("file:") || version.starts_with('.'))
        });
        let build = script("build");
        let whole_folder =
            build || by_path || document.get("workspaces").is_some() || INSTALL_SCRIPTS.iter().any(|name| script(name));
        Ok(Wanted { dependencies: filled("dependencies") || filled("optionalDependencies"), build, whole_folder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Result<(bool, bool, bool), Problem> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("package.json"), text).unwrap();
        Wanted::read(folder.path()).map(|wanted| (wanted.dependencies, wanted.build, wanted.whole_folder))
    }

    #[test]
    fn dependencies_keep_their_own_package_json() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("node_modules/hono")).unwrap();
        for name in
            ["package.json", "package-lock.json", "node_modules/hono/package.json", "node_modules/.package-lock.json"]
        {
            fs::write(place.path().join(name), "{}").unwrap();
        }
        let names = |built| -> Vec<String> {
            result(place.path(), built).unwrap().into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(names(false), ["node_modules/hono/package.json"]);
        assert_eq!(names(true), ["node_modules/hono/package.json", "package-lock.json", "package.json"]);
    }

    #[test]
    fn package_json_decides_what_runs() {
        assert_eq!(wanted("{}").unwrap(), (false, false, false));
        assert_eq!(wanted(r#"{"devDependencies":{"a":"1"}}"#).unwrap(), (false, false, false));
        assert_eq!(wanted(r#"{"dependencies":{"a":"1"}}"#).unwrap(), (true, false, false));
        assert_eq!(wanted(r#"{"dependencies":{"a":"file:./a"}}"#).unwrap(), (true, false, true));
        assert_eq!(wanted(r#"{"scripts":{"build":"tsc"}}"#).unwrap(), (false, true, true));
        assert!(wanted("{").is_err());
    }
}
