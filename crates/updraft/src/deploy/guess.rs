//! Guesses what a folder leaves unsaid: the family of its runtime, its handler, its name.
//!
//! A guess is made only where one answer stands out; otherwise the folder's author is asked to say.

use std::{fs, path::Path};

use updraft_types::{FunctionName, Runtime};

use super::{manifest::FILE_NAME, package::Entry};
use crate::problem::Problem;

/// Families of runtimes a folder can look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Python.
    Python,
    /// Node.js.
    Nodejs,
    /// An executable, given or to be built by cargo.
    Provided,
    /// A component.
    Wasm,
}

/// The family of a folder's runtime: by the file that declares its dependencies, else by the code it holds.
pub fn family(folder: &Path) -> Result<Family, Problem> {
    let names = names_in(folder)?;
    let declared: Vec<(&str, Family)> = [
        ("requirements.txt", Family::Python),
        ("package.json", Family::Nodejs),
        ("Cargo.toml", Family::Provided),
        ("bootstrap", Family::Provided),
    ]
    .into_iter()
    .filter(|(name, _)| names.iter().any(|found| found == name))
    .collect();
    let by_code: Vec<(&str, Family)> = [
        ("*.py", Family::Python),
        ("*.mjs", Family::Nodejs),
        ("*.cjs", Family::Nodejs),
        ("*.js", Family::Nodejs),
        ("*.wasm", Family::Wasm),
    ]
    .into_iter()
    .filter(|(pattern, _)| names.iter().any(|found| found.ends_with(&pattern[1..])))
    .collect();
    for found in [declared, by_code] {
        let Some((_, first)) = found.first() else { continue };
        if found.iter().all(|(_, family)| family == first) {
            return Ok(*first);
        }
        let seen: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        return Err(Problem::usage(format!("{}: the runtime is not clear", folder.display()))
            .because(format!("there are {}", seen.join(" and ")))
            .try_next(format!("say which in {FILE_NAME} (runtime = \"python3.11\") or with --runtime")));
    }
    Err(Problem::usage(format!("{} holds nothing that looks like a function", folder.display()))
        .because("looked for requirements.txt, package.json, Cargo.toml, bootstrap, *.py, *.js, *.mjs and *.wasm")
        .try_next(format!("name another folder, or say what it is in {FILE_NAME}")))
}

fn names_in(folder: &Path) -> Result<Vec<String>, Problem> {
    let unreadable =
        |error| Problem::usage(format!("the folder {} could not be read", folder.display())).because(error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    entries.map(|entry| Ok(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned())).collect()
}

/// The handler of a package with these files.
pub fn handler(runtime: Runtime, entries: &[Entry]) -> Result<String, Problem> {
    match runtime {
        Runtime::Python { .. } => module_handler(entries, &["py"], &["app", "lambda_function", "handler", "main"]),
        Runtime::Nodejs { .. } => module_handler(entries, &["mjs", "js", "cjs"], &["index", "app", "handler", "main"]),
        Runtime::Provided { .. } => Ok("bootstrap".to_owned()),
        Runtime::Wasm => wasm_handler(entries),
        Runtime::Image => Err(Problem::usage("a container image is deployed as it is, not built from a folder")),
        Runtime::Web => Err(Problem::usage("it is not said how the web server is started").try_next(format!(
            "say it in {FILE_NAME} (handler = \"python3 server.py\") or with --handler; it must listen on $PORT"
        ))),
    }
}

/// `MODULE.FUNCTION`: the usual module, or the only one at the top; in it the function that is there.
fn module_handler(entries: &[Entry], extensions: &[&str], usual: &[&str]) -> Result<String, Problem> {
    let modules: Vec<(&str, &Entry)> = entries
        .iter()
        .filter(|entry| !entry.name.contains('/'))
        .filter_map(|entry| {
            let (stem, extension) = entry.name.rsplit_once('.')?;
            (extensions.contains(&extension) && !stem.contains('.')).then_some((stem, entry))
        })
        .collect();
    let by_name = usual.iter().find_map(|name| modules.iter().find(|(stem, _)| stem == name));
    let Some((stem, entry)) = by_name.or_else(|| modules.first().filter(|_| modules.len() == 1)) else {
        let seen: Vec<&str> = modules.iter().map(|(_, entry)| entry.name.as_str()).take(8).collect();
        let why = match seen.as_slice() {
            [] => format!("there is no *.{} at the top of the package", extensions.join(" or *.")),
            _ => format!("it could be in any of {}", seen.join(", ")),
        };
        return Err(Problem::usage("the handler is not clear")
            .because(why)
            .try_next(format!("say it in {FILE_NAME} (handler = \"{}.handler\") or with --handler", usual[0])));
    };
    let text = fs::read_to_string(&entry.source).unwrap_or_default();
    let function =
        if !has_word(&text, "handler") && has_word(&text, "lambda_handler") { "lambda_handler" } else { "handler" };
    Ok(format!("{stem}.{function}"))
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').any(|found| found == word)
}

fn wasm_handler(entries: &[Entry]) -> Result<String, Problem> {
    let files: Vec<&str> =
        entries.iter().map(|entry| entry.name.as_str()).filter(|name| name.ends_with(".wasm")).collect();
    match files.as_slice() {
        [file] => Ok((*file).to_owned()),
        [] => Err(Problem::usage("there is no .wasm file in the package")
            .try_next(format!("build one with [build] in {FILE_NAME}"))),
        several => Err(Problem::usage("it is not clear which component to run")
            .because(format!("there are {}", several.join(", ")))
            .try_next(format!("say it in {FILE_NAME} (handler = \"{}\") or with --handler", several[0]))),
    }
}

/// A function's name from the name of the folder or file that holds it: whatever a name can't hold becomes a hyphen.
pub fn name(path: &Path) -> Result<FunctionName, Problem> {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if full.is_dir() { full.file_name() } else { full.file_stem() };
    let text = stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let kept = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let text: String = text.chars().take(64).map(|character| if kept(character) { character } else { '-' }).collect();
    text.trim_matches('-').parse().map_err(|error| {
        Problem::usage(format!("no function name can be made of {}", path.display()))
            .because(error)
            .try_next(format!("say one in {FILE_NAME} (name = \"…\") or with --name"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn entries(folder: &tempfile::TempDir) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            fs::read_dir(folder.path()).unwrap().map(|found| Entry::file(found.unwrap().path()).unwrap()).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries
    }

    #[test]
    fn families_are_told_by_declarations_first() {
        for (files, expected) in [
            (&[("app.py", "")][..], Family::Python),
            (&[("requirements.txt", ""), ("helper.js", "")], Family::Python),
            (&[("package.json", "{}"), ("scrape.py", "")], Family::Nodejs),
            (&[("index.mjs", ""), ("util.js", "")], Family::Nodejs),
            (&[("Cargo.toml", "")], Family::Provided),
            (&[("bootstrap", "")], Family::Provided),
            (&[("edge.wasm", "")], Family::Wasm),
        ] {
            assert_eq!(family(folder(files).path()).unwrap(), expected, "{files:?}");
        }
    }

    #[test]
    fn an_unclear_folder_is_asked_about() {
        let both = family(folder(&[("package.json", "{}"), ("requirements.txt", "")]).path()).unwrap_err();
        assert!(format!("{both:?}").contains("requirements.txt and package.json"), "{both:?}");
        let none = family(folder(&[("README.md", "")]).path()).unwrap_err();
        assert!(none.to_string().contains("nothing that looks like a function"));
    }

    #[test]
    fn handlers_follow_the_files() {
        let python = Runtime::Python { minor: 11 };
        let node = Runtime::Nodejs { major: 20 };
        for (runtime, files, expected) in [
            (python, &[("app.py", "def handler(e, c): pass"), ("util.py", "")][..], "app.handler"),
            (python, &[("lambda_function.py", "def lambda_handler(e, c): pass")], "lambda_function.lambda_handler"),
            (python, &[("thing.py", "handler = 1")], "thing.handler"),
            (node, &[("index.mjs", "export const handler = 1"), ("a.js", "")], "index.handler"),
            (Runtime::Wasm, &[("edge.wasm", "")], "edge.wasm"),
            ("provided.al2023".parse().unwrap(), &[("bootstrap", "")], "bootstrap"),
        ] {
            assert_eq!(handler(runtime, &entries(&folder(files))).unwrap(), expected, "{files:?}");
        }
        for (runtime, files) in [
            (python, &[("one.py", ""), ("two.py", "")][..]),
            (python, &[("index.js", "")]),
            (Runtime::Web, &[("server.py", "")]),
            (Runtime::Wasm, &[("a.wasm", ""), ("b.wasm", "")]),
        ] {
            assert!(handler(runtime, &entries(&folder(files))).is_err(), "{files:?}");
        }
    }

    #[test]
    fn names_come_from_the_folder() {
        assert_eq!(name(Path::new("/nowhere/my.app v2")).unwrap().as_str(), "my");
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("my.app v2");
        fs::create_dir(&inner).unwrap();
        assert_eq!(name(&inner).unwrap().as_str(), "my-app-v2");
        assert_eq!(name(Path::new("/nowhere/edge.wasm")).unwrap().as_str(), "edge");
        assert!(name(Path::new("/")).is_err());
    }
}
