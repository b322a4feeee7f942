//! Fetches what `requirements.txt` declares, with pip, for the interpreter that will run it.

use std::{fs, path::Path, process::Command};

use updraft_types::Runtime;

use super::{
    build::Build,
    cache::Key,
    package::{Entry, Filter},
    tool,
};
use crate::problem::{Exit, Problem};

/// Most requirement files that may include one another.
const FILES_MAX: usize = 64;

/// Everything a folder's requirement files say.
struct Requirements {
    /// Their texts, one after the other.
    text: String,
    /// Whether they name packages by path, whose content the text does not show.
    local: bool,
}

/// The files pip installs.
pub fn fetch(build: &Build<'_>) -> Result<Vec<Entry>, Problem> {
    let requirements = Requirements::read(build.folder)?;
    if requirements.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = match build.runtime {
        Runtime::Python { minor } => Some(minor),
        _ => None,
    };
    let python = tool::find_python(wanted)?;
    if let Some(minor) = wanted.filter(|minor| *minor != python.minor) {
        build.output.warn(format!(
            "there is no python3.{minor} on this host; dependencies are fetched for python3.{} instead",
            python.minor
        ));
    }
    let mut key = Key::new("pip").with([python.minor]).with(&requirements.text);
    if requirements.local {
        for entry in Filter::new(build.folder, &[])?.entries()? {
            key = key.with(&entry.name).with(fs::read(&entry.source).unwrap_or_default());
        }
    }
    let place = build.cache.get(key, |target| {
        let step = build.output.step("Fetching Python packages");
        let mut command = Command::new(&python.program);
        command
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"])
            .args(["--root-user-action=ignore", "--no-warn-script-location", "--progress-bar=off"])
            .args(["--requirement", "requirements.txt", "--target"])
            .arg(target)
            .current_dir(build.folder);
        tool::run(&mut command, "pip", tool::Stdout::Text, &step, build.cancel)
            .map_err(|problem| problem.try_next("mend requirements.txt, or the network pip works over"))?;
        step.done("Fetched Python packages");
        Ok(())
    })?;
    Filter::new(&place, &["/bin"])?.entries()
}

impl Requirements {
    fn read(folder: &Path) -> Result<Requirements, Problem> {
        let mut all = Requirements { text: String::new(), local: false };
        let mut waiting = vec![folder.join("requirements.txt")];
        let mut seen = Vec::new();
        while let Some(path) = waiting.pop() {
            if seen.contains(&path) {
                continue;
            }
            if seen.len() == FILES_MAX {
                return Err(Problem::new(Exit::Build, "requirements.txt includes too many files")
                    .because(format!("at most {FILES_MAX} are read")));
            }
            let text = fs::read_to_string(&path).map_err(|error| {
                Problem::new(Exit::Build, format!("{} could not be read", path.display())).because(error)
            })?;
            for line in text.lines().map(str::trim) {
                let included = ["-r", "--requirement", "-c", "--constraint"].iter().find_map(|option| {
                    let rest = line.strip_prefix(option)?;
                    rest.starts_with([' ', '=', '\t']).then(|| rest.trim_start_matches(['=', ' ', '\t']))
                });
                if let Some(name) = included.filter(|name| !name.contains("://")) {
                    waiting.push(path.parent().unwrap_or(folder).join(name));
                }
                all.local |= line.starts_with(['.', '/']) || line.starts_with("-e") || line.contains("file:");
            }
            all.text.push_str(&text);
            all.text.push('\n');
            seen.push(path);
        }
        Ok(all)
    }

    fn is_empty(&self) -> bool {
        self.text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_files_count_and_paths_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("requirements.txt", "# nothing\n\n");
        assert!(Requirements::read(folder.path()).unwrap().is_empty());
        write("requirements.txt", "-r more.txt\nsix==1.16\n");
        assert!(Requirements::read(folder.path()).is_err());
        write("more.txt", "-r requirements.txt\nrequests\n");
        let all = Requirements::read(folder.path()).unwrap();
        assert!(all.text.contains("requests") && !all.local && !all.is_empty());
        write("more.txt", "-e ./lib");
        assert!(Requirements::read(folder.path()).unwrap().local);
    }
}
